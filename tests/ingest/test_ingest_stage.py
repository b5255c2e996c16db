"""The stage as a whole, against an independent implementation, on dirty files."""

import gzip
import hashlib
import json
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ingest_raw import NAME, REVIEW, SUMMARY, as_line, context, listing, make_profile, review, write_gzip
from PIL import Image

from bbqrec_core import schema
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.errors import SourceError, StageError
from bbqrec_core.ingest.stage import run

BROKEN_REVIEWS = {
    "not JSON": [
        b'{"reviewerID": "U1", "asin"',
        b"{'reviewerID': 'U1'}",
        b'{"reviewerID": "\\ud800"}',
        b"[1, 2",
        as_line(review("U\rX", "I1", 1))[:-3],
    ],
    "not a JSON object": [b"3", b"null", b"NaN", b"[1]", b'"text"', b"true"],
    "empty line": [b"", b"   ", b"\r"],
    "NUL byte": [as_line(review("U1", "I1", 1)).replace(b"secret", b"sec\0ret")],
    "not UTF-8": [as_line(review("U1", "I1", 1)).replace(b"secret", b"sec\xffret"), b"\xff\xfe{\x01}"],
    "no reviewerID": [b"{}", b'{"asin": "I1"}'],
    "reviewerID is not text": [as_line(review(3, "I1", 1)), as_line(review(None, "I1", 1))],  # type: ignore[arg-type]
    "reviewerID is empty": [as_line(review(" ", "I1", 1))],
    "reviewerID holds control characters": [as_line(review("U\0", "I1", 1)), as_line(review("U\n1", "I1", 1))],
    "asin is not text": [as_line(review("U1", ["I1"], 1))],  # type: ignore[arg-type]
    "no overall": [b'{"reviewerID": "U1", "asin": "I1", "unixReviewTime": 1}'],
    "overall is not a number": [as_line(review("U1", "I1", 1, "5")), as_line(review("U1", "I1", 1, None))],  # type: ignore[arg-type]
    "overall is not between 0 and 5": [as_line(review("U1", "I1", 1, value)) for value in (float("nan"), float("inf"), -1.0, 11.0)],
    "unixReviewTime is not a number": [as_line(review("U1", "I1", "1"))],  # type: ignore[arg-type]
    "unixReviewTime is out of range": [as_line(review("U1", "I1", time)) for time in (-1, 1_529_193_600_000)],
    "unixReviewTime is not whole": [as_line(review("U1", "I1", 1.5))],  # type: ignore[arg-type]
}


def read(out: Path, table: str) -> list[dict[str, Any]]:
    return pq.read_table(out / f"{table}.parquet").to_pylist()


def make_raw(raw: Path, reviews: list[Any], metadata: list[Any] | None = None) -> Path:
    raw.mkdir(exist_ok=True)
    write_gzip(raw / "reviews.json.gz", reviews)
    write_gzip(raw / "meta.json.gz", metadata or [listing("I1")])
    return raw


def dirty_shop(seed: int, users: int = 30, items: int = 20) -> list[Any]:
    """Reviews with repeated pairs, tied times and broken lines, in any order."""
    rng = random.Random(seed)
    rows: list[Any] = []
    for user in range(users):
        for _ in range(rng.randrange(1, 9)):
            day = 86_400 * rng.randrange(4)
            rows.append(review(f"U{user}", f"I{min(rng.randrange(items), rng.randrange(items))}", day, float(rng.randrange(1, 6))))
    rows += rng.sample(rows, 10)
    rows += [line for lines in BROKEN_REVIEWS.values() for line in lines]
    rng.shuffle(rows)
    return rows


def expected_sequences(rows: list[Any], k_user: int, k_item: int, seed: int) -> dict[str, list[tuple[str, int, float]]]:
    """Items of each user in order, by plain Python."""
    first: dict[tuple[str, str], tuple[int, int, float]] = {}
    for line, row in enumerate(rows):
        if isinstance(row, dict):
            pair, seen = (row["reviewerID"], row["asin"]), (row["unixReviewTime"], line, row["overall"])
            first[pair] = min(first.get(pair, seen), seen)
    while True:
        by_user, by_item = Counter(user for user, _ in first), Counter(item for _, item in first)
        strong = {pair: seen for pair, seen in first.items() if by_user[pair[0]] >= k_user and by_item[pair[1]] >= k_item}
        if len(strong) == len(first):
            break
        first = strong
    sequences = defaultdict(list)
    for (user, item), (time, _, rating) in first.items():
        tie = hashlib.md5("\x1f".join([str(seed), "tie", user, item]).encode()).hexdigest()
        sequences[user].append((time, tie, item, rating))
    return {user: [(item, time, rating) for time, _, item, rating in sorted(rows)] for user, rows in sequences.items()}


