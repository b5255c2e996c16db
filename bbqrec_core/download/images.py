"""Pictures of items: many at once, each from the first of its addresses that gives one that can be used.

Which items, and what becomes of pictures afterwards, does not belong here.
"""

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bbqrec_core.download.content import check_picture
from bbqrec_core.download.failures import FailedDownload
from bbqrec_core.download.files import PART
from bbqrec_core.download.network import Client
from bbqrec_core.download.picture_records import PictureRecord, PictureRecords
from bbqrec_core.download.retry import Patience, persist
from bbqrec_core.download.steps import Steps
from bbqrec_core.ingest.config import DownloadConfig
from bbqrec_core.ingest.pictures import picture_names, picture_path

SILENCES_TO_FINISH = 10
"""A picture must have come within so many of the silences allowed: a trickle that never ends is silent never."""
FAILURES_TO_GIVE_UP = 20
"""A host of which so many addresses in a row could not be had, all tries counted as one, is not asked again by this call."""
WAITING = 4
"""Items under way for each connection: while some wait for a host's turn, others have theirs."""
CHECKERS = 4
"""Threads that decode pictures, at most: each may hold one of `max_image_pixels`."""


@dataclass(frozen=True)
class WantedPicture:
    """An item and the addresses of its picture, best first."""

    item_id: str
    urls: tuple[str, ...]


@dataclass
class PictureSummary:
    """What became of all pictures.

    Attributes:
        list_file: Where each one's fate is written.
        fetched: How many came now.
        bytes: Their size together.
        there: How many were there.
        missing: How many have none: servers said that there is nothing at their addresses, now or earlier.
        failed: How many could not be had, and are tried again by the next call.
        reasons: Why, of the missing and the failed.
    """

    list_file: Path
    fetched: int = 0
    bytes: int = 0
    there: int = 0
    missing: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


