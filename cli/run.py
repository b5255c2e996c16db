"""`bbqrec run`: the whole pipeline, here and now."""

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from cli.console import out, printable
from cli.overrides import parse_overrides
from cli.running_flows import running_flows
from cli.summary import print_summary
from tasks.stages import StageName

if TYPE_CHECKING:
    from pydantic import BaseModel

    from tasks.summary import Summary


def run(
    profile: Annotated[str, typer.Argument(help="a shipped profile's name, or the path of a YAML file")] = "demo",
    set_: Annotated[list[str], typer.Option("--set", "-s", help="override a field, such as --set sequence.epochs=5; repeatable")] = [],  # noqa: B006
    until: Annotated[
        StageName | None, typer.Option(help="stop after this stage, such as --until ingest", metavar="STAGE", show_choices=True)
    ] = None,
) -> None:
    """Run the whole pipeline on PROFILE. What was made before and still holds is not made again."""
    from bbqrec_core.home import home_folder
    from bbqrec_core.store import ArtifactStore
    from flows.parameters import resolve
    from tasks.plan import make_plan
    from tasks.services.addresses import mlflow_ui, prefect_ui
    from tasks.tracking import require_reachable

    start = time.monotonic()
    overrides = parse_overrides(set_)
    loaded = resolve(profile, overrides)
    pages = f"{mlflow_ui()} and {prefect_ui()}"
    require_reachable()  # what is missing, or down, is told before anything starts
    plan = make_plan(loaded, ArtifactStore(home_folder()))
    out.print(Text.assemble(("BBQRec", "bold"), ", profile ", (loaded.name, "bold"), f": {printable(loaded.description)}"), soft_wrap=True)
    out.print(f"{len(plan)} stages, each with its gate; everything is kept in {home_folder()}", soft_wrap=True)
    with running_flows("flows.retrain"):
        summary = _retrain(profile, overrides, until)
    print_summary(summary, time.monotonic() - start, pages, set_)


def _retrain(profile: str, overrides: "BaseModel | None", until: StageName | None) -> "Summary":
    from flows.retrain import retrain

    return retrain(profile=profile, overrides=overrides, until=until)
