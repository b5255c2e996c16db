"""The one progress bar: on a terminal a moving line, elsewhere a log line now and then."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
SECONDS_BETWEEN_LOG_LINES = 15.0

log = logging.getLogger(__name__)


def track(items: Iterable[T], what: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Yield `items`, showing how far along they are.

    Args:
        items: What to iterate over.
        what: A few words, such as "training, epochs".
        total: How many there are, where `len(items)` does not tell.
        unit: What one of them is called.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, desc=f"   {what}", total=total, unit=unit, leave=False, dynamic_ncols=True)
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last >= SECONDS_BETWEEN_LOG_LINES:
            last = time.monotonic()
            log.info("%s: %d%s %s", what, done, f" of {total}" if total else "", unit)
