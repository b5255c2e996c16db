"""Finds the picture of each item and makes sure that it can be read.

Pictures are only looked at: what an encoder sees is the embedding's business.
"""

import hashlib
import io
import logging
import posixpath
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bbqrec_core.ingest.pictures import picture_names
from bbqrec_core.ingest.sources import PICTURE_EXTENSIONS, picture_files
from bbqrec_core.pictures import DECODER_ERRORS, MAX_FILE_BYTES, converted
from bbqrec_core.progress import track

log = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP")


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
        One entry per item that has a file, or whose source names one that is not there, in the order of `items`.
    """
    there = sorted(path.relative_to(folder).as_posix() for path in picture_files(folder))
    names = {_comparable(name): name for name in there} | {name: name for name in there}
    wanted = [(item_id, name) for item_id, path in items if (name := _first(item_id, path, names)) is not None]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        checks = pool.map(lambda pair: _check(folder, pair[0], pair[1], max_pixels) if pair[1] in names else _missing(*pair), wanted)
        return list(track(checks, "checking pictures", total=len(wanted), unit="pictures"))


def _first(item_id: str, path: str | None, names: dict[str, str]) -> str | None:
    """The name of an item's picture as the folder has it, or as the source does if the folder has none; None where nobody names one."""
    if path:
        exact = posixpath.normpath(path)
        return names.get(exact) or names.get(_comparable(exact), path)
    return next((names[name] for name in picture_names(item_id) if name in names), None)


def _missing(item_id: str, name: str) -> ItemImage:
    return ItemImage(item_id, name, None, f"the folder has no picture ({', '.join(PICTURE_EXTENSIONS)}) of that name")


def _comparable(name: str) -> str:
    """A name with its extension in small letters: cameras write .JPG."""
    stem, extension = posixpath.splitext(name)
    return stem + extension.lower()


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
                converted(image, "RGB")  # as the encoder will have it: some damage shows only then
    except Image.UnidentifiedImageError:
        return "not a picture that can be read"
    except Image.DecompressionBombError:
        return f"more than {max_pixels:,} pixels"
    except DECODER_ERRORS as error:
        return f"cannot be decoded ({type(error).__name__})"
    return None
