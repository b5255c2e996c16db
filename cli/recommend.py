"""`bbqrec recommend`: ask a registered model."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from bbqrec_core.errors import SourceError
from bbqrec_core.writing import writing
from cli.console import out, printable

if TYPE_CHECKING:
    from bbqrec_core.profile import Profile


def recommend(
    profile: Annotated[str, typer.Argument(help="a shipped profile's name, or the path of a YAML file")] = "demo",
    user: Annotated[list[str], typer.Option("--user", "-u", help="a user of the catalogue, by the shop's ID; repeatable")] = [],  # noqa: B006
    history: Annotated[str | None, typer.Option(help="item IDs, separated by commas, most recent last, instead of a known user")] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=1000, help="how many items")] = 10,
    set_: Annotated[list[str], typer.Option("--set", "-s", help="an override, as the run had it; repeatable")] = [],  # noqa: B006
    alias: Annotated[str, typer.Option(help="which version: champion, challenger or previous")] = "champion",
    output: Annotated[Path | None, typer.Option("--all", help="write everybody's recommendations to this Parquet file instead")] = None,
) -> None:
    """Show what PROFILE's registered model recommends, for some users or for a history of your own."""
    from cli.overrides import as_options, parse_overrides
    from flows.parameters import resolve
    from tasks.recommend import ask, known_histories, recommend_to_file, registered_model, require_place

    loaded, run = resolve(profile, parse_overrides(set_)), f"bbqrec run {shlex.join([profile, *as_options(set_)])}"
    if output is not None:
        require_place(output)
    with registered_model(loaded, alias, run) as model:
        if output is not None:
            histories = known_histories(model, loaded, run)
            with writing(output):
                rows = recommend_to_file(histories, model, k, output)
            out.print(f"Wrote {rows:,} users' recommendations to {output}", soft_wrap=True)
            return
        if history is not None:
            requests = {"your history": [item.strip() for item in history.split(",") if item.strip()]}
        else:
            requests = _known(user, known_histories(model, loaded, run), loaded)
        answers = ask(model, list(requests.values()), k)
    for (one, items), answer in zip(requests.items(), answers, strict=True):
        _show(one, items, answer, model.titles)


def _known(users: list[str], known: Mapping[str, list[str]], profile: "Profile") -> dict[str, list[str]]:
    """Histories of the users asked for, or of a few."""
    missing = [one for one in users if one not in known]
    if missing:
        raise SourceError(
            f"No user {', '.join(missing)} in the catalogue of '{profile.name}'.", f"There are, for instance: {', '.join(list(known)[:3])}."
        )
    return {one: known[one] for one in (users or list(known)[:3])}


def _show(user: str, items: list[str], answer: dict[str, Any], titles: Mapping[str, str | None]) -> None:
    def line(place: str, item: str) -> None:
        title = titles.get(item) or "(no title)" if titles else ""
        out.print(printable(f"{place:>3} {item}  {title}").rstrip(), overflow="ellipsis", no_wrap=True)

    out.print(Text.assemble("\n", (printable(user), "bold"), f" has {len(items)} item(s); the last of them:"))
    for item in items[-3:]:
        line("", item)
    if answer["unknown"]:
        out.print(f"    {answer['unknown']} of them the catalogue does not have", style="yellow")
    for place, item in enumerate(answer["items"], start=1):
        line(str(place), item)
