"""Decompresses a file and verifies it: every checksum, every length, and that the file ends where it should.

DuckDB and most tools read a gzip that was cut or altered as if it simply held fewer or other rows. Here that is an error. What the
bytes mean does not belong here.

Sources: RFC 1952 (gzip), RFC 8878 (Zstandard).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard
from isal import igzip_lib

from bbqrec_core.errors import SourceError

READ_BYTES = 1 << 16
"""Compressed bytes read at once: also how exactly damage can be located."""
CHUNK_BYTES = 1 << 18
"""Decompressed bytes given out at once, at most: bounds memory whatever the file says."""

ZSTD_MORSEL = 1 << 13
"""Compressed bytes given to the Zstandard decoder at once: what it makes of them has at most some 250 MB, and mostly 30 kB."""
MAX_ZSTD_WINDOW = 1 << 31
"""The largest window of `zstd --long=31`, as dumps of forums are written with."""

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x2a\x4d\x18"
"""What follows the first byte, 0x50 to 0x5f, of a Zstandard frame without content, as pzstd and the seekable format write them."""
FOREIGN = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"PAR1": "a Parquet file",
}


class DamagedFileError(Exception):
    """A compressed file is cut or altered.

    Args:
        problem: What is wrong, as a clause that follows the file's name.
        usable_bytes: Decompressed bytes, from the beginning, that can be used all the same: of a file that is cut off, all that there are;
            of an altered one, those of its parts (gzip members, Zstandard frames) before the altered part, whose checksums are right.
    """

    def __init__(self, problem: str, usable_bytes: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.usable_bytes = usable_bytes


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's decompressed content; gzip, Zstandard (each of any number of parts) or plain, told by its first bytes.

    Yields:
        Non-empty chunks of at most `CHUNK_BYTES`.

    Raises:
        DamagedFileError: The compressed data is cut or altered. It comes after the chunks before the damage, which must then be thrown
            away.
        SourceError: The file is empty, unreadable or in another format.
    """
    try:
        with path.open("rb") as file:
            start = file.read(6)
            file.seek(0)
            for magic, what in FOREIGN.items():
                if start.startswith(magic):
                    raise SourceError(f"{path} is {what}, which is not read here.", "Give it as gzip, as Zstandard or as plain text.")
            if not start:
                raise SourceError(f"{path} is empty.", "Get the file again, and compare its size with the published one.")
            if start.startswith(GZIP):
                yield from _parts(file, GZIP, _GzipMember)
            elif is_zstd(start):
                yield from _parts(file, ZSTD, _ZstdFrame)
            else:
                yield from _plain_chunks(file)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}.", "Check the file and its permissions.") from None


def is_zstd(head: bytes) -> bool:
    """Whether a file that begins so is Zstandard: its first frame may be one to skip (RFC 8878, 3.1.2)."""
    return head.startswith(ZSTD) or _is_skippable(head)


def _is_skippable(head: bytes) -> bool:
    return head[1:4] == SKIPPABLE and 0x50 <= head[0] <= 0x5F


def _plain_chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


class _Part(Protocol):
    """One checksummed part of a compressed file, on its way through its decoder."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes) -> bytes:
        """Give it compressed bytes (none, if it does not need any); get at most `CHUNK_BYTES`. Raises `_DecodeError`."""


class _DecodeError(Exception):
    """The decoder refuses what it was given; `checksum` says whether it decoded to the part's end and found another checksum."""

    def __init__(self, problem: str, checksum: bool) -> None:
        super().__init__(problem)
        self.checksum = checksum


class _GzipMember:
    """A gzip member: the decoder verifies its CRC-32 and its length."""

    def __init__(self) -> None:
        self._decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return self._decoder.needs_input

    @property
    def unused_data(self) -> bytes:
        return bytes(self._decoder.unused_data)

    def decompress(self, data: bytes) -> bytes:
        try:
            return self._decoder.decompress(data, CHUNK_BYTES)
        except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub does not say that it is an exception
            raise _DecodeError(str(error), "checksum" in str(error)) from None


