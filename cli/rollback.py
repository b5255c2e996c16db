"""`bbqrec rollback`: the version before becomes champion again."""

from typing import Annotated

import typer

from bbqrec_core.errors import ServiceError
from cli.console import out


def rollback(
    profile: Annotated[str, typer.Argument(help="a shipped profile's name, or the path of a YAML file")],
    set_: Annotated[list[str], typer.Option("--set", "-s", help="an override, as the run had it; repeatable")] = [],  # noqa: B006
) -> None:
    """Make the previous version of PROFILE's model champion again, and the champion previous."""
    from cli.overrides import parse_overrides
    from flows.parameters import resolve
    from tasks.register import swap_champion

    name = resolve(profile, parse_overrides(set_)).model_name
    swapped = swap_champion(name)
    if swapped is None:
        raise ServiceError(f"{name} has no previous champion to go back to.", "There is one from the second champion on.")
    out.print(f"{name}: version {swapped[0]} is champion again, version {swapped[1]} is previous.")
