"""Where a picture lies: the names that `bbqrec fetch` writes, and those that it and ingest look for.

Only names belong here: nothing is opened, and nothing heavy is imported. A folder of millions of pictures is slow on most file systems, so
they are spread over 256 folders; and an item's ID, which may hold anything, becomes a plain file name.
"""

import hashlib
from collections.abc import Iterator
from urllib.parse import quote, unquote

from bbqrec_core.ingest.sources import PICTURE_EXTENSIONS

LONGEST_NAME = 180
"""Most characters of a name, well below the 255 bytes that file systems allow, to leave room for what is added to it."""


def safe_name(item_id: str) -> str:
    """An item's ID as a plain file name without an extension: IDs that differ have names that differ, on every file system with case."""
    name = quote(item_id, safe="")
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(item_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name[: LONGEST_NAME - len(digest) - 1]}-{digest}"


def picture_path(item_id: str, extension: str) -> str:
    """Where an item's picture lies, relative to the folder of pictures, with forward slashes.

    Args:
        item_id: The item.
        extension: With its dot, such as `.jpg`.

    Returns:
        `<first two hexadecimal digits of the MD5 of the ID>/<safe name><extension>`.

    >>> picture_path("B00ABC/1", ".jpg")
    '0a/B00ABC%2F1.jpg'
    """
    shard = hashlib.md5(item_id.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:2]
    return f"{shard}/{safe_name(item_id)}{extension}"


def picture_names(item_id: str) -> Iterator[str]:
    """All names that an item's picture may have in its folder, best first: laid there by hand, or as `picture_path` says.

    >>> list(picture_names("a b"))[:3]
    ['a b.jpg', 'a%20b.jpg', '0c/a%20b.jpg']
    """
    names = [item_id, safe_name(item_id)] if _is_plain(item_id) else [safe_name(item_id)]
    for extension in PICTURE_EXTENSIONS:
        yield from (name + extension for name in dict.fromkeys(names))
        yield picture_path(item_id, extension)


def _is_plain(item_id: str) -> bool:
    """Whether an ID is a file's name as it is, and not what another item's ID becomes as one."""
    if "/" in item_id or "\\" in item_id or "\0" in item_id:
        return False
    return "%" not in item_id or safe_name(unquote(item_id)) != item_id
