"""The records of a published split: a user and its items, in whichever of three ways the file is written.

- one JSON object, {user: [item, ...]} (`*.inter.json`);
- JSON lines, an object a line with a field of the user and one of the list;
- text, a line per user, which comes first (S3-Rec's `.txt`).

What becomes of the records does not belong here.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import SequencesConfig
from bbqrec_core.ingest.json_objects import read_entries
from bbqrec_core.ingest.lines import TOO_LONG, LineBlock, LongLine, read_lines, screen

SAMPLE_LINES = 500
Parse = Callable[[bytes], tuple[Any, Any, str | None]]
"""A line to user, items, and why they cannot be used."""


class Record(NamedTuple):
    """What a file says of a user.

    Attributes:
        user: The user's key, not yet looked at.
        items: Its items, not yet looked at.
        problem: Why they cannot be used; None if they may be.
        line: The physical line on which the record begins, from 1.
        byte: Where it begins in the decompressed file.
        end: Where it ends there.
        raw: Its bytes: its line, or its entry; empty if they are too long to be kept.
        sha256: Of a line that is too long to be kept.
    """

    user: Any
    items: Any
    problem: str | None
    line: int
    byte: int
    end: int
    raw: bytes
    sha256: str | None = None

    def digest(self) -> str:
        """SHA-256 of its bytes, hexadecimal."""
        return self.sha256 or hashlib.sha256(self.raw).hexdigest()


def object_records(path: Path, upto: int | None) -> Iterator[Record]:
    """Records of a file that is one JSON object."""
    for entry in read_entries(path, upto):
        yield Record(entry.key, entry.value, None, entry.line, entry.byte, entry.end, entry.raw)


def text_records(path: Path, upto: int | None) -> Iterator[Record]:
    """Records of a file with a user and its items a line, with spaces between them."""
    for block in read_lines(path, upto=upto):
        yield from _records(block, _split)


def json_line_records(path: Path, upto: int | None, config: SequencesConfig) -> Iterator[Record]:
    """Records of JSON lines.

    Raises:
        SourceError: It cannot be told which field is the user's and which holds the items.
    """
    parse: Parse | None = None
    for block in read_lines(path, upto=upto):
        if parse is None and isinstance(block, LineBlock):
            parse = _parser(*find_fields(path, block, config))
        yield from _records(block, parse or _split)


def _records(block: LineBlock | LongLine, parse: Parse) -> Iterator[Record]:
    if isinstance(block, LongLine):
        yield Record(None, None, TOO_LONG, block.number, block.byte, block.byte, b"", block.sha256)
        return
    unusable = screen(block)
    starts, ends = block.starts.tolist(), block.ends.tolist()
    for index in range(len(block)):
        line = block.line(index)
        user, items, problem = (None, None, unusable[index]) if index in unusable else parse(line)
        byte, end = block.first_byte + starts[index], block.first_byte + ends[index]
        yield Record(user, items, problem, block.first_line + index, byte, end, line)


def _split(line: bytes) -> tuple[Any, Any, str | None]:
    user, *items = line.decode("utf-8").split()
    return user, items, None


def _parser(user_field: str, items_field: str) -> Parse:
    def parse(line: bytes) -> tuple[Any, Any, str | None]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return None, None, "not JSON"
        if not isinstance(value, dict):
            return None, None, "not a JSON object"
        for field in (user_field, items_field):
            if value.get(field) is None:
                return None, None, f"no {field}"
        return value[user_field], value[items_field], None

    return parse


def find_fields(path: Path, block: LineBlock, config: SequencesConfig) -> tuple[str, str]:
    """Names of the fields of user and items: the profile's, or the only ones that it can be.

    Raises:
        SourceError: Several could be, or none.
    """
    lists: Counter[str] = Counter()
    scalars: Counter[str] = Counter()
    for index in range(min(len(block), SAMPLE_LINES)):
        try:
            value = json.loads(block.line(index))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            lists.update(key for key in value if isinstance(value[key], list))
            scalars.update(key for key in value if isinstance(value[key], str | int | float))
    there = list(lists | scalars)
    if not there:
        raise SourceError(
            f"{path}: none of its first lines is a JSON object with fields.",
            "source.sequences.sequences is *.inter.json, .txt, or JSON lines with a user and a list a line.",
        )
    items = _field(path, "items_field", config.items_field, [key for key in there if lists[key] > scalars[key]], there)
    user = _field(path, "user_field", config.user_field, [key for key in there if scalars[key] >= lists[key]], there)
    return user, items


def _field(path: Path, key: str, named: str | None, fitting: list[str], there: list[str]) -> str:
    kind = "list" if key == "items_field" else "text or number"
    if named is not None:
        if named not in there:
            raise SourceError(
                f"{path} has no field '{named}', which source.sequences.{key} names; there are: {', '.join(sorted(there))}.",
                f"Set source.sequences.{key} to the right one.",
            )
        return named
    if len(fitting) != 1:
        found = f"it has {len(fitting)} ({', '.join(fitting)})" if fitting else "it has none"
        raise SourceError(
            f"{path}: its objects must have one field that is a {kind}, but {found}; the fields are: {', '.join(sorted(there))}.",
            f"Name the right one in the profile: source.sequences.{key}.",
        )
    return fitting[0]
