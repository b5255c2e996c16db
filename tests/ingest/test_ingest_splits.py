"""Splits: nothing of validation or test is in train, whatever the input; and each part is what plain Python says."""

import math
from collections import defaultdict
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_raw import context, make_profile, review, write_gzip

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import SplitConfig
from bbqrec_core.ingest.database import open_database
from bbqrec_core.ingest.splits import split
from bbqrec_core.ingest.stage import run

KCORE = pa.schema([("user_code", pa.int32()), ("item_code", pa.int32()), ("rating", pa.float32()), ("timestamp", pa.int64())])
DAY = 86_400
ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8), st.integers(0, 6)), min_size=1, max_size=60)
"""User, item, day: few of each, so that days tie and pairs repeat."""


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with open_database(tmp_path_factory.mktemp("splits"), "500MB", 1) as opened:
        opened.insert("raw_items", pa.table({"item_id": pa.array([], pa.string())}))
        yield opened


def divide(database, rows, config, has_times=True):
    """Tables by name, and the moments, of a k-core given as (user, item, day)."""
    for table in ("kcore", "raw_items", "item_images", "user_codes", "item_codes"):
        database.drop(table)
    pairs = [{"user_code": user, "item_code": item, "rating": 5.0, "timestamp": DAY * day} for user, item, day in rows]
    for kind in ("user", "item"):
        codes = pa.array(range(10), pa.int32())
        database.insert(f"{kind}_codes", pa.table({f"{kind}_code": codes, f"{kind}_id": [f"{kind}{code}" for code in range(10)]}))
    database.insert("kcore", pa.Table.from_pylist(pairs, KCORE))
    texts = [(name, pa.string()) for name in ("item_id", "title", "brand", "description", "image_file", "image_sha256")]
    database.insert("raw_items", pa.schema([*texts[:4], ("categories", pa.list_(pa.string())), ("price", pa.float64())]).empty_table())
    database.insert("item_images", pa.schema([texts[0], *texts[4:]]).empty_table())
    for table in ("user_index", "item_index"):
        database.make(table, seed="7")
    moments = split(database, config, "7", has_times)
    interactions = database.rows("SELECT user_idx, item_idx, timestamp, position, part FROM interactions ORDER BY user_idx, position")
    parts = {part: {row[0]: row[1:] for row in database.rows(f"SELECT * FROM {part}")} for part in ("train", "valid", "test")}
    return interactions, parts, moments


def sequences(interactions):
    found = defaultdict(list)
    for user, item, time, position, part in interactions:
        assert position == len(found[user])
        found[user].append((item, time, part))
    for rows in found.values():
        assert [time for _, time, _ in rows] == sorted(time for _, time, _ in rows)
    return found


def check_no_leak(interactions, parts):
    """Every interaction is in one part; a user's train lies before validation, and that before test; histories lie before targets."""
    for user, rows in sequences(interactions).items():
        names = [part for _, _, part in rows]
        assert names == sorted(names, key=["train", "valid", "test"].index)
        items = [item for item, _, _ in rows]
        cut, last = names.count("train"), names.count("train") + names.count("valid")
        assert parts["train"].get(user, ([],))[0] == items[:cut]
        if 0 < cut < last:
            assert parts["valid"][user] == (items[:cut], items[cut])
        else:
            assert user not in parts["valid"]
        if 0 < last < len(items):
            assert parts["test"][user] == (items[:last], items[last])
        else:
            assert user not in parts["test"]


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, repeats=st.booleans())
def test_leave_one_out_trains_on_nothing_that_is_held_out(database, rows, repeats):
    rows = rows if repeats else list({(user, item): (user, item, day) for user, item, day in rows}.values())
    interactions, parts, moments = divide(database, rows, SplitConfig())
    check_no_leak(interactions, parts)
    assert moments == {"valid_from": None, "test_from": None}
    for user, sequence in sequences(interactions).items():
        names = [part for _, _, part in sequence]
        assert names[-2:] == (["valid", "test"] if len(names) >= 3 else ["train"] * len(names[-2:]))
        assert set(names[:-2]) <= {"train"}
        if not repeats and user in parts["test"]:  # a pair is then in one part only
            assert parts["test"][user][1] not in parts["train"][user][0] and parts["valid"][user][1] not in parts["train"][user][0]


