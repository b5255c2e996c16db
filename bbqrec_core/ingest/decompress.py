"""Decompresses a file and verifies it: every checksum, every length, and that the file ends where it should.

DuckDB and most tools read a gzip that was cut or altered as if it simply held fewer or other rows. Here that is an error. What the
bytes mean does not belong here.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO

from isal import igzip_lib

from bbqrec_core.errors import SourceError

READ_BYTES = 1 << 16
"""Compressed bytes read at once: also how exactly damage can be located."""
CHUNK_BYTES = 1 << 22
"""Decompressed bytes given out at once, at most: bounds memory whatever the file says."""

GZIP = b"\x1f\x8b"
FOREIGN = {
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "compressed with zstandard",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"PAR1": "a Parquet file",
}


class DamagedFileError(Exception):
    """A compressed file is cut or altered.

    Args:
        problem: What is wrong, as a clause that follows the file's name.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's decompressed content; gzip (of any number of members) or plain, told by its first bytes.

    Yields:
        Non-empty chunks of at most `CHUNK_BYTES`.

    Raises:
        DamagedFileError: The gzip is cut or altered. It comes after the chunks before the damage, which must then be thrown away.
        SourceError: The file is empty, unreadable or in another format.
    """
    try:
        with path.open("rb") as file:
            start = file.read(6)
            file.seek(0)
            for magic, what in FOREIGN.items():
                if start.startswith(magic):
                    raise SourceError(f"{path} is {what}, which is not read here.", "Give it as gzip or as plain text.")
            if not start:
                raise SourceError(f"{path} is empty.", "Get the file again, and compare its size with the published one.")
            yield from _gzip_chunks(file) if start.startswith(GZIP) else _plain_chunks(file)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}.", "Check the file and its permissions.") from None


def _plain_chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _gzip_chunks(file: BinaryIO) -> Iterator[bytes]:
    waiting = b""  # compressed bytes read but not given to a member yet
    while True:
        member_start = file.tell() - len(waiting)
        waiting = yield from _member(file, waiting, member_start)
        # Padding with zeros is allowed (tapes, block devices), as in gzip itself. Anything else after a member must be another.
        while not (rest := waiting.lstrip(b"\0")):
            waiting = file.read(READ_BYTES)
            if not waiting:
                return
        waiting = rest + file.read(READ_BYTES) if len(rest) < len(GZIP) else rest
        if not waiting.startswith(GZIP):
            raise DamagedFileError(f"has foreign bytes after its compressed data, at compressed byte {file.tell() - len(waiting):,}")


def _member(file: BinaryIO, waiting: bytes, member_start: int) -> Generator[bytes, None, bytes]:
    """Decompress one gzip member, checksum and length verified by the decoder; returns the bytes read beyond its end."""
    decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    while not decoder.eof:
        if decoder.needs_input and not waiting:
            waiting = file.read(READ_BYTES)
            if not waiting:
                raise DamagedFileError(f"is cut off: it ends at compressed byte {file.tell():,}, in the middle of its compressed data")
        try:
            chunk = decoder.decompress(waiting, CHUNK_BYTES)
        except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub does not say that it is an exception
            here = file.tell()
            if "checksum" in str(error):
                place = f"what lies between compressed bytes {member_start:,} and {here:,} does not match its checksum"
            else:
                place = f"it cannot be decompressed at compressed bytes {max(member_start, here - READ_BYTES):,} to {here:,} ({error})"
            raise DamagedFileError(f"is altered: {place}") from None
        waiting = b""
        if chunk:
            yield chunk
    return bytes(decoder.unused_data)
