"""The page's section on data: what was read, what fell away, what is left and how it is divided."""

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_artifacts import N_USERS, Run, make_run
from written_page import Structure, report

from bbqrec_core import schema
from bbqrec_core.report.about_data import QUANTILES, over_time
from bbqrec_core.report.plots import write_plots
from bbqrec_core.report.timeline import MOST_STEPS, MOST_TICKS, count_over_time

DAMAGE = "ends in the middle of the compressed data; only the 123 whole lines before that were used"
BAD = "<script>alert(1)</script>\"'&"


@pytest.fixture
def run_folders(tmp_path: Path) -> Run:
    return make_run(tmp_path / "artifacts")


def section(html: str) -> str:
    """The section on data alone."""
    return re.search(r'<section id="data".*?</section>', html, re.DOTALL)[0]


def change_statistics(made: Run, **changes) -> None:
    [statistics] = made.read("ingest", "statistics.parquet")
    made.write("ingest", "statistics.parquet", [statistics | changes])


def damage_file(made: Run, name: str = "reviews.json.gz") -> None:
    files = made.read("ingest", "files.parquet")
    files[0] |= {"file": name, "damage": f"{name} {DAMAGE}"}
    made.write("ingest", "files.parquet", files, schema.FILES)
    change_statistics(made, partial=True, files_damaged=1, damage=f"{name} {DAMAGE}")


