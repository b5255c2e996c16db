"""Telling dialects apart by content."""

from pathlib import Path

import pytest
from ingest_raw import as_line, listing, review

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.database import sql
from bbqrec_core.ingest.dialects import DIALECTS, detect

PATH = Path("raw/file.json.gz")
OLD_REVIEW = {
    "reviewerID": "U1",
    "asin": "B1",
    "reviewerName": "n",
    "helpful": [1, 2],
    "reviewText": "t",
    "overall": 5.0,
    "unixReviewTime": 1,
}
OLD_LISTING = {"asin": "B1", "title": "It's", "price": 9.49, "imUrl": "http://x", "categories": [["Toys"]], "related": {}}

NEW_REVIEW = {
    "rating": 5.0,
    "title": "t",
    "text": "t",
    "images": [],
    "asin": "B1V",
    "parent_asin": "B1",
    "user_id": "U1",
    "timestamp": 1588687728923,
    "helpful_vote": 0,
    "verified_purchase": True,
}
NEW_LISTING = {
    "main_category": "All Beauty",
    "title": "Soap",
    "average_rating": 4.8,
    "rating_number": 10,
    "features": [],
    "description": [],
    "price": None,
    "images": [],
    "videos": [],
    "store": "Howard",
    "categories": [],
    "details": {},
    "parent_asin": "B1",
    "bought_together": None,
}


def python(row):
    return repr(row).encode()


@pytest.mark.parametrize(
    ("lines", "content", "name", "syntax"),
    [
        ([as_line(review("U1", "B1", 1))], "reviews", "Amazon 2018", "json"),
        ([as_line(OLD_REVIEW)], "reviews", "Amazon 2014", "json"),
        ([as_line(listing("B1"))], "metadata", "Amazon 2018", "json"),
        ([python(OLD_LISTING)], "metadata", "Amazon 2014", "python"),
        ([as_line(OLD_LISTING)], "metadata", "Amazon 2014", "json"),
        ([b"{'asin': 'B1'}", python(OLD_LISTING), b'{"asin": "B2"}'], "metadata", "Amazon 2014", "python"),
        ([as_line(NEW_REVIEW)], "reviews", "Amazon 2023", "json"),
        ([as_line(NEW_LISTING)], "metadata", "Amazon 2023", "json"),
        ([b"broken", b"[1]", b"3", as_line(review("U1", "B1", 1))], "reviews", "Amazon 2018", "json"),
    ],
)
def test_dialects_are_told_apart(lines, content, name, syntax):
    found = detect(lines, content, PATH)
    assert (found.dialect.name, found.dialect.role, found.syntax) == (name, content, syntax)


def test_swapped_files_are_noticed():
    with pytest.raises(SourceError, match=r"source\.reviews, holds Amazon 2018 metadata"):
        detect([as_line(listing("B1"))], "reviews", PATH)
    with pytest.raises(SourceError, match=r"source\.metadata, holds Amazon 2018 reviews"):
        detect([as_line(review("U1", "B1", 1))], "metadata", PATH)


def test_an_unknown_dialect_is_described_by_its_keys():
    with pytest.raises(SourceError, match=r"no known dialect; the keys of its lines are item, user"):
        detect([b'{"user": "U1", "item": "B1"}'], "reviews", PATH)


@pytest.mark.parametrize("lines", [[], [b"<html>", b"</html>"], [b"1,2,3"] * 10])
def test_what_is_no_lines_of_objects_is_refused(lines):
    with pytest.raises(SourceError, match="JSON object or a Python dictionary"):
        detect(lines, "reviews", PATH)


def test_every_dialect_has_its_query():
    for dialect in DIALECTS:
        query = sql(dialect.query)
        assert all(f"$.{key}'" in query for key in dialect.keys)
