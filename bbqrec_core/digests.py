"""SHA-256 of files, remembered by path, size and times of change, so that unchanged files are read once."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

FINGERPRINT_LENGTH = 20
"""Hexadecimal digits of a fingerprint: 80 bits, enough to never collide, short enough to read."""


def fingerprint(value: Any) -> str:
    """Hash of a JSON-ready value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_LENGTH]


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class DigestMemory:
    """Remembers digests in an SQLite file.

    A file counts as unchanged while its path, size, modification time and inode change time are: any write moves the last of
    them, even one that resets the modification time.
    """

    def __init__(self, database: Path) -> None:
        database.parent.mkdir(parents=True, exist_ok=True)
        self._database = database
        with closing(self._connect()) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, state TEXT NOT NULL, sha256 TEXT NOT NULL)")

    def sha256(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Digest of each file, computed where it is not remembered."""
        found: dict[Path, str] = {}
        with closing(self._connect()) as connection, connection:
            for path in paths:
                stat = path.stat()
                key, state = str(path.resolve()), f"{stat.st_size}/{stat.st_mtime_ns}/{stat.st_ctime_ns}"
                row = connection.execute("SELECT sha256 FROM digests WHERE path = ? AND state = ?", (key, state)).fetchone()
                if row:
                    found[path] = row[0]
                    continue
                found[path] = sha256_of_file(path)
                connection.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (key, state, found[path]))
        return found

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._database, timeout=60)
