"""What every benchmark is on the command line: it tells how far it is, prints its report, and leaves nothing behind when it is stopped."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

from bbqrec_core.errors import BBQRecError


def run(benchmark: Callable[[], tuple[str, list[str]]], out: Path | None) -> int:
    """Measure, print, and return the exit status.

    Args:
        benchmark: Gives the report, and sentences about what went wrong.
        out: File for the report, beside printing it.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))  # as an exception, so that temporary folders go
    try:
        text, wrong = benchmark()
    except BBQRecError as error:
        tell(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        tell("Stopped.")
        return 130
    print(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")
    for sentence in wrong:
        tell(f"error: {sentence}")
    return 1 if wrong else 0


def tell(text: str) -> None:
    """Say how far it is, beside the report."""
    print(text, file=sys.stderr, flush=True)
