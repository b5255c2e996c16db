"""Any shop's own tables: however they are written, the same rows give the same interactions, and every other row is a reject."""

import csv
import gzip
import hashlib
import io
import itertools
import json
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_raw import context
from PIL import Image
from shop_tables import (
    BAD_ROWS,
    COLUMNS,
    EXPECTED,
    ITEM,
    PACK,
    RATING,
    ROWS,
    TIME,
    USER,
    WRITTEN,
    Reading,
    as_csv,
    as_json_lines,
    as_parquet,
    row,
)

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest import csv_files, table_rows
from bbqrec_core.ingest.stage import run
from bbqrec_core.profile import load_profile

pytestmark = pytest.mark.usefixtures("table_database")


@pytest.mark.parametrize(("kind", "packed"), itertools.product(WRITTEN, PACK))
def test_the_same_rows_however_they_are_written_and_packed(tmp_path, kind, packed):
    found = Reading(tmp_path, PACK[packed](WRITTEN[kind]))
    assert found.rows == EXPECTED and not found.rejects
    assert (found.intakes[0].lines, found.intakes[0].format) == (50, kind if kind == "JSON lines" else f"CSV with {kind}")


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
