"""Reads a table that is written as CSV: records are cut, counted and parsed; what is no record of the table is a reject.

A record may span lines, inside of quotes. One with a broken quote swallows whatever follows; so of a broken record only the first line is
rejected, and reading goes on with the second. What columns mean does not belong here.

Source: RFC 4180.
"""

import csv
import hashlib
import logging
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import IngestConfig
from bbqrec_core.ingest.cut_files import read_or_use_beginning
from bbqrec_core.ingest.intake import Books, Intake, Reject
from bbqrec_core.ingest.lines import TOO_LONG, LineBlock, LongLine, read_lines, screen
from bbqrec_core.ingest.table_rows import RECORDS_PER_BLOCK, TableQuery, parse_rows
from bbqrec_core.progress import track

log = logging.getLogger(__name__)

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
LINES_PER_RECORD = 1_000
"""A record of more lines has a broken quote. Bounds how much is read again after one."""
EMPTY = "empty line"
BROKEN = "not a CSV record: a broken quote, or a carriage return outside of quotes"
FIELDS = "wrong number of fields"
WHOLE_NUMBER = re.compile(r"([0-9]{1,16})\.0+")
LARGEST_EXACT = 1 << 53
"""Up to this a floating-point number tells whole numbers apart."""


class _Line(NamedTuple):
    """A physical line.

    Attributes:
        number: From 1.
        byte: Its offset in the decompressed file.
        raw: Its bytes, with its end; empty if it is too long to be kept.
        text: What the parser is given.
        problem: Why the parser should not see it; None if it may.
        sha256: Of a line that is too long.
    """

    number: int
    byte: int
    raw: bytes
    text: str
    problem: str | None
    sha256: str | None = None


class Record(NamedTuple):
    """A record, or a line that is none.

    Attributes:
        number: Of its first line.
        byte: Offset of that in the decompressed file.
        raw: Its bytes.
        fields: Empty if it is none.
        problem: Why it is none.
        sha256: Of a line that is too long to be kept.
    """

    number: int
    byte: int
    raw: bytes
    fields: list[str]
    problem: str | None
    sha256: str | None

    def reject(self, reason: str, keep_text: bool) -> Reject:
        """As an entry of the rejects table."""
        digest = self.sha256 or hashlib.sha256(self.raw).hexdigest()
        text = self.raw.decode("utf-8", errors="replace").replace("\0", "�") if keep_text and not self.sha256 else None
        return Reject(self.number, self.byte, reason, digest, text)


class _UnfitLineError(Exception):
    """The parser asked for a line that it should not see, or for too many."""


class _Feed(Iterator[str]):
    """Gives the parser line after line; lines can be put back."""

    def __init__(self, lines: Iterator[_Line]) -> None:
        self._lines = lines
        self._waiting: deque[_Line] = deque()
        self.taken: list[_Line] = []

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else next(self._lines)
        self.taken.append(line)
        if line.problem is not None or len(self.taken) > LINES_PER_RECORD:
            raise _UnfitLineError
        return line.text

    def put_back(self, lines: list[_Line]) -> None:
        self._waiting.extendleft(reversed(lines))


def read_csv_file(books: Books, intake: Intake, query: TableQuery, config: IngestConfig) -> None:
    """Read a CSV file with a header into its content's table, its rejects into `rejects`.

    Args:
        books: Where to keep what is read.
        intake: The file. Its lines are counted as records, the header aside.
        query: What is wanted of it.
        config: Says whether the beginning of a cut file is used, and whether rejects keep their text.

    Raises:
        SourceError: The file is damaged, its header cannot be read, or lacks a column.
    """
    read_or_use_beginning(books, intake, config, lambda upto: _read(books, intake, query, config.keep_reject_text, upto), "records")


