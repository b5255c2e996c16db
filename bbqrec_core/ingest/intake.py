"""The books of the stage: which files were read, what became of their lines, and where the lines that are of use are gathered.

How files are read does not belong here; every reader, whatever its source, keeps these books.
"""

import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa

from bbqrec_core import schema
from bbqrec_core.ingest.database import Database

log = logging.getLogger(__name__)

Content = Literal["interactions", "items", "item names", "codes"]
"""What a file holds; of the last two, which belong to published splits, no line may be broken, and none is gathered here."""
READ_INTERACTIONS = pa.schema(
    [
        ("file", pa.int32()),  # number of the file, in the order of reading
        ("line", pa.int64()),
        (schema.USER_ID, pa.string()),
        (schema.ITEM_ID, pa.string()),
        (schema.RATING, pa.float32()),
        (schema.TIMESTAMP, pa.int64()),
    ]
)
READ_ITEMS = pa.schema(
    [
        ("file", pa.int32()),
        ("line", pa.int64()),
        (schema.ITEM_ID, pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("categories", pa.list_(pa.string())),  # as written, not yet cleaned
        ("description", pa.string()),
        ("price", pa.string()),
        ("image_urls", pa.list_(pa.string())),
        ("image_path", pa.string()),  # relative to the folder of pictures
    ]
)
TABLES: dict[Content, tuple[str, pa.Schema]] = {
    "interactions": ("read_interactions", READ_INTERACTIONS),
    "items": ("read_items", READ_ITEMS),
}
"""By content: the table that gathers its usable lines, and its columns."""
REJECTS = schema.REJECTS.append(pa.field("number", pa.int32()))
"""The table `rejects`: what is written, and the number of the file, which may be there twice; null for pictures."""
REJECTS_AT_ONCE = 1 << 14
"""Rejects that are held as Python objects."""
TOP_REASONS = 5


@dataclass
class Intake:
    """What became of a file's lines.

    Attributes:
        number: Place among the files of the run; stands for the file in tables.
        path: The file.
        name: Its name in tables.
        content: What it holds.
        format: How it is written, in words; empty until that is known.
        lines: Physical lines read; rows or entries, where the file has no lines.
        rejected: Lines that cannot be used, by reason.
        folded: Interactions with a variant that were counted for the item it belongs to.
        damage: What is wrong with a file that is used only in part.
    """

    number: int
    path: Path
    name: str
    content: Content
    format: str = ""
    lines: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    folded: int = 0
    damage: str | None = None

    def forget(self) -> None:
        """Begin anew."""
        self.lines, self.folded, self.damage = 0, 0, None
        self.rejected.clear()

    def tell(self) -> None:
        """Log what could not be used."""
        if self.rejected:
            log.warning("%s: %d of %d lines cannot be used: %s", self.name, self.rejected.total(), self.lines, reasons(self.rejected))


class Reject(NamedTuple):
    """A line that cannot be used.

    Attributes:
        line: Its number, from 1; None where it is no line.
        byte: Its offset in the decompressed file; None where that says nothing.
        reason: Why.
        sha256: Hash of its bytes, hexadecimal.
        text: Itself, if the profile wants it kept.
    """

    line: int | None
    byte: int | None
    reason: str
    sha256: str | None = None
    text: str | None = None


class Books:
    """All intakes of a run, and the tables that they fill: `read_interactions`, `read_items`, `rejects`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.intakes: list[Intake] = []
        for table, columns in TABLES.values():
            database.insert(table, columns.empty_table())
        database.insert("rejects", REJECTS.empty_table())

    def open(self, path: Path, name: str, content: Content) -> Intake:
        """Begin to read a file."""
        intake = Intake(len(self.intakes), path, name, content)
        self.intakes.append(intake)
        return intake

    def reject(self, intake: Intake, rejects: Iterable[Reject]) -> None:
        """Keep lines that cannot be used, and count them."""
        for rows in _batched(rejects, REJECTS_AT_ONCE):
            intake.rejected.update(row.reason for row in rows if row.line is not None)
            columns: dict[str, Sequence] = dict(zip(Reject._fields, zip(*rows, strict=True), strict=True))
            columns |= {"file": [intake.name] * len(rows), "number": [intake.number] * len(rows)}
            self.database.insert("rejects", pa.table([pa.array(columns[one.name], one.type) for one in REJECTS], schema=REJECTS))

    def add(self, intake: Intake, rows: pa.Table) -> None:
        """Gather usable lines.

        Args:
            intake: The file they are of.
            rows: Columns of the content's table but for `file`; those that are missing are null.
        """
        table, columns = TABLES[intake.content]
        given = {
            "file": pa.repeat(pa.scalar(intake.number, pa.int32()), len(rows)),
            **dict(zip(rows.column_names, rows.columns, strict=True)),
        }
        complete = [
            given[column.name].cast(column.type) if column.name in given else pa.nulls(len(rows), column.type) for column in columns
        ]
        self.database.insert(table, pa.table(complete, schema=columns))

    def take_back(self, intake: Intake) -> None:
        """Forget all that was read of a file."""
        table, _ = TABLES[intake.content]
        self.database.execute(f"DELETE FROM {table} WHERE file = $number", number=intake.number)
        self.database.execute("DELETE FROM rejects WHERE number = $number", number=intake.number)
        intake.forget()

    def of(self, content: Content) -> list[Intake]:
        """The files with a content."""
        return [intake for intake in self.intakes if intake.content == content]

    def table(self) -> pa.Table:
        """The books as a table."""
        rows = [
            {
                "file": intake.name,
                "number": intake.number,
                "content": intake.content,
                "format": intake.format,
                "lines": intake.lines,
                "rejected": intake.rejected.total(),
                "folded": intake.folded,
                "damage": intake.damage,
            }
            for intake in self.intakes
        ]
        return pa.Table.from_pylist(rows, schema.FILES)


def _batched(rejects: Iterable[Reject], most: int) -> Iterator[list[Reject]]:
    iterator = iter(rejects)
    while rows := list(itertools.islice(iterator, most)):
        yield rows


def reasons(rejected: Counter[str]) -> str:
    """The commonest reasons, as a clause."""
    ordered = sorted(rejected.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{reason} ({count:,} lines)" for reason, count in ordered[:TOP_REASONS])
