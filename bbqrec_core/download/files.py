"""One raw file from its address to its place: resumed, verified, and there whole or not at all.

While it is coming it is `<name>.part`, and `<name>.part.json` says of which file on the server that is the beginning. Which files are
wanted does not belong here.

Source: RFC 9110, 13.1.5 and 14 (If-Range, Range, Content-Range).
"""

import asyncio
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import httpx

from bbqrec_core.digests import sha256_of_file
from bbqrec_core.download.content import HEAD_BYTES, check_head, damage_of
from bbqrec_core.download.failures import FailedDownload
from bbqrec_core.download.network import Client
from bbqrec_core.download.retry import Patience, persist
from bbqrec_core.download.steps import Steps

PART = ".part"
STEP_BYTES = 1 << 20

Cut = Literal["taken", "refused", "useless"]
"""A compressed file that is cut off, as some are published, is taken; or refused, though an option would use it; or of no use at all."""


@dataclass(frozen=True)
class Version:
    """Which content of an address it is, as far as the server says.

    Attributes:
        url: The address asked for.
        etag: The server's name of this content.
        last_modified: The server's time of it.
        length: Bytes of the whole file.
    """

    url: str
    etag: str | None
    last_modified: str | None
    length: int | None

    @property
    def condition(self) -> str | None:
        """What If-Range may say: a strong ETag, or a date; None where the rest of this content cannot be asked for."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


@dataclass(frozen=True)
class Received:
    """A file that came whole, still under its `.part` name.

    Attributes:
        part: Where it is.
        version: Of what.
        bytes: Its size.
        sha256: Of its bytes, hexadecimal.
        cut: How its compressed data is cut off, where that was accepted.
    """

    part: Path
    version: Version
    bytes: int
    sha256: str
    cut: str | None

    def settle(self, target: Path) -> None:
        """Give the file its name. It is whole from the first moment on, whatever happens."""
        self.part.replace(target)
        _note(self.part).unlink(missing_ok=True)
        sync_folder(target.parent)


async def receive(client: Client, url: str, target: Path, max_bytes: int, patience: Patience, cut: Cut = "refused") -> Received:
    """Get a file, beginning where an earlier call was interrupted.

    Args:
        client: To ask with.
        url: Its address.
        target: Where it is to go; call `settle` for that.
        max_bytes: A larger file is refused.
        patience: With the server.
        cut: What to do with a compressed file that is cut off.

    Raises:
        FailedDownload: It cannot be had, is too large, or is not what its name says. What came of it stays only if it can be gone on with.
        OSError: The disk.
    """
    part = target.with_name(target.name + PART)
    part.parent.mkdir(parents=True, exist_ok=True)
    furthest = _size(part)

    def got_further() -> bool:
        nonlocal furthest
        before, furthest = furthest, max(furthest, _size(part))
        return furthest > before

    version = await persist(lambda: _attempt(client, url, part, target.name, max_bytes), patience, got_further)
    return await asyncio.to_thread(_verified, part, version, target.name, cut)


async def _attempt(client: Client, url: str, part: Path, name: str, max_bytes: int) -> Version:
    """Get what is missing of a file. Returns which it is, or fails with as much as came in the part."""
    known, start = _begun(part, url)
    if known is not None and start == known.length:
        return known  # killed when it had come whole
    headers = {}
    if known is not None and known.condition and start:
        headers = {"Range": f"bytes={start}-", "If-Range": known.condition}
    async with client.get(url, (200, 206, 416) if headers else (200,), headers) as answer:
        if known is not None and answer.status_code == 416 and _total(answer) == start:
            return known  # the same, of a length that was not known
        if answer.status_code == 416 or (answer.status_code == 206 and not _continues(answer, start, known)):
            _clear(part)
            raise FailedDownload("the server's answer does not fit what is there: begun again", again=True)
        if answer.status_code == 200:  # from the beginning: it is asked for so, the file has changed, or the server knows no ranges
            start, known = 0, None
        version = _version(answer, url) if known is None else replace(known, length=_total(answer))
        _check_size(version.length, start, max_bytes, part)
        await _take(answer, part, name, start, version, max_bytes)
    return version


async def _take(answer: httpx.Response, part: Path, name: str, start: int, version: Version, max_bytes: int) -> None:
    """Write an answer's body to the part."""
    done, head = start, b""
    if not start:
        part.open("wb").close()  # before the note: a note must never be beside bytes of something else
        write_json(_note(part), asdict(version))
    with part.open("ab") as file, _steps(name, version.length) as steps:
        async for chunk in answer.aiter_raw():
            done += len(chunk)
            if done > max_bytes or (version.length is not None and done > version.length):
                file.close()
                _clear(part)
                if done > max_bytes:
                    raise _too_large(max_bytes)
                raise FailedDownload("more than the announced length", f"{version.length:,} bytes were announced")
            if not start and len(head) < HEAD_BYTES:
                head += chunk
                if len(head) >= HEAD_BYTES:
                    _refuse_early(part, name, head[:HEAD_BYTES])
            file.write(chunk)
            steps.to(done // STEP_BYTES)
        file.flush()
        os.fsync(file.fileno())
    if version.length is not None and done < version.length:
        raise FailedDownload("the file broke off", f"{done:,} of {version.length:,} bytes came", again=True)


def _refuse_early(part: Path, name: str, head: bytes) -> None:
    """Not gigabytes of what is not wanted."""
    try:
        check_head(name, head)
    except FailedDownload:
        _clear(part)
        raise


def _verified(part: Path, version: Version, name: str, cut: Cut) -> Received:
    with part.open("rb") as file:
        head = file.read(HEAD_BYTES)
    _refuse_early(part, name, head)
    damage = damage_of(part)
    is_cut = damage is not None and "cut off" in damage
    if damage and not (is_cut and cut == "taken"):
        _clear(part)
        published_so = {
            "refused": " If it is published so, ingest.use_cut_files: true takes what comes before the cut." if is_cut else "",
            "useless": " If it is published so, get it elsewhere: it is of use only whole.",
        }
        raise FailedDownload(
            "the file is damaged, here or at its source", f"it {damage}", way_out=f"Fetch it again.{published_so.get(cut, '')}"
        )
    return Received(part, version, part.stat().st_size, sha256_of_file(part), damage)


def _begun(part: Path, url: str) -> tuple[Version | None, int]:
    """Of what the part is a beginning, and how long; (None, 0) if that cannot be told."""
    try:
        version = Version(**json.loads(_note(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None, 0
    return (version, _size(part)) if version.url == url and part.is_file() else (None, 0)


def _version(answer: httpx.Response, url: str) -> Version:
    length = _number(answer.headers.get("content-length"))
    return Version(url, answer.headers.get("etag"), answer.headers.get("last-modified"), length)


def _continues(answer: httpx.Response, start: int, known: Version | None) -> bool:
    """Whether a partial answer is the rest of what is there."""
    found = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", answer.headers.get("content-range", "").strip())
    if found is None or known is None or int(found[1]) != start:
        return False
    total = _total(answer)
    if total is None or int(found[2]) + 1 != total or (known.length is not None and total != known.length):
        return False
    etag = answer.headers.get("etag")
    return etag is None or known.etag is None or etag == known.etag


def _total(answer: httpx.Response) -> int | None:
    """The whole file's length, as Content-Range says."""
    return _number(answer.headers.get("content-range", "").rpartition("/")[2].strip())


def _number(text: str | None) -> int | None:
    return int(text) if text and len(text) < 19 and text.isascii() and text.isdigit() else None


def _check_size(length: int | None, start: int, max_bytes: int, part: Path) -> None:
    if length is None:
        return
    if length > max_bytes:
        _clear(part)
        raise _too_large(max_bytes, f"{length:,} are announced")
    free = shutil.disk_usage(part.parent).free + (_size(part) - start)
    if length - start > free:
        raise FailedDownload(
            "the disk has not enough room", f"{length - start:,} bytes are to come and {free:,} are free", way_out="Free some space."
        )


def _too_large(max_bytes: int, detail: str = "") -> FailedDownload:
    return FailedDownload(
        f"more than {max_bytes:,} bytes", detail, way_out="If that is meant, raise source.download.max_file_bytes in the profile."
    )


def _steps(name: str, length: int | None) -> Steps:
    return Steps(f"fetching {name}", (length or 0) // STEP_BYTES, "MB")


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _clear(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def write_json(path: Path, value: object) -> None:
    """Write a file of JSON: the old one is there until the new one is."""
    unfinished = path.with_name(path.name + ".new")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, sort_keys=True, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def sync_folder(folder: Path) -> None:
    """Have the disk hold a folder's names."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
