"""Cuts the lines of a CSV file into records.

A record may span lines, inside of quotes. One with a broken quote swallows whatever follows; so of a broken record only the first line is
rejected, and reading goes on with the second. Nearly all records are plain, though: a line each, whose quotes, if any, enclose whole
fields. Those are told by a pattern and parsed many at once; all others go, one by one, to a parser that knows the rest.

What fields mean does not belong here.

Source: RFC 4180.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from bbqrec_core.ingest.lines import EMPTY, TOO_LONG, LineBlock, LongLine, screen

LINES_PER_RECORD = 1_000
"""A record of more lines has a broken quote. Bounds how much is read again after one."""
BROKEN = "not a CSV record: a broken quote, or a carriage return outside of quotes"
FIELDS = "wrong number of fields"


class Record(NamedTuple):
    """A record that is not plain, or a line that is none.

    Attributes:
        number: Of its first line, from 1.
        byte: Offset of that in the decompressed file.
        raw: Its bytes.
        fields: Empty if it is none.
        problem: Why it is none; None if it is one.
        sha256: Of a line that is too long to be kept.
    """

    number: int
    byte: int
    raw: bytes
    fields: list[str]
    problem: str | None
    sha256: str | None


@dataclass(frozen=True)
class Records:
    """Records that begin in the same block of lines.

    Attributes:
        lines: The block, or one line that is too long to be in any.
        numbers: Line numbers of plain records, int64 [n].
        columns: The wanted fields of those by place among all fields, strings [n] each.
        misfits: Line numbers of plain records with a wrong number of fields, int64.
        others: All records that are not plain.
        end: Where the last record ends in the decompressed file.
    """

    lines: LineBlock | LongLine
    numbers: np.ndarray
    columns: dict[int, pa.Array]
    misfits: np.ndarray
    others: list[Record]
    end: int

    def __len__(self) -> int:
        return len(self.numbers) + len(self.misfits) + len(self.others)

    @property
    def first_line(self) -> int:
        """Number of the first line."""
        return self.lines.first_line if isinstance(self.lines, LineBlock) else self.lines.number

    def at(self, number: int) -> Record:
        """The plain record on a line, without its fields."""
        assert isinstance(self.lines, LineBlock)
        index = number - self.lines.first_line
        return Record(number, self.lines.first_byte + int(self.lines.starts[index]), self.lines.line(index), [], None, None)


class _Page:
    """A block of lines, or one that is too long to be in any, beside what is known of them."""

    def __init__(self, lines: LineBlock | LongLine) -> None:
        self.lines = lines
        self.size = len(lines) if isinstance(lines, LineBlock) else 1

    @cached_property
    def unfit(self) -> dict[int, str]:
        """Lines that can be no plain record, and why."""
        return {0: TOO_LONG} if isinstance(self.lines, LongLine) else screen(self.lines)

    @cached_property
    def bounds(self) -> list[int]:
        """Where lines begin, and where the last one ends."""
        return [] if isinstance(self.lines, LongLine) else [0, *self.lines.ends.tolist()]

    def line(self, index: int) -> Record:
        """A line, with its end; its text is its only field. Its problem is why the parser should not see it."""
        lines = self.lines
        if isinstance(lines, LongLine):
            return Record(lines.number, lines.byte, b"", [], TOO_LONG, lines.sha256)
        start, end = self.bounds[index], self.bounds[index + 1]
        raw = lines.data[start:end]
        problem = self.unfit.get(index)
        if problem is None or problem == EMPTY:  # which may be inside of quotes
            return Record(lines.first_line + index, lines.first_byte + start, raw, [raw.decode("utf-8")], None, None)
        return Record(lines.first_line + index, lines.first_byte + start, raw, [], problem, None)

    def plain(self, delimiter: str) -> np.ndarray:
        """Which lines are plain records, if a record begins with them, bool [n]."""
        if isinstance(self.lines, LongLine):
            return np.zeros(1, dtype=bool)
        lines = self.lines.strings().cast(pa.binary())
        plain = pc.match_substring_regex(lines, _plain_line(delimiter)).to_numpy(zero_copy_only=False)
        plain &= self.lines.ends - self.lines.starts <= csv.field_size_limit()
        plain[list(self.unfit)] = False
        return plain


def _plain_line(delimiter: str) -> str:
    """A pattern of lines whose quotes enclose whole fields, and that have no carriage return but at their end."""
    mark = re.escape(delimiter)
    field = rf'(?:[^"\r\n{mark}]*|"(?:[^"\r\n]|"")*")'
    return rf"\A{field}(?:{mark}{field})*\r?\n?\z"


class _UnfitLineError(Exception):
    """The parser asked for a line that it should not see, or for too many."""


class CsvLines(Iterator[str]):
    """The lines of a file. It is the parser's input, which it takes line by line, and remembers as many as a record may have.

    Args:
        blocks: As `read_lines` gives them.
    """

    def __init__(self, blocks: Iterator[LineBlock | LongLine]) -> None:
        self._blocks = blocks
        self._pages: list[_Page] = []
        self._page = 0
        self._index = 0
        self._taken: list[Record] = []
        self._width = 0

    def first(self) -> Record | None:
        """The first line as it is; its text is its only field. None if there is no line."""
        page = self._here()
        return page.line(self._index) if page else None

    def header(self, delimiter: str) -> Record:
        """The first record. All others must have as many fields.

        Raises:
            StopIteration: There is none.
        """
        self._delimiter = delimiter
        self._parser = csv.reader(self, delimiter=delimiter, strict=True)
        record = self._record()
        self._width = len(record.fields)
        return record

    def records(self, places: list[int]) -> Iterator[Records]:
        """All further records.

        Args:
            places: The wanted fields.
        """
        while page := self._here():
            plain = page.plain(self._delimiter)
            chosen = np.zeros(page.size, dtype=bool)
            others: list[Record] = []
            for stop in [*np.flatnonzero(~plain).tolist(), page.size]:
                if self._here() is not page:
                    break
                if stop > self._index:
                    chosen[self._index : stop] = True
                    self._index = stop
                if stop == self._index < page.size:
                    others.append(self._record())
            yield self._gather(page, np.flatnonzero(chosen), others, places)

    def _gather(self, page: _Page, chosen: np.ndarray, others: list[Record], places: list[int]) -> Records:
        lines, end = page.lines, others[-1].byte + len(others[-1].raw) if others else 0
        if not len(chosen):
            return Records(lines, chosen, {place: pa.array([], pa.string()) for place in places}, chosen, others, end)
        assert isinstance(lines, LineBlock)
        end = max(end, lines.first_byte + int(lines.ends[chosen[-1]]))
        columns, misfits = _parse_plain(_bytes_of(lines, chosen), self._delimiter, self._width, places)
        numbers = chosen + lines.first_line
        return Records(lines, np.delete(numbers, misfits), columns, numbers[misfits], others, end)

    def _record(self) -> Record:
        """The record that begins here.

        Of one that is broken, or spans lines and has another number of fields than the first, the first line is given as one that is none,
        and the others are read anew.
        """
        taken: list[Record] = []
        self._taken = taken
        problem: str | None = None
        fields: list[str] = []
        try:
            fields = next(self._parser)
        except csv.Error:
            problem = BROKEN
        except _UnfitLineError:
            problem = taken[0].problem or BROKEN
        first = taken[0]
        if problem is None and not fields:
            problem = EMPTY
        if len(taken) > 1:
            if problem is None and self._width and len(fields) != self._width:
                problem = BROKEN
            if problem is None:
                return first._replace(raw=_bare(b"".join(line.raw for line in taken)), fields=fields)
            self._go_back(len(taken) - 1)
            fields = []
        if problem is None and self._width and len(fields) != self._width:
            problem = FIELDS
        return first._replace(raw=_bare(first.raw), fields=fields, problem=problem)

    def __next__(self) -> str:
        page = self._here(forget=False)
        if page is None:
            raise StopIteration
        line = page.line(self._index)
        self._index += 1
        self._taken.append(line)
        if line.problem is not None or len(self._taken) > LINES_PER_RECORD:
            raise _UnfitLineError
        return line.fields[0]

    def _here(self, forget: bool = True) -> _Page | None:
        """The page that the next line is on; None at the end. Pages before it are forgotten where nobody will go back."""
        while self._page < len(self._pages) and self._index == self._pages[self._page].size:
            self._page, self._index = self._page + 1, 0
        if self._page == len(self._pages):
            lines = next(self._blocks, None)
            if lines is None:
                return None
            self._pages.append(_Page(lines))
        if forget and self._page:
            del self._pages[: self._page]
            self._page = 0
        return self._pages[self._page]

    def _go_back(self, lines: int) -> None:
        while lines > self._index:
            lines -= self._index
            self._page -= 1
            self._index = self._pages[self._page].size
        self._index -= lines


def _bytes_of(block: LineBlock, chosen: np.ndarray) -> pa.Buffer:
    """Some lines of a block, ends included, in one piece."""
    if len(chosen) == len(block):
        return pa.py_buffer(block.data).slice(0, int(block.ends[-1]))
    lines = block.strings().take(pa.array(chosen))
    _, offsets, data = lines.buffers()
    return data.slice(0, int(np.frombuffer(offsets, dtype=np.int32, count=len(lines) + 1)[-1]))


def _parse_plain(data: pa.Buffer, delimiter: str, width: int, places: list[int]) -> tuple[dict[int, pa.Array], np.ndarray]:
    """Parse plain records.

    Args:
        data: Their lines.
        delimiter: Between fields.
        width: How many fields they should have.
        places: The wanted fields.

    Returns:
        By place the fields of the records that have so many, strings; and which of the records, from 0, have not.
    """
    misfits: list[int] = []

    def skip(row: arrow_csv.InvalidRow) -> str:
        misfits.append(row.number - 1)
        return "skip"

    names = [str(place) for place in range(width)]
    wanted = [names[place] for place in places]
    table = arrow_csv.read_csv(
        pa.BufferReader(data),
        arrow_csv.ReadOptions(use_threads=False, block_size=data.size + 1, column_names=names),
        arrow_csv.ParseOptions(delimiter=delimiter, invalid_row_handler=skip, ignore_empty_lines=False),
        arrow_csv.ConvertOptions(check_utf8=False, column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted),
    )
    return {place: table[names[place]].combine_chunks() for place in places}, np.array(misfits, dtype=np.int64)


def _bare(raw: bytes) -> bytes:
    return raw.removesuffix(b"\n").removesuffix(b"\r")
