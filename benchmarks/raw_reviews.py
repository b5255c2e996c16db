"""Makes raw reviews in Amazon's 2018 format, of any number: the same for the same seed, and never more of them in memory than a block.

Lines are as long as real ones and compress as well; their words mean nothing. Broken lines and duplicates are planted and counted. What
is done with the file does not belong here.
"""

import gzip
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from isal import igzip_threaded

SEED = 2026

LENGTH_QUANTILES = {
    0.0: 225, 0.01: 317, 0.05: 374, 0.1: 443, 0.15: 511, 0.2: 577, 0.25: 650, 0.3: 725, 0.4: 887, 0.5: 1063, 0.6: 1272, 0.7: 1567,
    0.75: 1745, 0.8: 1962, 0.85: 2292, 0.9: 2689, 0.95: 3445, 0.98: 4578, 0.99: 5535, 0.995: 6049, 0.999: 9328, 1.0: 14548,
}  # fmt: skip
"""Bytes of a line, line feed left out, measured on the Amazon 2014 Digital Music 5-core reviews (mean 1,383)."""
FILE_BYTES_PER_LINE = 540
"""Of the compressed file, on average and rounded up: for the question whether a disk has room."""

LINES_PER_BLOCK = 20_000
REVIEWS_PER_USER = 8
REVIEWS_PER_ITEM = 20
DUPLICATE_SHARE = 0.01
LINES_PER_BROKEN_ONE = 10_000
METADATA_ITEMS = 2000

_POOL_BYTES = 1 << 24
_WORDS = 6000
_COMMONNESS = 8.0
_PADDING = b"and so on " * 8
_LETTERS = np.frombuffer(b"eeeeeeaaaaaooooiiiinnnnttttssssrrrrhhhlllddduuccmmffppggwybvk", dtype=np.uint8)
_ESCAPES = (b'\\"so\\" ', b"caf\\u00e9 ", b"na\xc3\xafve ", b"\\n", b"\xe2\x80\x94 ", b"AC\\/DC ")
_SUMMARIES = (b"Five Stars", b"Good", b"Not for me", b'A \\"must\\"', b"Worth it", b"Tr\xc3\xa8s bien")
_FIRST_TIME, _DAYS, _SECONDS_PER_DAY = 1_104_537_600, 4900, 86_400  # 2005 to 2018
_LINE = (
    b'{"overall": %d.0, "verified": %b, "reviewTime": "%b", "reviewerID": "A%013X", "asin": "B%09X", '
    b'"reviewerName": "%b", "reviewText": "%b%b", "summary": "%b", "unixReviewTime": %d}\n'
)
_FRAME_BYTES = len(_LINE % (5, b"true", b"01 01, 2005", 0, 0, b"", b"", b"", b"", _FIRST_TIME)) - 1


@dataclass(frozen=True)
class Planted:
    """What a file holds, to be compared with what ingest says of it.

    Attributes:
        lines: Physical lines.
        broken: Those of them that cannot be used.
        duplicates: Usable lines beyond the first of the same user on the same item.
        text_bytes: Bytes of the decompressed file.
    """

    lines: int
    broken: int
    duplicates: int
    text_bytes: int


def line_lengths(uniform: np.ndarray) -> np.ndarray:
    """Lengths of lines in bytes for random numbers between 0 and 1, int64 [n]."""
    return np.interp(uniform, list(LENGTH_QUANTILES), list(LENGTH_QUANTILES.values())).astype(np.int64)


def write_reviews(path: Path, lines: int, seed: int = SEED) -> Planted:
    """Write a gzip of reviews, of a single member as the published ones are.

    Args:
        path: File to write.
        lines: How many.
        seed: Same seed and number, same text.
    """
    maker = _Maker(lines, seed)
    pairs: list[np.ndarray] = []
    text_bytes = 0
    with igzip_threaded.open(path, "wb", compresslevel=2, threads=1) as file:
        for first in range(0, lines, LINES_PER_BLOCK):
            text, usable = maker.block(first, min(LINES_PER_BLOCK, lines - first))
            file.write(text)
            text_bytes += len(text)
            pairs.append(usable)
    usable = np.concatenate(pairs)
    return Planted(lines, lines - len(usable), len(usable) - len(np.unique(usable)), text_bytes)


def write_metadata(path: Path, items: int = METADATA_ITEMS) -> None:
    """Write a gzip of metadata for a few items, those that are reviewed most."""
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        for number in range(items):
            listing = {
                "category": ["Digital Music", "Pop", f"Shelf {number % 37}"],
                "description": [f"Record number {number}.", "Two sides."],
                "title": f"Record {number}",
                "brand": f"Label {number % 101}",
                "price": f"${number % 30}.99",
                "asin": f"B{int(_scrambled(np.array([number]), 36)[0]):09X}",
                "main_cat": "Music",
            }
            file.write(json.dumps(listing) + "\n")


