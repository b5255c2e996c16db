"""`bbqrec leaderboard`: ours, our baselines and published numbers, over seeds, in one page and one picture."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console import out
from cli.running_flows import running_flows


def leaderboard(
    name: Annotated[str, typer.Argument(help="a shipped leaderboard's name, or the path of a YAML file")] = "research",
    to: Annotated[Path, typer.Option("--out", help="file for the page; the picture goes beside it")] = Path("docs/leaderboard.md"),
    seed: Annotated[list[int], typer.Option("--seed", help="instead of the seeds that the file names; repeatable")] = [],  # noqa: B006
    only: Annotated[list[str], typer.Option("--only", help="only the split that this profile reads; repeatable")] = [],  # noqa: B006
) -> None:
    """Train and evaluate all that a leaderboard lists, and write it down. What was made before and still holds is not made again."""
    from bbqrec_core.leaderboard.spec import find_leaderboard, load_leaderboard
    from tasks.tracking import require_reachable

    load_leaderboard(find_leaderboard(name))  # what is wrong with it is told before a server starts
    require_reachable()
    with running_flows("flows.leaderboard"):
        from flows.leaderboard import leaderboard as flow

        page = flow(name=name, out=str(to), seeds=seed or None, profiles=only or None)
    out.print(f"Wrote {page} and {page.with_suffix('.svg')}", soft_wrap=True)