def table_rows(html: str, caption: str) -> list[list[str]]:
    body = re.search(rf"<caption>{re.escape(caption)}</caption>(.*?)</table>", html, re.DOTALL)[1]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", body.split("<tbody>")[1], re.DOTALL)
    return [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


def test_partial_data_is_unmistakable(run_folders, tmp_path):
    whole, _ = report(run_folders, tmp_path / "whole")
    assert "Partial data" not in whole.split("</header>")[0] + section(whole) and "warned" not in section(whole)
    damage_file(run_folders)
    html, _ = report(run_folders, tmp_path / "out")
    header, data = html.split("</header>")[0], section(html)
    assert f"Partial data: reviews.json.gz {DAMAGE}." in header and '<p class="notice"><strong>About the data.' in header
    assert f"<strong>Partial data.</strong> reviews.json.gz {DAMAGE}. " in data
    [row] = re.findall(r'<tr class="warned">(.*?)</tr>', data, re.DOTALL)
    assert "reviews.json.gz" in row and f"<strong>Partial.</strong> E{DAMAGE[1:]}" in row


def test_files_are_listed_and_many_are_folded(run_folders, tmp_path):
    html, _ = report(run_folders, tmp_path / "out")
    rows = table_rows(section(html), "Files")
    assert [row[:3] for row in rows] == [
        ["reviews.json.gz", "interactions", "Amazon 2018 reviews, JSON"],
        ["meta.json.gz", "items", "Amazon 2018 metadata, JSON"],
    ]
    files = run_folders.read("ingest", "files.parquet")
    damage_file(run_folders)
    many = run_folders.read("ingest", "files.parquet") + [files[1] | {"file": f"part_{number}", "folded": 3} for number in range(400)]
    run_folders.write("ingest", "files.parquet", many, schema.FILES)
    data = section(report(run_folders, tmp_path / "again")[0])
    assert len(table_rows(data, "Files of which only a part was used")) == 1
    assert "<summary>402 files read, 1 of them only in part</summary>" in data
    assert table_rows(data, "402 files read, 1 of them only in part")[-1][0] == "and 102 more"
    assert "Variants folded" in data


def test_hostile_names_of_files_are_text(run_folders, tmp_path):
    damage_file(run_folders, BAD)
    run_folders.write("ingest", "cleaning.parquet", [{"field": BAD, "rule": BAD, "items": 1}], schema.CLEANING)
    html, statistics = report(run_folders, tmp_path / "out")
    assert Structure(section(html)).plain.count("<script>alert(1)<") >= 4  # the notice, the table, field and rule
    Structure(html)
    assert "<script" not in html and statistics["external_references"] == 0


def test_accounting_tells_ratings_from_the_core(run_folders, tmp_path):
    change_statistics(run_folders, filtered_by_rating=20, filtered_by_kcore=11)
    page = Structure(section(report(run_folders, tmp_path / "out")[0]))
    assert "20 rated too low + 11 filtered by the k-core + 5 duplicates" in page.plain


def test_core_is_drawn_beside_its_table(run_folders, tmp_path):
    data = section(report(run_folders, tmp_path / "out")[0])
    rounds = run_folders.read("ingest", "kcore_rounds.parquet")
    for name, left in (("interactions", rounds[1]["interactions"] / rounds[0]["interactions"]), ("users", 60 / 70), ("items", 40 / 50)):
        assert f"<title>{name}, 1: {left:.1%}</title>" in data
    assert table_rows(data, "Left after each round")[1] == ["round 1", f"{rounds[1]['interactions']:,}", "60", "40"]
    steep = [{"round": number, "interactions": 10**6 // 10**number, "users": 10**5 // 5**number, "items": 9} for number in range(5)]
    run_folders.write("ingest", "kcore_rounds.parquet", steep)
    assert "left, logarithmic" in section(report(run_folders, tmp_path / "steep")[0])
    run_folders.write("ingest", "kcore_rounds.parquet", steep * 3)
    data = section(report(run_folders, tmp_path / "long")[0])
    assert "<summary>Left after each round</summary>" in data
    run_folders.write("ingest", "kcore_rounds.parquet", [{"round": 0, "interactions": 0, "users": 0, "items": 0}])
    assert "nan" not in section(report(run_folders, tmp_path / "nothing")[0]).lower()


def test_interactions_over_time_are_drawn_by_part(run_folders, tmp_path):
    data = section(report(run_folders, tmp_path / "out")[0])
    rows = run_folders.read("ingest", "interactions.parquet")
    assert "When interactions happened" in data
    found = re.findall(r"<title>(\d{4}-\d\d-\d\d): (\d+)(?: \(([^)]*)\))?</title>", data)
    drawn = {day: (int(number), detail) for day, number, detail in found}
    days = [datetime.fromtimestamp(row["timestamp"], UTC).date().isoformat() for row in rows]
    assert {day: number for day, (number, _) in drawn.items() if number} == {day: days.count(day) for day in days}
    for part, name in (("train", "train"), ("valid", "validation"), ("test", "test")):
        counts = [int(number) for _, detail in drawn.values() for number in re.findall(rf"\b{name} (\d+)", detail)]
        assert sum(counts) == sum(row["part"] == part for row in rows)


def test_a_temporal_split_shows_where_it_cuts(run_folders, tmp_path):
    data = section(report(run_folders, tmp_path / "one")[0])
    assert "Leave-one-out" in data and "validation from" not in data
    moments = {"valid_from": 1_503_000_000, "test_from": 1_504_000_000}
    change_statistics(run_folders, **moments, users_train_only=1, users_without_history=2)
    page = Structure(section(report(run_folders, tmp_path / "out")[0]))
    assert "validation from 2017-08-17" in page.plain and "test from 2017-08-29" in page.plain
    assert "1 user has nothing in test. 2 users have interactions in test but none before it, and are not evaluated." in page.plain
    assert Structure(report(run_folders, tmp_path / "out")[0]).plain.count("Valid from 2017-08-17") == 1  # among all statistics


def test_without_times_order_stands_in(run_folders, tmp_path):
    change_statistics(run_folders, has_times=False, first_timestamp=None, last_timestamp=None)
    page = Structure(section(report(run_folders, tmp_path / "out")[0]))
    assert "order stands in for time" in page.plain
    assert "first and last interaction" not in page.plain and "When interactions happened" not in page.plain
    assert "interactions_over_time.png" not in [path.name for path in write_plots(run_folders.folders, tmp_path / "plots")]


def test_cleaning_is_told_in_words(run_folders, tmp_path):
    data = section(report(run_folders, tmp_path / "out")[0])
    assert table_rows(data, "What cleaning did to the metadata") == [
        ["Title", "HTML tags removed", "7", "14.0%"],
        ["Title", "White space made single", "2", "4.0%"],
        ["Brand", "Unheard of", "1", "2.0%"],
        ["Price", "Read as a number", "36", "72.0%"],
        ["Price", "A range, not one price: left out", "3", "6.0%"],
    ]
    run_folders.write("ingest", "cleaning.parquet", [], schema.CLEANING)
    assert "What cleaning did" not in section(report(run_folders, tmp_path / "again")[0])


def test_quantiles_split_and_what_is_known_are_the_tables(run_folders, tmp_path):
    data = section(report(run_folders, tmp_path / "out")[0])
    rows = run_folders.read("ingest", "interactions.parquet")
    [statistics] = run_folders.read("ingest", "statistics.parquet")
    for shown, column in zip(table_rows(data, "Quantiles"), ("user_idx", "item_idx"), strict=True):
        counts = np.sort(np.unique([row[column] for row in rows], return_counts=True)[1])
        places = [max(int(np.ceil(at * len(counts))) - 1, 0) for at in QUANTILES.values()]
        assert shown[1:-1] == [str(counts[place]) for place in places]
    train, valid, test = table_rows(data, "Parts")
    assert train == ["Train", str(len(rows) - 2 * N_USERS), str(N_USERS), "–", "–"]
    assert valid[:3] == ["Validation", str(N_USERS), str(N_USERS)] and test[3] == str(statistics["cold_test"])
    assert ["Picture", "20", "50.0%"] in table_rows(data, "What is known of items")


def test_artifacts_from_before_parts_and_files_were_recorded(run_folders, tmp_path):
    for name in ("files.parquet", "cleaning.parquet"):
        run_folders.remove("ingest", name)
    table = pq.read_table(run_folders.folder("ingest") / "interactions.parquet").drop_columns("part")
    pq.write_table(table, run_folders.folder("ingest") / "interactions.parquet")
    old = {"lines_read": 440, "duplicates": 5, "filtered": 31, "lines_rejected": 4, "interactions": 400}
    run_folders.write("ingest", "statistics.parquet", [old])
    data = section(report(run_folders, tmp_path / "out")[0])
    page = Structure(data)
    assert "When interactions happened" in page.plain and "31 filtered by the k-core" in page.plain
    assert not {"Files", "Parts", "What is known of items"} & set(re.findall(r"<caption>(.*?)</caption>", data))
    assert "interactions_over_time.png" in [path.name for path in write_plots(run_folders.folders, tmp_path / "plots")]


TIMES = st.integers(-(10**9), 250_000_000_000)
"""To the year 9892."""


@given(
    st.lists(st.tuples(TIMES, st.integers(0, 2)), min_size=1, max_size=30),
    TIMES,
)
def test_every_interaction_is_in_one_step_of_time(pairs, moment):
    times, parts = (np.array(values, np.int64) for values in zip(*pairs, strict=True))
    timeline = count_over_time(times, parts, 3, {"test": moment, "validation": None})
    assert len(timeline.steps) <= MOST_STEPS
    assert len({step.name for step in timeline.steps}) == len(timeline.steps)
    assert np.sum([step.counts for step in timeline.steps], axis=0).tolist() == np.bincount(parts, minlength=3).tolist()
    assert sum(timeline.steps[0].counts) and sum(timeline.steps[-1].counts)
    assert 1 <= sum(bool(step.tick) for step in timeline.steps) <= MOST_TICKS
    assert all(0 <= cut.place <= len(timeline.steps) for cut in timeline.cuts)
    if times.min() < moment <= times.max():
        [cut] = timeline.cuts
        before = sum(sum(step.counts) for step in timeline.steps[: int(cut.place)])
        assert before <= (times < moment).sum() <= before + sum(timeline.steps[min(int(cut.place), len(timeline.steps) - 1)].counts)


@pytest.mark.parametrize(
    ("first", "last", "unit", "name", "tick"),
    [
        ("2020-02-27", "2020-03-02", "day", "2020-02-27", "2020-02-27"),
        ("2020-01-01", "2020-12-31", "week", "week from 2019-12-30", ""),
        ("2012-07-17", "2018-09-25", "month", "2012-07", ""),
        ("1996-05-20", "2018-10-02", "quarter", "1996 Q2", ""),
        ("1980-01-01", "2018-10-02", "year", "1980", "1980"),
        ("1901-01-01", "2030-01-01", "2 years", "1900 to 1901", "1900"),
    ],
)
def test_steps_suit_the_range(first, last, unit, name, tick):
    times = np.array([first, last], "datetime64[s]").astype(np.int64)
    timeline = count_over_time(times, np.zeros(2, np.int64), 1, {})
    assert (timeline.unit, timeline.steps[0].name, timeline.steps[0].tick) == (unit, name, tick)
    assert count_over_time(times[:0], times[:0], 1, {}) is None


def test_times_that_are_missing_are_not_drawn():
    table = pa.table({"timestamp": pa.array([None, 5, 6], pa.int64()), "part": ["train", "train", None]})
    timeline, names = over_time(table, {})
    assert names == ["train", "valid", "test"] and timeline.steps[0].counts == (2, 0, 0)