class _Maker:
    """Makes blocks of lines. Texts are cut out of one long text, at the beginnings of words, so that no escape is cut in two."""

    def __init__(self, lines: int, seed: int) -> None:
        self._seed = seed
        self._users = max(1, lines // REVIEWS_PER_USER)
        self._items = max(1, lines // REVIEWS_PER_ITEM)
        self._first_broken = min(lines, LINES_PER_BROKEN_ONE) // 2
        random = np.random.default_rng([seed, 0])
        words = [
            _LETTERS[random.integers(0, len(_LETTERS), length)].tobytes() + b" "
            for length in np.minimum(1 + random.geometric(0.25, _WORDS), 14).tolist()
        ]
        self._names = [word.strip().title() for word in words[200:400]]
        words[97 : 97 + len(_ESCAPES)] = _ESCAPES
        ranks = (_WORDS * random.random(_POOL_BYTES // 5) ** _COMMONNESS).astype(np.int64)
        self._text = b"".join([words[rank] for rank in ranks.tolist()])
        lengths = np.array([len(word) for word in words])[ranks]
        self._starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)[:-1]])
        self._usable_starts = int(np.searchsorted(self._starts, len(self._text) - 2 * max(LENGTH_QUANTILES.values())))
        days = (datetime.fromtimestamp(_FIRST_TIME + day * _SECONDS_PER_DAY, UTC) for day in range(_DAYS))
        self._dates = [day.strftime("%m %d, %Y").encode() for day in days]

    def block(self, first: int, count: int) -> tuple[bytes, np.ndarray]:
        """Lines from number `first`, counted from 0, and for each usable one its user and item as one number, int64 [n]."""
        random = np.random.default_rng([self._seed, 1, first])
        # Few users write much and few items are reviewed often, as in reality.
        users = (self._users * random.random(count) ** 1.5).astype(np.int64)
        items = (self._items * random.random(count) ** 2.0).astype(np.int64)
        again = np.flatnonzero(random.random(count) < DUPLICATE_SHARE)
        earlier = (again * random.random(len(again))).astype(np.int64)
        users[again], items[again] = users[earlier], items[earlier]
        ratings = 5 - (5 * random.random(count) ** 3).astype(np.int64)
        days = random.integers(0, _DAYS, count)
        verified = random.integers(0, 5, count)
        names = random.integers(0, len(self._names), count)
        summaries = random.integers(0, len(_SUMMARIES), count)
        frames = _FRAME_BYTES + (verified == 0) + _lengths(self._names)[names] + _lengths(_SUMMARIES)[summaries]
        lengths = np.maximum(line_lengths(random.random(count)) - frames, 0)
        starts = self._starts[random.integers(0, self._usable_starts, count)]
        ends = self._starts[np.searchsorted(self._starts, starts + lengths, side="right") - 1]
        fields = zip(
            ratings.tolist(),
            verified.tolist(),
            days.tolist(),
            _scrambled(users, 52).tolist(),
            _scrambled(items, 36).tolist(),
            names.tolist(),
            starts.tolist(),
            ends.tolist(),
            (starts + lengths - ends).tolist(),
            summaries.tolist(),
            strict=True,
        )
        lines = [
            _LINE
            % (
                rating,
                b"true" if bought else b"false",
                self._dates[day],
                user,
                item,
                self._names[name],
                self._text[start:end],
                _PADDING[:padding],
                _SUMMARIES[summary],
                _FIRST_TIME + day * _SECONDS_PER_DAY,
            )
            for rating, bought, day, user, item, name, start, end, padding, summary in fields
        ]
        # In the middle, not among the first lines, by which loaders learn what a file holds.
        broken = range((self._first_broken - first) % LINES_PER_BROKEN_ONE, count, LINES_PER_BROKEN_ONE)
        for index in broken:
            lines[index] = _broken(lines[index], first + index)
        usable = np.ones(count, dtype=bool)
        usable[list(broken)] = False
        return b"".join(lines), (users << 32 | items)[usable]


def _broken(line: bytes, number: int) -> bytes:
    middle = line.index(b'"reviewText": "') + len(b'"reviewText": "')
    kinds = (
        line[:middle] + b"\n",
        line.replace(b'"asin"', b'"asni"', 1),
        line[:middle] + b"caf\xe9 " + line[middle:],
        line[:middle] + b"\0" + line[middle:],
    )
    return kinds[number // LINES_PER_BROKEN_ONE % len(kinds)]


def _scrambled(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Numbers that look like names: each below 2**bits and each another's, since the factor is odd."""
    return (numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) & np.uint64((1 << bits) - 1)).astype(np.int64)


def _lengths(texts: list[bytes] | tuple[bytes, ...]) -> np.ndarray:
    return np.array([len(text) for text in texts])
