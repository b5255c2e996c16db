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

from bbqrec_core.ingest.pictures import picture_names
from bbqrec_core.ingest.sources import picture_files
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


def find_images(folder: Path, items: Iterable[tuple[str, str | None]], max_pixels: int, workers: int) -> list[ItemImage]:
    """Look at the pictures of items.

    Args:
        folder: Holds pictures named after their item (see `pictures.py`), with an extension of `PICTURE_EXTENSIONS`, flat or sharded.
            Other files in it are left alone.
        items: Per item its ID, and the path of its picture in the folder where the source names one; None where the ID does. Only the
            folder's own listing is searched, so that nothing outside is ever opened.
        max_pixels: Larger pictures are a problem.
        workers: Threads.

    Returns:
        One entry per item that has a file, in the order of `items`.
    """
    names = {path.relative_to(folder).as_posix() for path in picture_files(folder)}
    wanted = [(item_id, name) for item_id, path in items if (name := _first(item_id, path, names)) is not None]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        checks = pool.map(lambda pair: _check(folder, pair[0], pair[1], max_pixels), wanted)
        return list(track(checks, "checking pictures", total=len(wanted), unit="pictures"))


def _first(item_id: str, path: str | None, names: set[str]) -> str | None:
    if path is not None:
        return path if path in names else None
    return next((name for name in picture_names(item_id) if name in names), None)


def _check(folder: Path, item_id: str, name: str, max_pixels: int) -> ItemImage:
    try:
        size = (folder / name).stat().st_size
        if size > MAX_FILE_BYTES:
            return ItemImage(item_id, name, None, f"{size:,} bytes are more than {MAX_FILE_BYTES:,}")
        data = (folder / name).read_bytes()
    except OSError as error:
        return ItemImage(item_id, name, None, f"cannot be read ({error.strerror})")
    return ItemImage(item_id, name, hashlib.sha256(data).hexdigest(), picture_problem(data, max_pixels))


def picture_problem(data: bytes, max_pixels: int) -> str | None:
    """Why bytes are no picture that can be used; None if they are one. A larger picture is refused before it is decoded."""
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
