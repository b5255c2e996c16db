"""Finds the picture of each item and makes sure that it can be read.

Pictures are only looked at: what an encoder sees is the embedding's business.
"""

import hashlib
import io
import logging
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bbqrec_core.ingest.sources import PICTURE_EXTENSIONS
from bbqrec_core.progress import track

log = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_FILE_BYTES = 1 << 26


@dataclass(frozen=True)
class ItemImage:
    """An item's picture.

    Attributes:
        item_id: The item.
        file: Name relative to the image folder.
        sha256: Of the file's bytes, hexadecimal; None if they could not be read.
        problem: Why it cannot be used; None if it can.
    """

    item_id: str
    file: str
    sha256: str | None
    problem: str | None


def find_images(folder: Path, item_ids: Iterable[str], max_pixels: int, workers: int) -> list[ItemImage]:
    """Look at the pictures of items.

    Args:
        folder: Holds pictures named <item_id> and one of `PICTURE_EXTENSIONS`. Other files in it are left alone.
        item_ids: The items. An ID that is no plain file name has no picture: only the folder's own listing is searched.
        max_pixels: Larger pictures are a problem.
        workers: Threads.

    Returns:
        One entry per item that has a file, in the order of `item_ids`.
    """
    names = {path.name for path in folder.iterdir() if path.is_file()}
    wanted = [(item_id, name) for item_id in item_ids if (name := _first(item_id, names)) is not None]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        checks = pool.map(lambda pair: _check(folder, pair[0], pair[1], max_pixels), wanted)
        return list(track(checks, "checking pictures", total=len(wanted), unit="pictures"))


def _first(item_id: str, names: set[str]) -> str | None:
    return next((item_id + extension for extension in PICTURE_EXTENSIONS if item_id + extension in names), None)


def _check(folder: Path, item_id: str, name: str, max_pixels: int) -> ItemImage:
    try:
        size = (folder / name).stat().st_size
        if size > MAX_FILE_BYTES:
            return ItemImage(item_id, name, None, f"{size:,} bytes are more than {MAX_FILE_BYTES:,}")
        data = (folder / name).read_bytes()
    except OSError as error:
        return ItemImage(item_id, name, None, f"cannot be read ({error.strerror})")
    return ItemImage(item_id, name, hashlib.sha256(data).hexdigest(), _problem(data, max_pixels))


def _problem(data: bytes, max_pixels: int) -> str | None:
    if not data:
        return "empty file"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit on size only warns; ours is checked before anything is decoded
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    return f"{width} x {height} pixels are more than {max_pixels:,}"
                image.load()
    except Image.UnidentifiedImageError:
        return "not a picture that can be read"
    except Image.DecompressionBombError:
        return f"more than {max_pixels:,} pixels"
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError) as error:  # what Pillow's decoders raise
        return f"cannot be decoded ({type(error).__name__})"
    return None
