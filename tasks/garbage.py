"""Which artifacts nothing needs any more."""

import time
from pathlib import Path

from bbqrec_core.store import Artifact, ArtifactRef, ArtifactStore

LAST_STAGES = ("report", "register")


def collect_garbage(store: ArtifactStore, older_than_hours: float, delete: bool) -> list[tuple[ArtifactRef, int]]:
    """Find, and delete if told to, what no profile's latest finished run stands on.

    Needed are, for each profile, its newest report and registration and everything they were made from, with the gates' results.
    Whatever is damaged is garbage at any age.

    Args:
        store: Where artifacts are.
        older_than_hours: Younger artifacts stay: a run may be under way.
        delete: Delete, or only tell.

    Returns:
        Each such artifact with its bytes.
    """
    standing = {ref: artifact for ref in store.entries() if (artifact := store.lookup(ref)) is not None}
    needed = _needed(standing)
    youngest = time.time() - older_than_hours * 3600
    garbage = []
    for ref in store.entries():
        path = store.path(ref)
        if ref in needed or (ref in standing and path.stat().st_mtime > youngest):
            continue
        garbage.append((ref, _size(path)))
        if delete:
            with store.locked(ref):
                store.remove(ref)
    return garbage


def _needed(standing: dict[ArtifactRef, Artifact]) -> set[ArtifactRef]:
    newest: dict[tuple[str, str], Artifact] = {}
    for ref, artifact in standing.items():
        if ref.stage in LAST_STAGES:
            key = (ref.stage, artifact.manifest["profile"]["name"])
            newest[key] = max(newest.get(key, artifact), artifact, key=lambda one: one.path.stat().st_mtime)
    needed: set[ArtifactRef] = set()
    waiting = [artifact.ref for artifact in newest.values()]
    while waiting:
        ref = waiting.pop()
        if ref in needed or ref not in standing:
            continue
        needed.add(ref)
        inputs = standing[ref].manifest.get("inputs", {})
        waiting += [ArtifactRef(stage=stage, fingerprint=fingerprint) for stage, fingerprint in inputs.items()]
    kept = {str(ref) for ref in needed}
    return needed | {ref for ref, artifact in standing.items() if artifact.manifest.get("judges") in kept}


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
