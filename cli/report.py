"""`bbqrec report`: where a profile's report is."""

import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from bbqrec_core.errors import ArtifactError
from cli.console import out
from cli.failures import writing


def report(
    profile: Annotated[str, typer.Argument(help="a shipped profile's name, or the path of a YAML file")] = "demo",
    copy_to: Annotated[Path | None, typer.Option("--copy-to", help="copy the report, one self-contained file, there")] = None,
) -> None:
    """Print the path of PROFILE's HTML report, or copy the report."""
    from bbqrec_core.home import home_folder
    from bbqrec_core.profile import load_profile
    from bbqrec_core.store import ArtifactStore
    from tasks.plan import make_plan

    store = ArtifactStore(home_folder())
    ref = make_plan(load_profile(profile), store)["report"].ref
    artifact = store.lookup(ref)
    if artifact is None:
        raise ArtifactError(
            f"The report of '{profile}' as it stands now ({ref}) does not exist.", f"Run it: bbqrec run {shlex.quote(profile)}"
        )
    path = artifact.path / "report.html"
    if copy_to is not None:
        with writing(copy_to):
            path = Path(shutil.copy(path, copy_to))
    out.print(str(path), soft_wrap=True)
