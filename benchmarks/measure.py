"""Measures a loader in a fresh process: its seconds, its greatest memory with its children's, and what it answers.

Run as a module it is that process.
"""

import importlib
import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.outcome import Outcome, Task

LOADERS = {
    "ours": "benchmarks.ours:run",
    "floor": "benchmarks.peers:floor",
    "json": "benchmarks.peers:json_loader",
    "eval": "benchmarks.peers:eval_loader",
    "polars": "benchmarks.peers:polars_loader",
}
SECONDS_BETWEEN_LOOKS = 0.1
_PATHS = ("reviews", "metadata", "out")


@dataclass
class Measurement:
    """One run of one loader.

    Attributes:
        loader: Its name among `LOADERS`.
        lines: How many the file has.
        seconds: From file to result; starting Python and importing libraries is not counted.
        cpu_seconds: Of all its threads and children together; unlike seconds hardly more when others use the machine too.
        peak_bytes: Greatest resident memory of the process and its children together.
        counts: What the loader counted.
        steps: Seconds of its steps, if they were taken.
        failure: Why there is no result; None when there is one.
    """

    loader: str
    lines: int
    seconds: float
    peak_bytes: int
    cpu_seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)
    failure: str | None = None


def measure(loader: str, lines: int, task: Task, stop_above: int) -> Measurement:
    """Run a loader in a process of its own.

    Args:
        loader: Its name among `LOADERS`.
        lines: How many the file has.
        task: What it is given; `task.out` must be empty.
        stop_above: Bytes of memory beyond which it is stopped.
    """
    answer, errors = task.out / "answer.json", task.out / "errors.txt"
    given = json.dumps(asdict(task), default=str)
    peak = 0
    begin = time.perf_counter()
    with errors.open("wb") as stderr, subprocess.Popen([sys.executable, "-m", __name__, loader, given], stderr=stderr) as process:
        try:
            while process.poll() is None:
                peak = max(peak, _memory(process.pid))
                if peak > stop_above:
                    break
                time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            _end(process.pid)
    seconds = time.perf_counter() - begin
    if peak > stop_above:
        return Measurement(loader, lines, seconds, peak, failure=f"stopped above {stop_above / 1e9:.0f} GB of memory")
    if process.returncode:
        said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [f"ended with status {process.returncode}"]
        return Measurement(loader, lines, seconds, peak, failure=said[-1][:300])
    told = json.loads(answer.read_text(encoding="utf-8"))
    return Measurement(loader, lines, told["seconds"], max(peak, told["peak_bytes"]), told["cpu_seconds"], told["counts"], told["steps"])


def _memory(pid: int) -> int:
    total = 0
    try:
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            total += each.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def _end(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        family = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for each in family:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue


def own_peak() -> int:
    """Greatest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss begins with what the parent had when it started this process
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _run(loader: str, given: str) -> None:
    fields: dict[str, Any] = json.loads(given)
    fields.update({name: Path(fields[name]) for name in _PATHS})
    task = Task(**fields)
    module, _, function = LOADERS[loader].partition(":")
    load = getattr(importlib.import_module(module), function)
    begin = time.perf_counter()
    cpu_before = _cpu_seconds()
    outcome: Outcome = load(task)
    seconds, cpu_seconds = time.perf_counter() - begin, _cpu_seconds() - cpu_before
    answer = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": own_peak(), **asdict(outcome)}
    (task.out / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    _run(*sys.argv[1:])
