"""`bbqrec gc`: frees the space of artifacts that nothing needs any more."""

from typing import Annotated

import typer

from cli.console import out

DEFAULT_HOURS = 24.0


def gc(
    older_than: Annotated[float, typer.Option("--older-than", min=0, help="hours; what was used within them stays")] = DEFAULT_HOURS,
    yes: Annotated[bool, typer.Option("--yes", help="delete; without it only tell")] = False,
) -> None:
    """Tell, or delete, what neither a profile's latest run nor a model that bears an alias stands on, and what killed runs left.

    Registered models are copies and stay.
    """
    from bbqrec_core.home import home_folder
    from bbqrec_core.store import ArtifactStore
    from tasks.garbage import REGISTER, collect_garbage

    store = ArtifactStore(home_folder())
    if any(ref.stage == REGISTER for ref in store.entries()):
        from tasks.register import serving_artifacts  # MLflow takes seconds to import

        serving = serving_artifacts()
    else:
        serving = set()
    garbage = collect_garbage(store, older_than, yes, serving)
    for one in garbage:
        out.print(f"{one.size / 1e6:10.1f} MB  {one.name}", markup=False, highlight=False, soft_wrap=True)
    if not garbage:
        out.print("Nothing to free.")
        return
    again = "bbqrec gc --yes" + (f" --older-than {older_than:g}" if older_than != DEFAULT_HOURS else "")
    total = sum(one.size for one in garbage) / 1e6
    out.print(f"{len(garbage)} artifacts and leftovers, {total:.1f} MB {'deleted' if yes else f'could be deleted: {again}'}")
