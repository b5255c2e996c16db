"""The `bbqrec` command: collects the subcommands and turns expected failures into messages."""

import importlib
import sys

import typer

from bbqrec_core.errors import BBQRecError
from cli import environment
from cli.console import err

COMMANDS = ("run", "profiles", "status", "inspect", "recommend", "report", "rollback", "gc", "doctor", "up")

app = typer.Typer(
    name="bbqrec",
    help="From raw reviews to a registered, servable multi-modal sequential recommender.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Entry point."""
    environment.apply()
    for name in COMMANDS:
        module = importlib.import_module(f"cli.{name}")
        app.command(name=name)(getattr(module, name))
    try:
        app()
    except BBQRecError as error:
        err.print(f"\n[bold red]{type(error).__name__.removesuffix('Error')} error[/]", highlight=False)
        err.print(error.problem, markup=False)
        if error.way_out:
            err.print(error.way_out, markup=False, style="green")
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("\nInterrupted. What was finished stays; run the same command to go on.")
        sys.exit(130)


if __name__ == "__main__":
    main()
