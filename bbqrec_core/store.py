"""The content-addressed artifact store: the project's one cache.

An artifact is one immutable directory, `<home>/artifacts/<stage>/<fingerprint>/`, whose manifest names every file with its digest. It is
written beside its place, checked, and renamed into it: a crash leaves nothing or a whole artifact. What the store hands out, it has
verified. A directory's modification time says when its artifact was last used; what is old by that is `tasks/garbage.py`'s to judge.
"""

import contextlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict

from bbqrec_core.digests import DigestMemory, fingerprint
from bbqrec_core.errors import ArtifactError

MANIFEST = "manifest.json"
DRAFT, DISCARDED = ".draft", ".discarded"
"""Ends of the names, hidden by a dot before them, of directories that do not stand yet and that stand no more."""
SCHEMA_VERSION = 1

log = logging.getLogger(__name__)


class ArtifactRef(BaseModel):
    """Names an artifact. This is all that flows and tasks hand each other."""

    model_config = ConfigDict(frozen=True)

    stage: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.stage}/{self.fingerprint}"


@dataclass(frozen=True)
class Artifact:
    """A verified artifact."""

    ref: ArtifactRef
    path: Path
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Draft:
    """An artifact in the making: its files go to `out`; `scratch` survives a crash, for shards and checkpoints."""

    ref: ArtifactRef
    out: Path
    scratch: Path


