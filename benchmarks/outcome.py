"""What a loader under measurement is given and what it answers. Kept light: every measured process imports it."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Task:
    """A file to load, and how.

    Attributes:
        reviews: The gzip of reviews.
        metadata: The gzip of metadata, which only our own ingest reads.
        out: An empty folder for whatever is written.
        memory_limit: As DuckDB writes it, such as 4GB.
        threads: 0 = all cores.
        k: Least interactions of a user and of an item.
    """

    reviews: Path
    metadata: Path
    out: Path
    memory_limit: str
    threads: int
    k: int = 5


@dataclass
class Outcome:
    """What a loader made of it.

    Attributes:
        counts: Of lines, rejects, duplicates, interactions, users, items, as far as it knows them.
        steps: Seconds of each step, where they were taken.
    """

    counts: dict[str, int]
    steps: dict[str, float] = field(default_factory=dict)
