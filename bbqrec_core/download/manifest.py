"""`downloads.json` in the raw folder: what was fetched, from where, when, and with which size and checksum."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bbqrec_core.download.files import write_json
from bbqrec_core.errors import SourceError

MANIFEST = "downloads.json"


@dataclass(frozen=True)
class Entry:
    """One file that was fetched.

    Attributes:
        url: The address asked for.
        bytes: Its size.
        sha256: Of its bytes, hexadecimal.
        etag: The server's name of this content, if it gave one.
        last_modified: The server's time of it, if it gave one.
        fetched: When it came, ISO 8601, UTC.
    """

    url: str
    bytes: int
    sha256: str
    etag: str | None
    last_modified: str | None
    fetched: str


def read_manifest(folder: Path) -> dict[str, Entry]:
    """What was fetched into a folder, by path relative to it, with forward slashes.

    Raises:
        SourceError: There is a manifest, and it cannot be read.
    """
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return {path: Entry(**entry) for path, entry in entries.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{folder / MANIFEST} cannot be read: {error}.", "Remove it: the files themselves stay, and are then left as they are."
        ) from None


def write_manifest(folder: Path, entries: dict[str, Entry]) -> None:
    """Replace the manifest, at once or not at all."""
    write_json(folder / MANIFEST, {path: asdict(entry) for path, entry in entries.items()})
