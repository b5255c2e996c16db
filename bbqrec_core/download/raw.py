"""All raw files of a source, one after the other: what is there stays, what is missing is fetched, what fails is told."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from bbqrec_core.digests import sha256_of_file
from bbqrec_core.download.failures import FailedDownload
from bbqrec_core.download.files import Cut, receive
from bbqrec_core.download.manifest import MANIFEST, Entry, read_manifest, write_manifest
from bbqrec_core.download.network import Client
from bbqrec_core.download.retry import Patience
from bbqrec_core.download.wanted import WantedFile
from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import DownloadConfig

LOCK = ".fetch.lock"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileOutcome:
    """What became of a raw file.

    Attributes:
        path: Relative to the raw folder.
        status: `fetched` now; `there`, as fetched earlier; `foreign`: there, and not from here; or `failed`.
        bytes: Its size, if it is there.
        sha256: Of its bytes, if that is known.
        reason: Why it failed, or what must be known of it.
        way_out: What can be done about it.
    """

    path: str
    status: Literal["fetched", "there", "foreign", "failed"]
    bytes: int | None = None
    sha256: str | None = None
    reason: str = ""
    way_out: str = ""


@contextmanager
def fetching(folder: Path) -> Iterator[None]:
    """Have a folder to oneself: two that write the same `.part` would spoil it. A dead holder's lock is free.

    Raises:
        SourceError: Another call is fetching into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SourceError(
            f"Another `bbqrec fetch` is at work in {folder}.", "Wait for it, or stop it: the next goes on from there."
        ) from None
    try:
        yield
    finally:
        lock.release()


async def fetch_files(
    wanted: Sequence[WantedFile],
    folder: Path,
    config: DownloadConfig,
    accept_cut: bool = False,
    digest: Callable[[Path], str] = sha256_of_file,
    patience: Patience | None = None,
) -> list[FileOutcome]:
    """Fetch raw files into a folder. Hold `fetching(folder)`.

    Args:
        wanted: Which.
        folder: The raw folder.
        config: The profile's section `source.download`.
        accept_cut: Take compressed files that are cut off too, but for those that are of use only whole.
        digest: SHA-256 of a file; one that remembers saves reading large files again.
        patience: With servers; by default what `config` says.

    Returns:
        One outcome for each, in their order. One that fails does not keep the others from being fetched.

    Raises:
        SourceError: The manifest cannot be read.
        OSError: The disk.
    """
    patience = patience or Patience(config.attempts)
    outcomes = []
    async with Client(config) as client:
        for file in wanted:
            outcome = _there(file, folder, digest)
            if outcome is None:
                try:
                    outcome = await _fetch(client, file, folder, config, accept_cut, patience)
                except FailedDownload as failure:
                    outcome = FileOutcome(file.path, "failed", reason=f"{failure.problem}, from {file.url}", way_out=failure.way_out)
            outcomes.append(outcome)
    return outcomes


def _there(file: WantedFile, folder: Path, digest: Callable[[Path], str]) -> FileOutcome | None:
    """What can be said without asking anybody; None if the file has to be fetched."""
    target = folder / file.path
    if not target.exists():
        if file.url is not None:
            return None
        return FileOutcome(
            file.path,
            "failed",
            reason="it is not there, and the profile does not say where to get it",
            way_out=f"Add its address to the profile, under source.urls: '{file.path}': https://...; or put the file into {folder}."
            + (f" What it is: {file.page}" if file.page else ""),
        )
    size, entry = target.stat().st_size, read_manifest(folder).get(file.path)
    if entry is None:
        return FileOutcome(file.path, "foreign", size)
    if size == entry.bytes and digest(target) == entry.sha256:
        return FileOutcome(file.path, "there", size, entry.sha256)
    return FileOutcome(
        file.path,
        "failed",
        size,
        reason=f"it is not what was fetched on {entry.fetched}: its size or checksum differs from those in {MANIFEST}",
        way_out=f"To fetch it again, remove {target}. If it is meant to be so, take it out of {folder / MANIFEST}.",
    )


async def _fetch(
    client: Client, file: WantedFile, folder: Path, config: DownloadConfig, accept_cut: bool, patience: Patience
) -> FileOutcome:
    assert file.url is not None
    log.info("fetching %s from %s", file.path, file.url)
    target = folder / file.path
    cut: Cut = "useless" if file.only_whole else "taken" if accept_cut else "refused"
    received = await receive(client, file.url, target, config.max_file_bytes, patience, cut)
    version = received.version
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = Entry(file.url, received.bytes, received.sha256, version.etag, version.last_modified, now)
    # Before the file has its name: a kill between the two leaves an entry without a file, which is fetched, not a file without an entry.
    write_manifest(folder, {**read_manifest(folder), file.path: entry})
    received.settle(target)
    note = f"its content {received.cut}; ingest.use_cut_files takes it so" if received.cut else ""
    return FileOutcome(file.path, "fetched", received.bytes, received.sha256, reason=note)
