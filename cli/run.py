"""`bbqrec run`: the whole pipeline, here and now."""

import time
from typing import Annotated

import typer

from bbqrec_core.errors import BBQRecError, StageError
from cli import environment
from cli.console import err, out, show_logs
from cli.overrides import parse_overrides
from cli.summary import print_summary


def run(
    profile: Annotated[str, typer.Argument(help="a shipped profile's name, or the path of a YAML file")] = "demo",
    set_: Annotated[list[str], typer.Option("--set", "-s", help="override a field, such as --set sequence.epochs=5; repeatable")] = [],  # noqa: B006
) -> None:
    """Run the whole pipeline on PROFILE. What was made before and still holds is not made again."""
    from bbqrec_core.home import home_folder
    from bbqrec_core.store import ArtifactStore
    from flows.parameters import Overrides, resolve
    from tasks.plan import make_plan

    start = time.monotonic()
    overrides = parse_overrides(set_)
    loaded = resolve(profile, overrides)
    plan = make_plan(loaded, ArtifactStore(home_folder()))  # missing files are told before anything starts
    out.print(f"[bold]BBQRec[/] profile [bold]{loaded.name}[/]: {loaded.description}")
    out.print(f"State is kept in {home_folder()}; {len(plan)} stages, each with its gate.")
    show_logs()
    server = environment.choose_prefect_server()
    err.print(f"Prefect: {'server at ' + server if server else 'starting a temporary server of its own (about ten seconds)'}")
    summary = _retrain(profile, overrides if isinstance(overrides, Overrides) else None)
    print_summary(summary, time.monotonic() - start)


def _retrain(profile, overrides):  # type: ignore[no-untyped-def]
    import os

    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PREFECT_LOGGING_TO_API_ENABLED", "true")
    from prefect import tags

    from flows.retrain import retrain
    from tasks.services.orphans import PROCESS_TAG
    from tasks.services.processes import identity

    try:
        with tags(PROCESS_TAG + identity()):  # so that `bbqrec up` can tell a killed run from a living one
            return retrain(profile=profile, overrides=overrides)
    except BBQRecError:
        raise
    except Exception as error:
        raise StageError(f"The pipeline crashed: {error!r}", "This is a bug; the traceback is in the log above.") from error
