"""All of Amazon's formats, in any number of files, however they are packed: the same tables; and of cut files what the profile allows."""

import gzip
import hashlib
import json
import re

import pyarrow.parquet as pq
import pytest
import zstandard
from ingest_raw import NAME, REVIEW, SUMMARY, as_line, context, listing, make_profile, review

from bbqrec_core import schema
from bbqrec_core.data_note import data_note
from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.stage import run

DAY = 86_400


def as_2014(row):
    return {key: value for key, value in row.items() if key != "verified"} | {"helpful": [0, 0]}


def as_2023(row):
    return {
        "rating": row["overall"],
        "title": SUMMARY,
        "text": REVIEW,
        "images": [],
        "asin": row["asin"] + "-RED",
        "parent_asin": row["asin"],
        "user_id": row["reviewerID"],
        "timestamp": row["unixReviewTime"] * 1000 + 123,
        "helpful_vote": 0,
        "verified_purchase": True,
    }


def listing_2014(row):
    paths = [row["category"], [*row["category"][:1], "Sale"]]
    return {
        **{key: row[key] for key in ("asin", "title", "brand")},
        "categories": paths,
        "imUrl": "http://x/a.jpg",
        "price": 12.34,
        "related": {},
    }


def listing_2023(row):
    images = [
        {"thumb": "http://x/t.jpg", "large": "http://x/l.jpg", "hi_res": None},
        {"large": "http://x/2.jpg", "hi_res": "http://x/h.jpg"},
    ]
    return {
        "main_category": "Toys",
        "title": row["title"],
        "store": row["brand"],
        "categories": row["category"],
        "description": ["First.", "Second."],
        "price": 12.34,
        "images": images,
        "details": {},
        "features": [],
        "parent_asin": row["asin"],
    }


ROWS = [
    review(f"U{user}", f"I{item}", DAY * (9000 + 7 * item + user), float(1 + item % 5))
    for user in range(6)
    for item in range(5)
    if user != item
]
ITEMS = [listing(f"I{item}") for item in range(5)]


def lines(rows):
    return b"".join(as_line(row) + b"\n" for row in rows)


def zstd(content):
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


PACKINGS = {"": bytes, ".gz": gzip.compress, ".zst": zstd}


def ingest(tmp_path, name, reviews, metadata, **ingest_options):
    """Statistics and artifact folder of a source given as {file: content} for reviews and for metadata."""
    raw = tmp_path / f"raw-{name}"
    raw.mkdir()
    for file, content in {**reviews, **metadata}.items():
        (raw / file).parent.mkdir(parents=True, exist_ok=True)
        (raw / file).write_bytes(content)
    source = {"reviews": list(reviews), "metadata": list(metadata)}
    stage = context(tmp_path, make_profile(raw, source=source, ingest=ingest_options), name)
    return run(stage), stage.out


def interactions(out):
    rows = pq.read_table(out / "interactions.parquet", columns=["user_id", "item_id", "rating", "timestamp", "part"]).to_pylist()
    return sorted(tuple(row.values()) for row in rows)


@pytest.mark.parametrize("year", [2014, 2018, 2023])
@pytest.mark.parametrize("packing", PACKINGS)
def test_every_format_and_packing_gives_the_same_interactions(tmp_path, year, packing):
    convert = {2014: (as_2014, listing_2014), 2018: (dict, dict), 2023: (as_2023, listing_2023)}[year]
    reviews, items = [convert[0](row) for row in ROWS], [convert[1](row) for row in ITEMS]
    metadata = b"".join(repr(row).encode() + b"\n" for row in items) if year == 2014 else lines(items)
    pack = PACKINGS[packing]
    statistics, out = ingest(tmp_path, "one", {f"r.jsonl{packing}": pack(lines(reviews))}, {f"m.json{packing}": pack(metadata)})
    assert f"Amazon {year} reviews" in statistics["dialect"] and f"Amazon {year} metadata" in statistics["metadata_dialect"]
    found = [row[:4] for row in interactions(out)]
    assert found == sorted((row["reviewerID"], row["asin"], row["overall"], row["unixReviewTime"]) for row in ROWS)
    assert statistics["variants_folded"] == (len(ROWS) if year == 2023 else 0)
    [item] = [row for row in pq.read_table(out / "raw_items.parquet").to_pylist() if row["item_id"] == "I3"]
    assert (item["title"], item["brand"], item["price"]) == ("Toy I3", "ACME", 12.34)
    assert item["categories"][:2] == ["Toys", "Cars & Trucks"]
    wanted = {2014: ["http://x/a.jpg"], 2018: ["https://example.com/a.jpg"], 2023: ["http://x/l.jpg", "http://x/h.jpg"]}
    assert item["image_urls"] == wanted[year]
    for path in out.iterdir():  # nothing of names and reviews is carried past the raw files
        text = json.dumps(pq.read_table(path).to_pylist())
        assert not any(secret in text for secret in (NAME, REVIEW, SUMMARY)), path.name


