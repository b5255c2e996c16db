"""Cuts a file into physical lines, counts them, and screens out those whose bytes no parser should see.

A line is what ends with a line feed, and nothing else: carriage returns, form feeds and Unicode's line separators stay inside lines.
What a line means does not belong here. Memory is bounded by the size of a block, whatever the file holds.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from bbqrec_core.ingest.damage import DamagedSourceError
from bbqrec_core.ingest.decompress import DamagedFileError, read_chunks

BLOCK_BYTES = 1 << 23
MAX_LINE_BYTES = 1 << 24
BOM = b"\xef\xbb\xbf"
TOO_LONG = "longer than 16 MiB"
EMPTY = "empty line"
MOST_LINES = 1 << 17
"""Lines of a block: a file may hold nothing but line feeds, and each is a line to account for."""


@dataclass(frozen=True)
class LineBlock:
    """Whole lines that follow one another in a file.

    Attributes:
        data: Their bytes, line feeds included; the file's last line may lack one. What lies beyond the last of `ends` is none of theirs.
        ends: Offset in `data` just past each line, int64 [n].
        first_line: Number of the first of them, from 1.
        first_byte: Its offset in the decompressed file.
    """

    data: bytes
    ends: np.ndarray
    first_line: int
    first_byte: int

    def __len__(self) -> int:
        return len(self.ends)

    @cached_property
    def starts(self) -> np.ndarray:
        """Offset in `data` of each line, int64 [n]."""
        return np.concatenate([np.zeros(1, dtype=np.int64), self.ends[:-1]])

    def line(self, index: int) -> bytes:
        """A line's bytes without its end."""
        return self.data[self.starts[index] : self.ends[index]].removesuffix(b"\n").removesuffix(b"\r")

    def strings(self) -> pa.StringArray:
        """All lines, ends included, as an Arrow array on the same memory. Not yet known to be UTF-8."""
        offsets = np.concatenate([np.zeros(1, dtype=np.int32), self.ends.astype(np.int32)])
        return pa.StringArray.from_buffers(len(self), pa.py_buffer(offsets), pa.py_buffer(self.data))


@dataclass(frozen=True)
class LongLine:
    """A line too long to be kept in memory.

    Attributes:
        number: Its number, from 1.
        byte: Its offset in the decompressed file.
        sha256: Hash of its bytes without its line feed, hexadecimal.
    """

    number: int
    byte: int
    sha256: str


def read_lines(
    path: Path, block_bytes: int = BLOCK_BYTES, max_line_bytes: int = MAX_LINE_BYTES, upto: int | None = None
) -> Iterator[LineBlock | LongLine]:
    """Yield a file's lines in blocks, in order; a byte order mark at its start is left out.

    Args:
        path: A compressed or a plain file.
        block_bytes: Least size of a block, but for the last.
        max_line_bytes: Longer lines, their line feed aside, are given as `LongLine` or left for `screen` to find; no more than that and
            a block is ever kept in memory.
        upto: Read only so many decompressed bytes, and of those only whole lines; None reads all.

    Raises:
        DamagedSourceError: The file is cut or altered. What was given out before must then be thrown away.
        SourceError: The file is empty or unreadable.
    """
    cutter = _Cutter(max_line_bytes)
    left = upto
    try:
        for chunk in read_chunks(path):
            part = chunk if left is None else chunk[:left]
            yield from cutter.add(part, block_bytes)
            if left is not None:
                left -= len(part)
                if not left:  # what lies beyond is never touched
                    break
        yield from cutter.finish(whole_lines_only=upto is not None)
    except DamagedFileError as damage:
        raise DamagedSourceError(path, damage, cutter.whole_lines(), "line") from None


def screen(block: LineBlock, max_line_bytes: int = MAX_LINE_BYTES) -> dict[int, str]:
    """Find lines that no parser should see, and say why: by index in the block."""
    found: dict[int, str] = {}
    lengths = block.ends - block.starts
    size = int(block.ends[-1])
    lengths[-1] += block.data[size - 1] != ord("\n")
    for index in np.flatnonzero(lengths > max_line_bytes + 1).tolist():
        found[index] = TOO_LONG
    found |= dict.fromkeys(np.flatnonzero(lengths == 1).tolist(), EMPTY)
    for index in np.flatnonzero((lengths > 1) & (lengths <= 16)).tolist():
        if not block.line(index).strip():
            found.setdefault(index, EMPTY)
    if block.data.find(b"\0", 0, size) >= 0:
        positions = np.flatnonzero(np.frombuffer(block.data, dtype=np.uint8, count=size) == 0)
        for index in np.unique(np.searchsorted(block.ends, positions, side="right")).tolist():
            found.setdefault(index, "NUL byte")
    for index in _not_utf8(block.strings(), 0):
        found.setdefault(index, "not UTF-8")
    return found


