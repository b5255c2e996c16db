"""The content-addressed artifact store: the project's one cache.

An artifact is one immutable directory, `<home>/artifacts/<stage>/<fingerprint>/`, whose manifest names every file with its digest. It is
written beside its place, checked, and renamed into it: a crash leaves nothing or a whole artifact. What the store hands out, it has
verified.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from filelock import FileLock
from pydantic import BaseModel, ConfigDict

from bbqrec_core.digests import DigestMemory, fingerprint
from bbqrec_core.errors import ArtifactError

MANIFEST = "manifest.json"
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
    """Reads, verifies and writes artifacts below a home folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._artifacts = home / "artifacts"
        self._scratch = home / "scratch"
        self._locks = home / "locks"
        for folder in (self._artifacts, self._scratch, self._locks):
            folder.mkdir(parents=True, exist_ok=True)
        self.digests = DigestMemory(home / "digests.sqlite")

    def path(self, ref: ArtifactRef) -> Path:
        """Where an artifact stands, or would stand."""
        return self._artifacts / ref.stage / ref.fingerprint

    def lookup(self, ref: ArtifactRef) -> Artifact | None:
        """Return the artifact if it stands whole; a damaged one is reported and counts as absent."""
        path = self.path(ref)
        if not path.is_dir():
            return None
        try:
            return Artifact(ref, path, self._verify(path))
        except ArtifactError as damage:
            log.warning("%s It will be made again.", damage.problem)
            return None

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
        lock = FileLock(self._locks / f"{ref.stage}-{ref.fingerprint}.lock")
        try:
            lock.acquire(timeout=0)
        except TimeoutError:
            log.info("Another run is making %s: waiting for it.", ref)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def drafting(self, ref: ArtifactRef) -> Iterator[Draft]:
        """Give directories to write a new artifact into. Hold `locked(ref)`, and call `commit` before leaving; otherwise nothing stays."""
        place = self.path(ref)
        out = place.with_name(f".{place.name}.draft")
        scratch = self._scratch / ref.stage / ref.fingerprint
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
            file.flush()
            os.fsync(file.fileno())
        place = self.path(draft.ref)
        if place.exists():  # damaged: a whole one would have been a hit
            shutil.rmtree(place)
        draft.out.rename(place)
        shutil.rmtree(draft.scratch, ignore_errors=True)
        return Artifact(draft.ref, place, manifest)

    def remove(self, ref: ArtifactRef) -> None:
        """Delete an artifact, if it stands."""
        if self.path(ref).exists():
            shutil.rmtree(self.path(ref))

    def entries(self) -> list[ArtifactRef]:
        """Every artifact directory, verified or not, sorted."""
        places = sorted(self._artifacts.glob("*/[!.]*"))
        return [ArtifactRef(stage=place.parent.name, fingerprint=place.name) for place in places if place.is_dir()]

    def _verify(self, path: Path) -> dict[str, Any]:
        manifest = _read_manifest(path)
        if manifest.get("checksum") != fingerprint({key: value for key, value in manifest.items() if key != "checksum"}):
            raise _damage(path, f"{MANIFEST} was altered")
        expected = {path / name: entry["sha256"] for name, entry in manifest["files"].items()}
        missing = [str(file.relative_to(path)) for file in expected if not file.is_file()]
        if missing:
            raise _damage(path, f"{', '.join(missing)} is missing")
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


def _damage(path: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"Artifact {path.parent.name}/{path.name} is damaged: {what}.", "Run the pipeline again: it rebuilds what is damaged."
    )


def _describe(path: Path, digest: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"bytes": path.stat().st_size, "sha256": digest}
    if path.suffix == ".parquet":
        entry["rows"] = pq.read_metadata(path).num_rows
    return entry
