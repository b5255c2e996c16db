"""SHA-256 of files, remembered by path, size and times of change, so that unchanged files are read once."""

import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bbqrec_core.errors import ArtifactError

log = logging.getLogger(__name__)

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

    It is a pure cache. Damaged, it is thrown away and begun again; where SQLite refuses for another reason (locked too long, disk full),
    digests are computed and not remembered.

    Raises:
        ArtifactError: Its folder cannot be made or written.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        try:
            database.parent.mkdir(parents=True, exist_ok=True)
            self._begin()
        except (OSError, sqlite3.Error) as error:
            raise ArtifactError(
                f"{database} cannot be opened: {error}.", "Make its folder writable, or set BBQREC_HOME to a folder that is."
            ) from None

    def sha256(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Digest of each file, computed where it is not remembered."""
        states = {path: _state(path) for path in paths}
        remembered = self._recall(states)
        computed = {path: sha256_of_file(path) for path in states if path not in remembered}  # no lock is held meanwhile
        self._remember({states[path]: digest for path, digest in computed.items()})
        return {path: remembered.get(path) or computed[path] for path in states}

    def _begin(self) -> None:
        try:
            self._create()
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise
            self._throw_away(error)
            self._create()

    def _create(self) -> None:
        with closing(self._connect()) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, state TEXT NOT NULL, sha256 TEXT NOT NULL)")
            connection.execute("SELECT path, state, sha256 FROM digests LIMIT 1")

    def _recall(self, states: Mapping[Path, tuple[str, str]]) -> dict[Path, str]:
        query = "SELECT sha256 FROM digests WHERE path = ? AND state = ?"
        with self._tolerated(), closing(self._connect()) as connection:
            rows = {path: connection.execute(query, state).fetchone() for path, state in states.items()}
            return {path: row[0] for path, row in rows.items() if row}
        return {}

    def _remember(self, digests: Mapping[tuple[str, str], str]) -> None:
        if not digests:
            return
        with self._tolerated(), closing(self._connect()) as connection, connection:
            rows = [(path, state, digest) for (path, state), digest in digests.items()]
            connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", rows)

    @contextmanager
    def _tolerated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if not _is_damage(error):
                log.warning("%s cannot be used now (%s): digests are computed.", self._database, error)
                return
            try:
                self._throw_away(error)
                self._create()
            except (OSError, sqlite3.Error) as again:
                log.warning("%s cannot be begun again (%s): digests are computed.", self._database, again)

    def _throw_away(self, error: sqlite3.Error) -> None:
        log.warning("%s is damaged (%s): it only remembers digests, and is begun again.", self._database, error)
        for suffix in ("", "-journal", "-wal", "-shm"):
            self._database.with_name(self._database.name + suffix).unlink(missing_ok=True)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._database, timeout=60)


def _state(path: Path) -> tuple[str, str]:
    stat = path.stat()
    return str(path.resolve()), f"{stat.st_size}/{stat.st_mtime_ns}/{stat.st_ctime_ns}"


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is at fault: not a database, torn pages, or other tables than ours."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # without the extension
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