def test_variants_of_one_item_are_one_item(tmp_path):
    twice = [as_2023(ROWS[0]), {**as_2023(ROWS[0]), "asin": "ANOTHER", "timestamp": as_2023(ROWS[0])["timestamp"] + 1}]
    statistics, out = ingest(tmp_path, "one", {"r": lines(twice)}, {"m": lines([listing_2023(ITEMS[0])])})
    assert (statistics["variants_folded"], statistics["duplicates"], statistics["interactions"]) == (2, 1, 1)
    assert interactions(out)[0][1] == ROWS[0]["asin"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"timestamp": 1_588_687_728}, "timestamp is out of range"),  # seconds
        ({"parent_asin": None}, "parent_asin is not text"),
        ({"user_id": 3}, "user_id is not text"),
        ({"rating": "5"}, "rating is not a number"),
        ({"timestamp": 1_588_687_728_923.5}, "timestamp is not whole"),
    ],
)
def test_what_a_2023_line_must_have(tmp_path, change, reason):
    rows = [*(as_2023(row) for row in ROWS), {**as_2023(ROWS[0]), **change}]
    statistics, out = ingest(tmp_path, "one", {"r": lines(rows)}, {"m": lines([listing_2023(ITEMS[0])])})
    [reject] = pq.read_table(out / "rejects.parquet").to_pylist()
    assert (reject["line"], reject["reason"]) == (len(rows), reason) and statistics["accounting_difference"] == 0


def test_several_files_of_several_formats_are_one_data_set(tmp_path):
    third = len(ROWS) // 3
    reviews = {
        "a/part1.json.gz": gzip.compress(lines([*map(as_2014, ROWS[:third]), b"broken"])),
        "a/part2.jsonl.zst": zstd(lines(ROWS[third : 2 * third])),
        "b.json": lines([*map(as_2023, ROWS[2 * third :]), b"3"]),
    }
    metadata = {"m1": lines(ITEMS[:2]), "m2": lines([*map(listing_2023, ITEMS[1:]), b"[]"])}
    statistics, out = ingest(tmp_path, "many", reviews, metadata)
    whole, whole_out = ingest(tmp_path, "whole", {"r": lines(ROWS)}, {"m": lines(ITEMS)})
    assert interactions(out) == interactions(whole_out)
    assert (statistics["files_read"], whole["files_read"]) == (5, 2)
    assert (statistics["lines_read"], statistics["lines_rejected"], statistics["accounting_difference"]) == (len(ROWS) + 2, 2, 0)
    assert (statistics["metadata_lines_read"], statistics["metadata_duplicates"], statistics["metadata_rejected"]) == (7, 1, 1)
    assert statistics["metadata_accounting_difference"] == 0
    files = pq.read_table(out / "files.parquet", schema=schema.FILES).to_pylist()
    assert [(row["file"], row["lines"], row["rejected"]) for row in files] == [
        ("a/part1.json.gz", third + 1, 1),
        ("a/part2.jsonl.zst", third, 0),
        ("b.json", len(ROWS) - 2 * third + 1, 1),
        ("m1", 2, 0),
        ("m2", 5, 1),
    ]
    raw = pq.read_table(out / "raw_interactions.parquet").to_pylist()
    assert [(row["file"], row["line"]) for row in raw if row["file"] == "b.json"] == [
        ("b.json", n + 1) for n in range(len(ROWS) - 2 * third)
    ]
    rejects = pq.read_table(out / "rejects.parquet").to_pylist()
    assert [(row["file"], row["line"]) for row in rejects] == [
        ("a/part1.json.gz", third + 1),
        ("b.json", len(ROWS) - 2 * third + 1),
        ("m2", 5),
    ]


