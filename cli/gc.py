"""`bbqrec gc`: frees the space of artifacts that nothing needs any more."""

from typing import Annotated

import typer

from cli.console import out


def gc(
    older_than: Annotated[float, typer.Option("--older-than", min=0, help="hours; younger artifacts stay")] = 24.0,
    yes: Annotated[bool, typer.Option("--yes", help="delete; without it only tell")] = False,
) -> None:
    """Tell, or delete, artifacts that no profile's latest run stands on. Registered models are copies and stay."""
    from bbqrec_core.home import home_folder
    from bbqrec_core.store import ArtifactStore
    from tasks.garbage import collect_garbage

    garbage = collect_garbage(ArtifactStore(home_folder()), older_than, delete=yes)
    for ref, size in garbage:
        out.print(f"{size / 1e6:10.1f} MB  {ref}")
    total = sum(size for _, size in garbage) / 1e6
    out.print(f"{len(garbage)} artifacts, {total:.1f} MB {'deleted' if yes or not garbage else 'could be deleted: bbqrec gc --yes'}")
