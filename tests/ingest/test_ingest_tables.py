"""Any shop's own tables: however they are written, the same rows give the same interactions, and every other row is a reject."""

import csv
import gzip
import hashlib
import io
import itertools
import json
import random
import re
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_raw import context
from PIL import Image

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest import csv_files, table_rows
from bbqrec_core.ingest.config import IngestConfig, TablesConfig
from bbqrec_core.ingest.database import Database, open_database
from bbqrec_core.ingest.intake import Books
from bbqrec_core.ingest.sources import SourceFiles
from bbqrec_core.ingest.stage import run
from bbqrec_core.ingest.tables import read_tables
from bbqrec_core.profile import load_profile

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


@pytest.fixture(scope="module", autouse=True)
def database(tmp_path_factory):
    """One for all tests: opening it takes longer than most of them."""
    with open_database(tmp_path_factory.mktemp("database"), "1GB", 1) as Reading.database:
        yield


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


@pytest.mark.parametrize(("kind", "packed"), itertools.product(WRITTEN, PACK))
def test_the_same_rows_however_they_are_written_and_packed(tmp_path, kind, packed):
    found = Reading(tmp_path, PACK[packed](WRITTEN[kind]))
    assert found.rows == EXPECTED and not found.rejects
    assert (found.intakes[0].lines, found.intakes[0].format) == (50, kind if kind == "JSON lines" else f"CSV with {kind}")


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
def test_the_same_rows_from_parquet(tmp_path, compression):
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), buffer, compression=compression, row_group_size=7)
    found = Reading(tmp_path, buffer.getvalue())
    assert found.rows == EXPECTED and not found.rejects and found.lines == list(range(1, 51))
    assert (found.intakes[0].lines, found.intakes[0].format) == (50, "Parquet")


def test_many_blocks_give_what_one_gives(tmp_path, monkeypatch):
    for module in (csv_files, table_rows):
        monkeypatch.setattr(module, "RECORDS_PER_BLOCK", 7)
    monkeypatch.setattr("bbqrec_core.ingest.parquet_files.RECORDS_PER_BLOCK", 7)
    for name, data in {"csv": WRITTEN["commas"], "parquet": as_parquet(ROWS)}.items():
        assert Reading(tmp_path / name, data).rows == EXPECTED


def test_a_shop_without_ratings_has_none(tmp_path):
    found = Reading(tmp_path, WRITTEN["commas"], interaction_columns={**COLUMNS, "rating": None})
    assert [r[2] for r in found.rows] == [None] * 50


@pytest.mark.parametrize("write", [as_csv, as_json_lines, as_parquet])
def test_who_did_not_rate_has_no_rating(tmp_path, write):
    rows = [row(rating="4.5"), row(rating=None), row(rating=""), row(rating=" "), row(rating="good")]
    found = Reading(tmp_path, write(rows))
    assert [r[2] for r in found.rows] == [4.5, None, None, None] and found.reasons == [f"{RATING} is not a number"]


def test_a_rare_rating_of_json_lines(tmp_path):
    rows = [{key: value for key, value in row(f"U{n}").items() if key != RATING} for n in range(600)]
    assert [r[2] for r in Reading(tmp_path, as_json_lines([*rows, row()])).rows] == [None] * 600 + [4.5]
    with pytest.raises(SourceError, match=f"has no column '{RATING}'"):
        Reading(tmp_path, as_json_lines(rows))


def test_ids_of_csv_are_those_of_json(tmp_path):
    ids = {" 7 ": "7", "7.0": "7", "7.00": "7", "0.0": "0", "07": "07", "7.5": "7.5", "7.": "7.", "v7.0": "v7.0", "-7.0": "-7.0"}
    ids |= {"9007199254740992.0": "9007199254740992.0", "A B": "A B"}
    rows = [row(user, user) for user in ids]
    assert [r[:2] for r in Reading(tmp_path, as_csv(rows)).rows] == [(name, name) for name in ids.values()]
    items = as_csv([{"sku": user, "name": f" {user}"} for user in ids])
    found = Reading(tmp_path, as_csv(rows), items, item_columns={"item_id": "sku", "title": "name"})
    assert [item["item_id"] for item in found.items] == list(ids.values()) and found.items[1]["title"] == " 7.0"


