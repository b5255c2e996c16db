"""Fetching what a profile reads: its raw files, then the pictures of the items that are left after the k-core.

How a byte is fetched does not belong here, nor what is printed.
"""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from bbqrec_core import schema
from bbqrec_core.download.images import PictureSummary, WantedPicture, fetch_pictures
from bbqrec_core.download.raw import FileOutcome, fetch_files, fetching
from bbqrec_core.download.wanted import image_folder, wanted_files
from bbqrec_core.ingest.sources import raw_folder
from bbqrec_core.profile import Profile
from bbqrec_core.store import ArtifactStore
from tasks.plan import make_plan
from tasks.runner import run_stage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """What came of it.

    Attributes:
        folder: The raw folder.
        files: What became of each raw file.
        pictures: What became of the pictures; None if none were asked for, or a raw file is missing.
        without_address: Items of which the metadata names no picture's address.
    """

    folder: Path
    files: list[FileOutcome]
    pictures: PictureSummary | None
    without_address: int


def fetch_profile(profile: Profile, store: ArtifactStore, images: bool = True, again: bool = False) -> Fetched:
    """Fetch what a profile's source consists of and what is not there yet.

    Args:
        profile: Whose.
        store: Where the stage `ingest`, which tells the items, keeps its output.
        images: Whether to fetch pictures too, if the profile names a folder for them.
        again: Whether to ask again for pictures that servers said they do not have.

    Raises:
        BBQRecError: There is nothing to fetch, another call is at it, or ingest fails on what was fetched.
    """
    source, folder = profile.source, raw_folder(profile.source)
    wanted, pictures_go = wanted_files(source), image_folder(source)
    with fetching(folder):
        files = asyncio.run(
            fetch_files(wanted, folder, source.download, profile.ingest.use_cut_files, lambda path: store.digests.sha256([path])[path])
        )
        if pictures_go is None or not images or any(file.status == "failed" for file in files):
            return Fetched(folder, files, None, 0)
        pictures_go.mkdir(parents=True, exist_ok=True)  # before they are: a profile that names the folder can be run without pictures
        of_items, without_address = _wanted_pictures(profile, store, folder)
        summary = asyncio.run(fetch_pictures(of_items, pictures_go, source.download, profile.ingest.max_image_pixels, again))
        return Fetched(folder, files, summary, without_address)


def _wanted_pictures(profile: Profile, store: ArtifactStore, folder: Path) -> tuple[list[WantedPicture], int]:
    """The items left after the k-core that have addresses of pictures, and the number of those that have none."""
    import polars as pl

    blind = _without_pictures(profile, folder)
    planned = make_plan(blind, store)["ingest"]
    outcome = run_stage(planned, blind, store, begin=_say)
    items = pl.scan_parquet(outcome.artifact.path / "items.parquet").select(schema.ITEM_ID)
    known = pl.scan_parquet(outcome.artifact.path / "raw_items.parquet").select(schema.ITEM_ID, "image_urls")
    rows = items.join(known, on=schema.ITEM_ID, how="left").sort(schema.ITEM_ID).collect()
    addresses = [(item_id, tuple(dict.fromkeys(urls or ()))) for item_id, urls in rows.iter_rows()]
    wanted = [WantedPicture(item_id, urls) for item_id, urls in addresses if urls]
    return wanted, len(addresses) - len(wanted)


def _say() -> dict[str, str]:
    log.info("ingest: working, to know which items are left after the k-core")
    return {}


def _without_pictures(profile: Profile, folder: Path) -> Profile:
    """The profile as ingest has to know it to tell the items: without pictures, its output stays valid however many have come."""
    source = profile.source.model_copy(update={"images": None, "raw": str(folder)})
    embedding = profile.embedding if profile.embedding.text is None else profile.embedding.model_copy(update={"image": None})
    return profile.model_copy(update={"source": source, "embedding": embedding})
