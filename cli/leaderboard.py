"""`bbqrec leaderboard`: ours, our baselines and published numbers, over seeds, in one page and one picture."""

from pathlib import Path
from typing import Annotated

import typer

from bbqrec_core.errors import ProfileError
from cli.console import out
from cli.running_flows import running_flows

WHOLE, PAGE = "research", Path("docs/leaderboard.md")
"""The leaderboard that the documentation shows, and where; nothing less than the whole of it goes there unasked."""


def leaderboard(
    name: Annotated[str, typer.Argument(help="a shipped leaderboard's name, or the path of a YAML file")] = WHOLE,
    to: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help=f"file for the page; the picture goes beside it [default: {PAGE} for the whole of {WHOLE}, else leaderboard-NAME.md here]",
        ),
    ] = None,
    seed: Annotated[list[int], typer.Option("--seed", help="instead of the seeds that the file names; repeatable")] = [],  # noqa: B006
    only: Annotated[list[str], typer.Option("--only", help="only the split that this profile reads; repeatable")] = [],  # noqa: B006
) -> None:
    """Train and evaluate all that a leaderboard lists, and write it down. What was made before and still holds is not made again."""
    from bbqrec_core.leaderboard.spec import find_leaderboard, load_leaderboard
    from tasks.tracking import require_reachable

    load_leaderboard(find_leaderboard(name), seed, only)  # what is wrong with it is told before a server starts
    to = to or default_page(name, whole=not seed and not only)
    if to.suffix == ".svg":
        raise ProfileError(f"The page cannot go to {to}: the picture beside it has that name.", "Give --out a name that ends in .md.")
    require_reachable()
    with running_flows("flows.leaderboard"):
        from flows.leaderboard import leaderboard as flow

        page = flow(name=name, out=str(to), seeds=seed or None, profiles=only or None)
    out.print(f"Wrote {page} and {page.with_suffix('.svg')}", soft_wrap=True)


def default_page(name: str, whole: bool) -> Path:
    """Where a page goes if nothing is said; `whole`: no seeds or splits were picked out."""
    return PAGE if name == WHOLE and whole else Path(f"leaderboard-{Path(name).stem}.md")