def test_types_that_need_care_and_those_that_cannot_be_read(tmp_path):
    price = pa.array([Decimal("4.50"), None], pa.decimal256(50, 2))
    table = {USER: ["U", "V"], ITEM: ["I", "J"], TIME: [1, 2], RATING: price}
    assert [r[2] for r in Reading(tmp_path, as_parquet(pa.table(table))).rows] == [4.5, None]
    table[RATING] = pa.array([1.5, 2.5], pa.float32()).cast(pa.float16())
    assert [r[2] for r in Reading(tmp_path, as_parquet(pa.table(table))).rows] == [1.5, 2.5]
    table[ITEM] = pa.array([[1.5], []], pa.list_(pa.float32())).cast(pa.list_(pa.float16()))
    with pytest.raises(SourceError, match=f"interactions: the column '{ITEM}' is of the type list<.*halffloat>"):
        Reading(tmp_path, as_parquet(pa.table(table)))


def test_csv_whose_header_is_no_line(tmp_path):
    with pytest.raises(SourceError, match="its lines end with bare carriage returns") as caught:
        Reading(tmp_path, as_csv(ROWS).replace(b"\r\n", b"\r"))
    assert "tr " in caught.value.way_out
    with pytest.raises(SourceError, match=r"header of .* cannot be read: field larger"):
        Reading(tmp_path, b"x" * 200_000 + b",y\n1,2\n")


def test_column_types_of_parquet(tmp_path):
    table = pa.table(
        {
            USER: pa.array([7, 8, None]).cast(pa.float64()),
            ITEM: pa.array([b"I1", b"I2", b"I3"]).dictionary_encode(),
            TIME: pa.array([datetime(2024, 5, 1, 10, 0, 0, 999_999)] * 3, pa.timestamp("us")),
            RATING: pa.array([4, 5, 3], pa.int8()),
            "not wanted": pa.array([{"a": 1}] * 3),
        }
    )
    found = Reading(tmp_path, as_parquet(table))
    ten = int(datetime(2024, 5, 1, 10, tzinfo=UTC).timestamp())
    assert found.rows == [("7", "I1", 4.0, ten), ("8", "I2", 5.0, ten)]
    [(line, byte, reason, sha256, text)] = found.rejects
    assert (line, byte, reason, text) == (3, None, "no customer", None)
    rendered = json.dumps({USER: None, ITEM: "I3", TIME: "2024-05-01 10:00:00.999999Z", RATING: 3}, separators=(",", ":"))
    assert sha256 == hashlib.sha256(rendered.encode()).hexdigest()


