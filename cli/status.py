"""`bbqrec status`: what of a profile's pipeline stands, and what a run would do."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cli.console import out

if TYPE_CHECKING:
    from bbqrec_core.store import Artifact
    from tasks.gates.gate import GateResult

AGAIN = "gone from the registry, or nothing serves"


def status(
    profile: Annotated[str, typer.Argument(help="a shipped profile's name, or the path of a YAML file")] = "demo",
    set_: Annotated[list[str], typer.Option("--set", "-s", help="override a field, as in `bbqrec run`")] = [],  # noqa: B006
) -> None:
    """Show, stage by stage, what a run of PROFILE would find done and what it would do."""
    from bbqrec_core.data_note import data_note
    from bbqrec_core.home import home_folder
    from bbqrec_core.store import ArtifactStore
    from cli.overrides import parse_overrides
    from flows.parameters import resolve
    from tasks.gates.gate import recall_judgement
    from tasks.plan import make_plan
    from tasks.summary import headline

    loaded = resolve(profile, parse_overrides(set_))
    store = ArtifactStore(home_folder())
    ingested: Mapping[str, Any] = {}
    blockers: list[str] = []
    table = Table(box=None, pad_edge=False)
    for heading in ("stage", "artifact", "state", "gate", "made"):
        table.add_column(heading)
    for name, planned in make_plan(loaded, store).items():
        artifact = store.peek(planned.ref)
        if artifact is None:
            table.add_row(name, planned.ref.fingerprint, "to do", "", "")
            continue
        judgement = recall_judgement(planned.ref, loaded.gates, store)
        statistics = artifact.manifest["statistics"]
        if name == "ingest":
            ingested = statistics
        standing = _standing(artifact) if name == "register" else ""
        state = "to do again" if standing == AGAIN else "done"
        table.add_row(name, planned.ref.fingerprint, state, _gate(judgement), headline(name, statistics, standing))
        if judgement is not None:
            blockers += judgement.blockers
    out.print(table)
    for blocker in blockers:
        out.print(f"A run stops here: {blocker}", style="red", soft_wrap=True)
    note = data_note(loaded.source.note, ingested)
    if note:
        out.print(f"About this data: {note}", style="yellow", soft_wrap=True)


def _gate(judgement: "GateResult | None") -> str:
    """What a gate said, in a word or two."""
    if judgement is None:
        return "to judge"
    if judgement.blockers:
        return "stops it"
    return f"passed, {len(judgement.warnings)} warning(s)" if judgement.warnings else "passed"


def _standing(artifact: "Artifact") -> str:
    """What the registry says of a registered version now."""
    from mlflow import MlflowException

    from bbqrec_core.errors import ServiceError
    from tasks.register import present_alias, registration_holds
    from tasks.summary import WITHOUT_ALIAS

    statistics = artifact.manifest["statistics"]
    try:
        if not registration_holds(artifact):
            return AGAIN
        return present_alias(str(statistics["model_name"]), int(statistics["version"])) or WITHOUT_ALIAS
    except ServiceError:
        return "MLflow does not answer"
    except MlflowException:
        return AGAIN
