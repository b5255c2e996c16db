"""Finds the raw files that a profile names, and says how to get those that are missing.

Only paths belong here: nothing is opened or read, and nothing heavy is imported, because every run asks for the files before it
knows whether there is anything to do.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath, PureWindowsPath

from bbqrec_core.errors import SourceError
from bbqrec_core.home import home_folder
from bbqrec_core.ingest.config import Files, SourceConfig

RAW_VARIABLE = "BBQREC_RAW"
"""Environment variable that names the folder of raw files."""
FETCHED = "raw"
"""Where `bbqrec fetch` puts files when neither profile nor environment say: a folder in the home folder."""

SHOP_REVIEWS = "reviews.json.gz"
SHOP_METADATA = "meta.json.gz"
SHOP_IMAGES = "images"

PICTURE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")
"""In order of preference, where an item has several."""
GLOB = frozenset("*?[")

ONLY_WHOLE = ("sequences.item2id", "sequences.text_codes", "sequences.image_codes", "sequences.codes_item2id")
"""Keys of files of which no beginning will do: items after a cut would have no names, or no codes."""


@dataclass(frozen=True)
class SourceFiles:
    """Files to ingest, all of them there.

    Attributes:
        by_key: The files of each profile key below `source`, such as `reviews` or `sequences.item2id`; a key that names none is left out.
        image_folder: Folder of pictures named after their item; None when the profile wants none.
        root: The folder that holds them all. Tables name files relative to it, so that they do not depend on the machine.
    """

    by_key: Mapping[str, tuple[Path, ...]]
    image_folder: Path | None
    root: Path

    def of(self, key: str) -> tuple[Path, ...]:
        """The files of a profile key; none where it names none."""
        return self.by_key.get(key, ())

    def one(self, key: str) -> Path | None:
        """The file of a profile key that names at most one."""
        return next(iter(self.of(key)), None)

    def all(self) -> list[Path]:
        """Every file that ingest may look at, pictures too, sorted."""
        return sorted({path for paths in self.by_key.values() for path in paths}) + self.pictures()

    def pictures(self) -> list[Path]:
        """The pictures that ingest may look at, sorted by name; whatever else lies in the folder is no input."""
        if self.image_folder is None:
            return []
        return sorted(picture_files(self.image_folder))

    def name_of(self, path: Path) -> str:
        """A file's name as tables carry it: relative to the root, with forward slashes."""
        return path.relative_to(self.root).as_posix()


def picture_files(folder: Path) -> Iterator[Path]:
    """The pictures in a folder and below. A name that is not UTF-8 cannot be any item's: it is passed over."""
    for path in folder.rglob("*"):
        if path.suffix.lower() in PICTURE_EXTENSIONS and path.is_file():
            try:
                str(path).encode()
            except UnicodeEncodeError:
                continue
            yield path


def wanted(source: SourceConfig) -> dict[str, list[str]]:
    """The paths and patterns that a profile names, by its key below `source`; keys that are empty are left out.

    Raises:
        SourceError: A file that there must be is not named, or a path leaves the raw folder.
    """
    if source.kind == "tables":
        named: dict[str, Files | None] = {"tables.interactions": source.tables.interactions, "tables.items": source.tables.items}
        needed = {"tables.interactions"}
    elif source.kind == "sequences":
        split = source.sequences
        named = {
            "sequences.sequences": split.sequences,
            "sequences.item2id": split.item2id,
            "sequences.items": split.items,
            "sequences.text_codes": split.text_codes,
            "sequences.image_codes": split.image_codes,
            "sequences.codes_item2id": split.codes_item2id,
        }
        needed = {"sequences.sequences"}
    else:
        named = {"reviews": source.reviews, "metadata": source.metadata}
        needed = {"reviews", "metadata"}
    listed = {key: [value] if isinstance(value, str) else list(value) for key, value in named.items() if value}
    for key in sorted(needed - set(listed)):
        raise SourceError(f"The profile names no source.{key}.", "Name a file, relative to the raw folder.")
    if source.images:
        safe_path(source.images, "source.images")
    return {key: [safe_path(path, f"source.{key}") for path in paths] for key, paths in listed.items()}


def safe_path(path: str, field: str) -> str:
    """A path with forward slashes that stays in the raw folder.

    Raises:
        SourceError: It leaves the folder, on any system.
    """
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or "\\" in path or "\0" in path:
        raise SourceError(
            f"{field} is {path!r}, which leaves the raw folder or is no path.", f"Give it relative to the folder that {RAW_VARIABLE} names."
        )
    return PurePosixPath(path).as_posix()


def is_pattern(path: str) -> bool:
    """Whether a path of the profile stands for any number of files."""
    return bool(GLOB & set(path))


def addresses(source: SourceConfig, asked: Mapping[str, list[str]]) -> dict[str, str]:
    """The addresses in `source.urls` by path in the raw folder; those of keys that are no path and name no single file are left out.

    Args:
        source: The profile's section `source`.
        asked: Its paths and patterns by key, as `wanted` gives them.
    """
    listed = {path for paths in asked.values() for path in paths}
    single = {key: paths[0] for key, paths in asked.items() if len(paths) == 1 and not is_pattern(paths[0])}
    found = {single[key]: url for key, url in source.urls.items() if key in single}
    return found | {
        safe_path(key, "a key of source.urls"): url
        for key, url in source.urls.items()
        if key not in asked and (is_path(key) or any(key == path or fnmatchcase(key, path) for path in listed))
    }


