"""Runs the stage `ingest` as the pipeline does, and takes the time of its steps from outside: the stage itself knows no clock."""

import functools
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from bbqrec_core.ingest import stage
from bbqrec_core.ingest.database import Database
from bbqrec_core.profile import load_profile
from bbqrec_core.stage import StageContext
from benchmarks.outcome import Outcome, Task

READING, DEDUPLICATION, K_CORE = "reading, verification, parsing, rejects", "deduplication", "k-core"
SPLITS, WRITING, ACCOUNTING, OTHER = "numbering and splits", "writing Parquet", "accounting", "everything else"
STEPS = (READING, DEDUPLICATION, K_CORE, SPLITS, WRITING, ACCOUNTING, OTHER)

_FUNCTIONS = ((r"^(read|parse|_parse)_", READING), (r"k_core", K_CORE), (r"split", SPLITS), (r"^account|statistics", ACCOUNTING))
"""By name, the functions that the stage calls."""
_TABLES = (
    (r"statistics", ACCOUNTING),
    (r"dedup|coded|repeated", DEDUPLICATION),
    (r"k_?core", K_CORE),
    (r"^(raw_|parsed_|read_|rejects|files)", READING),
    (r"codes", DEDUPLICATION),
    (r"index|interactions|items|train|valid|test", SPLITS),
)
"""By name, the tables that it makes between them."""
_COUNTS = ("lines_read", "lines_rejected", "duplicates", "interactions", "users", "items", "accounting_difference")


def run(task: Task) -> Outcome:
    """Ingest the task's files as a profile would."""
    out, scratch, profile = task.out / "artifact", task.out / "scratch", task.out / "bench.yaml"
    for folder in (out, scratch):
        folder.mkdir()
    source = {"kind": "amazon", "raw": str(task.reviews.parent), "reviews": task.reviews.name, "metadata": task.metadata.name}
    profile.write_text("source: {kind: amazon}\n", encoding="utf-8")
    overrides = {
        "source": source,
        "ingest": {"memory_limit": task.memory_limit, "k_user": task.k, "k_item": task.k},
        "compute": {"threads": task.threads},
    }
    with _Clock().running() as seconds:
        statistics = stage.run(StageContext(load_profile(str(profile), overrides), {}, out, scratch))
    return Outcome({name: int(str(statistics[name])) for name in _COUNTS}, {step: seconds[step] for step in STEPS})


class _Clock:
    """Gives the time to the step whose function or table is at work; of calls within one another the outermost counts."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._depth = 0

    @contextmanager
    def running(self) -> Iterator[dict[str, float]]:
        patches = []
        for name, function in vars(stage).items():
            if callable(function) and not isinstance(function, type) and (step := _step(_FUNCTIONS, name)):
                patches.append(patch.object(stage, name, self._timed(function, step)))
        for name, method in vars(Database).items():
            if callable(method) and not name.startswith("_") and name != "view":
                patches.append(patch.object(Database, name, self._timed(method, WRITING if name == "write" else None)))
        begin = time.perf_counter()
        try:
            for entry in patches:
                entry.start()
            yield self._seconds
        finally:
            for entry in patches:
                entry.stop()
            self._seconds[OTHER] += time.perf_counter() - begin - sum(self._seconds.values())

    def _timed(self, function: Callable[..., Any], step: str | None) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            texts = [value for value in args if isinstance(value, str)]
            found = step or (_step(_TABLES, texts[0]) if texts else None) or OTHER
            self._depth += 1
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._depth -= 1
                if not self._depth:
                    self._seconds[found] += time.perf_counter() - begin

        return timed


def _step(patterns: tuple[tuple[str, str], ...], name: str) -> str | None:
    return next((step for pattern, step in patterns if re.search(pattern, name)), None)
