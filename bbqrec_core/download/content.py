"""What was sent, told by its bytes: no server's word for it is taken."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from bbqrec_core.download.failures import FailedDownload
from bbqrec_core.ingest.decompress import GZIP, DamagedFileError, is_zstd, read_chunks
from bbqrec_core.ingest.images import picture_problem

HEAD_BYTES = 512
"""Bytes of a file that tell what it is."""
_HTML = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<script", b"<!--")
_PACKED: dict[str, tuple[Callable[[bytes], bool], str]] = {
    ".gz": (lambda head: head.startswith(GZIP), "gzip"),
    ".zst": (is_zstd, "Zstandard"),
    ".zstd": (is_zstd, "Zstandard"),
}


def check_head(name: str, head: bytes) -> None:
    """Refuse what cannot be the file of that name.

    Args:
        name: Its path; the extension says what is wanted.
        head: Its first `HEAD_BYTES` bytes, or all.

    Raises:
        FailedDownload: It is empty, a web page, or not compressed as its name says.
    """
    if not head:
        raise FailedDownload("an empty file")
    if is_web_page(head):
        raise FailedDownload(
            "a web page instead of a file", _shown(head), way_out="Open the address in a browser: it may ask for a login, or have moved."
        )
    is_packed, what = _PACKED.get(PurePosixPath(name).suffix.lower(), (lambda _: True, ""))
    if not is_packed(head):
        raise FailedDownload(f"no {what} file, though named so", f"it begins with {_shown(head)}")


def is_web_page(head: bytes) -> bool:
    """Whether bytes begin as HTML or XML do."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_HTML)


def damage_of(path: Path) -> str | None:
    """What is wrong with a compressed file, as a clause that follows its name; None where nothing is, or nothing can be told.

    A server may have announced a wrong length, or none: that the compressed data ends where it should is the better word.
    """
    with path.open("rb") as file:
        head = file.read(4)
    if not head.startswith(GZIP) and not is_zstd(head):
        return None
    try:
        for _ in read_chunks(path):
            pass
    except DamagedFileError as damage:
        return damage.problem
    return None


def check_picture(data: bytes, max_pixels: int) -> str:
    """See that bytes are a whole picture.

    Args:
        data: A file's bytes.
        max_pixels: A larger picture is refused.

    Returns:
        The extension that its content asks for.

    Raises:
        FailedDownload: They are no picture, or none that can be used.
    """
    extension = _picture_extension(data)
    if extension is None:
        if is_web_page(data[:HEAD_BYTES]):
            raise FailedDownload("a web page instead of a picture", _shown(data))
        raise FailedDownload("no picture", f"it begins with {_shown(data)}" if data else "it is empty")
    problem = picture_problem(data, max_pixels)
    if problem:
        raise FailedDownload("a picture that cannot be used", problem)
    return extension


def _picture_extension(data: bytes) -> str | None:
    if data.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    return None


def _shown(head: bytes) -> str:
    return repr(head[:40].decode("ascii", "replace"))
