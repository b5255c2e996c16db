"""Reads any shop's own tables of interactions and items: Parquet, CSV or JSON lines, told by their content.

Which file is read by whom belongs here. How each kind is read is in `parquet_files.py`, `csv_files.py` and `line_files.py`; what a usable
row is, for all of them alike, in sql/parsed_table_*.sql.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import IngestConfig, TablesConfig
from bbqrec_core.ingest.csv_files import read_csv_file
from bbqrec_core.ingest.decompress import DamagedFileError, read_chunks
from bbqrec_core.ingest.intake import TABLES, Books, Content, Intake, Reject
from bbqrec_core.ingest.line_files import LineFormat, read_line_file
from bbqrec_core.ingest.lines import BOM, MAX_LINE_BYTES
from bbqrec_core.ingest.parquet_files import MAGIC, read_parquet_file
from bbqrec_core.ingest.sources import SourceFiles
from bbqrec_core.ingest.table_rows import TableQuery, interactions_query, items_query

log = logging.getLogger(__name__)

BAD_PATH = "image: its path leaves the folder of pictures"
DATES_AS_NUMBERS = (19_000_101, 21_001_231)


def read_tables(books: Books, files: SourceFiles, tables: TablesConfig, config: IngestConfig, workers: int) -> None:
    """Read all files of interactions, then all of items.

    Args:
        books: Where to keep what is read.
        files: The files.
        tables: How their columns are named, and the unit of times.
        config: How to treat cut files and rejects.
        workers: Not needed: nothing here is worth a process.

    Raises:
        SourceError: A file is empty, damaged, of no known kind, or lacks a column that the profile names.
    """
    contents: tuple[tuple[str, Content, TableQuery], ...] = (
        ("tables.interactions", "interactions", interactions_query(tables)),
        ("tables.items", "items", items_query(tables.item_columns)),
    )
    for key, content, query in contents:
        for path in files.of(key):
            read_table(books, books.open(path, files.name_of(path), content), query, config, workers)


def read_table(books: Books, intake: Intake, query: TableQuery, config: IngestConfig, workers: int) -> None:
    """Read one file, of whatever kind.

    Raises:
        SourceError: It is empty, damaged, of no known kind, lacks a column, or its times are none.
    """
    if _is_parquet(intake.path):
        read_parquet_file(books, intake, query, config)
    else:
        start = beginning(intake.path)
        if start.startswith(MAGIC):
            raise SourceError(f"{intake.path} is a Parquet file that was compressed once more.", "Unpack it: Parquet is compressed inside.")
        if start.startswith(b"["):
            raise SourceError(
                f"{intake.path} is one JSON list.",
                "Write one object a line: jq -c '.[]', or pandas' to_json(orient='records', lines=True).",
            )
        if start.startswith(b"{"):
            _read_json_lines(books, intake, query, config, workers)
        else:
            read_csv_file(books, intake, query, config)
    intake.tell()
    log.info("%s: %s, %d rows", intake.name, intake.format, intake.lines)
    if intake.content == "items":
        _drop_paths_outside(books, intake)
    else:
        _refuse_dates_as_numbers(books, intake)


def beginning(path: Path, whole_line: bool = False) -> bytes:
    """The first decompressed bytes of a file, from its first character on that is no space.

    Args:
        path: The file.
        whole_line: Go on until its first line is whole, and something of what follows it is there; or it is longer than any line that is
            read.

    Raises:
        SourceError: The file is empty, unreadable or in a foreign format.
    """
    start = bytearray()
    line_end = -1
    try:
        for chunk in read_chunks(path):
            searched = len(start)
            start += chunk if start else chunk.removeprefix(BOM).lstrip()
            if line_end < 0:
                line_end = start.find(b"\n", searched)
            done = len(start) > MAX_LINE_BYTES or (line_end >= 0 and not start[line_end:].isspace())
            if start and (done or not whole_line):
                break
    except DamagedFileError:
        pass  # whoever reads it in earnest says so
    return bytes(start)


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}.", "Check the file and its permissions.") from None


def _read_json_lines(books: Books, intake: Intake, query: TableQuery, config: IngestConfig, workers: int) -> None:
    keys: set[str] = set()

    def recognise(sample: Sequence[bytes]) -> LineFormat:
        keys.update(*(_keys(line) for line in sample))
        if not keys:
            raise SourceError(
                f"{intake.path}: none of its first {len(sample):,} lines is a JSON object with keys.", "JSON lines hold one object a line."
            )
        query.require(intake.path, keys, required_only=True)
        return LineFormat("JSON lines", query.query, query.parameters)

    read_line_file(books, intake, recognise, config, workers)
    for key in query.missing(keys):  # may be rare, and be found further down
        columns = ("image_urls", "image_path") if key == "image" else (key,)
        counts = ", ".join(f"count({column})" for column in columns)
        [found] = books.database.rows(f"SELECT {counts} FROM {TABLES[intake.content][0]} WHERE file = $number", number=intake.number)
        if not any(found):
            raise query.error(intake.path, key, keys)


def _keys(line: bytes) -> list[str]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return []
    return list(value) if isinstance(value, dict) else []


def _refuse_dates_as_numbers(books: Books, intake: Intake) -> None:
    """See that times are not dates written as numbers: 20180630 s after 1970 began, it was August.

    Raises:
        SourceError: All are.
    """
    of_file = "FROM read_interactions WHERE file = $number"
    [(first, last)] = books.database.rows(f"SELECT min(timestamp), max(timestamp) {of_file}", number=intake.number)
    least, most = DATES_AS_NUMBERS
    if first is None or first < least or last > most:
        return
    is_none = "try_strptime(CAST(timestamp AS VARCHAR), '%Y%m%d') IS NULL"
    [(others,)] = books.database.rows(f"SELECT count(*) {of_file} AND {is_none}", number=intake.number)
    if not others:
        raise SourceError(
            f"{intake.path}: its times, {first} to {last}, are dates written as numbers. As seconds since 1970 they would all lie in "
            "August of that year.",
            "Write them as text, such as 2018-06-30, or as seconds since 1970.",
        )


def _drop_paths_outside(books: Books, intake: Intake) -> None:
    """Forget paths of pictures that lead out of their folder. The items stay; each path is a reject that is no line."""
    outside = (
        r"file = $number AND (regexp_matches(image_path, '^([/\\~]|[A-Za-z]:)') "
        r"OR list_contains(regexp_split_to_array(image_path, '[/\\]'), '..'))"
    )
    found = books.database.rows(f"SELECT image_path FROM read_items WHERE {outside} ORDER BY line", number=intake.number)
    if found:
        log.warning("%s: %d paths of pictures leave the folder of pictures, such as %s", intake.name, len(found), found[0][0])
        books.reject(intake, (Reject(None, None, BAD_PATH) for _ in found))
        books.database.execute(f"UPDATE read_items SET image_path = NULL WHERE {outside}", number=intake.number)
