"""How the command line speaks: one console for what is said, one for errors, and log lines without clutter.

Both print text as it is: what comes from data, such as a title or a profile's description, may hold `[/x]` or `:smile:` and must not be
taken for rich's markup. Style is given by `style=` or a `Text`.
"""

import io
import logging
import sys
from typing import TextIO

from rich.console import Console

WIDTH_WITHOUT_A_TERMINAL = 140


def _console(stream: TextIO, stderr: bool) -> Console:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal that lacks a title's letters shows the rest
    width = None if stream.isatty() else WIDTH_WITHOUT_A_TERMINAL
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)


out = _console(sys.stdout, stderr=False)
err = _console(sys.stderr, stderr=True)


def printable(text: str) -> str:
    """Data on one line, without what would command the terminal: control characters become spaces."""
    return "".join(character if character.isprintable() else " " for character in text)


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
            err.print(f"{record.levelname.capitalize()}: {record.getMessage()}", style="yellow", soft_wrap=True)
        elif record.name.startswith("flows"):
            err.print(record.getMessage(), soft_wrap=True)
        else:
            err.print(f"      {record.getMessage()}", style="dim", soft_wrap=True)
