"""Another try, and when: exponential back-off with jitter, or as the server asks."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from bbqrec_core.download.failures import FailedDownload

T = TypeVar("T")
LONGEST_ASKED_WAIT = 120.0
"""Seconds of a Retry-After that are honoured, at most."""


@dataclass(frozen=True)
class Patience:
    """How long to go on.

    Attributes:
        attempts: Tries in a row that may fail.
        first_wait: Seconds before the second try; doubled before each further one.
        longest_wait: Seconds before any try, unless the server asks for more.
    """

    attempts: int
    first_wait: float = 0.5
    longest_wait: float = 60.0

    def wait_after(self, failures: int, asked: float | None) -> float:
        """Seconds to wait after so many failures in a row.

        Half of the back-off is random, so that many downloads that failed at once do not come back at once.
        """
        backoff = min(self.longest_wait, self.first_wait * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)
        return max(backoff, min(asked or 0.0, LONGEST_ASKED_WAIT))


async def persist(attempt: Callable[[], Awaitable[T]], patience: Patience, got_further: Callable[[], bool] = lambda: False) -> T:
    """Try until it succeeds.

    Args:
        attempt: What to try.
        patience: How long.
        got_further: Asked after a failure whether this try brought something that the next can build on: then failures are counted anew,
            so that a large file comes through a bad connection.

    Raises:
        FailedDownload: The last one, when it is not worth another try or patience is at its end.
    """
    failures = 0
    while True:
        try:
            return await attempt()
        except FailedDownload as failure:
            failures = 1 if got_further() else failures + 1
            if not failure.again:
                raise
            if failures >= patience.attempts:
                if failures > 1:
                    failure.reason += f", {failures} times"
                    failure.problem += f", {failures} times"
                raise
            await asyncio.sleep(patience.wait_after(failures, failure.wait))
