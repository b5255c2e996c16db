"""Reads what a published split knows of its items: `.item.json`, {item: {title, brand, ...}}, or JSON lines.

Items get the names that they have in the interactions.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import IngestConfig, ItemColumns
from bbqrec_core.ingest.cut_files import read_or_use_beginning
from bbqrec_core.ingest.dialects import recognise
from bbqrec_core.ingest.intake import Books, Intake, Reject
from bbqrec_core.ingest.item_names import ItemNames
from bbqrec_core.ingest.json_objects import Entry, is_one_object, read_entries
from bbqrec_core.ingest.line_files import LineFormat, read_line_file
from bbqrec_core.ingest.table_rows import RECORDS_PER_BLOCK, items_query, parse_texts
from bbqrec_core.ingest.tables import beginning

ITEM = "item_id"
COLUMNS = ItemColumns(
    item_id=ITEM, title="title", brand="brand", categories="categories", description="description", price="price", image="image"
)
QUERY = items_query(COLUMNS, "source.sequences.items")


def read_sequence_items(books: Books, intake: Intake, names: ItemNames, config: IngestConfig, workers: int) -> None:
    """Read a file of items into `read_items`.

    Raises:
        SourceError: It is empty, damaged, or written in no known way.
    """
    if is_one_object(beginning(intake.path, whole_line=True)):
        intake.format = "items, one JSON object"
        read_or_use_beginning(
            books, intake, config, lambda upto: _read_object(books, intake, names, config.keep_reject_text, upto), "items"
        )
        intake.tell()
        return

    by_item_id = False

    def recognise_lines(sample: Sequence[bytes]) -> LineFormat:
        nonlocal by_item_id
        by_item_id = 2 * sum(_has_item_id(line) for line in sample) > len(sample)
        return LineFormat("items, JSON lines", QUERY.query, QUERY.parameters) if by_item_id else _dialect(sample, intake.path)

    read_line_file(books, intake, recognise_lines, config, workers)
    if by_item_id and names.by_number is not None:
        table = pa.table({"number": list(names.by_number), "name": list(names.by_number.values())})
        with books.database.view("item_names", table):
            books.database.execute(
                "UPDATE read_items SET item_id = item_names.name FROM item_names WHERE file = $file AND item_id = item_names.number",
                file=intake.number,
            )


def _read_object(books: Books, intake: Intake, names: ItemNames, keep_text: bool, upto: int | None) -> int:
    """Read a file that is one JSON object, or its beginning; returns where the last entry read ends."""
    block: dict[int, Entry] = {}
    texts: list[str] = []
    rejects: list[Reject] = []
    end = 0

    def reject(entry: Entry, reason: str) -> None:
        text = entry.raw.decode("utf-8") if keep_text else None
        rejects.append(Reject(entry.line, entry.byte, reason, hashlib.sha256(entry.raw).hexdigest(), text))

    def parse() -> None:
        for number, reason, _ in parse_texts(books, intake, QUERY, pa.array(block, pa.int64()), pa.array(texts, pa.string())):
            reject(block[number], reason)
        books.reject(intake, sorted(rejects, key=lambda row: row.byte or 0))
        block.clear()
        texts.clear()
        rejects.clear()

    for entry in read_entries(intake.path, upto):
        intake.lines += 1
        end = entry.end
        name, problem = names.resolve(entry.key)
        if problem is None and not isinstance(entry.value, dict):
            problem = "not a JSON object"
        if problem is not None:
            reject(entry, problem)
        else:
            block[intake.lines] = entry
            texts.append(json.dumps({**entry.value, ITEM: name}))
        if len(block) + len(rejects) >= RECORDS_PER_BLOCK:
            parse()
    parse()
    return end


def _has_item_id(line: bytes) -> bool:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and ITEM in value


def _dialect(sample: Sequence[bytes], path: Path) -> LineFormat:
    try:
        return recognise(sample, "metadata", path)
    except SourceError as error:
        raise SourceError(
            f"{path}, named as source.sequences.items, holds neither {{item: {{title, ...}}}}, nor JSON lines with an {ITEM}, nor Amazon's "
            f"metadata. {error.problem}",
            "Name another file, or none.",
        ) from None