@settings(max_examples=25, deadline=None)
@given(
    rows=ROWS,
    shares=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)),
    by_date=st.booleans(),
    days=st.tuples(st.integers(0, 6), st.integers(0, 6)),
)
def test_a_temporal_split_knows_one_moment_for_all(database, rows, shares, by_date, days):
    low, high = sorted(days if by_date else shares)
    if low == high:
        return
    begin, end = (f"{datetime.fromtimestamp(DAY * day, UTC):%Y-%m-%d}" for day in (low, high)) if by_date else (low, high)
    config = SplitConfig(kind="temporal", valid_from=begin, test_from=end)
    times = sorted(DAY * day for _, _, day in rows)
    try:
        interactions, parts, moments = divide(database, rows, config)
    except SourceError as error:
        assert "leaves nothing for" in str(error)
        return
    check_no_leak(interactions, parts)
    if by_date:
        assert moments == {"valid_from": DAY * low, "test_from": DAY * high}
    else:
        assert all(moment in times for moment in moments.values())
    for _, _, time, _, part in interactions:
        assert part == ("test" if time >= moments["test_from"] else "valid" if time >= moments["valid_from"] else "train")


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, most=st.integers(1, 4))
def test_a_maximum_keeps_the_latest_of_each_history(database, rows, most):
    _, whole, _ = divide(database, rows, SplitConfig())
    _, short, _ = divide(database, rows, SplitConfig(max_history=most))
    for part in ("train", "valid", "test"):
        assert {user: (row[0][-most:], *row[1:]) for user, row in whole[part].items()} == short[part]


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, share=st.floats(0.01, 0.5), temporal=st.booleans())
def test_train_is_not_told_of_items_that_are_held_out(database, rows, share, temporal):
    """All is as if their interactions in train had never happened; what follows train stays as it is."""
    kind = {"kind": "temporal", "valid_from": 0.6, "test_from": 0.8} if temporal else {}
    try:
        told, _, _ = divide(database, rows, SplitConfig(**kind))
    except SourceError:
        return
    drawn = set(range(math.ceil(share * len({item for _, item, _ in rows}))))
    if all(row[1] in drawn for row in told if row[4] == "train"):
        with pytest.raises(SourceError, match="leaves nothing for train"):
            divide(database, rows, SplitConfig(**kind, held_out_items=share))
        return
    interactions, parts, _ = divide(database, rows, SplitConfig(**kind, held_out_items=share))
    expected = [(*row[:4], "held_out" if row[4] == "train" and row[1] in drawn else row[4]) for row in told]
    assert interactions == expected
    for part, before in (("train", ("train",)), ("valid", ("train",)), ("test", ("train", "valid"))):
        for user, (history, *_) in parts[part].items():
            assert history == [row[1] for row in expected if row[0] == user and row[4] in before]
    counts = dict(database.rows("SELECT item_idx, train_count FROM items"))
    assert all(counts[item] == 0 for item in drawn)
    assert sum(counts.values()) == sum(row[4] == "train" for row in expected)
    numbers = database.row("statistics_interactions", deduplicated=False)
    assert (numbers["misplaced_interactions"], numbers["train_interactions"]) == (0, sum(counts.values()))
    assert numbers["held_out_interactions"] == sum(row[4] == "held_out" for row in expected)


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE train SET history = list_append(history, (SELECT any_value(target) FROM test WHERE test.user_idx = train.user_idx))",
        "UPDATE train SET history = list_append(history, history[1])",
        "UPDATE interactions SET part = 'train' WHERE part = 'test'",
    ],
)
def test_what_must_not_be_in_train_is_counted_for_the_gate(database, harm):
    divide(database, [(user, item, item) for user in range(3) for item in range(4)], SplitConfig())
    assert database.row("statistics_interactions", deduplicated=True)["misplaced_interactions"] == 0
    database.execute(harm)
    assert database.row("statistics_interactions", deduplicated=True)["misplaced_interactions"] >= 3


def test_order_alone_makes_no_temporal_split(database):
    with pytest.raises(SourceError, match="needs times"):
        divide(database, [(0, 0, 0)], SplitConfig(kind="temporal"), has_times=False)


def test_a_moment_outside_the_data_says_where_the_data_lies(database):
    config = SplitConfig(kind="temporal", valid_from="2020-01-01", test_from="2021-01-01")
    with pytest.raises(SourceError, match=r"nothing for valid and test.*run from 1970-01-01 00:00 UTC to 1970-01-02"):
        divide(database, [(0, 0, 0), (0, 1, 1)], config)


def test_a_rating_that_is_just_enough_counts(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    write_gzip(raw / "reviews.json.gz", [review("U1", f"I{item}", item, rating=3.3 if item else 3.2) for item in range(4)])
    write_gzip(raw / "meta.json.gz", [b'{"asin": "I0"}'])
    statistics = run(context(tmp_path, make_profile(raw, ingest={"min_rating": 3.3})))
    assert (statistics["interactions"], statistics["filtered_by_rating"], statistics["accounting_difference"]) == (3, 1, 0)


def test_the_stage_splits_by_time_and_filters_by_rating(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [
        review(f"U{user}", f"I{item}", DAY * (10 * item + user), rating=float(1 + (user + item) % 5))
        for user in range(6)
        for item in range(8)
    ]
    write_gzip(raw / "reviews.json.gz", rows)
    write_gzip(raw / "meta.json.gz", [b'{"asin": "I0"}'])
    split_by_time = {"kind": "temporal", "valid_from": 0.6, "test_from": "1970-03-01"}
    profile = make_profile(raw, ingest={"min_rating": 3, "split": split_by_time})
    statistics = run(context(tmp_path, profile))
    kept = [row for row in rows if row["overall"] >= 3]
    assert statistics["filtered_by_rating"] == len(rows) - len(kept) > 0
    assert (statistics["interactions"], statistics["duplicates"], statistics["filtered"]) == (len(kept), 0, len(rows) - len(kept))
    assert statistics["accounting_difference"] == statistics["misplaced_interactions"] == 0
    assert statistics["test_from"] == 59 * DAY
    in_test = [row for row in kept if row["unixReviewTime"] >= 59 * DAY]
    assert statistics["test_rows"] == len({row["reviewerID"] for row in in_test})
    assert statistics["train_interactions"] == sum(row["unixReviewTime"] < statistics["valid_from"] for row in kept)
