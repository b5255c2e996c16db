"""DuckDB for one run of the stage: opening it, running the queries of sql/, writing tables as Parquet.

Which tables there are, and from what they are made, is said in sql/.
"""

import functools
import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from duckdb.func import ARROW, SPECIAL

from bbqrec_core.errors import StageError
from bbqrec_core.ingest.text import CLEANED_SQL, clean_texts

log = logging.getLogger(__name__)

ROWS_PER_GROUP = 1 << 17


class Database:
    """A connection that knows the queries of sql/ by name."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def make(self, table: str, query: str | None = None, *, temporary: bool = False, view: bool = False, **parameters: Any) -> None:
        """Create or replace a table by the query in sql/<query>.sql, named like the table if not given."""
        kind = "VIEW" if view else "TEMP TABLE" if temporary else "TABLE"
        self._connection.execute(f"CREATE OR REPLACE {kind} {table} AS\n{sql(query or table)}", parameters)

    def execute(self, text: str, **parameters: Any) -> None:
        """Run a small statement given as text."""
        self._connection.execute(text, parameters)

    def insert(self, table: str, rows: pa.Table) -> None:
        """Add Arrow rows to a table, which they define if it is not there."""
        with self.view("arrow_rows", rows):
            self._connection.execute(f"CREATE TABLE IF NOT EXISTS {table} AS FROM arrow_rows LIMIT 0")
            self._connection.execute(f"INSERT INTO {table} FROM arrow_rows")

    @contextmanager
    def view(self, name: str, rows: pa.Table | pa.RecordBatchReader) -> Iterator[None]:
        """Let queries read an Arrow table by a name."""
        self._connection.register(name, rows)
        try:
            yield
        finally:
            self._connection.unregister(name)

    def rename(self, table: str, new: str) -> None:
        """Rename a table, replacing the one that has the new name."""
        self._connection.execute(f"DROP TABLE IF EXISTS {new}")
        self._connection.execute(f"ALTER TABLE {table} RENAME TO {new}")

    def drop(self, table: str, *, view: bool = False) -> None:
        """Drop a table or view that is no longer needed."""
        self._connection.execute(f"DROP {'VIEW' if view else 'TABLE'} IF EXISTS {table}")

    def has(self, table: str) -> bool:
        """Whether there is a table."""
        return bool(self.rows("SELECT 1 FROM duckdb_tables() WHERE table_name = $table", table=table))

    def rows(self, text: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """All rows of a small query given as text."""
        return self._connection.execute(text, parameters).fetchall()

    def row(self, query: str, **parameters: Any) -> dict[str, Any]:
        """The one row of sql/<query>.sql, by column."""
        result = self._connection.execute(sql(query), parameters)
        columns = [column[0] for column in result.description or ()]
        rows = result.fetchall()
        assert len(rows) == 1, query
        return dict(zip(columns, rows[0], strict=True))

    def write(self, table: str, schema: pa.Schema, order: str, path: Path) -> int:
        """Write a table as Parquet; the same rows always give the same bytes.

        Args:
            table: Has at least the schema's columns.
            schema: Columns to write, and their types.
            order: What follows ORDER BY; it must leave nothing undecided.
            path: File to write.

        Returns:
            The number of rows.
        """
        columns = ", ".join(f'"{name}"' for name in schema.names)
        reader = self._connection.sql(f"SELECT {columns} FROM {table} ORDER BY {order}").to_arrow_reader(ROWS_PER_GROUP)
        rows = 0
        # One group is encoded while the next comes from DuckDB.
        with closing(reader), pq.ParquetWriter(path, schema, compression="zstd") as writer, ThreadPoolExecutor(1) as encoder:
            writing: Future[None] | None = None
            for group in _regroup(reader, schema):
                if writing is not None:
                    writing.result()
                writing = encoder.submit(writer.write_table, group, row_group_size=ROWS_PER_GROUP)
                rows += len(group)
            if writing is not None:
                writing.result()
        return rows


def _regroup(reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.Table]:
    """Cut batches anew, so that row groups do not depend on how DuckDB happened to cut them."""
    held: list[pa.Table] = []
    rows = 0
    for batch in reader:
        held.append(pa.Table.from_batches([batch]).cast(schema))
        rows += len(batch)
        while rows >= ROWS_PER_GROUP:
            table = pa.concat_tables(held)
            yield table.slice(0, ROWS_PER_GROUP).combine_chunks()
            held = [table.slice(ROWS_PER_GROUP)]
            rows -= ROWS_PER_GROUP
    if rows:
        yield pa.concat_tables(held).combine_chunks()


@contextmanager
def open_database(folder: Path, memory_limit: str, threads: int) -> Iterator[Database]:
    """Open an empty database in memory, which spills into a folder what does not fit.

    Tables of a file would be logged and compressed on their way, which costs a sixth more time, and none of them outlives the stage.

    Args:
        folder: May hold what an earlier run that was killed has spilled; it is removed, and so is this run's in the end.
        memory_limit: As DuckDB writes it, such as 4GB.
        threads: 0 = all cores.

    Raises:
        StageError: DuckDB runs out of memory or of disk.
    """
    spill = folder / "spill"
    shutil.rmtree(spill, ignore_errors=True)
    config: dict[str, Any] = {"memory_limit": memory_limit, "temp_directory": str(spill), "autoinstall_known_extensions": False}
    if threads:
        config["threads"] = threads
    try:
        with closing(duckdb.connect(":memory:", config=config)) as connection, _cleaner(connection):
            connection.execute("SET enable_progress_bar = false")
            connection.execute(sql("macros"))
            yield Database(connection)
    except duckdb.OutOfMemoryException as error:
        if "offload" in str(error):  # it is the disk that had no room for what memory could not hold
            raise StageError(
                f"DuckDB needs more than ingest.memory_limit, {memory_limit}, and cannot spill to {folder}: {_first_line(error)}",
                "Free some space there (`bbqrec gc` helps), or raise ingest.memory_limit.",
            ) from None
        raise StageError(
            f"DuckDB needs more memory than ingest.memory_limit, {memory_limit}, allows: {_first_line(error)}",
            "Raise ingest.memory_limit, or lower compute.threads.",
        ) from None
    except duckdb.IOException as error:
        raise StageError(f"DuckDB cannot work in {folder}: {_first_line(error)}", "Free some space there (`bbqrec gc` helps).") from None
    finally:
        shutil.rmtree(spill, ignore_errors=True)


@contextmanager
def _cleaner(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let queries call the cleaner of texts."""
    # It answers null for text of which nothing is left, which DuckDB allows only with handling of nulls "special".
    connection.create_function("clean_text", clean_texts, ["VARCHAR"], CLEANED_SQL, type=ARROW, null_handling=SPECIAL)
    try:
        yield
    finally:
        # Otherwise the interpreter's end complains of leaks. After an error a query may be open still, and that error is the one to tell.
        with suppress(duckdb.Error):
            connection.remove_function("clean_text")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


@functools.cache
def sql(name: str) -> str:
    """Text of sql/<name>.sql."""
    return (resources.files("sql") / f"{name}.sql").read_text(encoding="utf-8")