def test_a_pattern_names_all_that_match_and_an_empty_one_is_an_error(tmp_path):
    raw = tmp_path / "raw"
    (raw / "parts").mkdir(parents=True)
    for number in range(3):
        (raw / "parts" / f"r{number}.jsonl.gz").write_bytes(gzip.compress(lines(ROWS[number::3])))
    (raw / "m").write_bytes(lines(ITEMS))
    stage = context(tmp_path, make_profile(raw, source={"reviews": "parts/r*.jsonl.gz", "metadata": "m"}))
    statistics = run(stage)
    assert (statistics["files_read"], statistics["interactions"]) == (4, len(ROWS))
    with pytest.raises(SourceError, match=re.escape(str(raw / "parts" / "x*.gz"))):
        run(context(tmp_path, make_profile(raw, source={"reviews": "parts/x*.gz", "metadata": "m"}), "none"))


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_of_a_cut_file_the_whole_lines_are_used_where_the_profile_says_so(tmp_path, pack):
    many = [review(f"U{n % 50}", f"I{n}", n, reviewText=hashlib.sha512(bytes([n % 256, n // 256])).hexdigest()) for n in range(4000)]
    whole = pack(lines(many))
    cut = {"r": whole[: int(len(whole) * 0.8)]}
    with pytest.raises(SourceError, match=r"is cut off(.|\n)*ingest\.use_cut_files: true"):
        ingest(tmp_path, "refused", cut, {"m": lines(ITEMS)})
    statistics, out = ingest(tmp_path, "used", cut, {"m": lines(ITEMS)}, use_cut_files=True)
    used = statistics["lines_read"]
    assert 0 < used < len(many)
    assert (statistics["partial"], statistics["files_damaged"]) == (True, 1)
    assert (statistics["interactions"], statistics["lines_rejected"], statistics["accounting_difference"]) == (used, 0, 0)
    assert [row[:2] for row in sorted(interactions(out))] == sorted((row["reviewerID"], row["asin"]) for row in many[:used])
    assert f"only the {used:,} whole lines before that were used" in statistics["damage"]
    note = data_note("A note.", statistics)
    assert note.startswith("Partial data: r is cut off") and note.endswith("A note.")
    [reject] = pq.read_table(out / "rejects.parquet").to_pylist()
    assert (reject["file"], reject["line"], reject["byte"]) == ("r", None, len(lines(many[:used])))
    assert "cut off" in reject["reason"]


def test_of_an_altered_file_only_what_is_verified_is_used(tmp_path):
    first, second = gzip.compress(lines(ROWS[:10])), bytearray(gzip.compress(lines(ROWS[10:])))
    second[len(second) // 2] ^= 1
    statistics, _ = ingest(tmp_path, "two", {"r": first + bytes(second)}, {"m": lines(ITEMS)}, use_cut_files=True)
    assert (statistics["lines_read"], statistics["interactions"], statistics["partial"]) == (10, 10, True)
    one = bytearray(gzip.compress(lines(ROWS)))
    one[len(one) // 2] ^= 1
    with pytest.raises(SourceError, match="is altered") as caught:  # one checksum covers all: nothing before the damage is verified
        ingest(tmp_path, "one", {"r": bytes(one)}, {"m": lines(ITEMS)}, use_cut_files=True)
    assert "use_cut_files" not in str(caught.value)


def test_a_line_of_20_megabytes_is_a_reject(tmp_path):
    long = as_line(review("U0", "I0", DAY, reviewText="x" * 20_000_000))
    statistics, out = ingest(tmp_path, "long", {"r.gz": gzip.compress(lines([ROWS[0], long, *ROWS[1:]]))}, {"m": lines(ITEMS)})
    [reject] = pq.read_table(out / "rejects.parquet").to_pylist()
    assert (reject["line"], reject["reason"]) == (2, "longer than 16 MiB")
    assert (statistics["lines_read"], statistics["interactions"]) == (len(ROWS) + 1, len(ROWS))


def test_repeats_stay_where_data_is_read_as_published(tmp_path):
    rows = [*ROWS, ROWS[0], {**ROWS[1], "unixReviewTime": DAY * 20_000}]
    statistics, out = ingest(tmp_path, "as-is", {"r": lines(rows)}, {"m": lines(ITEMS)}, deduplicate=False)
    assert (statistics["interactions"], statistics["duplicates"], statistics["accounting_difference"]) == (len(rows), 0, 0)
    assert len(interactions(out)) == len(rows)


def test_repeats_at_one_time_have_one_order_whatever_the_threads(tmp_path):
    rows = [review(f"U{user}", "I1", DAY, rating=float(1 + n % 5)) for user in range(400) for n in range(12)]
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "r").write_bytes(lines(rows))
    (raw / "m").write_bytes(lines(ITEMS))
    found = set()
    for number, threads in enumerate((1, 2, 4, 4)):
        source = {"reviews": "r", "metadata": "m"}
        profile = make_profile(raw, source=source, ingest={"deduplicate": False}, compute={"threads": threads})
        stage = context(tmp_path, profile, f"out{number}")
        run(stage)
        found.add((stage.out / "interactions.parquet").read_bytes())
    assert len(found) == 1


def test_one_file_may_be_named_for_both(tmp_path):
    both = lines([*({**row, "title": "T"} for row in ROWS), b"broken", b"3"])
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "both.jsonl").write_bytes(both)
    tables = {
        "interactions": "both.jsonl",
        "items": "both.jsonl",
        "interaction_columns": {"user_id": "reviewerID", "item_id": "asin", "timestamp": "unixReviewTime"},
        "item_columns": {"item_id": "asin", "title": "title"},
    }
    statistics = run(context(tmp_path, make_profile(raw, source={"kind": "tables", "tables": tables})))
    assert (statistics["lines_rejected"], statistics["metadata_rejected"]) == (2, 2)
    assert statistics["accounting_difference"] == statistics["metadata_accounting_difference"] == 0


def test_a_flood_of_empty_lines_is_accounted_for_in_little_memory(tmp_path):
    flood = b"\n" * 400_000
    statistics, out = ingest(tmp_path, "flood", {"r.gz": gzip.compress(lines(ROWS) + flood)}, {"m": lines(ITEMS)})
    assert (statistics["lines_read"], statistics["lines_rejected"]) == (len(ROWS) + 400_000, 400_000)
    assert statistics["accounting_difference"] == 0
    rejects = pq.read_table(out / "rejects.parquet", columns=["line", "byte"])
    assert rejects["line"].to_pylist() == list(range(len(ROWS) + 1, len(ROWS) + 400_001))
    assert rejects["byte"].to_pylist() == list(range(len(lines(ROWS)), len(lines(ROWS)) + 400_000))