@pytest.mark.parametrize(("shop", "k_user", "k_item"), [(1, 1, 1), (2, 3, 2), (3, 4, 4)])
def test_everything_adds_up_and_equals_plain_python(tmp_path, shop, k_user, k_item):
    rows = dirty_shop(shop)
    raw = make_raw(tmp_path / "raw", rows)
    profile = make_profile(raw, seed=shop, ingest={"k_user": k_user, "k_item": k_item})
    stage = context(tmp_path, profile)
    statistics = run(stage)
    broken = sum(map(len, BROKEN_REVIEWS.values()))
    assert statistics["lines_read"] == len(rows) and statistics["lines_rejected"] == broken
    assert statistics["lines_kept"] == len(rows) - broken and statistics["accounting_difference"] == 0
    pairs = {(row["reviewerID"], row["asin"]) for row in rows if isinstance(row, dict)}
    assert statistics["duplicates"] == statistics["lines_kept"] - len(pairs) > 0
    wanted = expected_sequences(rows, k_user, k_item, shop)
    found = defaultdict(list)
    for row in read(stage.out, "interactions"):
        assert row["position"] == len(found[row["user_id"]])
        found[row["user_id"]].append((row["item_id"], row["timestamp"], row["rating"]))
    assert found == wanted
    assert statistics["users"] == len(wanted) and statistics["interactions"] == sum(map(len, wanted.values()))
    assert statistics["filtered"] == len(pairs) - statistics["interactions"]
    assert statistics["items"] == len({item for sequence in wanted.values() for item, _, _ in sequence})
    with_target = [sequence for sequence in wanted.values() if len(sequence) >= 3]
    assert statistics["test_rows"] == statistics["valid_rows"] == len(with_target)
    assert statistics["users_train_only"] == len(wanted) - len(with_target)
    tied = sum(sequence[-1][1] == sequence[-2][1] for sequence in with_target) / len(with_target)
    assert statistics["tied_target_share"] == pytest.approx(tied) and 0 < tied < 1
    _check_splits(stage.out, wanted, statistics)
    _check_numbering(stage.out, shop)


def _check_splits(out: Path, wanted: dict[str, Any], statistics: dict[str, Any]) -> None:
    """Train, the validation target and the test target are each user's sequence, cut where they should be."""
    users = {row["user_idx"]: row["user_id"] for row in read(out, "interactions")}
    names = [row["item_id"] for row in read(out, "items")]
    train = {users[row["user_idx"]]: [names[item] for item in row["history"]] for row in read(out, "train")}
    valid = {users[row["user_idx"]]: row for row in read(out, "valid")}
    test = {users[row["user_idx"]]: row for row in read(out, "test")}
    assert set(train) == set(wanted) and set(valid) == set(test) == {user for user in wanted if len(wanted[user]) >= 3}
    for user, sequence in wanted.items():
        items = [item for item, _, _ in sequence]
        if len(items) < 3:
            assert train[user] == items
            continue
        assert train[user] == items[:-2]
        assert [names[item] for item in valid[user]["history"]] == items[:-2] and names[valid[user]["target"]] == items[-2]
        assert [names[item] for item in test[user]["history"]] == items[:-1] and names[test[user]["target"]] == items[-1]
    counts = Counter(item for items in train.values() for item in items)
    assert [row["train_count"] for row in read(out, "items")] == [counts[name] for name in names]
    assert statistics["cold_test"] == sum(counts[names[row["target"]]] == 0 for row in test.values())
    assert statistics["cold_valid"] == sum(counts[names[row["target"]]] == 0 for row in valid.values())
    dataset = SequenceDataset.load(out, max_history=5)
    assert (dataset.n_items, len(dataset.train_users), len(dataset.test)) == (len(names), len(train), len(test))


