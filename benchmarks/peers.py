"""What ingest is measured against: DuckDB's own floor, loaders such as research code uses, and a Polars one. Written for the benchmark.

Each reads reviews in Amazon's 2018 format. Libraries are imported where they are used, so that none counts as another's memory.
"""

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.outcome import Outcome, Task

if TYPE_CHECKING:
    import polars as pl

POLARS_BLOCK_BYTES = 1 << 23


def floor(task: Task) -> Outcome:
    """DuckDB alone: the four needed fields of the same gzip into Parquet, and nothing else; no line is verified, no reject kept."""
    import duckdb

    config: dict[str, Any] = {"memory_limit": task.memory_limit, "temp_directory": str(task.out / "spill")}
    if task.threads:
        config["threads"] = task.threads
    with duckdb.connect(config=config) as connection:
        connection.execute("SET enable_progress_bar = false")
        (lines,) = connection.execute(
            f"""COPY (
                FROM read_json(
                    $file, format = 'newline_delimited', compression = 'gzip', ignore_errors = true, maximum_object_size = 16777216,
                    columns = {{reviewerID: 'VARCHAR', asin: 'VARCHAR', overall: 'FLOAT', unixReviewTime: 'BIGINT'}}
                )
            ) TO '{task.out / "floor.parquet"}' (FORMAT parquet, COMPRESSION zstd)""",
            {"file": str(task.reviews)},
        ).fetchone() or (0,)
    return Outcome({"lines_read": lines})


def json_loader(task: Task) -> Outcome:
    """Research code's way: gzip, json.loads, dictionaries."""
    return _dictionaries(task, json.loads)


def eval_loader(task: Task) -> Outcome:
    """The other common way: lines are evaluated as Python, with JSON's three names given."""
    names = {"true": True, "false": False, "null": None}
    # What peers do with files that they were sent. Here it is done only to what this benchmark itself has just generated.
    return _dictionaries(task, lambda line: eval(line, names))  # noqa: S307


def _dictionaries(task: Task, parse: Callable[[bytes], Any]) -> Outcome:
    lines = rejected = duplicates = 0
    first: dict[tuple[str, str], tuple[int, float]] = {}
    with gzip.open(task.reviews, "rb") as file:
        for line in file:
            lines += 1
            try:
                row = parse(line)
                pair, entry = (row["reviewerID"], row["asin"]), (int(row["unixReviewTime"]), float(row["overall"]))
            except (ValueError, SyntaxError, KeyError, TypeError, NameError):
                rejected += 1
                continue
            if pair in first:
                duplicates += 1
                first[pair] = min(first[pair], entry)
            else:
                first[pair] = entry
    while True:
        of_user = Counter(user for user, _ in first)
        of_item = Counter(item for _, item in first)
        kept = {pair: entry for pair, entry in first.items() if of_user[pair[0]] >= task.k and of_item[pair[1]] >= task.k}
        if len(kept) == len(first):
            break
        first = kept
    histories: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for (user, item), (time, _) in first.items():
        histories[user].append((time, item))
    numbers = {item: number for number, item in enumerate(sorted(of_item))}
    sequences = [[numbers[item] for _, item in sorted(history)] for history in histories.values()]
    train = [sequence[:-2] for sequence in sequences]
    valid = [(sequence[:-2], sequence[-2]) for sequence in sequences]
    test = [(sequence[:-1], sequence[-1]) for sequence in sequences]
    assert len(train) == len(valid) == len(test)
    return Outcome(_counts(lines, rejected, duplicates, len(first), len(of_user), len(of_item)))


def polars_loader(task: Task) -> Outcome:
    """Polars: NDJSON block by block, then `unique`, a k-core by semi-joins, and lists by `group_by`."""
    import polars as pl

    blocks = []
    lines = 0
    with gzip.open(task.reviews, "rb") as file:
        rest = b""
        while data := file.read(POLARS_BLOCK_BYTES):
            data = rest + data
            end = data.rfind(b"\n") + 1
            data, rest = data[:end], data[end:]
            lines += data.count(b"\n")
            blocks.append(_polars_block(data))
    rows = pl.concat([block for block in blocks if block is not None]).drop_nulls()
    usable = len(rows)
    rows = rows.sort("unixReviewTime").unique(["reviewerID", "asin"], keep="first", maintain_order=True)
    unique = len(rows)
    before = -1
    while len(rows) != before:
        before = len(rows)
        users = rows.group_by("reviewerID").len().filter(pl.col("len") >= task.k)
        items = rows.group_by("asin").len().filter(pl.col("len") >= task.k)
        rows = rows.join(users, on="reviewerID", how="semi").join(items, on="asin", how="semi")
    histories = rows.sort("reviewerID", "unixReviewTime").group_by("reviewerID", maintain_order=True).agg("asin")
    histories.select(
        "reviewerID",
        train=pl.col("asin").list.head(pl.col("asin").list.len() - 2),
        valid=pl.col("asin").list.get(-2),
        test=pl.col("asin").list.get(-1),
    ).write_parquet(task.out / "sequences.parquet", compression="zstd")
    return Outcome(_counts(lines, lines - usable, usable - unique, len(rows), len(histories), rows["asin"].n_unique()))


def _polars_block(data: bytes) -> "pl.DataFrame | None":
    """Read whole lines. Polars refuses a block for one broken line, `ignore_errors` or not: what it refuses is halved until it is alone."""
    import polars as pl

    schema = {"reviewerID": pl.String, "asin": pl.String, "overall": pl.Float32, "unixReviewTime": pl.Int64}
    if not data:
        return None
    try:
        return pl.read_ndjson(data, schema=schema, ignore_errors=True)
    except pl.exceptions.ComputeError:
        middle = data.rfind(b"\n", 0, len(data) // 2) + 1 or data.find(b"\n") + 1
        if middle == len(data):
            return None
        halves = [half for half in (_polars_block(data[:middle]), _polars_block(data[middle:])) if half is not None]
        return pl.concat(halves) if halves else None


def _counts(lines: int, rejected: int, duplicates: int, interactions: int, users: int, items: int) -> dict[str, int]:
    return {
        "lines_read": lines,
        "lines_rejected": rejected,
        "duplicates": duplicates,
        "interactions": interactions,
        "users": users,
        "items": items,
    }
