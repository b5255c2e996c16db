"""What benchmarks and ablations are on the command line: they tell how far they are, print a report, and leave nothing half done."""

import argparse
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


def verdict(passed: bool, text: str) -> str:
    """A line of a report on how what was measured stands to its target."""
    return f"- {'passes' if passed else 'FALLS SHORT'}: {text}"


def ablation_parser(description: str | None) -> argparse.ArgumentParser:
    """Arguments of a script that sets a profile beside the same with something switched off: profile, overrides, without, seeds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="an override of all, as `bbqrec run --set`")
    parser.add_argument("--without", action="append", default=[], help="overrides of one ablation, separated by blanks; repeatable")
    parser.add_argument("--seeds", type=int, default=1)
    return parser
