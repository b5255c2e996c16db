"""Turns lines that are Python literals, as in Amazon's 2014 metadata, into JSON. Nothing is ever evaluated.

Kept light, since worker processes import it.
"""

import ast
import itertools
import json
import multiprocessing
import os
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from bbqrec_core.errors import StageError

LINES_PER_JOB = 1000
LINES_WORTH_A_POOL = 20_000
"""With fewer lines in a block than this, starting processes costs more than they save (22,000 lines a second and core)."""

Converted = tuple[bytes | None, str | None]
"""A line's JSON and None, or None and why it has none."""


def to_json(line: bytes, keys: frozenset[str] | None) -> Converted:
    """Convert one line.

    Args:
        line: UTF-8 text of a Python dictionary of literals.
        keys: The keys to keep; None keeps all.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in a string is a warning, not an error
            value = ast.literal_eval(line.decode("utf-8").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None, "not a Python literal"
    if not isinstance(value, dict):
        return None, "not a Python dictionary"
    try:
        kept = {key: value[key] for key in value if isinstance(key, str) and (keys is None or key in keys)}
        return json.dumps(kept, allow_nan=False).encode("ascii"), None
    except (ValueError, TypeError, RecursionError):
        return None, "holds a value that JSON cannot express"


class LiteralConverter:
    """Converts blocks of lines, in processes of their own when a block is large."""

    def __init__(self, keys: frozenset[str], workers: int) -> None:
        self._keys = keys
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._seen = 0

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def convert(self, lines: Sequence[bytes]) -> list[Converted]:
        """Convert lines, keeping their order."""
        self._seen += len(lines)
        if self._workers < 2 or self._seen < LINES_WORTH_A_POOL:
            return _convert_all(lines, self._keys)
        if self._pool is None:
            # Not fork: DuckDB's threads are running in this process.
            self._pool = ProcessPoolExecutor(self._workers, multiprocessing.get_context("spawn"), _die_with_parent)
        jobs = [lines[start : start + LINES_PER_JOB] for start in range(0, len(lines), LINES_PER_JOB)]
        try:
            return list(itertools.chain.from_iterable(self._pool.map(_convert_all, jobs, itertools.repeat(self._keys))))
        except BrokenProcessPool:
            raise StageError("A process that converts metadata died.", "It may have run out of memory: see `bbqrec doctor`.") from None


def _convert_all(lines: Sequence[bytes], keys: frozenset[str]) -> list[Converted]:
    return [to_json(line, keys) for line in lines]


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