def _check_numbering(out: Path, seed: int) -> None:
    """Numbers have no gaps, and their order is decided by nothing but the seed and the names."""
    interactions, items = read(out, "interactions"), read(out, "items")
    for kind, rows in (("user", interactions), ("item", items)):
        numbered = {row[f"{kind}_idx"]: row[f"{kind}_id"] for row in rows}
        assert sorted(numbered) == list(range(len(numbered)))
        hashed = sorted(numbered.values(), key=lambda name: hashlib.md5("\x1f".join([str(seed), kind, name, ""]).encode()).hexdigest())
        assert [numbered[index] for index in range(len(numbered))] == hashed
    assert [row["item_idx"] for row in items] == list(range(len(items)))


def test_rejects_say_where_and_why(tmp_path):
    rows = [review("U1", "I1", 1), *(line for lines in BROKEN_REVIEWS.values() for line in lines), review("U2", "I1", 2)]
    raw = make_raw(tmp_path / "raw", rows)
    stage = context(tmp_path, make_profile(raw))
    run(stage)
    content = gzip.decompress((raw / "reviews.json.gz").read_bytes())
    rejects = read(stage.out, "rejects")
    assert Counter(row["reason"] for row in rejects) == {reason: len(lines) for reason, lines in BROKEN_REVIEWS.items()}
    assert [row["line"] for row in rejects] == list(range(2, len(rows)))
    for row in rejects:
        line = content[row["byte"] :].split(b"\n", 1)[0]
        assert row["file"] == "reviews.json.gz" and row["text"] is None
        assert row["sha256"] == hashlib.sha256(line.removesuffix(b"\r")).hexdigest()
        assert line in BROKEN_REVIEWS[row["reason"]]


def test_text_of_rejects_is_kept_only_on_demand(tmp_path):
    raw = make_raw(tmp_path / "raw", [review("U1", "I1", 1), b'{"broken', b"\xffbroken"])
    stage = context(tmp_path, make_profile(raw, ingest={"keep_reject_text": True}))
    run(stage)
    assert [row["text"] for row in read(stage.out, "rejects")] == ['{"broken', "�broken"]


def test_no_name_and_no_review_text_reaches_any_file(tmp_path):
    secrets = (NAME, REVIEW, SUMMARY)
    broken = as_line(review("U1", "I1", "never"))  # type: ignore[arg-type]
    raw = make_raw(tmp_path / "raw", [*dirty_shop(4), broken])
    stage = context(tmp_path, make_profile(raw))
    run(stage)
    files = [path for path in stage.out.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"raw_interactions.parquet", "rejects.parquet", "cleaning.parquet"}
    assert not list(stage.scratch.iterdir())
    for path in files:
        table = pq.read_table(path)
        text = json.dumps(table.to_pylist()) + str(table.schema.metadata)
        assert not any(secret in text for secret in secrets), path.name
        assert not {"reviewerName", "reviewText", "summary"} & set(table.column_names)
        assert str(tmp_path) not in text


def test_same_seed_same_bytes_whatever_the_threads(tmp_path):
    raw = make_raw(tmp_path / "raw", dirty_shop(5, users=300, items=40), [listing(f"I{number}") for number in range(40)])

    def files(name: str, **overrides: Any) -> dict[str, bytes]:
        stage = context(tmp_path, make_profile(raw, ingest={"k_user": 2, "k_item": 2}, **overrides), name)
        run(stage)
        return {path.name: path.read_bytes() for path in stage.out.iterdir()}

    first = files("first", compute={"threads": 1})
    assert first == files("second", compute={"threads": 3})
    other = files("other", seed=7)
    assert {name for name in first if first[name] != other[name]} >= {"interactions.parquet", "items.parquet", "train.parquet"}
    assert first["raw_interactions.parquet"] == other["raw_interactions.parquet"]


def test_what_a_killed_run_left_behind_does_not_matter(tmp_path):
    raw = make_raw(tmp_path / "raw", dirty_shop(6))
    profile = make_profile(raw)
    clean, dirty = context(tmp_path, profile, "clean"), context(tmp_path, profile, "dirty")
    (dirty.scratch / "spill").mkdir()
    (dirty.scratch / "spill" / "duckdb_temp_storage_DEFAULT-0.tmp").write_bytes(b"half a block")
    assert run(clean) == run(dirty)