async def fetch_pictures(
    wanted: Sequence[WantedPicture],
    folder: Path,
    config: DownloadConfig,
    max_pixels: int,
    again: bool = False,
    patience: Patience | None = None,
) -> PictureSummary:
    """Fetch the pictures that are not there yet. Hold `fetching` of a folder around it.

    Args:
        wanted: Items with their addresses.
        folder: The folder of pictures.
        config: The profile's section `source.download`.
        max_pixels: Larger pictures are refused.
        again: Ask also for those of which a server has said that there is nothing.
        patience: With servers; by default what `config` says.

    Raises:
        OSError: The disk. What came before it stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with PictureRecords(folder) as records, ThreadPoolExecutor(min(CHECKERS, os.cpu_count() or 1)) as checkers:
        async with Client(config, pictures=True) as client:
            hosts = _Hosts()
            fetch = _Fetch(client, folder, config, max_pixels, again, patience or Patience(config.attempts), records, checkers, hosts)
            return await fetch.all(wanted)


@dataclass
class _Fetch:
    client: Client
    folder: Path
    config: DownloadConfig
    max_pixels: int
    again: bool
    patience: Patience
    records: PictureRecords
    checkers: ThreadPoolExecutor
    hosts: "_Hosts"

    async def all(self, wanted: Sequence[WantedPicture]) -> PictureSummary:
        summary = PictureSummary(self.records.path)
        names = _names(self.folder)
        todo = iter([picture for picture in wanted if not self._settled(picture, names, summary)])
        with Steps("fetching pictures", len(wanted), "pictures") as steps:
            workers = [asyncio.create_task(self._work(todo, summary, steps)) for _ in range(WAITING * self.config.connections)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return summary

    def _settled(self, picture: WantedPicture, names: set[str], summary: PictureSummary) -> bool:
        """Count what needs no request."""
        record = self.records.get(picture.item_id)
        if self._is_there(picture.item_id, record, names):
            summary.there += 1
            return True
        if record is None or self.again or set(picture.urls) - set(record.gone):
            return False
        summary.missing += 1
        summary.reasons[f"{record.reason} (not asked again)"] += 1
        return True

    def _is_there(self, item_id: str, record: PictureRecord | None, names: set[str]) -> bool:
        found = next((file for file in picture_names(item_id) if file in names), None)
        if found is None:
            return False
        size = (self.folder / found).stat().st_size
        return size == record.bytes if record is not None and record.file == found else size > 0

    async def _work(self, todo: Iterator[WantedPicture], summary: PictureSummary, steps: Steps) -> None:
        for picture in todo:
            record = await self._picture(picture)
            self.records.put(record)
            if record.status == "ok":
                summary.fetched += 1
                summary.bytes += record.bytes or 0
            else:
                summary.missing += record.status == "missing"
                summary.failed += record.status == "failed"
                summary.reasons[record.reason or "unknown"] += 1
            steps.to(summary.fetched + summary.there + summary.missing + summary.failed)

    async def _picture(self, picture: WantedPicture) -> PictureRecord:
        """Try an item's addresses in turn."""
        known = None if self.again else self.records.get(picture.item_id)
        gone = [url for url in (known.gone if known else ()) if url in picture.urls]
        tried = {url: known.tried[url] for url in gone if known and url in known.tried}
        reason = known.reason if known else None
        for url in picture.urls:
            if url in gone:
                continue
            try:
                file, size, digest = await self._from(url, picture.item_id)
            except FailedDownload as failure:
                tried[url], reason = failure.problem, failure.reason
                if failure.gone:
                    gone.append(url)
                continue
            return PictureRecord(picture.item_id, "ok", None, url, file, size, digest, tried, tuple(gone))
        status = "missing" if len(gone) == len(set(picture.urls)) else "failed"
        return PictureRecord(picture.item_id, status, reason, tried=tried, gone=tuple(gone))  # type: ignore[arg-type]

    async def _from(self, url: str, item_id: str) -> tuple[str, int, str]:
        """Get a picture into its place; returns its name, size and checksum."""
        host = _host(url)
        self.hosts.require_hope(host)
        try:
            kept = await persist(lambda: self._ask(url, item_id), self.patience)
        except FailedDownload as failure:
            self.hosts.note(host, hopeless=failure.again)
            raise
        self.hosts.note(host, hopeless=False)
        return kept

    async def _ask(self, url: str, item_id: str) -> tuple[str, int, str]:
        limit = self.config.max_image_bytes
        async with self.client.get(url, deadline=SILENCES_TO_FINISH * self.config.timeout_seconds) as answer:
            announced = answer.headers.get("content-length", "")
            if announced.isascii() and announced.isdigit() and int(announced) > limit:
                raise FailedDownload(f"more than {limit:,} bytes", f"{int(announced):,} are announced")
            data = bytearray()
            async for chunk in answer.aiter_raw():
                data += chunk
                if len(data) > limit:
                    raise FailedDownload(f"more than {limit:,} bytes")
            # While the connection is still ours: as many pictures are in memory as there are connections, and no more.
            return await asyncio.get_running_loop().run_in_executor(self.checkers, self._keep, item_id, bytes(data))

    def _keep(self, item_id: str, data: bytes) -> tuple[str, int, str]:
        """Check a picture and write it to its place, in a thread. Under its name it is whole from the first moment on."""
        file = picture_path(item_id, check_picture(data, self.max_pixels))
        path = self.folder / file
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(path.name + PART)
        with part.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
        return file, len(data), hashlib.sha256(data).hexdigest()


class _Hosts:
    """Remembers which hosts only fail. A catalogue of a million addresses on a dead one would otherwise take days to fail."""

    def __init__(self) -> None:
        self._in_a_row: Counter[str] = Counter()

    def require_hope(self, host: str) -> None:
        if self._in_a_row[host] >= FAILURES_TO_GIVE_UP:
            raise FailedDownload(f"not asked: {host} had failed {FAILURES_TO_GIVE_UP} times in a row")

    def note(self, host: str, hopeless: bool) -> None:
        self._in_a_row[host] = self._in_a_row[host] + 1 if hopeless else 0


def _host(url: str) -> str:
    try:
        return httpx.URL(url).host
    except (httpx.InvalidURL, ValueError, UnicodeError):
        return ""


def _names(folder: Path) -> set[str]:
    """What lies in the folder and its shards, relative to it. What a killed call was writing is taken away."""
    names = set()
    for entry in os.scandir(folder):
        if entry.is_file():
            names.add(entry.name)
        elif len(entry.name) == 2 and entry.is_dir():
            for file in os.scandir(entry.path):
                if file.name.endswith(PART):
                    Path(file.path).unlink()
                else:
                    names.add(f"{entry.name}/{file.name}")
    return names
