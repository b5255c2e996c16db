"""`bbqrec recommend`: ask a registered model."""

from pathlib import Path
from typing import Annotated

import typer

from bbqrec_core.errors import SourceError
from cli.console import out


def recommend(
    profile: Annotated[str, typer.Argument(help="a shipped profile's name, or the path of a YAML file")] = "demo",
    user: Annotated[list[str], typer.Option("--user", "-u", help="a user of the catalogue, by the shop's ID; repeatable")] = [],  # noqa: B006
    history: Annotated[str | None, typer.Option(help="item IDs, separated by commas, most recent last, instead of a known user")] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=1000, help="how many items")] = 10,
    alias: Annotated[str, typer.Option(help="which version: champion, challenger or previous")] = "champion",
    output: Annotated[Path | None, typer.Option("--all", help="write everybody's recommendations to this Parquet file instead")] = None,
) -> None:
    """Show what PROFILE's registered model recommends, for some users or for a history of your own."""
    from bbqrec_core.profile import load_profile
    from tasks.recommend import ask, known_histories, recommend_to_file, registered_model, titles

    loaded = load_profile(profile)
    model = registered_model(loaded, alias)
    if output is not None:
        rows = recommend_to_file(loaded, model, k, output)
        out.print(f"Wrote {rows:,} users' recommendations to {output}")
        return
    if history is not None:
        requests = {"your history": [item.strip() for item in history.split(",") if item.strip()]}
    else:
        known = known_histories(loaded)
        missing = [one for one in user if one not in known]
        if missing:
            raise SourceError(
                f"No user {', '.join(missing)} in the catalogue of '{loaded.name}'.",
                f"There are, for instance: {', '.join(list(known)[:3])}.",
            )
        requests = {one: known[one] for one in (user or list(known)[:3])}
    names = titles(loaded)
    answers = ask(model, list(requests.values()), k)
    for (one, items), answer in zip(requests.items(), answers, strict=True):
        out.print(f"\n[bold]{one}[/] has {len(items)} item(s); the last of them:")
        for item in items[-3:]:
            out.print(f"    {item}  {names.get(item) or '(no title)'}", markup=False, overflow="ellipsis", no_wrap=True)
        if answer["unknown"]:
            out.print(f"    {answer['unknown']} of them the catalogue does not have", style="yellow")
        for place, item in enumerate(answer["items"], start=1):
            out.print(f"{place:3} {item}  {names.get(item) or '(no title)'}", markup=False, overflow="ellipsis", no_wrap=True)