def test_metadata_is_cleaned_and_the_first_row_stays(tmp_path):
    rows = [
        listing("I1", title="<b>First</b> &amp; best", price="$1,234.50"),
        listing("I1", title="Second"),
        listing(
            "I2",
            title="var t = (new Date()).getTime();",
            price="$5.00 - $7.00",
            brand="",
            category=[],
            imageURL=["http://x/y.jpg"],
            imageURLHighRes=[],
        ),
        listing("I3", price=".a-box{color:red}", description="Alone &eacute;", imageURLHighRes=["javascript:alert(1)"]),
        b'{"asin": "I4"}',
        b'{"asin": "I5", "title": 3, "category": "Toys", "description": null, "price": 7, "imageURL": {"a": 1}}',
        b'{"title": "No item"}',
        b"not json",
    ]
    raw = make_raw(tmp_path / "raw", [review("U1", f"I{number}", number) for number in range(1, 7)], rows)
    stage = context(tmp_path, make_profile(raw))
    statistics = run(stage)
    items = {row["item_id"]: row for row in read(stage.out, "raw_items")}
    assert list(items) == ["I1", "I2", "I3", "I4", "I5"]
    one, two, three, four, five = items.values()
    assert (one["title"], one["price"], one["line"], one["brand"]) == ("First & best", 1234.5, 1, "ACME")
    assert (one["categories"], one["description"], one["image_urls"]) == (
        ["Toys", "Cars & Trucks"],
        "First. Second.",
        ["https://example.com/a.jpg"],
    )
    assert [two[key] for key in ("title", "price", "brand", "categories")] == [None] * 4 and two["image_urls"] == ["http://x/y.jpg"]
    assert (three["price"], three["description"], three["image_urls"]) == (None, "Alone é", None)
    assert all(four[key] is None for key in ("title", "brand", "categories", "description", "price", "image_urls"))
    assert (five["title"], five["categories"], five["price"], five["image_urls"]) == (None, ["Toys"], 7.0, None)
    assert statistics["metadata_lines_read"] == 8 and statistics["metadata_rejected"] == 2 and statistics["metadata_duplicates"] == 1
    assert statistics["metadata_accounting_difference"] == 0
    assert (statistics["titles_unusable"], statistics["prices_unusable"]) == (1, 2)
    catalogue = {row["item_id"]: row for row in read(stage.out, "items")}
    assert set(catalogue) == {f"I{number}" for number in range(1, 7)} and catalogue["I6"]["title"] is None
    assert statistics["items_without_metadata"] == 1 and statistics["items_with_title"] == 2
    assert statistics["text_share"] == pytest.approx(4 / 6)  # I2 has a description, I5 a category; I4 and I6 have nothing


def test_metadata_of_python_literals(tmp_path):
    rows = [
        b"{'asin': 'I1', 'title': \"It's\", 'categories': [['Music', 'Rock'], ['Music', 'Jazz']], 'price': 9.5, 'imUrl': 'http://x/y.jpg'}",
        b"{'asin': 'I2', 'title': u'Caf\\xe9', 'description': 'One &amp; two', 'brand': 'B\\x00'}",
        b"{'asin': 'I3', 'price': __import__('os').getpid()}",
        b"{'asin': 'I1', 'title': 'Again'}",
    ]
    raw = make_raw(tmp_path / "raw", [review("U1", "I1", 1), review("U1", "I2", 2)], rows)
    stage = context(tmp_path, make_profile(raw))
    statistics = run(stage)
    assert statistics["metadata_dialect"] == "Amazon 2014 metadata, Python literals"
    assert (statistics["metadata_rejected"], statistics["metadata_duplicates"]) == (1, 1)
    one, two = read(stage.out, "raw_items")
    assert (one["title"], one["categories"], one["price"], one["image_urls"]) == (
        "It's",
        ["Music", "Rock", "Jazz"],
        9.5,
        ["http://x/y.jpg"],
    )
    assert (two["title"], two["description"], two["brand"]) == ("Café", "One & two", "B")
    [reject] = read(stage.out, "rejects")
    assert (reject["line"], reject["reason"]) == (3, "not a Python literal")
    assert reject["sha256"] == hashlib.sha256(rows[2]).hexdigest()


