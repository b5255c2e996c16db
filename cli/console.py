"""How the command line speaks: one console for what is said, one for errors, and log lines without clutter."""

import logging
import sys

from rich.console import Console

WIDTH_WITHOUT_A_TERMINAL = 140

out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_WITHOUT_A_TERMINAL)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else WIDTH_WITHOUT_A_TERMINAL)


def show_logs() -> None:
    """Show the project's own log lines on standard error."""
    handler = _ConsoleHandler()
    for name in ("bbqrec_core", "tasks", "flows", "serving", "cli"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)


class _ConsoleHandler(logging.Handler):
    """Prints the flows' lines as they are, those of what happens inside a stage dimmed, and warnings in yellow."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        if record.levelno >= logging.WARNING:
            err.print(f"{record.levelname.capitalize()}: {record.getMessage()}", style="yellow", markup=False, soft_wrap=True)
        elif record.name.startswith("flows"):
            err.print(record.getMessage(), markup=False, soft_wrap=True)
        else:
            err.print(f"      {record.getMessage()}", style="dim", markup=False, soft_wrap=True)
