"""Contenders timed in turns, so that what disturbs a machine for a while disturbs all of them."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from benchmarks import command

Result = TypeVar("Result")


def seconds_in_turns(contenders: Mapping[str, Callable[[], Result]], rounds: int) -> tuple[dict[str, float], dict[str, Result]]:
    """Median seconds of each over rounds, and what each gave in a first one that is not measured: memory is taken, kernels are chosen."""
    results = {name: run() for name, run in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begun)
            command.tell(f"{name}: {seconds[name][-1]:.2f} s")
    return {name: statistics.median(taken) for name, taken in seconds.items()}, results
