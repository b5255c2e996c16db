"""Reads a table that is written as CSV: what is no record of the table is a reject.

How lines are cut into records is in `csv_records.py`, what a usable row is in sql/parsed_table_*.sql.
"""

import csv
import hashlib
import logging
import re
from bisect import bisect_right

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import IngestConfig
from bbqrec_core.ingest.csv_records import FIELDS, CsvLines, Record, Records
from bbqrec_core.ingest.cut_files import read_or_use_beginning
from bbqrec_core.ingest.intake import Books, Intake, Reject
from bbqrec_core.ingest.lines import read_lines
from bbqrec_core.ingest.table_rows import RECORDS_PER_BLOCK, TableQuery, parse_rows
from bbqrec_core.progress import track

log = logging.getLogger(__name__)

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
WHOLE_NUMBER = re.compile(r"([0-9]{1,16})\.0+")
LARGEST_EXACT = 1 << 53
"""Up to this a floating-point number tells whole numbers apart."""


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
    lines = CsvLines(iter(track(read_lines(intake.path, upto=upto), f"reading {intake.name}", unit="blocks")))
    first = lines.first()
    if first is None or first.problem is not None:
        problem = f"cannot be read: {first.problem}" if first else "is not there"
        raise SourceError(f"The header of {intake.path} {problem}.", "A CSV file begins with the names of its columns, in UTF-8.")
    [text] = first.fields
    try:
        delimiter = sniff(text, query.wanted)
    except csv.Error as error:
        bare = "\r" in text.removesuffix("\n").removesuffix("\r")
        raise SourceError(
            f"The header of {intake.path} cannot be read: {'its lines end with bare carriage returns' if bare else error}.",
            "Let lines end with a line feed: tr '\\r' '\\n' < FILE > NEW." if bare else "A CSV file begins with the names of its columns.",
        ) from None
    intake.format = f"CSV with {DELIMITERS[delimiter]}"
    header = lines.header(delimiter)
    names = [name.strip() for name in header.fields]
    query.require(intake.path, names)
    repeated = [name for name in query.wanted if names.count(name) > 1]
    if repeated:
        raise SourceError(f"{intake.path} has more than one column '{repeated[0]}'.", "Rename one of them in the file.")
    places = {name: names.index(name) for name in query.wanted}
    end = header.byte + len(header.raw)
    batch: list[Records] = []
    for records in lines.records(list(places.values())):
        end = records.end
        batch.append(records)
        if sum(map(len, batch)) >= RECORDS_PER_BLOCK:
            _parse(books, intake, query, places, batch, keep_text)
            batch = []
    _parse(books, intake, query, places, batch, keep_text)
    return end


def _parse(books: Books, intake: Intake, query: TableQuery, places: dict[str, int], batch: list[Records], keep_text: bool) -> None:
    """Gather what can be used of some records, and reject the others."""
    intake.lines += sum(map(len, batch))
    others = [record for records in batch for record in records.others]
    rejected = [record for record in others if record.problem is not None]
    rejected += [records.at(number)._replace(problem=FIELDS) for records in batch for number in records.misfits.tolist()]
    good = {record.number: record for record in others if record.problem is None}
    numbers = pa.array(np.concatenate([*(records.numbers for records in batch), np.array(list(good), dtype=np.int64)]))
    if len(numbers):
        columns = {
            name: pa.concat_arrays(
                [
                    *(records.columns[place] for records in batch),
                    pa.array([record.fields[place] for record in good.values()], pa.string()),
                ]
            )
            for name, place in places.items()
        }
        for name in query.identifiers:
            columns[name] = _identifiers(columns[name])
        first_lines = [records.first_line for records in batch]
        for number, reason, _ in parse_rows(books, intake, query, numbers, columns):
            record = good.get(number) or batch[bisect_right(first_lines, number) - 1].at(number)
            rejected.append(record._replace(problem=reason))
    books.reject(intake, (_reject(record, keep_text) for record in sorted(rejected, key=lambda record: record.number)))


def _reject(record: Record, keep_text: bool) -> Reject:
    digest = record.sha256 or hashlib.sha256(record.raw).hexdigest()
    text = record.raw.decode("utf-8", errors="replace").replace("\0", "�") if keep_text and not record.sha256 else None
    return Reject(record.number, record.byte, record.problem or "", digest, text)


def _identifiers(names: pa.Array) -> pa.Array:
    """Names of users or items as other formats have them."""
    names = pc.utf8_trim(names, " ")
    numbers = pc.match_substring_regex(names, rf"\A{WHOLE_NUMBER.pattern}\z")
    changed = pa.array([_identifier(name) for name in names.filter(numbers).to_pylist()], pa.string())
    return pc.replace_with_mask(names, numbers, changed) if len(changed) else names


def _identifier(name: str) -> str:
    """A whole number as JSON and Parquet have it, though a gap in its column made it `7.0`."""
    number = WHOLE_NUMBER.fullmatch(name)
    return str(int(number[1])) if number and int(number[1]) < LARGEST_EXACT else name


def sniff(header: str, wanted: list[str]) -> str:
    """The delimiter of a header: the one that gives most of the wanted columns, then the one that gives most columns."""

    def found(delimiter: str) -> tuple[int, int]:
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        return sum(name in names for name in wanted), len(names)

    return max(DELIMITERS, key=found)
