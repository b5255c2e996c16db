"""Reads a table that is written as Parquet, batch by batch. What columns mean does not belong here."""

import hashlib
import json
from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import IngestConfig
from bbqrec_core.ingest.intake import Books, Intake, Reject
from bbqrec_core.ingest.table_rows import RECORDS_PER_BLOCK, TableQuery, parse_rows
from bbqrec_core.progress import track

MAGIC = b"PAR1"


def read_parquet_file(books: Books, intake: Intake, query: TableQuery, config: IngestConfig) -> None:
    """Read a Parquet file into its content's table, its rejects into `rejects`. Its lines are its rows, counted from 1.

    Args:
        books: Where to keep what is read.
        intake: The file.
        query: What is wanted of it.
        config: Says whether rejects keep their text: a rendering of the row as JSON, as there is no line.

    Raises:
        SourceError: The file is damaged, or lacks a column.
    """
    intake.format = "Parquet"
    try:
        # Pages are read as they are needed, and verified where they carry a checksum.
        with pq.ParquetFile(intake.path, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            query.require(intake.path, names)
            repeated = [name for name in query.wanted if names.count(name) > 1]
            if repeated:
                raise SourceError(f"{intake.path} has more than one column '{repeated[0]}'.", "Rename one of them in the file.")
            _require_types(books, intake, query, file.schema_arrow)
            total = -(-file.metadata.num_rows // RECORDS_PER_BLOCK)
            batches = file.iter_batches(batch_size=RECORDS_PER_BLOCK, columns=query.wanted)
            for batch in track(batches, f"reading {intake.name}", total=total, unit="batches"):
                _read_batch(books, intake, query, batch, config.keep_reject_text)
    except (pa.ArrowException, OSError) as error:
        what = str(error).partition("\n")[0]
        raise SourceError(f"{intake.path} cannot be read as Parquet: {what}", "Get the file again, or write it anew.") from None


def _require_types(books: Books, intake: Intake, query: TableQuery, schema: pa.Schema) -> None:
    """See that DuckDB takes the columns' types, which are fewer than Arrow's.

    Raises:
        SourceError: It does not; the message names the column.
    """
    for name in query.wanted:
        kind = schema.field(name).type
        try:
            record = pa.StructArray.from_arrays([_plain(pa.array([], kind))], ["column"])
            with books.database.view("records", pa.table({"line": pa.array([], pa.int64()), "record": record})):
                books.database.make("spool", "rendered_records", temporary=True)
            books.database.drop("spool")
        except (pa.ArrowException, duckdb.Error):
            raise SourceError(
                f"{intake.path}: the column '{name}' is of the type {kind}, which cannot be read.",
                "Write it as text, a whole number, a double, a timestamp, or a list of these.",
            ) from None


def _read_batch(books: Books, intake: Intake, query: TableQuery, batch: pa.RecordBatch, keep_text: bool) -> None:
    first = intake.lines + 1
    intake.lines += len(batch)
    columns = {name: _plain(batch.column(name)) for name in query.wanted}
    bad = sorted({row for column in columns.values() for row in _not_utf8(column, 0)})
    rejects = [_not_utf8_reject(first + row, {name: column.slice(row, 1) for name, column in columns.items()}, keep_text) for row in bad]
    rows = pa.array(sorted(set(range(len(batch))) - set(bad)), pa.int64())
    if bad:
        columns = {name: column.take(rows) for name, column in columns.items()}
    for number, reason, text in parse_rows(books, intake, query, pc.add(rows, first), columns):
        rejects.append(Reject(number, None, reason, hashlib.sha256(text.encode()).hexdigest(), text if keep_text else None))
    books.reject(intake, sorted(rejects, key=lambda reject: reject.line or 0))


def _not_utf8_reject(number: int, cells: dict[str, pa.Array], keep_text: bool) -> Reject:
    """The reject of a row with text that is no UTF-8: rendered as JSON all the same, the bytes of its texts as they are."""
    row = {name: cell.cast(_with_bytes(cell.type))[0].as_py() for name, cell in cells.items()}
    rendered = json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=_as_text).encode("utf-8", "surrogateescape")
    text = rendered.decode("utf-8", errors="replace") if keep_text else None
    return Reject(number, None, "not UTF-8", hashlib.sha256(rendered).hexdigest(), text)


def _with_bytes(kind: pa.DataType) -> pa.DataType:
    """A type with bytes where it has text, inside of lists too."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.list_(_with_bytes(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_with_bytes(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_with_bytes(field.type)) for field in kind])
    return kind


def _as_text(value: object) -> str:
    """What JSON has no type for; bytes that are no UTF-8 become surrogates, which `surrogateescape` turns back."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _plain(column: pa.Array) -> pa.Array:
    """A column with its dictionary, its bytes and its times turned into what JSON can say."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    if pa.types.is_decimal256(kind):
        return column.cast(pa.string())
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("s"), safe=False).cast(pa.timestamp("s", "UTC")).cast(pa.string())
    if pa.types.is_timestamp(kind):  # one without a zone is taken for UTC
        return column.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind):
        binary = column.cast(pa.large_binary())
        return pc.cast(binary, options=pc.CastOptions(target_type=pa.large_string(), allow_invalid_utf8=True))
    return column


def _not_utf8(column: pa.Array, first: int) -> Iterator[int]:
    """Rows with text that is no UTF-8, which writers do not check and DuckDB does not forgive."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        half = len(column) // 2
        if not half:
            yield first
            return
        for start, length in ((0, half), (half, len(column) - half)):
            yield from _not_utf8(column.take(pa.array(range(start, start + length))), first + start)
