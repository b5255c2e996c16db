"""Tables that are written as CSV: every record is used or rejected, in its place, whatever quotes and line ends do."""

import gzip
import hashlib
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop_tables import COLUMNS, ITEM, RATING, ROWS, TIME, USER, Reading, as_csv, row

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest import csv_records
from bbqrec_core.ingest.lines import EMPTY

pytestmark = pytest.mark.usefixtures("table_database")


def test_ids_of_csv_are_those_of_json(tmp_path):
    ids = {" 7 ": "7", "7.0": "7", "7.00": "7", "0.0": "0", "07": "07", "7.5": "7.5", "7.": "7.", "v7.0": "v7.0", "-7.0": "-7.0"}
    ids |= {"9007199254740992.0": "9007199254740992.0", "A B": "A B"}
    rows = [row(user, user) for user in ids]
    assert [r[:2] for r in Reading(tmp_path, as_csv(rows)).rows] == [(name, name) for name in ids.values()]
    items = as_csv([{"sku": user, "name": f" {user}"} for user in ids])
    found = Reading(tmp_path, as_csv(rows), items, item_columns={"item_id": "sku", "title": "name"})
    assert [item["item_id"] for item in found.items] == list(ids.values()) and found.items[1]["title"] == " 7.0"


def test_csv_whose_header_is_no_line(tmp_path):
    with pytest.raises(SourceError, match="its lines end with bare carriage returns") as caught:
        Reading(tmp_path, as_csv(ROWS).replace(b"\r\n", b"\r"))
    assert "tr " in caught.value.way_out
    with pytest.raises(SourceError, match=r"header of .* cannot be read: field larger"):
        Reading(tmp_path, b"x" * 200_000 + b",y\n1,2\n")


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
        (csv_records.FIELDS, b"U,I,1"),
        (csv_records.FIELDS, b"U,I,1,1,1"),
        (csv_records.FIELDS, b"alone"),
        (EMPTY, b""),
        (EMPTY, b"\r"),
        (csv_records.BROKEN, b'U,"I"x,1,1'),
        (csv_records.BROKEN, b"U,I\r2,1,1"),
        (csv_records.BROKEN, b'U,"I,1,1'),  # not closed: the next line must be read all the same
        (EMPTY, b""),
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
    assert [(r[0], r[2]) for r in found.rejects][:2] == [(3, csv_records.BROKEN), (4, EMPTY)]
    assert found.intakes[0].lines == len(found.rows) + len(found.rejects)


def test_a_quote_that_is_never_closed_costs_one_line(tmp_path):
    lines = as_csv(ROWS * 100).splitlines(keepends=True)
    lines.insert(10, b'U,"I,1,1\r\n')
    found = Reading(tmp_path, b"".join(lines))
    assert len(found.rows) == 5000 and [(r[0], r[2]) for r in found.rejects] == [(11, csv_records.BROKEN)]


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


def test_only_records_that_are_not_plain_are_parsed_one_by_one(tmp_path, monkeypatch):
    one_by_one = []
    record = csv_records.CsvLines._record
    monkeypatch.setattr(csv_records.CsvLines, "_record", lambda lines: one_by_one.append(record(lines)) or one_by_one[-1])
    note = 'two\nlines, 5" long'
    rows = [{**row(f"U{n}", f'I, "{n}"'), "note": note if n % 500 == 7 else "one line"} for n in range(3_000)]
    found = Reading(tmp_path, as_csv(rows))
    assert [r[:2] for r in found.rows] == [(f"U{n}", f'I, "{n}"') for n in range(3_000)] and not found.rejects
    assert len(one_by_one) == 1 + 6  # the header, and those that span lines


PARTS = [
    b'"',
    b'""',
    b",",
    b"\n",
    b"\r\n",
    b"\r",
    b"a",
    b" ",
    b"7.0",
    b"\0",
    b"\xff",
    b"U,I,1,1\n",
    b'"x\ny"',
    b'U,"I",1,1\n',
    b'"U","I, I",1,""\r\n',
]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.lists(st.sampled_from(PARTS), max_size=40).map(b"".join), lines_per_block=st.sampled_from([1, 3, 1 << 17]))
def test_plain_records_are_what_the_parser_makes_of_them(tmp_path, body, lines_per_block):
    data = as_csv([], names=list(COLUMNS.values())) + body
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bbqrec_core.ingest.lines.MOST_LINES", lines_per_block)
        found = Reading(tmp_path, data, keep=True)
        patch.setattr(csv_records._Page, "plain", lambda page, delimiter: np.zeros(page.size, dtype=bool))
        parsed = Reading(tmp_path, data, keep=True)
    assert (found.rows, found.lines, found.rejects, found.intakes[0].lines) == (
        parsed.rows,
        parsed.lines,
        parsed.rejects,
        parsed.intakes[0].lines,
    )