def _read(books: Books, intake: Intake, query: TableQuery, keep_text: bool, upto: int | None) -> int:
    lines = _lines(intake, upto)
    first = next(lines, None)
    if first is None or first.problem is not None:
        problem = f"cannot be read: {first.problem}" if first else "is not there"
        raise SourceError(f"The header of {intake.path} {problem}.", "A CSV file begins with the names of its columns, in UTF-8.")
    try:
        delimiter = sniff(first.text, query.wanted)
    except csv.Error as error:
        bare = "\r" in first.text.removesuffix("\n").removesuffix("\r")
        raise SourceError(
            f"The header of {intake.path} cannot be read: {'its lines end with bare carriage returns' if bare else error}.",
            "Let lines end with a line feed: tr '\\r' '\\n' < FILE > NEW." if bare else "A CSV file begins with the names of its columns.",
        ) from None
    intake.format = f"CSV with {DELIMITERS[delimiter]}"
    feed = _Feed(lines)
    feed.put_back([first])
    records = read_records(feed, delimiter)
    header = next(records)
    names = [name.strip() for name in header.fields]
    query.require(intake.path, names)
    repeated = [name for name in query.wanted if names.count(name) > 1]
    if repeated:
        raise SourceError(f"{intake.path} has more than one column '{repeated[0]}'.", "Rename one of them in the file.")
    places = {name: names.index(name) for name in query.wanted}
    block: list[Record] = []
    end = header.byte + len(header.raw)
    for record in records:
        end = record.byte + len(record.raw)
        block.append(record)
        if len(block) == RECORDS_PER_BLOCK:
            _parse(books, intake, query, places, len(names), block, keep_text)
            block = []
    _parse(books, intake, query, places, len(names), block, keep_text)
    return end


def _parse(
    books: Books, intake: Intake, query: TableQuery, places: dict[str, int], width: int, block: list[Record], keep_text: bool
) -> None:
    rejected: list[tuple[Record, str]] = []
    good: list[Record] = []
    for record in block:
        if record.problem is not None:
            rejected.append((record, record.problem))
        elif len(record.fields) != width:
            rejected.append((record, FIELDS))
        else:
            good.append(record)
    intake.lines += len(block)
    if good:
        columns = {name: pa.array([record.fields[place] for record in good], pa.string()) for name, place in places.items()}
        for name in query.identifiers:
            columns[name] = pa.array([_identifier(value) for value in columns[name].to_pylist()], pa.string())
        by_number = {record.number: record for record in good}
        numbers = pa.array(by_number, pa.int64())
        rejected += [(by_number[number], reason) for number, reason, _ in parse_rows(books, intake, query, numbers, columns)]
    books.reject(intake, (record.reject(reason, keep_text) for record, reason in sorted(rejected, key=lambda pair: pair[0].number)))


def _identifier(text: str) -> str:
    """A name without spaces around it, and a whole number as JSON and Parquet have it, though a gap in its column made it `7.0`."""
    text = text.strip(" ")
    number = WHOLE_NUMBER.fullmatch(text)
    return str(int(number[1])) if number and int(number[1]) < LARGEST_EXACT else text


def sniff(header: str, wanted: list[str]) -> str:
    """The delimiter of a header: the one that gives most of the wanted columns, then the one that gives most columns."""

    def found(delimiter: str) -> tuple[int, int]:
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        return sum(name in names for name in wanted), len(names)

    return max(DELIMITERS, key=found)


def read_records(feed: _Feed, delimiter: str) -> Iterator[Record]:
    """Cut lines into records.

    Of a record that is broken, or spans lines and has another number of fields than the first, the first line is given as one that is none,
    and the others are read anew.
    """
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    width = 0
    while True:
        taken: list[_Line] = []
        feed.taken = taken
        problem: str | None = None
        fields: list[str] = []
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            problem = BROKEN
        except _UnfitLineError:
            problem = taken[0].problem or BROKEN
        first = taken[0]
        if problem is None and not fields:
            problem = EMPTY
        width = width or len(fields)
        if len(taken) == 1:
            yield Record(first.number, first.byte, _bare(first.raw), fields, problem, first.sha256)
            continue
        if problem is None and len(fields) != width:
            problem = BROKEN
        if problem is None:
            yield Record(first.number, first.byte, _bare(b"".join(line.raw for line in taken)), fields, None, None)
        else:
            feed.put_back(taken[1:])
            yield Record(first.number, first.byte, _bare(first.raw), [], problem, first.sha256)


def _bare(raw: bytes) -> bytes:
    return raw.removesuffix(b"\n").removesuffix(b"\r")


def _lines(intake: Intake, upto: int | None) -> Iterator[_Line]:
    path: Path = intake.path
    for block in track(read_lines(path, upto=upto), f"reading {intake.name}", unit="blocks"):
        if isinstance(block, LongLine):
            yield _Line(block.number, block.byte, b"", "", TOO_LONG, block.sha256)
        else:
            yield from _lines_of(block)


def _lines_of(block: LineBlock) -> Iterator[_Line]:
    problems = {index: problem for index, problem in screen(block).items() if problem != EMPTY}  # empty lines may be inside of quotes
    starts, ends = block.starts.tolist(), block.ends.tolist()
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        raw = block.data[start:end]
        problem = problems.get(index)
        text = raw.decode("utf-8") if problem is None else ""
        yield _Line(block.first_line + index, block.first_byte + start, raw, text, problem)
