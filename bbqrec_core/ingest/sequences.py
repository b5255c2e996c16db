"""Reads published research splits as they are: each user's items in order, which stands in for time.

What is counted of these files is not their lines but their entries: an interaction each, or a user of which nothing can be used. A reject
says on which physical line, and at which byte, its user's record begins. How files are written is in `sequence_records.py`; users and items
get other numbers by the seed later, as those of any source.
"""

import logging
from collections.abc import Iterator

import pyarrow as pa

from bbqrec_core import schema
from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import IngestConfig, SequencesConfig
from bbqrec_core.ingest.cut_files import read_or_use_beginning
from bbqrec_core.ingest.given_codes import read_given_codes
from bbqrec_core.ingest.intake import Books, Content, Intake, Reject
from bbqrec_core.ingest.item_names import ItemNames, as_name, name_problem, read_item_names
from bbqrec_core.ingest.json_objects import is_one_object
from bbqrec_core.ingest.sequence_items import read_sequence_items
from bbqrec_core.ingest.sequence_records import Record, json_line_records, object_records, text_records
from bbqrec_core.ingest.sources import SourceFiles
from bbqrec_core.ingest.tables import beginning
from bbqrec_core.progress import track

log = logging.getLogger(__name__)

ENTRIES_PER_BLOCK = 1 << 17
REPEATED = "user is repeated"
COLUMNS = pa.schema([("line", pa.int64()), (schema.USER_ID, pa.string()), (schema.ITEM_ID, pa.string()), (schema.TIMESTAMP, pa.int64())])


def read_sequences(books: Books, files: SourceFiles, split: SequencesConfig, config: IngestConfig, workers: int) -> None:
    """Read sequences, then what is known of items, then published codes.

    Args:
        books: Where to keep what is read.
        files: The files.
        split: Names the fields of JSON lines.
        config: How to treat cut files and rejects.
        workers: Processes for items that are Python literals.

    Raises:
        SourceError: A file is empty, damaged, or written in no known way; or a name or code is broken.
    """

    def one(key: str, content: Content) -> Intake | None:
        path = files.one(key)
        return None if path is None else books.open(path, files.name_of(path), content)

    names = read_item_names(one("sequences.item2id", "item names"), "item2id")
    of_codes = one("sequences.codes_item2id", "item names")
    names_of_codes = names if of_codes is None else read_item_names(of_codes, "codes_item2id")
    users: set[str] = set()
    for path in files.of("sequences.sequences"):
        _read_file(books, books.open(path, files.name_of(path), "interactions"), split, config, names, users)
    for path in files.of("sequences.items"):
        read_sequence_items(books, books.open(path, files.name_of(path), "items"), names, config, workers)
    codes = {name: one(f"sequences.{name}_codes", "codes") for name in schema.MODALITIES}
    read_given_codes(books.database, {name: intake for name, intake in codes.items() if intake is not None}, names_of_codes)


def _read_file(books: Books, intake: Intake, split: SequencesConfig, config: IngestConfig, names: ItemNames, users: set[str]) -> None:
    start = beginning(intake.path)
    if start.startswith(b"["):
        raise SourceError(
            f"{intake.path} is one JSON list, which names no users.",
            "source.sequences.sequences is *.inter.json, .txt, or JSON lines with a user and a list a line.",
        )
    found: set[str] = set()

    def read(records: Iterator[Record]) -> int:
        found.clear()
        return _gather(books, intake, records, names, users, found, config.keep_reject_text)

    if start.startswith(b"{") and is_one_object(beginning(intake.path, whole_line=True)):
        intake.format = "sequences, one JSON object"
        read_or_use_beginning(books, intake, config, lambda upto: read(object_records(intake.path, upto)), "interactions")
    elif start.startswith(b"{"):
        intake.format = "sequences, JSON lines"
        read_or_use_beginning(books, intake, config, lambda upto: read(json_line_records(intake.path, upto, split)), "interactions")
    else:
        intake.format = "sequences, text lines"
        read_or_use_beginning(books, intake, config, lambda upto: read(text_records(intake.path, upto)), "interactions")
    intake.tell()
    if not intake.lines:
        raise SourceError(f"{intake.path} holds no sequences.", "Get the file again, and compare its size with the published one.")
    users |= found
    log.info("%s: %s, %d users, %d interactions", intake.name, intake.format, len(found), intake.lines - intake.rejected.total())


def _gather(
    books: Books, intake: Intake, records: Iterator[Record], names: ItemNames, before: set[str], users: set[str], keep_text: bool
) -> int:
    """Gather interactions, reject what is none; returns where the last record ends."""
    entries: dict[str, list] = {name: [] for name in COLUMNS.names}
    rejects: list[Reject] = []
    end = 0

    def release() -> None:
        books.add(intake, pa.table(entries, schema=COLUMNS))
        books.reject(intake, rejects)
        for values in entries.values():
            values.clear()
        rejects.clear()

    for record in track(records, f"reading {intake.name}", unit="users"):
        end = record.end
        user = as_name(record.user) or ""
        problem = record.problem or _problem(record, user in before or user in users)
        bad: list[str] = []
        if problem is not None:
            intake.lines += 1
            bad.append(problem)
        else:
            users.add(user)
            for position, item in enumerate(record.items):
                intake.lines += 1
                name, problem = names.resolve(item)
                if problem is not None:
                    bad.append(problem)
                    continue
                for values, value in zip(entries.values(), (intake.lines, user, name, position), strict=True):
                    values.append(value)
        rejects += _rejects(record, bad, keep_text)
        if len(entries["line"]) + len(rejects) >= ENTRIES_PER_BLOCK:
            release()
    release()
    return end


def _problem(record: Record, repeated: bool) -> str | None:
    """Why nothing of a record can be used."""
    problem = name_problem(record.user, "user")
    if problem is None and repeated:
        problem = REPEATED
    if problem is None and not isinstance(record.items, list):
        problem = "items are no list"
    if problem is None and not record.items:
        problem = "no items"
    return problem


def _rejects(record: Record, reasons: list[str], keep_text: bool) -> list[Reject]:
    """A reject for each reason, with its record's place and hash; the record's text, which may be long, with the first alone."""
    if not reasons:
        return []
    digest = record.digest()
    text = record.raw.decode("utf-8", errors="replace").replace("\0", "�") if keep_text and record.sha256 is None else None
    first, *others = reasons
    return [
        Reject(record.line, record.byte, first, digest, text),
        *(Reject(record.line, record.byte, reason, digest) for reason in others),
    ]
