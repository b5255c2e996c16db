"""Measures ingest on generated reviews, beside DuckDB's own floor and other ways to load the same file.

    python -m benchmarks.ingest --lines 1000000 5000000 20000000

Files lie in a temporary folder that is removed whatever happens. Evaluating loaders are slow: they run on at most a million lines.
Only the order of things belongs here.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bbqrec_core.errors import BBQRecError
from bbqrec_core.ingest.config import IngestConfig
from benchmarks import command
from benchmarks.machine import describe_machine
from benchmarks.measure import LOADERS, Measurement, measure
from benchmarks.outcome import Task
from benchmarks.raw_reviews import FILE_BYTES_PER_LINE, Planted, write_metadata, write_reviews
from benchmarks.verdicts import disagreements, median, report

SIZES = (1_000_000, 5_000_000, 20_000_000)
MOST_LINES = {"json": 5_000_000, "eval": 1_000_000}
"""Beyond these a loader would only wait longer for the same cost per row."""
SMALL = 1_000_000
ROUNDS_WHEN_SMALL = 3
WORK_BYTES_PER_LINE = 400
"""Disk that loaders need beside the file, rounded up."""
STOP_ABOVE = 20_000_000_000


def main() -> int:
    """Generate, measure, print; the exit status says whether all counts agreed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, nargs="+", default=list(SIZES), metavar="N", help="sizes (default: 1, 5 and 20 million)")
    parser.add_argument(
        "--rounds", type=int, help="runs of each loader, of which the median counts (default: 3 up to a million lines, then 1)"
    )
    parser.add_argument("--memory-limit", default=IngestConfig().memory_limit, help="DuckDB's (default: the profiles', %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="DuckDB's threads (default: all cores)")
    parser.add_argument("--loaders", nargs="+", choices=list(LOADERS), default=list(LOADERS), help="default: all")
    parser.add_argument("--everything", action="store_true", help="run the json loader on all sizes")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the temporary folder is made")
    parser.add_argument("--out", type=Path, help="file for the report, beside printing it")
    arguments = parser.parse_args()
    if min(arguments.lines) < 1 or (arguments.rounds is not None and arguments.rounds < 1):
        parser.error("--lines and --rounds must be positive")
    return command.run(lambda: _benchmark(arguments), arguments.out)


def _benchmark(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    _check_room(arguments.folder, max(arguments.lines))
    middles: list[Measurement] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bbqrec-bench-", dir=arguments.folder) as folder:
        for lines in sorted(set(arguments.lines)):
            reviews, metadata = Path(folder) / "reviews.json.gz", Path(folder) / "meta.json.gz"
            begin = time.perf_counter()
            planted = write_reviews(reviews, lines)
            write_metadata(metadata)
            os.sync()  # or the first loader would pay for the disk's writing
            command.tell(
                f"{lines:,} lines: {planted.text_bytes / 1e9:.1f} GB, as gzip {reviews.stat().st_size / 1e9:.2f} GB, with "
                f"{planted.broken:,} broken lines and {planted.duplicates:,} duplicates, made in {time.perf_counter() - begin:.0f} s"
            )
            measured = _measure_size(arguments, Path(folder), reviews, metadata, planted)
            wrong += disagreements(planted, measured)
            middles += [median(runs) for loader in arguments.loaders if (runs := [each for each in measured if each.loader == loader])]
    return report(
        middles, arguments.memory_limit, describe_machine(f"{arguments.threads} threads for DuckDB" if arguments.threads else "")
    ), wrong


def _measure_size(arguments: argparse.Namespace, folder: Path, reviews: Path, metadata: Path, planted: Planted) -> list[Measurement]:
    rounds = arguments.rounds or (ROUNDS_WHEN_SMALL if planted.lines <= SMALL else 1)
    stop_above = min(STOP_ABOVE, int(0.9 * psutil.virtual_memory().total))
    loaders = [
        name
        for name in arguments.loaders
        if planted.lines <= MOST_LINES.get(name, planted.lines) or (arguments.everything and name == "json")
    ]
    measured: list[Measurement] = []
    for number in range(rounds):
        # There and back again, so that no loader always finds the file freshly read.
        for loader in loaders if number % 2 == 0 else reversed(loaders):
            if loader == "eval" and number:
                continue  # nearly a minute per million lines, far from its target either way
            with tempfile.TemporaryDirectory(dir=folder) as out:
                task = Task(reviews, metadata, Path(out), arguments.memory_limit, arguments.threads)
                run = measure(loader, planted.lines, task, stop_above)
            command.tell(f"  {loader}: {run.failure or f'{run.seconds:.1f} s, {run.peak_bytes / 1e9:.2f} GB'}")
            measured.append(run)
    return measured


def _check_room(folder: Path, lines: int) -> None:
    if not folder.is_dir():
        raise BBQRecError(f"{folder} is no folder.", "Name one that exists with --folder.")
    needed = lines * (FILE_BYTES_PER_LINE + WORK_BYTES_PER_LINE)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BBQRecError(
            f"{folder} has {free / 1e9:.1f} GB free, and {lines:,} lines need {needed / 1e9:.1f} GB.",
            "Free some space, name another folder with --folder, or ask for fewer lines with --lines.",
        )


if __name__ == "__main__":
    sys.exit(main())