def _not_utf8(lines: pa.StringArray, first: int) -> Iterator[int]:
    """Indices of lines that are no UTF-8, counted from `first`; by halving, since they are few."""
    try:
        lines.validate(full=True)
    except pa.ArrowInvalid:
        if len(lines) == 1:
            yield first
            return
        middle = len(lines) // 2
        yield from _not_utf8(lines.slice(0, middle), first)
        yield from _not_utf8(lines.slice(middle), first + middle)


class _Cutter:
    """Turns chunks into blocks of whole lines; holds what is left over between chunks."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._open_bytes = 0  # held bytes after the last line feed
        self._next_line = 1
        self._next_byte = 0
        self._started = False
        self._long: tuple[int, int, hashlib._Hash] | None = None

    def add(self, chunk: bytes, block_bytes: int) -> Iterator[LineBlock | LongLine]:
        if not self._started:
            chunk = self._take() + chunk
            if len(chunk) < len(BOM):
                self._hold(chunk)
                return
            self._start_at(chunk)
            chunk = chunk.removeprefix(BOM)
        if self._long:
            end = chunk.find(b"\n")
            if end < 0:
                self._long[2].update(chunk)
                self._next_byte += len(chunk)
                return
            yield self._end_long_line(chunk[:end], end + 1)
            chunk = chunk[end + 1 :]
        self._hold(chunk)
        if self._held_bytes >= block_bytes or self._open_bytes > self._max_line_bytes:
            yield from self._release()

    def finish(self, whole_lines_only: bool) -> Iterator[LineBlock | LongLine]:
        if self._long and not whole_lines_only:
            yield self._end_long_line(b"", 0)
        data = self._take()
        if whole_lines_only:
            data = data[: data.rfind(b"\n") + 1]
        if not self._started:
            self._start_at(data)
            data = data.removeprefix(BOM)
        if data:
            yield from self._blocks(data, len(data))

    def whole_lines(self) -> int:
        """Lines known to be whole so far, given out or not."""
        return self._next_line - 1 + sum(part.count(b"\n") for part in self._held)

    def _start_at(self, beginning: bytes) -> None:
        self._started = True
        self._next_byte = len(BOM) if beginning.startswith(BOM) else 0

    def _hold(self, data: bytes) -> None:
        if data:
            self._held.append(data)
            self._held_bytes += len(data)
            end = data.rfind(b"\n")
            self._open_bytes = len(data) - end - 1 if end >= 0 else self._open_bytes + len(data)

    def _take(self) -> bytes:
        data = b"".join(self._held)
        self._held, self._held_bytes, self._open_bytes = [], 0, 0
        return data

    def _release(self) -> Iterator[LineBlock | LongLine]:
        open_bytes = self._open_bytes
        data = self._take()
        cut = len(data) - open_bytes
        rest = data[cut:]
        if cut:
            yield from self._blocks(data, cut)
        if open_bytes > self._max_line_bytes:
            self._long = (self._next_line, self._next_byte, hashlib.sha256(rest))
            self._next_byte += len(rest)
        else:
            self._hold(rest)

    def _blocks(self, data: bytes, size: int) -> Iterator[LineBlock]:
        """The lines in the first `size` bytes, which are not copied where they make one block."""
        ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8, count=size) == ord("\n")).astype(np.int64) + 1
        if not len(ends) or ends[-1] != size:
            ends = np.append(ends, np.int64(size))
        start = 0
        for first in range(0, len(ends), MOST_LINES):
            some = ends[first : first + MOST_LINES]
            end = int(some[-1])
            whole = len(ends) <= MOST_LINES
            block = LineBlock(data if whole else data[start:end], some - start, self._next_line, self._next_byte)
            self._next_line += len(some)
            self._next_byte += end - start
            start = end
            yield block

    def _end_long_line(self, rest: bytes, consumed: int) -> LongLine:
        assert self._long is not None
        number, byte, digest = self._long
        digest.update(rest)
        self._long = None
        self._next_line += 1
        self._next_byte += consumed
        return LongLine(number, byte, digest.hexdigest())