class ArtifactStore:
    """Reads, verifies and writes artifacts below a home folder.

    Raises:
        ArtifactError: The home folder cannot be made or written.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._artifacts = home / "artifacts"
        self._scratch = home / "scratch"
        self._locks = home / "locks"
        try:
            for folder in (self._artifacts, self._scratch, self._locks):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(
                f"The home folder {home} cannot be used: {error}.",
                "Set BBQREC_HOME to a folder that can be made and written, or unset it for `.bbqrec` in the project.",
            ) from None
        self.digests = DigestMemory(home / "digests.sqlite")

    def path(self, ref: ArtifactRef) -> Path:
        """Where an artifact stands, or would stand."""
        return self._artifacts / ref.stage / ref.fingerprint

    def draft_path(self, ref: ArtifactRef) -> Path:
        """Where an artifact is written before it stands."""
        return self._artifacts / ref.stage / f".{ref.fingerprint}{DRAFT}"

    def scratch_path(self, ref: ArtifactRef) -> Path:
        """Where an artifact's unfinished work is kept."""
        return self._scratch / ref.stage / ref.fingerprint

    def lookup(self, ref: ArtifactRef) -> Artifact | None:
        """Return the artifact if it stands whole; a damaged one is reported and counts as absent.

        It, and all it was made from, count as used now.
        """
        if not self.path(ref).is_dir():
            return None
        self._mark_used([ref])  # before it is verified: from here on nobody takes it for garbage
        found = self.peek(ref)
        if found is None:
            log.warning("%s will be made again.", ref)
        return found

    def peek(self, ref: ArtifactRef) -> Artifact | None:
        """As `lookup`, without counting as a use: for who only looks, and must not make an earlier run the latest."""
        if not self.path(ref).is_dir():
            return None
        try:
            return self.examine(ref)
        except ArtifactError as damage:
            log.warning("%s", damage.problem)
            return None

    def examine(self, ref: ArtifactRef) -> Artifact:
        """Verify an artifact, without counting as a use.

        Raises:
            ArtifactError: It is damaged, or not there; the message says in what.
        """
        return Artifact(ref, self.path(ref), self._verify(ref))

    def require(self, ref: ArtifactRef) -> Artifact:
        """Return the artifact.

        Raises:
            ArtifactError: It does not exist or is damaged.
        """
        artifact = self.lookup(ref)
        if artifact is None:
            raise ArtifactError(
                f"The output of stage `{ref.stage}` that this one stands on ({ref}) does not exist.", "Run the stages before."
            )
        return artifact

    @contextmanager
    def locked(self, ref: ArtifactRef) -> Iterator[None]:
        """Hold the fingerprint's lock, so that two runs never make the same artifact at once. A dead holder's lock is free."""
        lock = FileLock(self._lock_path(ref))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("Another run is making %s: waiting for it.", ref)
            lock.acquire()
        try:
            os.utime(lock.lock_file)  # see `held_since`
            yield
        finally:
            lock.release()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold a lock that speaks of no artifact, for as long as a run is under way: `gc` leaves alone what the run may read."""
        with self.locked_if_free(ArtifactRef(stage="run", fingerprint=uuid.uuid4().hex), tidy=True):
            yield

    @contextmanager
    def locked_if_free(self, ref: ArtifactRef, tidy: bool) -> Iterator[bool]:
        """Hold the fingerprint's lock, or tell that somebody else does.

        Args:
            ref: Whose lock.
            tidy: Have the lock's file gone afterwards, and not just if it was not there before.
        """
        path = self._lock_path(ref)
        tidy = tidy or not path.exists()
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            # While it is held: FileLock, once it has the lock of a file that lost its name, begins again with a new one.
            if tidy:
                path.unlink(missing_ok=True)
            lock.release()

    def held_since(self) -> float | None:
        """When the longest held of all locks was taken, in seconds since the epoch; None if none is held."""
        held = []
        for ref in self.unfinished():
            with self.locked_if_free(ref, tidy=False) as free, contextlib.suppress(FileNotFoundError):
                if not free:
                    held.append(self._lock_path(ref).stat().st_mtime)
        return min(held, default=None)

    @contextmanager
    def drafting(self, ref: ArtifactRef) -> Iterator[Draft]:
        """Give directories to write a new artifact into. Hold `locked(ref)`, and call `commit` before leaving; otherwise nothing stays."""
        out, scratch = self.draft_path(ref), self.scratch_path(ref)
        if out.exists():  # a crashed run's; we hold its lock
            shutil.rmtree(out)
        out.mkdir(parents=True)
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            yield Draft(ref, out, scratch)
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def commit(self, draft: Draft, facts: dict[str, Any]) -> Artifact:
        """Describe a draft's files in its manifest, check them, and move it to its place.

        Args:
            draft: From `drafting`.
            facts: What else the manifest says: inputs, profile section, versions, statistics, seconds.
        """
        files = sorted(path for path in draft.out.rglob("*") if path.is_file())
        if not files:
            raise ArtifactError(f"Stage `{draft.ref.stage}` wrote no file.", "This is a bug in the stage.")
        digests = self.digests.sha256(files)
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "stage": draft.ref.stage,
            "fingerprint": draft.ref.fingerprint,
            **facts,
            "files": {str(path.relative_to(draft.out)): _describe(path, digests[path]) for path in files},
        }
        manifest["checksum"] = fingerprint(manifest)
        with (draft.out / MANIFEST).open("w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=2, sort_keys=True, ensure_ascii=False)
        _flush([*files, draft.out / MANIFEST, *(path for path in draft.out.rglob("*") if path.is_dir()), draft.out])
        self.remove(draft.ref)  # damaged, if it is there: a whole one would have been a hit
        place = self.path(draft.ref)
        draft.out.rename(place)
        _flush([place.parent])
        self._mark_used(_made_from(manifest))
        shutil.rmtree(draft.scratch, ignore_errors=True)
        return Artifact(draft.ref, place, manifest)

    def remove(self, ref: ArtifactRef) -> None:
        """Delete an artifact, if it stands: it is gone at once, even if deleting its files is interrupted."""
        place = self.path(ref)
        discarded = place.with_name(f".{place.name}{DISCARDED}")
        if discarded.exists():
            shutil.rmtree(discarded)
        if place.exists():
            place.rename(discarded)
            shutil.rmtree(discarded)

    def entries(self) -> list[ArtifactRef]:
        """Every artifact directory, verified or not, sorted."""
        places = sorted(self._artifacts.glob("*/[!.]*"))
        return [ArtifactRef(stage=place.parent.name, fingerprint=place.name) for place in places if place.is_dir()]

    def unfinished(self) -> list[ArtifactRef]:
        """What drafts, scratch, locks or discarded directories speak of, sorted; at work or left over."""
        hidden = [path for end in (DRAFT, DISCARDED) for path in self._artifacts.glob(f"*/.*{end}")]
        refs = {ArtifactRef(stage=path.parent.name, fingerprint=path.stem.removeprefix(".")) for path in hidden}
        refs |= {ArtifactRef(stage=path.parent.name, fingerprint=path.name) for path in self._scratch.glob("*/*")}
        for path in self._locks.glob("*-*.lock"):
            stage, _, name = path.stem.rpartition("-")
            refs.add(ArtifactRef(stage=stage, fingerprint=name))
        return sorted(refs, key=str)

    def _lock_path(self, ref: ArtifactRef) -> Path:
        return self._locks / f"{ref.stage}-{ref.fingerprint}.lock"

    def _mark_used(self, refs: Iterable[ArtifactRef]) -> None:
        """Set the directories' times, those of all they were made from too. Files' times stay: digests are remembered by them."""
        seen, waiting = set[ArtifactRef](), list(refs)
        while waiting:
            ref = waiting.pop()
            if ref in seen:
                continue
            seen.add(ref)
            with contextlib.suppress(OSError, ValueError, ArtifactError):  # gone, damaged, or another user's: verification tells
                os.utime(self.path(ref))
                waiting += _made_from(_read_manifest(self.path(ref)))

    def _verify(self, ref: ArtifactRef) -> dict[str, Any]:
        path = self.path(ref)
        manifest = _read_manifest(path)
        if manifest.get("checksum") != fingerprint({key: value for key, value in manifest.items() if key != "checksum"}):
            raise _damage(path, f"{MANIFEST} was altered")
        if (manifest.get("stage"), manifest.get("fingerprint")) != (ref.stage, ref.fingerprint):
            raise _damage(path, f"{MANIFEST} is that of {manifest.get('stage')}/{manifest.get('fingerprint')}")
        expected = {path / name: entry["sha256"] for name, entry in manifest["files"].items()}
        missing = [str(file.relative_to(path)) for file in expected if not file.is_file()]
        if missing:
            raise _damage(path, f"{', '.join(missing)} is missing")
        stray = sorted(str(file.relative_to(path)) for file in path.rglob("*") if _is_stray(file, expected, path / MANIFEST))
        if stray:
            raise _damage(path, f"{', '.join(stray)} does not belong to it")
        for file, digest in self.digests.sha256(expected).items():
            if digest != expected[file]:
                raise _damage(path, f"{file.relative_to(path)} was altered")
        return manifest


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise _damage(path, f"{MANIFEST} is missing or unreadable") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise _damage(path, f"{MANIFEST} is not a manifest")
    return manifest


def _made_from(manifest: dict[str, Any]) -> list[ArtifactRef]:
    inputs = manifest.get("inputs")
    return [ArtifactRef(stage=stage, fingerprint=name) for stage, name in inputs.items()] if isinstance(inputs, dict) else []


def _is_stray(file: Path, expected: Container[Path], manifest: Path) -> bool:
    return file not in expected and file != manifest and (file.is_symlink() or not file.is_dir())


def _flush(paths: Iterable[Path]) -> None:
    """Have the disk hold files and directories before anything says so."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _damage(path: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"Artifact {path.parent.name}/{path.name} is damaged: {what}.", "Run the pipeline again: it rebuilds what is damaged."
    )


def _describe(path: Path, digest: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"bytes": path.stat().st_size, "sha256": digest}
    if path.suffix == ".parquet":
        entry["rows"] = pq.read_metadata(path).num_rows
    return entry
