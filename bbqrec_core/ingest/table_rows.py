"""What a profile wants of a shop's own table, and how a block of rows becomes rows of the books.

How tables are written (Parquet, CSV, JSON lines) does not belong here, nor what a usable row is: that is said by the queries in sql/.
"""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import ItemColumns, TablesConfig
from bbqrec_core.ingest.intake import TABLES, Books, Intake

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
RECORDS_PER_BLOCK = 1 << 16
"""Rows that are held in memory and parsed at once."""


@dataclass(frozen=True)
class TableQuery:
    """A query of sql/ that judges and parses rows given as JSON, and what it needs of them.

    Attributes:
        query: File in sql/. It reads the view `spool` (line, text).
        section: The profile's section that maps columns.
        columns: Per key of that section the column's name in the file; None where the shop does not have it.
        required: Keys without which no row can be used.
        parameters: Of the query.
    """

    query: str
    section: str
    columns: Mapping[str, str | None]
    required: frozenset[str]
    parameters: Mapping[str, Any]

    @property
    def wanted(self) -> list[str]:
        """Names of the columns to read, each once."""
        return list(dict.fromkeys(name for name in self.columns.values() if name is not None))

    @property
    def identifiers(self) -> list[str]:
        """Names of the columns that name users and items."""
        return [name for key in ("user_id", "item_id") if (name := self.columns.get(key)) is not None]

    def missing(self, there: Collection[str], required_only: bool = False) -> list[str]:
        """Keys whose column is not among those of a file."""
        return [
            key
            for key, name in self.columns.items()
            if name is not None and name not in there and (key in self.required or not required_only)
        ]

    def require(self, path: Path, there: Collection[str], required_only: bool = False) -> None:
        """See that a file has the columns that the profile names.

        Raises:
            SourceError: One is missing; the message names the nearest one.
        """
        for key in self.missing(there, required_only):
            raise self.error(path, key, there)

    def error(self, path: Path, key: str, there: Collection[str]) -> SourceError:
        """The error of a column that is missing."""
        name = self.columns[key]
        assert name is not None
        lowered = {column.lower(): column for column in there}
        near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5) or difflib.get_close_matches(key, lowered, n=1, cutoff=0.5)
        hint = f" Did you mean '{lowered[near[0]]}'?" if near else ""
        off = "" if key in self.required else f", or null if the shop has no {key}"
        return SourceError(
            f"{path} has no column '{name}', which {self.section}.{key} names; there are: {', '.join(sorted(there)[:40])}.{hint}",
            f"Set {self.section}.{key} in the profile to the column's name{off}.",
        )


def interactions_query(config: TablesConfig) -> TableQuery:
    """How rows of interactions are parsed."""
    columns = config.interaction_columns
    named = {key: getattr(columns, key) for key in ("user_id", "item_id", "timestamp", "rating")}
    parameters = {
        "paths": _paths(named, "user_id"),
        "names": [name or "" for name in named.values()],
        "has_rating": columns.rating is not None,
        "per_second": PER_SECOND[config.time_unit],
    }
    return TableQuery("parsed_table_interactions", "source.tables.interaction_columns", named, frozenset(named) - {"rating"}, parameters)


def items_query(columns: ItemColumns, section: str = "source.tables.item_columns") -> TableQuery:
    """How rows of items are parsed."""
    named = {key: getattr(columns, key) for key in ("item_id", "title", "brand", "categories", "description", "price", "image")}
    parameters = {"paths": _paths(named, "item_id"), "item": columns.item_id}
    return TableQuery("parsed_table_items", section, named, frozenset({"item_id"}), parameters)


def _paths(named: Mapping[str, str | None], identifier: str) -> list[str]:
    """JSON pointers (RFC 6901) to the columns: unlike JSON paths, they can name any key."""
    # What is not there is sought inside of the identifier, which is no object in any row that is used.
    nowhere = f"{_pointer(named[identifier] or '')}/nowhere"
    return [nowhere if name is None else _pointer(name) for name in named.values()]


def _pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")


def parse_rows(
    books: Books, intake: Intake, query: TableQuery, numbers: pa.Array, columns: Mapping[str, pa.Array]
) -> list[tuple[int, str, str]]:
    """Judge rows and gather those that can be used.

    Args:
        books: Where they are gathered.
        intake: The file they are of.
        query: How to parse them.
        numbers: Their numbers, int64 [n], each once.
        columns: The wanted columns by name, [n] each; texts are known to be UTF-8.

    Returns:
        Number, reason, and the row as JSON, of those that cannot be used, by number.
    """
    record = pa.StructArray.from_arrays(list(columns.values()), list(columns))
    with books.database.view("records", pa.table({"line": numbers, "record": record})):
        books.database.make("spool", "rendered_records", temporary=True)
    try:
        return _judge(books, intake, query)
    finally:
        books.database.drop("spool")  # elsewhere it is a view


def parse_texts(books: Books, intake: Intake, query: TableQuery, numbers: pa.Array, texts: pa.Array) -> list[tuple[int, str, str]]:
    """The same for rows that are JSON already, [n] texts."""
    with books.database.view("spool", pa.table({"line": numbers, "text": texts})):
        return _judge(books, intake, query)


def _judge(books: Books, intake: Intake, query: TableQuery) -> list[tuple[int, str, str]]:
    database = books.database
    table, schema = TABLES[intake.content]
    names = ", ".join(schema.names[1:])
    database.make("parsed", query.query, temporary=True, **query.parameters)
    database.execute(f"INSERT INTO {table} SELECT $number, {names} FROM parsed WHERE reason IS NULL", number=intake.number)
    rows = database.rows("SELECT line, reason, text FROM parsed JOIN spool USING (line) WHERE reason IS NOT NULL ORDER BY line")
    return [(line, reason, text) for line, reason, text in rows]