def is_path(key: str) -> bool:
    """Whether a key of `source.urls` is a path by itself, and not a word or a field's name."""
    return "/" in key or "\\" in key


def resolve_source(source: SourceConfig, shop: Path | None) -> SourceFiles:
    """Find the files of a profile's source.

    Args:
        source: The profile's section `source`.
        shop: The synthetic shop's artifact, for kind `synthetic`.

    Raises:
        SourceError: Files are missing; the message says which, where they go, and from where to get them.
    """
    if source.kind == "synthetic":
        folder = _shop(shop)
        files = SourceFiles({"reviews": (folder / SHOP_REVIEWS,), "metadata": (folder / SHOP_METADATA,)}, folder / SHOP_IMAGES, folder)
        gone = [str(path) for path in files.all() if not path.is_file()]
        if gone or not (folder / SHOP_IMAGES).is_dir():
            gone += [] if (folder / SHOP_IMAGES).is_dir() else [str(folder / SHOP_IMAGES)]
            raise SourceError(
                f"The synthetic shop lacks {', '.join(gone)}.", "Remove that artifact, then run again: the shop is made anew."
            )
        return files
    asked = wanted(source)
    root = raw_folder(source)
    if not _is_named(source) and not root.is_dir():
        paths = [path for listed in asked.values() for path in listed] + ([source.images] if source.images else [])
        raise SourceError(
            f"The folder of raw files is not known: neither the profile's source.raw nor the environment variable {RAW_VARIABLE} is set. "
            f"It must hold {', '.join(paths)}.",
            _way_out(source, asked),
        )
    found = {key: {path: matching_files(root, path) for path in paths} for key, paths in asked.items()}
    gone = [str(root / path) for paths in found.values() for path, matching in paths.items() if not matching]
    images = root / source.images if source.images else None
    if images is not None and not images.is_dir():
        gone.append(str(images))
    if gone:
        where = "source.raw" if source.raw else RAW_VARIABLE if _is_named(source) else "what `bbqrec fetch` got"
        exists = "" if root.is_dir() else " The folder itself does not exist."
        raise SourceError(f"Missing raw files in {root} (from {where}): {', '.join(gone)}.{exists}", _way_out(source, asked))
    by_key = {key: tuple(dict.fromkeys(file for matching in paths.values() for file in matching)) for key, paths in found.items()}
    return SourceFiles(by_key, images, root)


def image_folder(source: SourceConfig, shop: Path | None) -> Path | None:
    """The folder of pictures alone, without a look at the other files; None when the profile wants none.

    Raises:
        SourceError: The synthetic shop is not known, or the folder is not there.
    """
    if source.kind == "synthetic":
        return _shop(shop) / SHOP_IMAGES
    if not source.images:
        return None
    folder = raw_folder(source) / source.images
    if not folder.is_dir():
        raise SourceError(f"There are no pictures: {folder} is no folder.", f"Set {RAW_VARIABLE} to the folder that holds {source.images}.")
    return folder


def raw_folder(source: SourceConfig) -> Path:
    """The folder where raw files are, or go: the profile's, or the environment's, or `raw` in the home folder."""
    named = source.raw or os.environ.get(RAW_VARIABLE)
    try:
        return Path(named).expanduser().absolute() if named else home_folder() / FETCHED
    except RuntimeError as error:  # ~somebody who is not there
        raise SourceError(f"The folder of raw files, {named}, cannot be found: {error}.", "Give its whole path.") from None


def _is_named(source: SourceConfig) -> bool:
    return bool(source.raw or os.environ.get(RAW_VARIABLE))


def _shop(shop: Path | None) -> Path:
    if shop is None:
        raise SourceError("The synthetic source has no shop to read.", "Run the stage `shop` first, or set source.kind to amazon.")
    return shop


def matching_files(root: Path, path: str) -> list[Path]:
    """The files below a folder that a path or pattern of the profile means, sorted.

    Raises:
        SourceError: The pattern is none, or the system refuses the path.
    """
    try:
        candidates = sorted(root.glob(path)) if is_pattern(path) else [root / path]
        return [candidate for candidate in candidates if candidate.is_file()]
    except (ValueError, NotImplementedError) as error:
        raise SourceError(
            f"{path!r}, which the profile names, is no pattern of paths: {error}.", "** stands for folders, and for nothing else: a/**/*.gz"
        ) from None
    except OSError as error:
        raise SourceError(f"{root / path} cannot be looked for: {error.strerror}.", "Correct the path in the profile.") from None


def _way_out(source: SourceConfig, asked: Mapping[str, list[str]]) -> str:
    known = addresses(source, asked)
    listed_paths = [path for paths in asked.values() for path in paths]
    needed = [path for path in known if any(path == listed or fnmatchcase(path, listed) for listed in listed_paths)]
    lines = [f"{path}: {url}" for path, url in known.items()]
    lines += [f"{key}: {url}" for key, url in source.urls.items() if key not in asked and key not in known]
    if source.images:
        lines.append(
            f"{source.images}: a folder of pictures named <item_id>.jpg, from the image addresses in the metadata; "
            "source.images: null goes without"
        )
    listed = "".join(f"  {line}\n" for line in lines)
    had = f"Where they can be had:\n{listed}" if lines else ""
    fetch = "Get them with `bbqrec fetch` and the profile's name, put" if needed or source.download.base_url else "Put"
    return f"{had}{fetch} them there, or name the folder that holds them: {RAW_VARIABLE}=/path/to/raw, or source.raw in the profile."
