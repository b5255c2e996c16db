"""`bbqrec status`: what of a profile's pipeline stands, and what a run would do."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from cli.console import out


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
    from tasks.gates.gate import gate_ref
    from tasks.plan import make_plan
    from tasks.summary import headline

    loaded = resolve(profile, parse_overrides(set_))
    store = ArtifactStore(home_folder())
    ingested: Mapping[str, Any] = {}
    table = Table(box=None, pad_edge=False)
    for heading in ("stage", "artifact", "state", "gate", "made"):
        table.add_column(heading)
    for name, planned in make_plan(loaded, store).items():
        artifact = store.peek(planned.ref)
        if artifact is None:
            table.add_row(name, planned.ref.fingerprint, "to do", "", "")
            continue
        judged = store.peek(gate_ref(planned.ref, loaded.gates))
        statistics = artifact.manifest["statistics"]
        if name == "ingest":
            ingested = statistics
        told = headline(name, statistics, _standing(statistics) if name == "register" else "")
        table.add_row(name, planned.ref.fingerprint, "done", "judged" if judged else "to judge", told)
    out.print(table)
    note = data_note(loaded.source.note, ingested)
    if note:
        out.print(f"About this data: {note}", style="yellow", soft_wrap=True)


def _standing(statistics: Mapping[str, Any]) -> str:
    """What the registry says of a registered version now."""
    from mlflow import MlflowException

    from bbqrec_core.errors import ServiceError
    from tasks.register import present_alias
    from tasks.summary import WITHOUT_ALIAS

    try:
        return present_alias(str(statistics["model_name"]), int(statistics["version"])) or WITHOUT_ALIAS
    except ServiceError:
        return "MLflow does not answer"
    except MlflowException:
        return "gone from the registry"
