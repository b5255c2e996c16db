"""Blocks of lines on their way to DuckDB: screened, converted where needed, and remembered until it is known which lines cannot be used.

DuckDB takes one batch after another, whenever a thread of its own has nothing better to do; so a file is decompressed while what came
before is parsed. What lines mean does not belong here.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from bbqrec_core.ingest.intake import Reject
from bbqrec_core.ingest.lines import TOO_LONG, LineBlock, LongLine, screen
from bbqrec_core.ingest.literals import LiteralConverter

SPOOL = pa.schema([("line", pa.int64()), ("text", pa.string())])
"""What a query reads: numbers of lines, from 1, and their text, JSON mostly."""

MOST_LINES = 1 << 18
"""Lines of one query, give or take a block. Each may be a reject, and be held as such; lines of reviews are mostly a third as many."""


class LineBatches:
    """Some blocks of a file.

    Args:
        blocks: As `read_lines` gives them.
        converter: Makes JSON of Python literals; None where lines are JSON.

    Attributes:
        lines: How many lines they have, once they are read.
        end: Where the last of them ends in the decompressed file.
        error: Why reading ended too early; DuckDB keeps but its text.
    """

    def __init__(self, blocks: Iterable[LineBlock | LongLine], converter: LiteralConverter | None) -> None:
        self._blocks = blocks
        self._converter = converter
        self._seen: list[tuple[LineBlock, dict[int, str]]] = []
        self._long: list[LongLine] = []
        self.error: BaseException | None = None
        self.lines = 0
        self.end = 0

    def reader(self) -> pa.RecordBatchReader:
        """The usable lines as batches of `SPOOL`, to be read once."""
        return pa.RecordBatchReader.from_batches(SPOOL, self._batches())

    def drain(self) -> None:
        """Read all that there is without parsing it."""
        for _ in self._batches():
            pass

    def fail(self, reasons: Iterable[tuple[Any, ...]]) -> None:
        """Note lines that turned out to be of no use: numbers, ascending, with the reason."""
        seen = iter(self._seen)
        block, unusable = next(seen, (None, {}))
        for line, reason in reasons:
            while block is not None and line >= block.first_line + len(block):
                block, unusable = next(seen, (None, {}))
            assert block is not None, line
            unusable[line - block.first_line] = str(reason)

    def rejects(self, keep_text: bool) -> Iterator[Reject]:
        """All lines that cannot be used.

        Args:
            keep_text: Whether with their text.
        """
        for line in self._long:
            yield Reject(line.number, line.byte, TOO_LONG, line.sha256)
        for block, unusable in self._seen:
            for index, reason in sorted(unusable.items()):
                yield _reject(block, index, reason, keep_text)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for block in self._blocks:
                if isinstance(block, LongLine):
                    self.lines += 1
                    self._long.append(block)
                    continue
                self.lines += len(block)
                self.end = block.first_byte + int(block.ends[-1])
                unusable = screen(block)
                self._seen.append((block, unusable))
                yield self._batch(block, unusable)
                if self.lines >= MOST_LINES:
                    return  # the rest is for the next
        except BaseException as error:
            self.error = error
            raise

    def _batch(self, block: LineBlock, unusable: dict[int, str]) -> pa.RecordBatch:
        usable = np.ones(len(block), dtype=bool)
        usable[list(unusable)] = False
        if self._converter is None:
            texts = block.strings() if usable.all() else block.strings().filter(pa.array(usable))
        else:
            indices = np.flatnonzero(usable).tolist()
            converted = self._converter.convert([block.line(index) for index in indices])
            unusable |= {index: reason for index, (_, reason) in zip(indices, converted, strict=True) if reason is not None}
            usable[list(unusable)] = False
            texts = pa.array([text for text, reason in converted if reason is None], pa.binary()).cast(pa.string())
        return pa.record_batch([pa.array(np.flatnonzero(usable) + block.first_line, pa.int64()), texts], schema=SPOOL)


def _reject(block: LineBlock, index: int, reason: str, keep_text: bool) -> Reject:
    line = block.line(index)
    text = line.decode("utf-8", errors="replace").replace("\0", "�") if keep_text else None
    return Reject(block.first_line + index, block.first_byte + int(block.starts[index]), reason, hashlib.sha256(line).hexdigest(), text)
