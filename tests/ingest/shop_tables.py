"""A shop's own tables for the tests of ingest, in every way they may be written, and what comes of reading them."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from bbqrec_core.ingest.config import IngestConfig, TablesConfig
from bbqrec_core.ingest.database import Database
from bbqrec_core.ingest.intake import Books
from bbqrec_core.ingest.sources import SourceFiles
from bbqrec_core.ingest.tables import read_tables

COLUMNS = {"user_id": "customer", "item_id": "product/no", "timestamp": 'when "bought"', "rating": "stars.given~"}
"""Names that would break a JSON path or an unquoted SQL name."""
USER, ITEM, TIME, RATING = COLUMNS.values()
PACK = {"plain": lambda data: data, "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor(write_checksum=True).compress}


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",", names: list[str] | None = None) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    names = names or list(dict.fromkeys(key for row in rows for key in row))
    writer.writerow(names)
    writer.writerows([row.get(name) for name in names] for row in rows)
    return text.getvalue().encode()


def as_json_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(rows: list[dict[str, Any]] | pa.Table) -> bytes:
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=7)
    return buffer.getvalue()


class Reading:
    """What came of reading tables, without the rest of the stage."""

    database: Database

    def __init__(self, folder: Path, interactions: bytes | None, items: bytes | None = None, *, keep: bool = False, **config: Any) -> None:
        config = {"interaction_columns": COLUMNS, **config}
        folder.mkdir(exist_ok=True)
        by_key = {}
        for key, data in (("interactions", interactions), ("items", items)):
            if data is not None:
                (folder / key).write_bytes(data)
                by_key[f"tables.{key}"] = (folder / key,)
        database = self.database
        for table in ("read_interactions", "read_items", "rejects"):
            database.drop(table)
        books = Books(database)
        options = IngestConfig(keep_reject_text=keep, use_cut_files=config.pop("use_cut_files", False))
        read_tables(books, SourceFiles(by_key, None, folder), TablesConfig(**config), options, 1)
        self.intakes = books.intakes
        self.rows = database.rows("SELECT user_id, item_id, rating, timestamp FROM read_interactions ORDER BY line")
        self.lines = [line for (line,) in database.rows("SELECT line FROM read_interactions ORDER BY line")]
        names = ["item_id", "title", "brand", "categories", "description", "price", "image_urls", "image_path"]
        self.items = [
            dict(zip(names, row, strict=True)) for row in database.rows(f"SELECT {', '.join(names)} FROM read_items ORDER BY line")
        ]
        self.rejects = database.rows("SELECT line, byte, reason, sha256, text FROM rejects ORDER BY file, line, reason")

    @property
    def reasons(self) -> list[str]:
        return [reason for _, _, reason, _, _ in self.rejects]


def row(user: Any = "U1", item: Any = "I1", time: Any = 1_500_000_000, rating: Any = 4.5) -> dict[str, Any]:
    return {USER: user, ITEM: item, TIME: time, RATING: rating}


ROWS = [row(f"U{n % 7}", f"I, {n % 5}", 1_500_000_000 + n, (n % 9) / 2) for n in range(50)]
EXPECTED = [(r[USER], r[ITEM], r[RATING], r[TIME]) for r in ROWS]
WRITTEN = {
    "commas": as_csv(ROWS),
    "semicolons": as_csv(ROWS, ";"),
    "tabs": as_csv(ROWS, "\t"),
    "bars": as_csv(ROWS, "|"),
    "JSON lines": as_json_lines(ROWS),
}
BAD_ROWS: dict[str, list[dict[str, Any]]] = {
    f"no {USER}": [row(user=None)],
    f"{USER} is neither text nor a whole number": [row(user=1.5), row(user=True), row(user=["U"]), row(user={"a": 1})],
    f"{USER} is empty": [row(user=""), row(user="  ")],
    f"{USER} holds control characters": [row(user="U\n1"), row(user="U\x1f")],
    f"no {ITEM}": [row(item=None)],
    f"{ITEM} is empty": [row(item="")],
    f"{ITEM} holds control characters": [row(item="\x7f1")],
    f"{RATING} is not a number": [row(rating="good"), row(rating="4,5"), row(rating=[4]), row(rating=True)],
    f"{RATING} is not finite": [row(rating=float("nan")), row(rating="inf"), row(rating=1e300)],
    f"no {TIME}": [row(time=None)],
    f"{TIME} is empty": [row(time="")],
    f"{TIME} is neither a number nor an ISO 8601 time": [row(time=float("nan")), row(time="soon"), row(time=[1])],
    f"{TIME} is out of range": [row(time=-1), row(time=5e9)],
}