def test_pictures_are_looked_at_and_items_without_one_stay(tmp_path):
    raw = make_raw(tmp_path / "raw", [review("U1", f"I{number}", number) for number in range(1, 4)])
    (raw / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(raw / "pictures" / "I1.jpg")
    (raw / "pictures" / "I2.jpg").write_bytes(b"<html>404</html>")
    (raw / "pictures" / "UNKNOWN.jpg").write_bytes(b"not looked at")
    stage = context(tmp_path, make_profile(raw, source={"images": "pictures"}))
    statistics = run(stage)
    items = {row["item_id"]: (row["image_file"], row["image_sha256"]) for row in read(stage.out, "items")}
    assert items == {
        "I1": ("I1.jpg", hashlib.sha256((raw / "pictures" / "I1.jpg").read_bytes()).hexdigest()),
        "I2": (None, None),
        "I3": (None, None),
    }
    [reject] = read(stage.out, "rejects")
    assert (reject["file"], reject["line"], reject["reason"]) == ("pictures/I2.jpg", None, "image: not a picture that can be read")
    assert (statistics["images_unreadable"], statistics["lines_rejected"], statistics["image_share"]) == (1, 0, pytest.approx(1 / 3))


def test_bom_carriage_returns_members_and_a_missing_last_line_feed_change_nothing(tmp_path):
    rows = dirty_shop(8)
    raw = make_raw(tmp_path / "raw", rows)
    profile = make_profile(raw)
    plain = context(tmp_path, profile, "plain")
    run(plain)
    half = len(rows) // 2
    first = b"\xef\xbb\xbf" + b"".join(as_line(row) + b"\r\n" for row in rows[:half])
    second = b"\r\n".join(as_line(row) for row in rows[half:])
    (raw / "reviews.json.gz").write_bytes(gzip.compress(first) + gzip.compress(second))
    odd = context(tmp_path, profile, "odd")
    run(odd)
    for table in ("raw_interactions", "interactions", "test"):
        assert (plain.out / f"{table}.parquet").read_bytes() == (odd.out / f"{table}.parquet").read_bytes()


def test_a_cut_file_gives_nothing(tmp_path):
    raw = make_raw(tmp_path / "raw", dirty_shop(9))
    whole = (raw / "reviews.json.gz").read_bytes()
    (raw / "reviews.json.gz").write_bytes(whole[:-100])
    stage = context(tmp_path, make_profile(raw))
    with pytest.raises(SourceError, match=rf"reviews\.json\.gz is cut off: it ends at compressed byte {len(whole) - 100:,}"):
        run(stage)
    assert not list(stage.out.iterdir())


@pytest.mark.parametrize("content", [b"", gzip.compress(b""), gzip.compress(b"\n\n\n"), gzip.compress(b"x" * 20_000_000)], ids=range(4))
@pytest.mark.parametrize("file", ["reviews.json.gz", "meta.json.gz"])
def test_files_without_content_are_refused(tmp_path, file, content):
    raw = make_raw(tmp_path / "raw", [review("U1", "I1", 1)])
    (raw / file).write_bytes(content)
    with pytest.raises(SourceError, match=file):
        run(context(tmp_path, make_profile(raw)))


def test_nothing_left_after_the_k_core_says_so_and_how_to_go_on(tmp_path):
    raw = make_raw(tmp_path / "raw", [*[review(f"U{n}", f"I{n}", n) for n in range(9)], b"broken", b"broken"])
    with pytest.raises(
        SourceError,
        match=r"of 9 interactions of 9 users with 9 items.* 2 lines could not be used: not JSON \(2 lines\)\.\n.*Lower ingest\.k_user",
    ):
        run(context(tmp_path, make_profile(raw, ingest={"k_user": 2, "k_item": 2})))


def test_too_little_memory_is_explained(tmp_path):
    raw = make_raw(tmp_path / "raw", dirty_shop(10, users=500))
    with pytest.raises(StageError, match=r"ingest\.memory_limit, 1MB"):
        run(context(tmp_path, make_profile(raw, ingest={"memory_limit": "1MB"})))


def test_tables_have_their_schemas(tmp_path):
    raw = make_raw(tmp_path / "raw", [review("U1", "I1", 1)])
    stage = context(tmp_path, make_profile(raw))
    statistics = run(stage)
    for table, columns in {
        "raw_interactions": schema.RAW_INTERACTIONS,
        "raw_items": schema.RAW_ITEMS,
        "rejects": schema.REJECTS,
        "files": schema.FILES,
        "interactions": schema.INTERACTIONS,
        "items": schema.ITEMS,
        "train": schema.TRAIN_SEQUENCES,
        "valid": schema.EVAL_SEQUENCES,
        "test": schema.EVAL_SEQUENCES,
    }.items():
        assert pq.read_schema(stage.out / f"{table}.parquet").equals(columns), table
    assert all(value is None or isinstance(value, str | int | float | bool) for value in statistics.values())
    json.dumps(statistics, allow_nan=False)
