"""Reads one raw file into DuckDB: lines are cut, screened, turned into JSON where needed, and parsed; what cannot be used is a reject.

Works block by block, so that neither memory nor disk ever holds a decompressed file. What parsed lines mean does not belong here.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from bbqrec_core import schema
from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.database import Database
from bbqrec_core.ingest.dialects import SAMPLE_LINES, Content, Format, detect
from bbqrec_core.ingest.lines import TOO_LONG, LineBlock, LongLine, read_lines, screen
from bbqrec_core.ingest.literals import LiteralConverter
from bbqrec_core.progress import track

log = logging.getLogger(__name__)

TOP_REASONS = 5


@dataclass
class ParsedFile:
    """What became of a file's lines.

    Attributes:
        path: The file.
        name: Its name in tables.
        content: What it holds.
        format: How it is written; None until its first block was seen.
        lines: Physical lines.
        rejected: Lines that cannot be used, by reason.
    """

    path: Path
    name: str
    content: Content
    format: Format | None = None
    lines: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def lines_rejected(self) -> int:
        """How many lines cannot be used."""
        return self.rejected.total()

    @property
    def reject_share(self) -> float:
        """Lines that cannot be used, of lines read."""
        return self.lines_rejected / self.lines if self.lines else 0.0

    def check_rejects(self, limit: float) -> None:
        """Refuse a file of which too much cannot be used.

        Args:
            limit: Greatest share of rejects allowed.

        Raises:
            SourceError: The share is greater; the message names the commonest reasons.
        """
        if self.reject_share <= limit:
            return
        top = ", ".join(f"{reason} ({count:,} lines)" for reason, count in _by_count(self.rejected)[:TOP_REASONS])
        raise SourceError(
            f"{self.path}: {self.lines_rejected:,} of {self.lines:,} lines cannot be used, {self.reject_share:.1%}, and "
            f"ingest.max_reject_share allows {limit:.1%}. Most common: {top}.",
            "Check that it is the right file and whole. If it is, raise ingest.max_reject_share; "
            "ingest.keep_reject_text: true then keeps the lines for a look.",
        )


def parse_file(database: Database, path: Path, name: str, content: Content, *, keep_text: bool, workers: int) -> ParsedFile:
    """Parse a file into the table `parsed_<content>`, its rejects into `rejects`.

    Args:
        database: Where the tables are.
        path: A gzip or plain file of lines.
        name: The file's name in tables.
        content: What the profile says it holds.
        keep_text: Whether rejects keep their text.
        workers: Processes for Python literals.

    Raises:
        SourceError: The file is empty, damaged, or in no known dialect.
    """
    parsed = ParsedFile(path, name, content)
    converter: LiteralConverter | None = None
    try:
        for block in track(read_lines(path), f"reading {name}", unit="blocks"):
            if isinstance(block, LongLine):
                parsed.lines += 1
                _add_rejects(database, parsed, [_Reject(block.number, block.byte, TOO_LONG, block.sha256, None)])
                continue
            unusable = screen(block)
            if parsed.format is None:
                parsed.format = detect(_sample(block, unusable), content, path)
                log.info("%s is in the dialect %s, lines are %s", name, parsed.format.dialect.name, parsed.format.syntax)
                if parsed.format.syntax == "python":
                    converter = LiteralConverter(parsed.format.dialect.keys, workers)
            unusable |= _parse_block(database, parsed.format, block, unusable, converter)
            parsed.lines += len(block)
            _add_rejects(database, parsed, (_reject(block, index, reason, keep_text) for index, reason in sorted(unusable.items())))
    finally:
        if converter is not None:
            converter.close()
    if parsed.format is None:
        raise SourceError(f"{path} holds no lines that could be read.", "Get the file again, and compare its size with the published one.")
    return parsed


@dataclass(frozen=True)
class _Reject:
    line: int
    byte: int
    reason: str
    sha256: str
    text: str | None


def _reject(block: LineBlock, index: int, reason: str, keep_text: bool) -> _Reject:
    line = block.line(index)
    text = line.decode("utf-8", errors="replace").replace("\0", "�") if keep_text else None
    return _Reject(block.first_line + index, block.first_byte + int(block.starts[index]), reason, hashlib.sha256(line).hexdigest(), text)


def _add_rejects(database: Database, parsed: ParsedFile, rejects: Iterable[_Reject]) -> None:
    rows = list(rejects)
    parsed.rejected.update(row.reason for row in rows)
    if rows:
        database.insert("rejects", pa.Table.from_pylist([{"file": parsed.name, **vars(row)} for row in rows], schema.REJECTS))


def _sample(block: LineBlock, unusable: dict[int, str]) -> list[bytes]:
    usable = (index for index in range(len(block)) if index not in unusable)
    return [block.line(index) for index, _ in zip(usable, range(SAMPLE_LINES), strict=False)]


def _parse_block(
    database: Database, format_: Format, block: LineBlock, unusable: dict[int, str], converter: LiteralConverter | None
) -> dict[int, str]:
    """Parse the usable lines of a block into its table; returns the reasons of those that turn out to be none, by index."""
    failed: dict[int, str] = {}
    usable = np.ones(len(block), dtype=bool)
    usable[list(unusable)] = False
    if converter is None:
        texts = block.strings() if usable.all() else block.strings().filter(pa.array(usable))
    else:
        indices = np.flatnonzero(usable).tolist()
        converted = converter.convert([block.line(index) for index in indices])
        failed = {index: reason for index, (_, reason) in zip(indices, converted, strict=True) if reason is not None}
        usable[list(failed)] = False
        texts = pa.array([text for text, reason in converted if reason is None], pa.binary()).cast(pa.string())
    numbers = np.flatnonzero(usable).astype(np.int64) + block.first_line
    table = f"parsed_{format_.dialect.content}"
    with database.view("spool", pa.table({"line": numbers, "text": texts})):
        database.append(table, format_.dialect.query)
    for line, reason in database.rows(
        f"SELECT line, reason FROM {table} WHERE reason IS NOT NULL AND line >= $first ORDER BY line", first=block.first_line
    ):
        failed[line - block.first_line] = reason
    return failed


def _by_count(reasons: Counter[str]) -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
