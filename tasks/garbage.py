"""Which artifacts, and which leftovers of killed runs, nothing needs any more.

An artifact stays while a profile's latest report or registration stands on it, or a version that serves (the caller says which), or while
it was used lately: the store marks what a run
finds or reads, with all it was made from. What is locked is being made, and stays; with it stays what was used since before that began,
for a run under way will read it. Everything is decided before, and once more under the fingerprint's lock: a run may have begun, or
finished, in between.
"""

import contextlib
import math
import shutil
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bbqrec_core.errors import ArtifactError
from bbqrec_core.store import DISCARDED, Artifact, ArtifactRef, ArtifactStore

REGISTER = "register"
LAST_STAGES = ("report", REGISTER)
BEFORE_A_STAGE = 3600.0
"""Seconds: between two stages a run may be busy so long, with its tracking, and hold no lock."""


@dataclass(frozen=True)
class Garbage:
    """Something to delete.

    Attributes:
        name: Stage and fingerprint, and what it is where it is no whole artifact.
        size: Bytes.
    """

    name: str
    size: int


def collect_garbage(store: ArtifactStore, older_than_hours: float, delete: bool, serving: Collection[ArtifactRef] = ()) -> list[Garbage]:
    """Find, and delete if told to, what nothing needs.

    That is, unless its lock is held: artifacts that belong to no profile's latest report or registration and were not used lately;
    damaged artifacts, drafts and half-deleted artifacts of any age; work that could be resumed and was not touched lately. A gate's
    result goes with the artifact that it judges. Files of locks that nobody holds are deleted without being told.

    Args:
        store: Where artifacts are.
        older_than_hours: What was used within so many hours stays. While a stage is at work: also what was used since it began, or shortly
            before.
        delete: Delete, or only tell.
        serving: What the versions that serve, or may again, were made from; it stays, with the registrations that stand on nothing else.

    Returns:
        What is deleted, or would be, in the order of names.
    """
    before = min(time.time() - older_than_hours * 3600, (store.held_since() or math.inf) - BEFORE_A_STAGE)
    standing = {ref: artifact for ref in store.entries() if (artifact := _whole(store, ref)) is not None}
    kept = _kept(store, standing, before, serving)
    garbage = [found for ref in store.entries() if ref not in kept for found in _old_artifact(store, ref, before, delete)]
    garbage += [found for ref in store.unfinished() for found in _leftovers(store, ref, before, delete)]
    return sorted(garbage, key=lambda one: one.name)


def _kept(store: ArtifactStore, standing: dict[ArtifactRef, Artifact], before: float, serving: Collection[ArtifactRef]) -> set[ArtifactRef]:
    last: dict[tuple[str, str], Artifact] = {}
    for ref, artifact in standing.items():
        if ref.stage in LAST_STAGES:
            key = (ref.stage, str(artifact.manifest.get("profile", {}).get("name")))
            last[key] = max(last.get(key, artifact), artifact, key=lambda one: _last_use(one.path))
    young = [ref for ref in standing if _last_use(store.path(ref)) > before]
    registered = [
        ref for ref, one in standing.items() if ref.stage == REGISTER and (made_from := _inputs(one)) and made_from <= set(serving)
    ]
    kept = _with_origins([*young, *(artifact.ref for artifact in last.values()), *serving, *registered], standing)
    judged = {str(ref) for ref in kept}
    return kept | {ref for ref, artifact in standing.items() if artifact.manifest.get("judges") in judged}


def _with_origins(refs: Iterable[ArtifactRef], standing: dict[ArtifactRef, Artifact]) -> set[ArtifactRef]:
    found: set[ArtifactRef] = set()
    waiting = list(refs)
    while waiting:
        ref = waiting.pop()
        if ref in found or ref not in standing:
            continue
        found.add(ref)
        waiting += _inputs(standing[ref])
    return found


def _inputs(artifact: Artifact) -> set[ArtifactRef]:
    inputs: dict[str, Any] = artifact.manifest.get("inputs", {})
    return {ArtifactRef(stage=stage, fingerprint=fingerprint) for stage, fingerprint in inputs.items()}


def _old_artifact(store: ArtifactStore, ref: ArtifactRef, before: float, delete: bool) -> list[Garbage]:
    """Delete an artifact, if under its lock it is still damaged or unused."""
    path = store.path(ref)
    with store.locked_if_free(ref, tidy=delete) as ours:
        if not ours or not path.is_dir():
            return []
        whole = _whole(store, ref) is not None
        if whole and _last_use(path) > before:
            return []
        found = Garbage(f"{ref}{'' if whole else ' (damaged)'}", _size(path))
        if delete:
            store.remove(ref)
    return [found]


def _leftovers(store: ArtifactStore, ref: ArtifactRef, before: float, delete: bool) -> list[Garbage]:
    """Delete the draft, the scratch and the lock of a fingerprint that nobody makes."""
    draft, scratch = store.draft_path(ref), store.scratch_path(ref)
    discarded = draft.with_name(f".{ref.fingerprint}{DISCARDED}")
    with store.locked_if_free(ref, tidy=delete) as ours:
        if not ours:
            return []
        found = {f"{ref} (draft)": draft, f"{ref} (half deleted)": discarded}
        if scratch.exists() and _last_change(scratch) <= before:
            found[f"{ref} (unfinished work)"] = scratch
        garbage = [Garbage(name, _size(path)) for name, path in found.items() if path.exists()]
        if delete:
            for path in filter(Path.exists, found.values()):
                shutil.rmtree(path)
    return garbage


def _whole(store: ArtifactStore, ref: ArtifactRef) -> Artifact | None:
    with contextlib.suppress(ArtifactError):
        return store.examine(ref)
    return None


def _last_use(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # deleted by somebody else meanwhile
        return 0.0


def _last_change(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
