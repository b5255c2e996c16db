"""Tables that are written as Parquet: columns of any type, and files that are broken."""

import hashlib
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shop_tables import BAD_ROWS, EXPECTED, ITEM, RATING, ROWS, TIME, USER, WRITTEN, Reading, as_parquet

from bbqrec_core.errors import SourceError

pytestmark = pytest.mark.usefixtures("table_database")


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
def test_the_same_rows_from_parquet(tmp_path, compression):
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), buffer, compression=compression, row_group_size=7)
    found = Reading(tmp_path, buffer.getvalue())
    assert found.rows == EXPECTED and not found.rejects and found.lines == list(range(1, 51))
    assert (found.intakes[0].lines, found.intakes[0].format) == (50, "Parquet")


def test_types_that_need_care_and_those_that_cannot_be_read(tmp_path):
    price = pa.array([Decimal("4.50"), None], pa.decimal256(50, 2))
    table = {USER: ["U", "V"], ITEM: ["I", "J"], TIME: [1, 2], RATING: price}
    assert [r[2] for r in Reading(tmp_path, as_parquet(pa.table(table))).rows] == [4.5, None]
    table[RATING] = pa.array([1.5, 2.5], pa.float32()).cast(pa.float16())
    assert [r[2] for r in Reading(tmp_path, as_parquet(pa.table(table))).rows] == [1.5, 2.5]
    table[ITEM] = pa.array([[1.5], []], pa.list_(pa.float32())).cast(pa.list_(pa.float16()))
    with pytest.raises(SourceError, match=f"interactions: the column '{ITEM}' is of the type list<.*halffloat>"):
        Reading(tmp_path, as_parquet(pa.table(table)))


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
        [(line, byte, reason, sha256, text)] = found.rejects
        assert (line, byte, reason, text) == (2, None, "not UTF-8", None)
        rendered = json.dumps({USER: "U?", ITEM: "I", TIME: 1.5e9, RATING: 1}, separators=(",", ":")).encode().replace(b"?", b"\xff")
        assert sha256 == hashlib.sha256(rendered).hexdigest()
        [(*_, text)] = Reading(tmp_path, as_parquet(table), keep=True).rejects
        assert text == rendered.decode(errors="replace")


def test_lists_with_text_that_is_no_utf8(tmp_path):
    names = pa.array([b"A", b"B\xff", b"C"])
    texts = pa.StringArray.from_buffers(3, names.buffers()[1], names.buffers()[2])
    shelf = pa.ListArray.from_arrays(pa.array([0, 2, 3]), texts)
    table = pa.table({"sku": ["1", "2"], "shelf": shelf, "since": pa.array([date(2024, 5, 1)] * 2)})
    columns = {"item_id": "sku", "categories": "shelf", "description": "since"}
    found = Reading(tmp_path, WRITTEN["commas"], as_parquet(table), item_columns=columns)
    assert [item["item_id"] for item in found.items] == ["2"]
    rendered = b'{"sku":"1","shelf":["A","B?"],"since":"2024-05-01 00:00:00Z"}'.replace(b"?", b"\xff")
    assert [(r[0], r[3]) for r in found.rejects] == [(1, hashlib.sha256(rendered).hexdigest())]


def test_parquet_that_is_broken(tmp_path):
    data = as_parquet(ROWS)
    for broken in (data[:-20], data[: len(data) // 2], b"PAR1" * 5):
        with pytest.raises(SourceError, match="interactions cannot be read as Parquet"):
            Reading(tmp_path, broken)
