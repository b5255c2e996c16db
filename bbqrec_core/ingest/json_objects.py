"""Reads a file that is one large JSON object, entry by entry: memory holds one entry at a time, and a key that is repeated shows.

Each entry comes with its place in the file. What entries mean does not belong here.
"""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.damage import DamagedSourceError
from bbqrec_core.ingest.decompress import DamagedFileError, read_chunks
from bbqrec_core.ingest.lines import BOM

MAX_ENTRY_CHARACTERS = 1 << 26
SPACE = " \t\r\n"
MARK = BOM.decode("utf-8")
BETWEEN_TOKENS = '[]{},:"' + SPACE


class Entry(NamedTuple):
    """A key and its value.

    Attributes:
        key: The key.
        value: The value.
        line: Physical line, from 1, on which the key begins; one line may hold many entries, and an entry span many lines.
        byte: Where the key begins in the decompressed file.
        raw: The entry's bytes, from its key to the end of its value.
    """

    key: str
    value: Any
    line: int
    byte: int
    raw: bytes

    @property
    def end(self) -> int:
        """Where the value ends in the decompressed file."""
        return self.byte + len(self.raw)


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


def read_entries(path: Path, upto: int | None = None) -> Iterator[Entry]:
    """Yield the entries of an object, in order.

    Args:
        path: A compressed or a plain file.
        upto: Read only so many decompressed bytes, and of those only whole entries; None reads all, and the object must be closed.

    Raises:
        DamagedSourceError: The file is cut or altered. What was given out before must then be thrown away.
        SourceError: The file is empty, no JSON object, or an entry is too large.
    """
    scanner = _Scanner(path, upto)
    found = 0
    try:
        for entry in scanner.entries():
            found += 1
            yield entry
    except DamagedFileError as damage:
        raise DamagedSourceError(path, damage, found, "entry") from None


class _BadTextError(Exception):
    """The text is no JSON object, whatever may follow."""


class _EndOfPartError(Exception):
    """What was to be read ends, and not with the object."""


class _Scanner:
    """A window on the text of a file, from the beginning of an entry on."""

    def __init__(self, path: Path, upto: int | None) -> None:
        self._path = path
        self._upto = upto
        self._chunks = read_chunks(path)
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder()
        self._read_bytes = 0
        self._text = ""
        self._place = 0
        self._start = 0  # of the entry, in the window
        self._line, self._byte = 1, 0  # where that is in the file

    def entries(self) -> Iterator[Entry]:
        try:
            yield from self._entries()
        except _EndOfPartError:
            return
        except (_BadTextError, UnicodeDecodeError) as error:
            if self._upto is None:
                for _ in self._chunks:  # that the file is damaged is the greater truth
                    pass
            if isinstance(error, UnicodeDecodeError):
                raise SourceError(f"{self._path} is not UTF-8: {error.reason}.", "Get the file again.") from None
            self._begin_entry()
            raise SourceError(
                f"{self._path} is not one JSON object: {error}, at or after line {self._line:,}, byte {self._byte:,}.",
                "Get the file again.",
            ) from None

    def _entries(self) -> Iterator[Entry]:
        self._next()
        self._place += self._text.startswith(MARK)
        self._expect("{")
        if self._next() == "}":
            self._place += 1
        else:
            while True:
                yield self._entry()
                if self._expect(",}") == "}":
                    break
        if self._next() or self._utf8.getstate()[0]:  # the beginning of a character is something, too
            raise _BadTextError("something follows the object")

    def _entry(self) -> Entry:
        self._next()
        self._begin_entry()
        key = self._value()
        if not isinstance(key, str):
            raise _BadTextError("a key is no text")
        self._expect(":")
        value = self._value()
        return Entry(key, value, self._line, self._byte, self._text[self._start : self._place].encode())

    def _begin_entry(self) -> None:
        """An entry begins here."""
        passed = self._text[self._start : self._place]
        self._line += passed.count("\n")
        self._byte += len(passed) if passed.isascii() else len(passed.encode())
        self._start = self._place

    def _more(self, least: int = 1) -> bool:
        """Let the window end further on, by so many characters if there are so many; False at the end of what is read."""
        parts = [self._text[self._start :]]
        found = 0
        while found < least and (chunk := self._chunk()):
            parts.append(self._utf8.decode(chunk))
            found += len(parts[-1])
        self._text = "".join(parts)
        self._place, self._start = self._place - self._start, 0
        return found > 0

    def _chunk(self) -> bytes:
        """What comes next of the file; empty at the end of what is to be read."""
        left = None if self._upto is None else self._upto - self._read_bytes
        chunk = next(self._chunks, b"")[:left] if left != 0 else b""  # what lies beyond is never touched
        self._read_bytes += len(chunk)
        return chunk

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
        if not found:
            raise self._end()
        if found not in characters:
            raise _BadTextError(f"there is {found!r} instead of {' or '.join(characters)}")
        self._place += 1
        return found

    def _value(self) -> Any:
        self._next()
        while True:
            problem, where = "", None  # characters of the value before it failed; None where what is there may go on
            try:
                value, end = self._json.raw_decode(self._text, self._place)
                if end < len(self._text) or not isinstance(value, int | float):  # a number may go on
                    self._check_length(end, problem)
                    self._place = end
                    return value
            except json.JSONDecodeError as error:
                problem, where = error.msg, None if error.msg.startswith("Unterminated") else error.pos - self._place
            except ValueError as error:  # a whole number of thousands of digits
                raise _BadTextError(str(error)) from None
            except RecursionError:
                raise _BadTextError("it is nested too deeply") from None
            self._check_length(len(self._text), problem)
            if not self._more(len(self._text) - self._place):  # twice as much: a long value is not to be parsed again and again
                is_cut = where is None or self._place + where >= self._last_token()
                raise self._end() if is_cut else _BadTextError(problem)

    def _check_length(self, end: int, problem: str) -> None:
        if end - self._place > MAX_ENTRY_CHARACTERS:
            why = f", or is no JSON ({problem})" if problem else ""
            raise _BadTextError(f"an entry is longer than {MAX_ENTRY_CHARACTERS:,} characters{why}")

    def _last_token(self) -> int:
        """Where the window's last token begins, which the end of the file may have cut."""
        text = self._text.rstrip(SPACE)
        return max(text.rfind(character) for character in BETWEEN_TOKENS) + 1

    def _end(self) -> Exception:
        if self._upto is not None:
            return _EndOfPartError()
        return DamagedFileError(
            f"is cut off: it ends at byte {self._read_bytes:,} of its text, in the middle of its JSON object", self._read_bytes
        )