class _ZstdFrame:
    """A Zstandard frame: the decoder verifies its checksum, if it has one (the `zstd` command writes it)."""

    def __init__(self) -> None:
        self._decoder = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).decompressobj()
        self._input = b""
        self._out = b""

    @property
    def eof(self) -> bool:
        return self._decoder.eof and not self._out

    @property
    def needs_input(self) -> bool:
        return not self._out and not self._input

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data + self._input

    def decompress(self, data: bytes) -> bytes:
        self._input += data
        while self._input and not self._out and not self._decoder.eof:
            # Unlike gzip's, this decoder knows no bound on what it gives out; so it is fed in morsels.
            morsel, self._input = self._input[:ZSTD_MORSEL], self._input[ZSTD_MORSEL:]
            try:
                self._out = self._decoder.decompress(morsel)
            except zstandard.ZstdError as error:
                raise _DecodeError(str(error), "checksum" in str(error)) from None
        chunk, self._out = self._out[:CHUNK_BYTES], self._out[CHUNK_BYTES:]
        return chunk


def _parts(file: BinaryIO, magic: bytes, begin: Callable[[], _Part]) -> Iterator[bytes]:
    """Decompress part after part, to the file's end."""
    verified = 0
    waiting = _next_part(file, b"", magic, verified)  # compressed bytes read but not given to a part yet
    while waiting:
        given = 0
        start = file.tell() - len(waiting)
        part = begin()
        for chunk in _chunks_of(part, file, waiting, start, verified):
            given += len(chunk)
            yield chunk
        verified += given
        waiting = _next_part(file, part.unused_data, magic, verified)


def _next_part(file: BinaryIO, waiting: bytes, magic: bytes, verified: int) -> bytes:
    """What was read of the next part, at least its magic number, with what lies before it left out; empty at the file's end."""
    while True:
        # Padding with zeros is allowed (tapes, block devices), as in gzip itself. Anything else after a part must be another.
        while not (rest := waiting.lstrip(b"\0")):
            waiting = file.read(READ_BYTES)
            if not waiting:
                return b""
        waiting = rest + file.read(len(magic) - len(rest)) if len(rest) < len(magic) else rest
        if waiting.startswith(magic):
            return waiting
        if magic != ZSTD or not _is_skippable(waiting):
            place = file.tell() - len(waiting)
            raise DamagedFileError(f"has foreign bytes after its compressed data, at compressed byte {place:,}", verified)
        waiting = _after_skippable(file, waiting, verified)


def _after_skippable(file: BinaryIO, waiting: bytes, verified: int) -> bytes:
    """What was read beyond a frame that is to be skipped: its magic number, the length of its data in four bytes, its data."""
    waiting += file.read(max(0, 8 - len(waiting)))
    left = 8 + int.from_bytes(waiting[4:8], "little")
    while len(waiting) < left:
        left -= len(waiting)
        waiting = file.read(READ_BYTES)
        if not waiting:
            raise DamagedFileError(f"is cut off: it ends at compressed byte {file.tell():,}, in the middle of a frame to skip", verified)
    return waiting[left:]


def _chunks_of(part: _Part, file: BinaryIO, waiting: bytes, start: int, verified: int) -> Iterator[bytes]:
    """Decompress one part; checksum and length are verified by its decoder."""
    given = 0
    while not part.eof:
        if part.needs_input and not waiting:
            waiting = file.read(READ_BYTES)
            if not waiting:
                cut = f"is cut off: it ends at compressed byte {file.tell():,}, in the middle of its compressed data"
                raise DamagedFileError(cut, verified + given)
        try:
            chunk = part.decompress(waiting)
        except _DecodeError as error:
            here = file.tell()
            if error.checksum:
                place = f"what lies between compressed bytes {start:,} and {here:,} does not match its checksum"
            else:
                place = f"it cannot be decompressed at compressed bytes {max(start, here - READ_BYTES):,} to {here:,} ({error})"
            raise DamagedFileError(f"is altered: {place}", verified) from None
        waiting = b""
        if chunk:
            given += len(chunk)
            yield chunk