@pytest.mark.parametrize(
    "kind",
    [pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us", "UTC"), pa.timestamp("ns", "Asia/Kolkata"), pa.date32(), pa.date64()],
    ids=str,
)
def test_times_that_are_times_in_parquet(tmp_path, kind):
    moment: Any = datetime(2024, 5, 1, tzinfo=UTC if getattr(kind, "tz", None) else None)
    value = date(2024, 5, 1) if pa.types.is_date(kind) else moment
    table = pa.table({USER: ["U"], ITEM: ["I"], TIME: pa.array([value], kind), RATING: [1.0]})
    # The unit is that of numbers, and must not matter.
    assert Reading(tmp_path, as_parquet(table), time_unit="ns").rows == [("U", "I", 1.0, 1_714_521_600)]


TIMES = {
    "2024-05-01": 1_714_521_600,
    "2024-05-01 10:00": 1_714_557_600,
    "2024-05-01T10:00:00": 1_714_557_600,
    "2024-05-01T10:00:00Z": 1_714_557_600,
    "2024-05-01 10:00:00 UTC": 1_714_557_600,
    "2024-05-01T10:00:00.999+02:00": 1_714_550_400,
    "2024-05-01T10:00:00+0530": 1_714_537_800,
    "2024-05-01T10:00:00-08": 1_714_586_400,
    " 2024-05-01 ": 1_714_521_600,
    "1970-01-01": 0,
    "1500000000": 1_500_000_000,
    "1500000000.9": 1_500_000_000,
    "1.5e9": 1_500_000_000,
}


@pytest.mark.parametrize("write", [as_csv, as_json_lines, as_parquet])
def test_times_that_are_text(tmp_path, write, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    found = Reading(tmp_path, write([row(time=time) for time in TIMES]))
    assert [r[3] for r in found.rows] == list(TIMES.values())


BAD_TIMES = ["05/01/2024", "2024-13-01", "2024-02-30", "yesterday", "2024-05-01 10:00 Europe/Berlin", "NaN", "infinity", "20:15", "0x10"]


def test_times_that_cannot_be_read(tmp_path):
    found = Reading(tmp_path, as_csv([row(time=time) for time in [*BAD_TIMES, "1969-12-31", "2101-01-01", "-1", "1500000000000"]]))
    assert not found.rows
    assert found.reasons == [f"{TIME} is neither a number nor an ISO 8601 time"] * len(BAD_TIMES) + [f"{TIME} is out of range"] * 4


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("write", [as_csv, as_json_lines, as_parquet])
def test_time_units(tmp_path, write, unit, factor):
    found = Reading(tmp_path, write([row(time=1_500_000_000 * factor + factor - 1)]), time_unit=unit)
    assert [r[3] for r in found.rows] == [1_500_000_000]


def test_a_wrong_time_unit_rejects_everything(tmp_path):
    for given_unit, factor in (("ms", 1), ("s", 1000), ("ns", 1000)):
        found = Reading(tmp_path, as_csv([row(time=1_500_000_000 * factor)]), time_unit=given_unit)
        assert found.reasons == [f"{TIME} is out of range"]


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


def test_every_reject_of_json_lines(tmp_path):
    bad = [(reason, json.dumps(r).encode()) for reason, rows in BAD_ROWS.items() for r in rows]
    bad += [
        ("not JSON", b'{"customer"'),
        ("not a JSON object", b"[1]"),
        ("empty line", b""),
        ("NUL byte", b"{\0}"),
        ("not UTF-8", b"{\xff}"),
    ]
    bad += [(f"no {USER}", b"{}")]
    data = b"\n".join([json.dumps(row()).encode(), *(line for _, line in bad)]) + b"\n"
    found = Reading(tmp_path, data, keep=True)
    assert found.lines == [1] and found.reasons == [reason for reason, _ in bad]
    for (line, byte, _, sha256, _), (number, (_, raw)) in zip(found.rejects, enumerate(bad, start=2), strict=True):
        assert line == number and data[byte:].split(b"\n")[0] == raw and sha256 == hashlib.sha256(raw).hexdigest()


def test_every_reject_of_csv(tmp_path):
    def line(*cells: str) -> bytes:
        return as_csv([], names=list(cells)).removesuffix(b"\r\n")

    good = line("U1", "I1", "1500000000", "4.5")
    bad = [
        (f"{USER} is empty", line("", "I1", "1", "1")),
        (f"{USER} holds control characters", line("U\x01", "I1", "1", "1")),
        (f"{ITEM} is empty", line("U", " ", "1", "1")),
        (f"{RATING} is not a number", line("U", "I", "1", "4,5")),
        (f"{RATING} is not finite", line("U", "I", "1", "nan")),
        (f"{TIME} is empty", line("U", "I", "", "1")),
        (f"{TIME} is neither a number nor an ISO 8601 time", line("U", "I", "today", "1")),
        (f"{TIME} is out of range", line("U", "I", "-1", "1")),
        (csv_files.FIELDS, b"U,I,1"),
        (csv_files.FIELDS, b"U,I,1,1,1"),
        (csv_files.FIELDS, b"alone"),
        (csv_files.EMPTY, b""),
        (csv_files.EMPTY, b"\r"),
        (csv_files.BROKEN, b'U,"I"x,1,1'),
        (csv_files.BROKEN, b"U,I\r2,1,1"),
        (csv_files.BROKEN, b'U,"I,1,1'),  # not closed: the next line must be read all the same
        (csv_files.EMPTY, b""),
        ("NUL byte", b"U,I\0,1,1"),
        ("not UTF-8", b"U,I\xff,1,1"),
    ]
    lines = [as_csv([], names=list(COLUMNS.values())).removesuffix(b"\r\n"), good]
    for _, text in bad:
        lines += [text, good]
    data = b"\n".join(lines)
    found = Reading(tmp_path, data, keep=True)
    assert found.reasons == [reason for reason, _ in bad]
    assert found.lines == [2 * n + 2 for n in range(len(bad) + 1)]
    assert found.intakes[0].lines == len(lines) - 1 and set(found.rows) == {("U1", "I1", 4.5, 1_500_000_000)}
    for (number, byte, _, sha256, text), (place, (_, raw)) in zip(found.rejects, enumerate(bad), strict=True):
        assert number == 2 * place + 3 and data[byte:].split(b"\n")[0] == raw
        assert sha256 == hashlib.sha256(raw.removesuffix(b"\r")).hexdigest()
        assert text == raw.removesuffix(b"\r").decode(errors="replace").replace("\0", "�")


def test_every_reject_of_parquet(tmp_path):
    found = []
    for place, (reason, rows) in enumerate(BAD_ROWS.items()):
        for number, bad in enumerate(rows):
            reading = Reading(tmp_path / f"{place}-{number}", as_parquet([bad]))
            found += [(reason, *reading.reasons)]
            assert reading.intakes[0].lines == 1 and not reading.rows
    assert [pair for pair in found if pair[0] != pair[1]] == []


def test_text_of_parquet_that_is_no_utf8(tmp_path):
    users = pa.array([b"U1", b"U\xff", b"U3"])
    unchecked = pa.StringArray.from_buffers(3, users.buffers()[1], users.buffers()[2])
    for column in (users, unchecked):
        table = pa.table({USER: column, ITEM: ["I"] * 3, TIME: [1.5e9] * 3, RATING: [1] * 3})
        found = Reading(tmp_path, as_parquet(table))
        assert [r[0] for r in found.rows] == ["U1", "U3"] and found.lines == [1, 3]
        assert [(r[0], r[2]) for r in found.rejects] == [(2, "not UTF-8")]


def test_csv_records_may_span_lines(tmp_path):
    rows = [row(item="I1"), {**row(item="I2"), "note": 'said "hi",\n\nleft\r\n'}, row(item="I3")]
    data = as_csv(rows)
    found = Reading(tmp_path, b"\xef\xbb\xbf" + data)
    assert [r[1] for r in found.rows] == ["I1", "I2", "I3"] and found.lines == [2, 3, 7] and not found.rejects
    assert found.intakes[0].lines == 3
    # A broken one: its first line is a reject, and so is what is left of it.
    broken = data.replace(b"left\r\n", b'le"ft\r\n')
    found = Reading(tmp_path, broken, keep=True)
    assert [r[1] for r in found.rows] == ["I1", "I3"]
    assert [(r[0], r[2]) for r in found.rejects][:2] == [(3, csv_files.BROKEN), (4, csv_files.EMPTY)]
    assert found.intakes[0].lines == len(found.rows) + len(found.rejects)


def test_a_quote_that_is_never_closed_costs_one_line(tmp_path):
    lines = as_csv(ROWS * 100).splitlines(keepends=True)
    lines.insert(10, b'U,"I,1,1\r\n')
    found = Reading(tmp_path, b"".join(lines))
    assert len(found.rows) == 5000 and [(r[0], r[2]) for r in found.rejects] == [(11, csv_files.BROKEN)]


def test_csv_that_is_cut_off(tmp_path):
    rng = random.Random(1)
    packed = gzip.compress(as_csv([row(f"U{rng.random()}", f"I{rng.random()}") for _ in range(20_000)]))
    with pytest.raises(SourceError, match="interactions is cut off"):
        Reading(tmp_path, packed[:-1000])
    found = Reading(tmp_path, packed[:-1000], use_cut_files=True)
    assert found.intakes[0].lines == len(found.rows) > 10_000 and "whole records before" in (found.intakes[0].damage or "")
    assert len(found.rejects) == 1 and found.rejects[0][0] is None and found.rejects[0][2].startswith("the file is cut off")
    altered = bytearray(packed)
    altered[len(packed) // 2] ^= 1
    with pytest.raises(SourceError, match="is altered"):
        Reading(tmp_path, bytes(altered))


def test_parquet_that_is_broken(tmp_path):
    data = as_parquet(ROWS)
    for broken in (data[:-20], data[: len(data) // 2], b"PAR1" * 5):
        with pytest.raises(SourceError, match="interactions cannot be read as Parquet"):
            Reading(tmp_path, broken)


@pytest.mark.parametrize("write", [as_csv, as_json_lines, as_parquet])
def test_a_column_that_is_not_there(tmp_path, write):
    with pytest.raises(
        SourceError, match=r"interactions has no column 'custmer'.*user_id names; there are: customer, .*Did you mean 'customer'"
    ) as error:
        Reading(tmp_path, write(ROWS), interaction_columns={**COLUMNS, "user_id": "custmer"})
    assert "Set source.tables.interaction_columns.user_id" in str(error.value)
    items = write([{"sku": "I1", "Name": "One"}])
    with pytest.raises(SourceError, match=r"items has no column 'nme'.*item_columns\.title names; .*Did you mean 'Name'") as error:
        Reading(tmp_path, write(ROWS), items, item_columns={"item_id": "sku", "title": "nme"})
    assert "or null if the shop has no title" in str(error.value)


def test_a_rare_field_of_json_lines_is_no_missing_column(tmp_path):
    items = [{"sku": f"I{n}"} for n in range(600)] + [{"sku": "I600", "name": "Late"}]
    found = Reading(tmp_path, WRITTEN["commas"], as_json_lines(items), item_columns={"item_id": "sku", "title": "name"})
    assert found.items[-1]["title"] == "Late" and len(found.items) == 601


def test_a_column_that_is_there_twice(tmp_path):
    for name, data in {
        "csv": b"u,i,t,t\nU,I,1,2\n",
        "parquet": as_parquet(pa.table([["U"], ["I"], [1], [2]], names=["u", "i", "t", "t"])),
    }.items():
        with pytest.raises(SourceError, match="more than one column 't'"):
            Reading(tmp_path / name, data, interaction_columns={"user_id": "u", "item_id": "i", "timestamp": "t"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"[{}]", "is one JSON list"),
        (gzip.compress(as_parquet(ROWS)), "Parquet file that was compressed once more"),
        (b"PK\x03\x04....", "zip archive"),
        (b"\xff\xfea\0,\0b\0", "header of .* cannot be read"),
        (b"\n\n", "no column"),
        (b"{broken\n", "none of its first 1 lines is a JSON object"),
    ],
)
def test_files_that_are_no_table(tmp_path, data, message):
    with pytest.raises(SourceError, match=message):
        Reading(tmp_path, data)


ITEM_COLUMNS = {
    "item_id": "sku",
    "title": "name",
    "brand": "maker",
    "categories": "shelf",
    "description": "about",
    "price": "cost",
    "image": "picture",
}


def test_items_from_json_lines(tmp_path):
    rows = [
        {"sku": 1, "name": "One", "maker": "M", "shelf": ["A", "B > C"], "about": ["x", "y"], "cost": 9.5, "picture": "https://x/1.jpg"},
        {"sku": "2", "name": 1984, "shelf": "A > B|C", "about": None, "cost": "$1,200", "picture": "./front/2.jpg"},
        {"sku": "3", "shelf": [["A"], ["B"]], "picture": ["http://x/3.jpg", "ftp://x"], "cost": None},
        {"sku": "4", "name": {"a": 1}, "shelf": 7, "cost": float("nan"), "picture": ""},
    ]
    found = Reading(tmp_path, WRITTEN["commas"], as_json_lines(rows), item_columns=ITEM_COLUMNS)
    one, two, three, four = found.items
    assert one == {
        "item_id": "1",
        "title": "One",
        "brand": "M",
        "categories": ["A", "B > C"],
        "description": "x y",
        "price": "9.5",
        "image_urls": ["https://x/1.jpg"],
        "image_path": None,
    }
    assert (two["title"], two["categories"], two["price"], two["image_urls"], two["image_path"]) == (
        "1984",
        ["A > B|C"],
        "$1,200",
        None,
        "front/2.jpg",
    )
    assert (three["categories"], three["image_urls"], three["image_path"]) == (["A", "B"], ["http://x/3.jpg", "ftp://x"], None)
    assert (four["title"], four["categories"], four["price"], four["image_path"]) == (None, ["7"], None, None)


def test_items_from_csv_and_parquet(tmp_path):
    rows = [
        {"sku": "I1", "name": "Größe", "maker": "", "shelf": '["A", "B"]', "about": "two\nlines", "cost": "9", "picture": "1.jpg"},
        {"sku": "I2", "name": "", "maker": "M", "shelf": "[sale] shoes", "about": "", "cost": "", "picture": ""},
    ]
    for name, data in {"csv": as_csv(rows), "parquet": as_parquet(rows)}.items():
        one, two = Reading(tmp_path / name, WRITTEN["commas"], data, item_columns=ITEM_COLUMNS).items
        assert (one["title"], one["categories"], one["description"], one["image_path"]) == ("Größe", ["A", "B"], "two\nlines", "1.jpg")
        assert (two["categories"], two["image_path"]) == (["[sale] shoes"], None)
    lists = pa.table({"sku": [1, 2], "shelf": [["A", None, "B"], None]})
    found = Reading(tmp_path, WRITTEN["commas"], as_parquet(lists), item_columns={"item_id": "sku", "categories": "shelf"})
    assert [(r["item_id"], [c for c in r["categories"] or [] if c]) for r in found.items] == [("1", ["A", "B"]), ("2", [])]


def test_two_keys_may_share_a_column(tmp_path):
    found = Reading(tmp_path, WRITTEN["commas"], as_csv([{"sku": "I1"}]), item_columns={"item_id": "sku", "title": "sku"})
    assert [(r["item_id"], r["title"]) for r in found.items] == [("I1", "I1")]


def test_rejects_of_items(tmp_path):
    rows: list[Any] = [{"sku": "I"}, {"sku": None}, {"sku": ""}, {"sku": "I\t"}, {"sku": ["I"]}, {}]
    found = Reading(tmp_path, WRITTEN["commas"], as_json_lines(rows), item_columns={"item_id": "sku"})
    assert found.reasons == [
        "no sku",
        "sku is empty",
        "sku holds control characters",
        "sku is neither text nor a whole number",
        "no sku",
    ]
    assert [r["item_id"] for r in found.items] == ["I"]


@pytest.mark.parametrize("path", ["/etc/x.jpg", "../x.jpg", "a/../../x.jpg", "C:\\x.jpg", "~/x.jpg", "a\\..\\x.jpg", "\\\\host\\x.jpg"])
def test_a_picture_outside_of_the_folder_is_ignored_and_counted(tmp_path, path):
    rows = [{"sku": "I1", "picture": path}, {"sku": "I2", "picture": "a..b/x.jpg"}]
    found = Reading(tmp_path, WRITTEN["commas"], as_csv(rows), item_columns={"item_id": "sku", "image": "picture"})
    assert [r["image_path"] for r in found.items] == [None, "a..b/x.jpg"]
    assert [(r[0], r[2]) for r in found.rejects] == [(None, "image: its path leaves the folder of pictures")]
    assert found.intakes[1].rejected.total() == 0


CELLS = st.one_of(
    st.sampled_from(["U1", "U2", "I1", "1", "1.5", "1500000000", "2020-02-02", "nan", "", " ", "\n", 'a"b', "é", "\x00", "x,y", "\r"]),
    st.none(),
    st.integers(-10, 2 * 10**9),
    st.floats(),
    st.booleans(),
    st.lists(st.text(max_size=2), max_size=2),
)
DIRTY = st.lists(
    st.one_of(
        st.builds(row, st.sampled_from(["U1", "U2", 3]), st.sampled_from(["I1", 2]), st.integers(0, 4 * 10**9), st.floats(-9, 9, width=16)),
        st.builds(row, CELLS, CELLS, CELLS, CELLS),
    ),
    max_size=12,
)


def usable(r: dict[str, Any], csv_text: bool = False) -> tuple[str, str, float | None, int] | None:
    """A row of JSON, or of CSV, judged by plain Python."""

    def name(value: Any) -> str | None:
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, str | int):
            return None
        text = str(value)
        if csv_text:
            text = text.strip(" ")
            whole = re.fullmatch(r"(\d+)\.0+", text, re.ASCII)
            text = str(int(whole[1])) if whole and int(whole[1]) < 2**53 else text
        return text if text.strip(" ") and not any(ord(c) < 32 or ord(c) == 127 for c in text) else None

    def number(value: Any) -> float | None:
        try:
            return float(value.strip(" ")) if isinstance(value, str) else None if isinstance(value, bool | list | None) else float(value)
        except ValueError:
            return None

    user, item, rating = name(r[USER]), name(r[ITEM]), number(r[RATING])
    time = datetime.fromisoformat(r[TIME]).replace(tzinfo=UTC).timestamp() if r[TIME] == "2020-02-02" else number(r[TIME])
    unrated = r[RATING] is None or (isinstance(r[RATING], str) and not r[RATING].strip(" "))
    rated = unrated or (rating is not None and abs(rating) < 3e38)
    if user is None or item is None or not rated or time is None or not 0 <= time < 4_102_444_801:
        return None
    return user, item, None if unrated else pa.scalar(rating, pa.float32()).as_py(), int(time)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=DIRTY)
def test_every_row_is_used_or_rejected_whatever_it_holds(tmp_path, rows):
    rows = [row(), *rows]
    found = Reading(tmp_path, as_json_lines(rows))
    assert found.rows == [good for r in rows if (good := usable(r)) is not None]
    assert found.intakes[0].lines == len(rows) == len(found.rows) + len(found.rejects)
    assert sorted([*found.lines, *(r[0] for r in found.rejects)]) == list(range(1, len(rows) + 1))
    # Written as CSV, where all is text, and with an independent reader of CSV.
    data = as_csv(rows, names=list(COLUMNS.values()))
    found = Reading(tmp_path, data)
    assert found.intakes[0].lines == len(found.rows) + len(found.rejects)
    if b"\0" not in data:
        texts = csv.DictReader(io.StringIO(data.decode(), newline=""))
        assert found.rows == [good for r in texts if (good := usable(r, csv_text=True)) is not None]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.lists(
        st.sampled_from([b'"', b",", b"\n", b"\r\n", b"\r", b"a", b"\0", b"\xff", b"U,I,1,1\n", b'"x\ny"', b'U,"I",1,1\n']), max_size=30
    )
)
def test_every_byte_of_csv_is_in_a_record(tmp_path, data):
    body = b"".join(data)
    header = as_csv([], names=list(COLUMNS.values()))
    found = Reading(tmp_path, header + body)
    assert found.intakes[0].lines == len(found.rows) + len(found.rejects)
    if b'"' not in body:
        assert found.intakes[0].lines == body.count(b"\n") + bool(body and not body.endswith(b"\n"))


@pytest.mark.parametrize(("least", "kept"), [(None, [None, 2.0]), (1.0, [5.0, 2.0])])
def test_an_interaction_without_a_rating_keeps_its_place(tmp_path, least, kept):
    rows = [row("U", "I1", 100, None), row("U", "I1", 200, 5), row("U", "I2", 300, 2)]
    (tmp_path / "i.csv").write_bytes(as_csv(rows))
    source = {"kind": "tables", "raw": str(tmp_path), "tables": {"interactions": "i.csv", "interaction_columns": COLUMNS}}
    profile = tmp_path / "shop.yaml"
    profile.write_text(json.dumps({"source": source, "ingest": {"k_user": 1, "k_item": 1, "min_rating": least}, "compute": {"threads": 1}}))
    stage = context(tmp_path, load_profile(str(profile)))
    statistics = run(stage)
    found = pq.read_table(stage.out / "interactions.parquet").sort_by("timestamp").to_pylist()
    assert [r["rating"] for r in found] == kept and statistics["accounting_difference"] == 0 and statistics["lines_rejected"] == 0
    assert statistics["filtered"] == (least is not None)


def test_the_whole_stage(tmp_path):
    raw = tmp_path / "raw"
    (raw / "days").mkdir(parents=True)
    (raw / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(raw / "pictures" / "one.png")
    (raw / "days" / "1.csv.gz").write_bytes(gzip.compress(as_csv([*ROWS[:20], row(user="")])))
    (raw / "days" / "2.parquet").write_bytes(as_parquet(ROWS[20:]))
    (raw / "items.csv").write_bytes(
        as_csv([{"sku": "I, 1", "name": "One", "img": "one.png"}, {"sku": "I, 1", "name": "Again", "img": "/x"}])
    )
    profile = tmp_path / "shop.yaml"
    tables = {
        "interactions": ["days/*.csv.gz", "days/*.parquet"],
        "items": "items.csv",
        "interaction_columns": COLUMNS,
        "item_columns": {"item_id": "sku", "title": "name", "image": "img"},
    }
    profile.write_text(json.dumps({"source": {"kind": "tables", "raw": str(raw), "images": "pictures", "tables": tables}}))
    stage = context(tmp_path, load_profile(str(profile), {"ingest": {"k_user": 1, "k_item": 1}, "compute": {"threads": 1}}))
    statistics = run(stage)
    pairs = Counter((r[USER], r[ITEM]) for r in ROWS)
    assert (statistics["lines_read"], statistics["lines_rejected"], statistics["interactions"]) == (51, 1, len(pairs))
    assert (statistics["accounting_difference"], statistics["metadata_accounting_difference"]) == (0, 0)
    assert statistics["dialect"] == "CSV with commas; Parquet" and statistics["items_with_image"] == 1
    rejects = pq.read_table(stage.out / "rejects.parquet").to_pylist()
    assert Counter(r["reason"] for r in rejects) == {f"{USER} is empty": 1, "image: its path leaves the folder of pictures": 1}
