"""Says of measurements whether they agree with what was planted, and how they stand to the targets; writes it all as Markdown.

Nothing is measured here.
"""

from collections.abc import Iterable, Sequence

from benchmarks import command
from benchmarks.measure import Measurement
from benchmarks.raw_reviews import Planted

NAMES = {
    "ours": "our ingest, whole",
    "floor": "DuckDB's floor: gzip to Parquet, nothing else",
    "json": "pure Python, json.loads",
    "eval": "pure Python, eval",
    "polars": "Polars",
}
MOST_TIMES_FLOOR = 2.0
LEAST_TIMES = {"json": 3.0, "eval": 10.0}
BYTES_OVER_LIMIT = 512_000_000
FLAT = 1.2
"""Cost per row counts as flat when the dearest size costs at most so many times what the cheapest does."""


def disagreements(planted: Planted, measurements: Iterable[Measurement]) -> list[str]:
    """Where counts differ from what the file holds, or loaders from one another; a sentence each."""
    right = {"lines_read": planted.lines, "lines_rejected": planted.broken, "duplicates": planted.duplicates, "accounting_difference": 0}
    found = []
    for measured in sorted(measurements, key=lambda each: each.loader != "ours"):
        for name, count in measured.counts.items():
            if count != right.setdefault(name, count):
                found.append(
                    f"{NAMES[measured.loader]} counts {name} {count:,} at {planted.lines:,} lines, where {right[name]:,} is right."
                )
    return found


def median(measurements: Sequence[Measurement]) -> Measurement:
    """The run in the middle by seconds, with the greatest memory of all; a failed one if any failed."""
    failed = [each for each in measurements if each.failure]
    if failed:
        return failed[0]
    middle = sorted(measurements, key=lambda each: each.seconds)[len(measurements) // 2]
    peak = max(each.peak_bytes for each in measurements)
    return Measurement(middle.loader, middle.lines, middle.seconds, peak, middle.cpu_seconds, middle.counts, middle.steps)


def report(measurements: Sequence[Measurement], memory_limit: str, machine: str) -> str:
    """Everything as Markdown.

    Args:
        measurements: The median of each loader at each size.
        memory_limit: The profile's, such as 4GB.
        machine: A line on what it ran on.
    """
    sizes = sorted({each.lines for each in measurements})
    parts = [f"# Ingest, measured\n\n{machine}", *(_of_size(size, measurements) for size in sizes), _targets(measurements, memory_limit)]
    return "\n\n".join(parts) + "\n"


def limit_bytes(memory_limit: str) -> int:
    """Bytes of a limit as DuckDB writes it."""
    number, unit = memory_limit[:-2], memory_limit[-2:]
    return int(float(number) * {"MB": 10**6, "GB": 10**9}[unit])


def _of_size(size: int, measurements: Sequence[Measurement]) -> str:
    here = {each.loader: each for each in measurements if each.lines == size}
    rows = []
    for loader, name in NAMES.items():
        if loader not in here:
            rows.append([name, *["not run"] + ["-"] * 6])
            continue
        measured = here[loader]
        if measured.failure:
            rows.append([f"{name}: {measured.failure}", f"{measured.seconds:.1f}", "-", _memory(measured.peak_bytes), *["-"] * 4])
            continue
        rows.append(
            [
                name,
                *(f"{seconds:.1f}" for seconds in (measured.seconds, measured.cpu_seconds)),
                _memory(measured.peak_bytes),
                *_rates(measured.seconds, size),
                *_ratios(measured, here),
            ]
        )
    heads = ["", "seconds", "CPU seconds", "peak memory", "rows/s", "seconds per million", "times the floor", "ours is faster by"]
    text = f"## {size:,} lines\n\n{_table(heads, rows)}"
    ours = here.get("ours")
    if ours and ours.steps:
        steps = [[step, f"{seconds:.2f}", *_rates(seconds, size), f"{seconds / ours.seconds:.0%}"] for step, seconds in ours.steps.items()]
        text += f"\n\nSteps of our ingest:\n\n{_table(['step', 'seconds', 'rows/s', 'seconds per million', 'share'], steps)}"
    return text


def _rates(seconds: float, lines: int) -> list[str]:
    return [f"{lines / seconds:,.0f}" if seconds >= 0.005 else "-", f"{seconds / lines * 1e6:.2f}"]


def _ratios(measured: Measurement, here: dict[str, Measurement]) -> list[str]:
    floor, ours = (here[name].seconds if name in here and not here[name].failure else None for name in ("floor", "ours"))
    return [f"{measured.seconds / floor:.2f}" if floor else "-", f"{measured.seconds / ours:.2f}" if ours else "-"]


def _targets(measurements: Sequence[Measurement], memory_limit: str) -> str:
    good = {(each.loader, each.lines): each for each in measurements if not each.failure}
    ours = {lines: each for (loader, lines), each in good.items() if loader == "ours"}
    lines = [f"- FALLS SHORT: {NAMES['ours']} gave no result at {each.lines:,} lines: {each.failure}" for each in measurements
             if each.loader == "ours" and each.failure]  # fmt: skip
    for size, measured in sorted(ours.items()):
        if floor := good.get(("floor", size)):
            ratio = measured.seconds / floor.seconds
            lines.append(
                command.verdict(ratio <= MOST_TIMES_FLOOR, f"{size:,} lines: {ratio:.2f} times the floor, at most {MOST_TIMES_FLOOR:g}")
            )
        for loader, least in LEAST_TIMES.items():
            at = max((lines_ for name, lines_ in good if name == loader and lines_ <= size), default=None)
            if at is None:
                continue
            ratio = good[loader, at].seconds / at / (measured.seconds / size)
            where = "" if at == size else f" (its cost per row at {at:,} lines, the most it was run on)"
            lines.append(
                command.verdict(ratio >= least, f"{size:,} lines: {ratio:.1f} times faster than {NAMES[loader]}{where}, at least {least:g}")
            )
        most = limit_bytes(memory_limit) + BYTES_OVER_LIMIT
        lines.append(command.verdict(
            measured.peak_bytes <= most,
            f"{size:,} lines: peak memory {_memory(measured.peak_bytes)}, at most {memory_limit} and 512 MB = {_memory(most)}",
        ))  # fmt: skip
    costs = {size: measured.seconds / size * 1e6 for size, measured in sorted(ours.items())}
    if len(costs) > 1:
        shown = ", ".join(f"{cost:.2f} s at {size:,}" for size, cost in costs.items())
        spread = max(costs.values()) / min(costs.values())
        lines.append(
            command.verdict(spread <= FLAT, f"cost per million lines is flat: {shown}; the dearest is {spread:.2f} times, at most {FLAT:g}")
        )
    return "## Targets\n\n" + "\n".join(lines)


def _memory(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, rule, *rows))
