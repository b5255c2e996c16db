"""`bbqrec report`: where a profile's report is."""

import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from bbqrec_core.errors import ArtifactError
from bbqrec_core.writing import writing
from cli.console import out
from cli.overrides import as_options


def report(
    profile: Annotated[str, typer.Argument(help="a shipped profile's name, or the path of a YAML file")] = "demo",
    set_: Annotated[list[str], typer.Option("--set", "-s", help="an override, as the run had it; repeatable")] = [],  # noqa: B006
    copy_to: Annotated[Path | None, typer.Option("--copy-to", help="copy the report, one self-contained file, there")] = None,
) -> None:
    """Print the path of PROFILE's HTML report, or copy the report."""
    from bbqrec_core.home import home_folder
    from bbqrec_core.store import ArtifactStore
    from cli.overrides import parse_overrides
    from flows.parameters import resolve
    from tasks.plan import make_plan

    store = ArtifactStore(home_folder())
    ref = make_plan(resolve(profile, parse_overrides(set_)), store)["report"].ref
    artifact = store.peek(ref)
    if artifact is None:
        raise ArtifactError(
            f"The report of '{profile}' as it stands now ({ref}) does not exist.",
            f"Run it: bbqrec run {shlex.join([profile, *as_options(set_)])}",
        )
    path = artifact.path / "report.html"
    if copy_to is not None:
        with writing(copy_to):
            path = Path(shutil.copy(path, copy_to))
    out.print(str(path), soft_wrap=True)
