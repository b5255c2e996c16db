"""Reads a file that is one large JSON object, entry by entry: memory holds one entry at a time, and a key that is repeated shows.

What the entries mean does not belong here.
"""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.decompress import DamagedFileError, read_chunks
from bbqrec_core.ingest.lines import BOM

MAX_ENTRY_CHARACTERS = 1 << 26
SPACE = " \t\r\n"


def is_one_object(beginning: bytes) -> bool:
    """Whether a file that begins so, with a brace, is one JSON object of lists or objects, and not JSON lines.

    Args:
        beginning: With the whole first line, unless it is longer than any line that is read.
    """
    found: list[dict[str, Any]] = []
    for line in beginning.split(b"\n", 1000)[:1000]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
        if len(found) > 1:
            return False
    values = list(found[0].values()) if found else []
    # A line's object has a field for its user or item; of the entries of one large object, few are broken.
    return not values or 3 * sum(not isinstance(value, list | dict) for value in values) < len(values)


def read_entries(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield key and value of each entry, in order.

    Raises:
        SourceError: The file is empty, damaged, no JSON object, or an entry is too large.
    """
    try:
        yield from _Scanner(path).entries()
    except DamagedFileError as damage:
        raise SourceError(f"{path} {damage.problem}. Nothing of the file was used.", "Get the file again.") from None
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8: {error.reason}.", "Get the file again.") from None


class _Scanner:
    """A window on the text of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._chunks = read_chunks(path)
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._place = 0
        self._before = 0  # characters that the window has left behind
        self._more()
        self._text = self._text.removeprefix(BOM.decode("utf-8"))

    def entries(self) -> Iterator[tuple[str, Any]]:
        self._expect("{")
        if self._next() == "}":
            self._place += 1
        else:
            while True:
                key = self._value()
                if not isinstance(key, str):
                    raise self._error("a key is no text")
                self._expect(":")
                yield key, self._value()
                if self._expect(",}") == "}":
                    break
        if self._next():
            raise self._error("something follows the object")

    def _more(self) -> bool:
        """Move the window on; False at the end of the file."""
        chunk = next(self._chunks, None)
        text = self._decode.decode(chunk or b"", final=chunk is None)
        self._before += self._place
        self._text, self._place = self._text[self._place :] + text, 0
        return chunk is not None

    def _next(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self._place < len(self._text):
                if self._text[self._place] not in SPACE:
                    return self._text[self._place]
                self._place += 1
            if not self._more():
                return ""

    def _expect(self, characters: str) -> str:
        found = self._next()
        if not found or found not in characters:
            raise self._error(f"there is {found!r} instead of {' or '.join(characters)}" if found else "the file ends too early")
        self._place += 1
        return found

    def _value(self) -> Any:
        self._next()
        while True:
            problem = "the file ends too early"
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
                if end < len(self._text):  # else a number may go on
                    self._place = end
                    return value
            except ValueError as error:
                problem = str(error)
            except RecursionError:
                raise self._error("it is nested too deeply") from None
            if len(self._text) - self._place > MAX_ENTRY_CHARACTERS:
                raise self._error(f"an entry is longer than {MAX_ENTRY_CHARACTERS:,} characters, or is no JSON ({problem})")
            if not self._more():
                raise self._error(problem)

    def _error(self, problem: str) -> SourceError:
        place = self._before + self._place
        return SourceError(f"{self._path} is not one JSON object: {problem}, at or after character {place:,}.", "Get the file again.")
