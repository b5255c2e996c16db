"""What a reader of any number must know of the data behind it: the profile's own note, and whether the data set is partial."""

from collections.abc import Mapping
from typing import Any

PARTIAL = "Partial data"


def data_note(note: str, ingest_statistics: Mapping[str, Any]) -> str:
    """Put the two together; empty where there is nothing to say.

    Args:
        note: The profile's `source.note`.
        ingest_statistics: The row of statistics of the stage `ingest`.
    """
    if not ingest_statistics.get("partial"):
        return note
    return f"{PARTIAL}: {ingest_statistics.get('damage')}. {note}".strip()
