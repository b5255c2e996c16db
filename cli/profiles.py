"""`bbqrec profiles`: what can be run."""

from typing import Annotated

import typer

from cli.console import out


def profiles(
    show: Annotated[str | None, typer.Option("--show", help="print this profile whole, every field with its value")] = None,
) -> None:
    """List the shipped profiles, or show one with every field."""
    import yaml

    from bbqrec_core.profile import available_profiles, load_profile

    if show is not None:
        out.print(yaml.safe_dump(load_profile(show).model_dump(mode="json"), sort_keys=False), markup=False, end="")
        return
    for name in available_profiles():
        out.print(f"{name:16}{load_profile(name).description}", markup=False)
    out.print(
        "\nRun one: make run PROFILE=NAME.  Your own: a YAML file with `extends: NAME`, then bbqrec run path/to/it.yaml", markup=False
    )
