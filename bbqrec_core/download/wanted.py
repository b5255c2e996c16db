"""Which raw files a profile's source consists of, where each is to be had, and into which folder they go.

Nothing is fetched here.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import SourceConfig
from bbqrec_core.ingest.sources import ONLY_WHOLE, addresses, is_path, is_pattern, matching_files, raw_folder, safe_path, wanted

OVERVIEW = "overview"
"""Key of `source.urls` for a page that people can read: no file."""


@dataclass(frozen=True)
class WantedFile:
    """A raw file.

    Attributes:
        path: Relative to the raw folder, with forward slashes.
        url: Where to get it; None where the profile does not say.
        page: Where people can read of it.
        only_whole: Whether no beginning of it will do, should it be cut off.
    """

    path: str
    url: str | None
    page: str | None = None
    only_whole: bool = False


def image_folder(source: SourceConfig) -> Path | None:
    """Where the pictures of a source are, or go; None if it has none."""
    return raw_folder(source) / safe_path(source.images, "source.images") if source.images else None


def wanted_files(source: SourceConfig) -> list[WantedFile]:
    """The files that a source needs.

    That is what its fields name, and whatever else `source.urls` has an address for by a path. Patterns stand for what those paths match.

    Raises:
        SourceError: The source needs no files or does not name one that it needs, a path leaves the raw folder, a pattern has no address
            and no file, or `source.urls` has a key that means nothing.
    """
    if source.kind == "synthetic":
        raise SourceError("A synthetic source has nothing to fetch: its shop is made.", "Just run it: bbqrec run.")
    asked = wanted(source)
    _require_known(source, asked)
    urls = addresses(source, asked)
    paths: dict[str, str | None] = {}
    for key, files in asked.items():
        for path in files:
            if is_pattern(path):
                _require_match(path, key, urls, source)
            else:
                paths[path] = urls.get(path)
    paths |= {path: url for path, url in urls.items() if path not in paths}
    base = source.download.base_url
    whole = {path for key in ONLY_WHOLE for path in asked.get(key, ())}
    if base:
        return [WantedFile(path, f"{base.rstrip('/')}/{quote(path)}", only_whole=path in whole) for path in paths]
    return [WantedFile(path, url, source.urls.get(OVERVIEW), path in whole) for path, url in paths.items()]


def _require_known(source: SourceConfig, asked: Mapping[str, list[str]]) -> None:
    """A key of `source.urls` that means nothing is a misspelt one: its file would be said to have no address."""
    paths = [path for listed in asked.values() for path in listed]
    for key in source.urls:
        if key in (OVERVIEW, *asked) or is_path(key) or any(key == path or fnmatchcase(key, path) for path in paths):
            continue
        near = difflib.get_close_matches(key, [*asked, *paths, OVERVIEW], n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise SourceError(
            f"source.urls has an address for '{key}', which is no file that the profile names.{hint}",
            f"Keys are {', '.join(asked)}, a file's path in the raw folder, or {OVERVIEW} for people.",
        )


def _require_match(pattern: str, key: str, urls: Iterable[str], source: SourceConfig) -> None:
    """A pattern names no file that could be asked for: `source.urls` must, unless they are there."""
    folder = raw_folder(source)
    if any(fnmatchcase(path, pattern) for path in urls) or (folder.is_dir() and matching_files(folder, pattern)):
        return
    raise SourceError(
        f"source.{key} is the pattern {pattern}, and source.urls has no address of a file that it fits.",
        "Add each file's address under its path in the raw folder, such as\n  urls:\n    part_1.jsonl.gz: https://...\n"
        f"or put the files into {folder}.",
    )
