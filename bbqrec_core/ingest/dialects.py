"""The dialects of Amazon's review data, and how a file's own content tells which it is in.

A dialect is an entry of `DIALECTS` and a query in sql/ that turns its lines into the one form that the rest of the stage knows. How
its lines are written (JSON or Python literals) is found apart from it.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.line_files import LineFormat
from bbqrec_core.ingest.literals import to_json

Role = Literal["reviews", "metadata"]
Syntax = Literal["json", "python"]


@dataclass(frozen=True)
class Dialect:
    """One way of writing reviews or metadata.

    Attributes:
        name: As shown in messages and statistics.
        role: What its lines are about.
        required: Keys without which a line is not of this dialect.
        marks: Keys that tell it from dialects with the same required keys.
        keys: All keys that its query reads; nothing else of a Python literal is kept.
        query: File in sql/ that parses a block of its lines.
    """

    name: str
    role: Role
    required: frozenset[str]
    marks: frozenset[str]
    keys: frozenset[str]
    query: str


_REVIEW = frozenset({"reviewerID", "asin", "overall", "unixReviewTime"})
_REVIEW_2023 = frozenset({"user_id", "parent_asin", "rating", "timestamp"})
_META_2014 = frozenset({"asin", "title", "brand", "categories", "description", "price", "imUrl"})
_META_2018 = frozenset({"asin", "title", "brand", "category", "description", "price", "imageURL", "imageURLHighRes"})
_META_2023 = frozenset({"parent_asin", "title", "store", "main_category", "categories", "description", "price", "images"})
_MARKS_2014 = frozenset({"categories", "imUrl", "related", "salesRank"})
_MARKS_2018 = frozenset({"category", "main_cat", "also_buy", "imageURL"})
_MARKS_2023 = frozenset({"main_category", "store", "images", "details"})

DIALECTS = (
    Dialect("Amazon 2018", "reviews", _REVIEW, frozenset({"verified", "vote", "style", "image"}), _REVIEW, "parsed_reviews_2014_2018"),
    Dialect("Amazon 2014", "reviews", _REVIEW, frozenset({"helpful"}), _REVIEW, "parsed_reviews_2014_2018"),
    Dialect("Amazon 2023", "reviews", _REVIEW_2023, frozenset({"helpful_vote"}), _REVIEW_2023 | {"asin"}, "parsed_reviews_2023"),
    Dialect("Amazon 2018", "metadata", frozenset({"asin"}), _MARKS_2018, _META_2018, "parsed_metadata_2018"),
    Dialect("Amazon 2014", "metadata", frozenset({"asin"}), _MARKS_2014, _META_2014, "parsed_metadata_2014"),
    Dialect("Amazon 2023", "metadata", frozenset({"parent_asin"}), _MARKS_2023, _META_2023, "parsed_metadata_2023"),
)


@dataclass(frozen=True)
class Format:
    """How a file is written: in which dialect, and whether its lines are JSON or Python literals."""

    dialect: Dialect
    syntax: Syntax


def recognise(sample: Sequence[bytes], role: Role, path: Path) -> LineFormat:
    """Tell how the lines of a file are to be parsed. See `detect`."""
    found = detect(sample, role, path)
    python = found.syntax == "python"
    name = f"{found.dialect.name} {found.dialect.role}, {'Python literals' if python else 'JSON'}"
    return LineFormat(name, found.dialect.query, literal_keys=found.dialect.keys if python else None)


def detect(sample: Sequence[bytes], role: Role, path: Path) -> Format:
    """Tell a file's format from some of its lines.

    A dialect fits when its required keys are in at least half of the lines that can be read at all; of several that fit, the one
    whose marks occur most often is taken.

    Args:
        sample: Lines of the file, from its beginning.
        role: What the file should hold.
        path: Named in messages.

    Raises:
        SourceError: The lines are of no known dialect, or the file is of the other role.
    """
    read = {"json": [keys for line in sample if (keys := _json_keys(line)) is not None]}
    read["python"] = [keys for line in sample if (keys := _python_keys(line)) is not None] if 2 * len(read["json"]) < len(sample) else []
    syntax: Syntax = "json" if len(read["json"]) >= len(read["python"]) else "python"
    lines = read[syntax]
    known = ", ".join(f"{dialect.name} {dialect.role}" for dialect in DIALECTS)
    if not lines:
        raise SourceError(
            f"{path}: none of its first {len(sample):,} lines is a JSON object or a Python dictionary.",
            f"Known are {known}, one object a line. Check that the profile's source.{role} names the right file.",
        )
    fitting = [dialect for dialect in DIALECTS if 2 * sum(dialect.required <= keys for keys in lines) >= len(lines)]
    # Reviews carry `asin` too, so the metadata dialects fit them as well: what asks for more keys is the better fit.
    asked = max((len(dialect.required) for dialect in fitting), default=0)
    fitting = [dialect for dialect in fitting if len(dialect.required) == asked]
    right = [dialect for dialect in fitting if dialect.role == role]
    if not right:
        seen = Counter(key for keys in lines for key in keys)
        problem = f"holds {fitting[0].name} {fitting[0].role}" if fitting else "is of no known dialect"
        raise SourceError(
            f"{path}, named as source.{role}, {problem}; the keys of its lines are {', '.join(sorted(seen)[:20])}.",
            f"Known are {known}. Check the profile's source.reviews and source.metadata.",
        )
    best = max(right, key=lambda dialect: sum(len(dialect.marks & keys) for keys in lines))
    return Format(best, syntax)


def _json_keys(line: bytes) -> frozenset[str] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return frozenset(value) if isinstance(value, dict) else None


def _python_keys(line: bytes) -> frozenset[str] | None:
    converted, _ = to_json(line, None)
    return _json_keys(converted) if converted is not None else None
