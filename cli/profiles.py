"""`bbqrec profiles`: what can be run."""

from typing import Annotated

import typer

from bbqrec_core.errors import ProfileError
from cli.console import out, printable


def profiles(
    show: Annotated[str | None, typer.Option("--show", help="print this profile whole, every field with its value")] = None,
) -> None:
    """List the shipped profiles, or show one with every field."""
    import yaml

    from bbqrec_core.profile import available_profiles, load_profile

    if show is not None:
        out.print(yaml.safe_dump(load_profile(show).model_dump(mode="json"), sort_keys=False), end="")
        return
    for name in available_profiles():
        try:
            out.print(printable(f"{name:<15} {load_profile(name).description}"), soft_wrap=True)
        except ProfileError as error:  # one broken profile must not hide the others
            out.print(printable(f"{name:<15} cannot be used: {error.problem}"), style="yellow", soft_wrap=True)
    out.print("\nRun one: make run PROFILE=NAME.  Your own: a YAML file with `extends: NAME`, then bbqrec run path/to/it.yaml")
