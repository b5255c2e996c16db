"""How the command line speaks: one console for what is said, one for errors, and log lines without clutter."""

import logging

from rich.console import Console
from rich.logging import RichHandler

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def show_logs(level: int = logging.INFO) -> None:
    """Show the project's own log lines on standard error."""
    handler = RichHandler(console=err, show_time=False, show_level=False, show_path=False, rich_tracebacks=False, markup=False)
    handler.addFilter(_mark_warnings)
    for name in ("bbqrec_core", "tasks", "flows", "serving", "cli"):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.addHandler(handler)


def _mark_warnings(record: logging.LogRecord) -> bool:
    if record.levelno >= logging.WARNING:
        record.msg = f"{record.levelname.capitalize()}: {record.msg}"
    return True
