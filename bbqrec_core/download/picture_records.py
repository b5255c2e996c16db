"""`pictures.jsonl` in the folder of pictures: for each item, what became of its picture, and why not.

It is written a line at a time while pictures come, the last line of an item being the valid one, and tidied at the end. So it is of use
whenever a fetch is interrupted.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TextIO

RECORDS = "pictures.jsonl"


@dataclass(frozen=True)
class PictureRecord:
    """What became of an item's picture.

    Attributes:
        item_id: The item.
        status: `ok`; `missing`, if servers said of each of its addresses that there is nothing; or `failed`.
        reason: Why it is not ok, in words that are the same for all of the kind.
        url: Where it came from.
        file: Where it is, relative to the folder of pictures.
        bytes: Its size.
        sha256: Of its bytes, hexadecimal.
        tried: Addresses that gave no picture, with the reason.
        gone: Those of them of which a server said that there is nothing: they are not asked again.
    """

    item_id: str
    status: Literal["ok", "missing", "failed"]
    reason: str | None = None
    url: str | None = None
    file: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    tried: dict[str, str] = field(default_factory=dict)
    gone: tuple[str, ...] = ()


class PictureRecords:
    """The records of a folder; use it as a context while pictures are fetched into it.

    Args:
        folder: The folder of pictures.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORDS
        self._records = _read(self.path)
        self._file: TextIO | None = None

    def __enter__(self) -> "PictureRecords":
        self._tidy()  # also takes away half a line of a killed call, to which the next line would be added
        self._file = self.path.open("a", encoding="utf-8", buffering=1)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()
        self._tidy()

    def get(self, item_id: str) -> PictureRecord | None:
        """What is known of an item's picture."""
        return self._records.get(item_id)

    def put(self, record: PictureRecord) -> None:
        """Keep a record."""
        assert self._file is not None
        self._records[record.item_id] = record
        self._file.write(_line(record))

    def _tidy(self) -> None:
        unfinished = self.path.with_name(self.path.name + ".new")
        with unfinished.open("w", encoding="utf-8") as file:
            file.writelines(_line(self._records[item_id]) for item_id in sorted(self._records))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path)


def _read(path: Path) -> dict[str, PictureRecord]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return {record.item_id: record for record in _parsed(file)}
    except FileNotFoundError:
        return {}


def _parsed(lines: Iterable[str]) -> Iterable[PictureRecord]:
    for line in lines:
        try:
            fields = json.loads(line)
            yield PictureRecord(**{**fields, "gone": tuple(fields.get("gone", ()))})
        except (ValueError, TypeError, AttributeError):  # half a line: what it said is found out again
            continue


def _line(record: PictureRecord) -> str:
    # Escaped, so that any ID is a line: a lone surrogate has no UTF-8, and U+2028 ends a line for some readers.
    return json.dumps({name: value for name, value in asdict(record).items() if value not in (None, {}, ())}) + "\n"
