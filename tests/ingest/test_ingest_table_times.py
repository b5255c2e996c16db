"""Times in a shop's own tables: numbers, times, dates and texts; what is none of these, or of another unit, is told."""

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from shop_tables import ITEM, RATING, TIME, USER, Reading, as_csv, as_json_lines, as_parquet, row

from bbqrec_core.errors import SourceError

pytestmark = pytest.mark.usefixtures("table_database")


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
BAD_TIMES += [f"2024-05-01T10:00:00{zone}" for zone in ("+99:99", "+24:00", "-01:60", "+1:00", "+")]


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


@pytest.mark.parametrize("write", [as_csv, as_json_lines, as_parquet])
def test_dates_written_as_numbers_are_no_times(tmp_path, write):
    dates = [20180630, 20191231, 19991105]
    with pytest.raises(SourceError, match=r"interactions: its times, 19991105 to 20191231, are dates written as numbers") as caught:
        Reading(tmp_path / "1", write([row(time=time) for time in [*dates, -1]]))
    assert "2018-06-30" in caught.value.way_out
    for other in (20180631, 1_500_000_000):  # no date, or a time: then none of them need be a date
        found = Reading(tmp_path / str(other), write([row(time=time) for time in [*dates, other]]))
        assert [r[3] for r in found.rows] == [*dates, other]
