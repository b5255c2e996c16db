"""Finds the raw files that a profile names, and says how to get those that are missing.

Only paths belong here: nothing is opened or read, and nothing heavy is imported, because every run asks for the files before it
knows whether there is anything to do.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import SourceConfig

RAW_VARIABLE = "BBQREC_RAW"
"""Environment variable that names the folder of raw files."""

SHOP_REVIEWS = "reviews.json.gz"
SHOP_METADATA = "meta.json.gz"
SHOP_IMAGES = "images"


PICTURE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")
"""In order of preference, where an item has several."""


@dataclass(frozen=True)
class SourceFiles:
    """Files to ingest, all of them there.

    Attributes:
        reviews: Review file.
        metadata: Metadata file.
        image_folder: Folder of pictures named <item_id>.<extension>; None when the profile wants none.
        root: The folder that holds them all. Tables name files relative to it, so that they do not depend on the machine.
    """

    reviews: Path
    metadata: Path
    image_folder: Path | None
    root: Path

    def pictures(self) -> list[Path]:
        """The pictures that ingest may look at, sorted by name; whatever else lies in the folder is no input."""
        if self.image_folder is None:
            return []
        return sorted(path for path in self.image_folder.iterdir() if path.suffix in PICTURE_EXTENSIONS and path.is_file())

    def name_of(self, path: Path) -> str:
        """A file's name as tables carry it: relative to the root, with forward slashes."""
        return path.relative_to(self.root).as_posix()


def resolve_source(source: SourceConfig, shop: Path | None) -> SourceFiles:
    """Find the files of a profile's source.

    Args:
        source: The profile's section `source`.
        shop: The synthetic shop's artifact, for kind `synthetic`.

    Raises:
        SourceError: Files are missing; the message says which, where they go, and from where to get them.
    """
    if source.kind == "synthetic":
        if shop is None:
            raise SourceError("The synthetic source has no shop to read.", "Run the stage `shop` first, or set source.kind to amazon.")
        files = SourceFiles(shop / SHOP_REVIEWS, shop / SHOP_METADATA, shop / SHOP_IMAGES, shop)
        gone = _missing(files)
        if gone:
            raise SourceError(f"The synthetic shop lacks {_listing(gone)}.", "Remove that artifact, then run again: the shop is made anew.")
        return files
    return _resolve_raw(source)


def _resolve_raw(source: SourceConfig) -> SourceFiles:
    for key in ("reviews", "metadata"):
        named = getattr(source, key)
        if not named:
            raise SourceError(f"The profile names no source.{key}.", f"Set source.{key} to a file's path, relative to the raw folder.")
    for key in ("reviews", "metadata", "images"):
        named = getattr(source, key)
        if named and (Path(named).is_absolute() or ".." in Path(named).parts):
            raise SourceError(
                f"source.{key} is {named!r}, which leaves the raw folder.", f"Give it relative to the folder that {RAW_VARIABLE} names."
            )
    folder = source.raw or os.environ.get(RAW_VARIABLE)
    if not folder:
        wanted = [named for named in (source.reviews, source.metadata, source.images) if named]
        raise SourceError(
            f"The folder of raw files is not known: neither the profile's source.raw nor the environment variable {RAW_VARIABLE} is set. "
            f"It must hold {_listing(wanted)}.",
            _way_out(source),
        )
    root = Path(folder).expanduser().absolute()
    images = root / source.images if source.images else None
    files = SourceFiles(root / source.reviews, root / source.metadata, images, root)
    gone = _missing(files)
    if gone:
        where = "source.raw" if source.raw else RAW_VARIABLE
        exists = "" if root.is_dir() else " The folder itself does not exist."
        raise SourceError(f"Missing raw files in {root} (from {where}): {_listing(gone)}.{exists}", _way_out(source))
    return files


def _missing(files: SourceFiles) -> list[Path]:
    gone = [path for path in (files.reviews, files.metadata) if not path.is_file()]
    if files.image_folder is not None and not files.image_folder.is_dir():
        gone.append(files.image_folder)
    return gone


def _listing(paths: list[Path] | list[str]) -> str:
    return ", ".join(str(path) for path in paths)


def _way_out(source: SourceConfig) -> str:
    lines = [f"{getattr(source, key, '') or key}: {url}" for key, url in source.urls.items()]
    if source.images:
        lines.append(
            f"{source.images}: a folder of pictures named <item_id>.jpg, from the image addresses in the metadata; "
            "source.images: null goes without"
        )
    listed = "".join(f"  {line}\n" for line in lines)
    had = f"Where they can be had:\n{listed}" if lines else ""
    return f"{had}Put them there, or name the folder that holds them: {RAW_VARIABLE}=/path/to/raw, or source.raw in the profile."
