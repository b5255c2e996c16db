"""The `bbqrec` command: collects the subcommands."""

import importlib

import typer

from cli import environment
from cli.failures import told

COMMANDS = ("fetch", "run", "profiles", "status", "inspect", "recommend", "report", "leaderboard", "rollback", "gc", "doctor", "up")

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
    with told():
        environment.apply()
        for name in COMMANDS:
            module = importlib.import_module(f"cli.{name}")
            app.command(name=name)(getattr(module, name))
        app()


if __name__ == "__main__":
    main()
