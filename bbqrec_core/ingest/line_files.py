"""Reads files of lines into DuckDB: lines are cut, screened, turned into JSON where needed, and parsed; what cannot be used is a reject.

Works some blocks at a time, so that neither memory nor disk ever holds a decompressed file. What parsed lines mean is said by queries in
sql/.
"""

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import IngestConfig
from bbqrec_core.ingest.cut_files import read_or_use_beginning
from bbqrec_core.ingest.database import Database
from bbqrec_core.ingest.intake import TABLES, Books, Intake
from bbqrec_core.ingest.line_batches import LineBatches
from bbqrec_core.ingest.lines import LineBlock, read_lines, screen
from bbqrec_core.ingest.literals import LiteralConverter
from bbqrec_core.progress import track

log = logging.getLogger(__name__)

SAMPLE_LINES = 500
BLOCKS_AT_ONCE = 16
"""Blocks that one query reads: while its threads parse some, another is decompressed. All are held until it is known which lines fail."""


@dataclass(frozen=True)
class LineFormat:
    """How the lines of a file are to be parsed.

    Attributes:
        name: In words.
        query: File in sql/ that parses the view `spool` (line, text): `line`, `reason` (null for a line of use), the columns of the
            content's table, and for interactions `folded`.
        parameters: Of the query.
        literal_keys: Where lines are Python literals: the keys that are of use; None where they are JSON.
    """

    name: str
    query: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    literal_keys: frozenset[str] | None = None


Recognise = Callable[[Sequence[bytes]], LineFormat]
"""Tells the format of a file from some of its first lines."""


def read_line_file(books: Books, intake: Intake, recognise: Recognise, config: IngestConfig, workers: int) -> None:
    """Read a file of lines into its content's table, its rejects into `rejects`.

    Args:
        books: Where to keep what is read.
        intake: The file.
        recognise: Tells its format.
        config: Says whether the beginning of a cut file is used, and whether rejects keep their text.
        workers: Processes for Python literals.

    Raises:
        SourceError: The file is empty, damaged, or in no format that `recognise` knows.
    """
    read_or_use_beginning(books, intake, config, lambda upto: _read(books, intake, recognise, config, workers, upto))
    intake.tell()


def _read(books: Books, intake: Intake, recognise: Recognise, config: IngestConfig, workers: int, upto: int | None) -> int:
    """Read a file, or its beginning; returns where the last line read ends."""
    form: LineFormat | None = None
    converter: LiteralConverter | None = None
    end = 0
    blocks = track(read_lines(intake.path, upto=upto), f"reading {intake.name}", unit="blocks")
    try:
        for first in blocks:
            if form is None and isinstance(first, LineBlock):
                form = recognise(_sample(first))
                intake.format = form.name
                log.info("%s: %s", intake.name, form.name)
                if form.literal_keys is not None:
                    converter = LiteralConverter(form.literal_keys, workers)
            batches = LineBatches(itertools.chain([first], itertools.islice(blocks, BLOCKS_AT_ONCE - 1) if form else ()), converter)
            if form is not None:
                _parse(books.database, intake, form, batches)
            else:
                batches.drain()  # a line too long to tell anything by
            intake.lines += batches.lines
            books.reject(intake, batches.rejects(config.keep_reject_text))
            end = max(end, batches.end)
    finally:
        if converter is not None:
            converter.close()
    if form is None and upto is None:
        raise SourceError(
            f"{intake.path} holds no lines that could be read.", "Get the file again, and compare its size with the published one."
        )
    return end


def _sample(block: LineBlock) -> list[bytes]:
    unusable = screen(block)
    usable = (index for index in range(len(block)) if index not in unusable)
    return [block.line(index) for index, _ in zip(usable, range(SAMPLE_LINES), strict=False)]


def _parse(database: Database, intake: Intake, form: LineFormat, batches: LineBatches) -> None:
    """Parse the usable lines of some blocks into their table, and note those that turn out to be none."""
    table, columns = TABLES[intake.content]
    names = ", ".join(columns.names[1:])
    try:
        with database.view("spool", batches.reader()):
            database.make("parsed", form.query, temporary=True, **form.parameters)
    except Exception:
        if batches.error is not None:
            raise batches.error from None
        raise
    database.execute(f"INSERT INTO {table} SELECT $number, {names} FROM parsed WHERE reason IS NULL", number=intake.number)
    if intake.content == "interactions":
        [(folded,)] = database.rows("SELECT count(*) FROM parsed WHERE reason IS NULL AND folded")
        intake.folded += folded
    batches.fail(database.rows("SELECT line, reason FROM parsed WHERE reason IS NOT NULL ORDER BY line"))
