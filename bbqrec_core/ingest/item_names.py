"""The names of a published split's items: its files number them, and `item2id` says which number is which item.

A split without that file names its items by their published numbers. Codes may come from another split, which numbers the same items
otherwise: `codes_item2id` says which is which there. What is read under these names does not belong here.
"""

import re
from pathlib import Path
from typing import Any

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.damage import DamagedSourceError
from bbqrec_core.ingest.intake import Intake
from bbqrec_core.ingest.lines import LongLine, read_lines, screen

CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def as_name(value: Any) -> str | None:
    """A user's or an item's key as text; None if it is neither text nor a whole number."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def name_problem(value: Any, what: str) -> str | None:
    """Why a key is no name, None if it is one."""
    name = as_name(value)
    if name is None:
        return f"{what} is neither text nor a whole number"
    if not name.strip():
        return f"{what} is empty"
    if CONTROL.search(name):
        return f"{what} holds control characters"
    try:
        name.encode()
    except UnicodeEncodeError:
        return f"{what} is not Unicode text"
    return None


class ItemNames:
    """Item names by published number.

    Attributes:
        by_number: None where items have no other names than their numbers.

    Args:
        key: What the profile calls the file of names, below `source.sequences`.
    """

    def __init__(self, by_number: dict[str, str] | None, key: str) -> None:
        self.by_number = by_number
        self._unknown = f"item is not in {key}"
        self._names = frozenset(by_number.values()) if by_number is not None else frozenset()

    def resolve(self, value: Any) -> tuple[str, str | None]:
        """The name of an item, and why it has none: an item is known by its number, or else by its name."""
        problem = name_problem(value, "item")
        if problem is not None:
            return "", problem
        key = as_name(value) or ""
        if self.by_number is None:
            return key, None
        name = self.by_number.get(key)
        if name is None and key in self._names:
            name = key
        return (name, None) if name is not None else ("", self._unknown)


def read_item_names(intake: Intake | None, key: str) -> ItemNames:
    """Read a file of names: an item's name and its number a line, with a tab or spaces between them.

    Args:
        intake: The file; None where the split has none.
        key: What the profile calls it, below `source.sequences`.

    Raises:
        SourceError: The file is damaged, a line is no such pair, or a name or number is repeated.
    """
    if intake is None:
        return ItemNames(None, key)
    intake.format = "item names, text lines"
    try:
        return ItemNames(_read(intake, key), key)
    except DamagedSourceError as error:  # no beginning of it will do: the items after the cut would have no names
        raise error.of_use_only_whole() from None


def _read(intake: Intake, key: str) -> dict[str, str]:
    path = intake.path
    by_number: dict[str, str] = {}
    names: set[str] = set()
    for block in read_lines(path):
        if isinstance(block, LongLine):
            raise _error(path, key, block.number, "it is longer than 16 MiB")
        intake.lines += len(block)
        unusable = screen(block)
        for index in range(len(block)):
            number_of_line = block.first_line + index
            if index in unusable:
                if unusable[index] == "empty line":
                    continue
                raise _error(path, key, number_of_line, f"{unusable[index]}")
            text = block.line(index).decode("utf-8")
            name, _, number = text.rpartition("\t") if "\t" in text else text.strip().rpartition(" ")
            name, number = name.strip(), number.strip()
            if not re.fullmatch(r"\d+", number) or name_problem(name, "name") is not None:
                raise _error(path, key, number_of_line, f"{text[:80]!r} is no name and number")
            if name in names or number in by_number:
                raise _error(path, key, number_of_line, f"{name if name in names else number} is repeated")
            names.add(name)
            by_number[number] = name
    if not by_number:
        raise SourceError(f"{path}, named as source.sequences.{key}, holds nothing.", "Get the file again.")
    return by_number


def _error(path: Path, key: str, line: int, problem: str) -> SourceError:
    return SourceError(
        f"{path}, line {line:,}: {problem}.",
        f"source.sequences.{key} holds an item's name and its number a line, with a tab between them.",
    )
