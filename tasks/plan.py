"""Which artifact each stage of a profile will read and write, known before anything runs.

A fingerprint is a hash of the inputs' fingerprints, of what lies outside the store (source files, encoder weights, SQL text), of the
profile fields that the stage reads, of the earlier output that it starts from (`tasks/warm_start.py`), and of the stage's version. So the
whole chain can be named, and looked up, in a moment.
"""

import functools
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from bbqrec_core.digests import fingerprint, sha256_of_file
from bbqrec_core.profile import Profile
from bbqrec_core.store import ArtifactRef, ArtifactStore
from tasks.stages import Stage, pipeline
from tasks.warm_start import Origin, find_origin


@dataclass(frozen=True)
class PlannedStage:
    """A stage with the artifacts it will read and write.

    Attributes:
        stage: The declaration.
        ref: What it will write.
        inputs: What it will read, by stage name.
        identity: Everything the fingerprint was made from; goes into the manifest.
        origin: The earlier output that it starts from, if it does.
    """

    stage: Stage
    ref: ArtifactRef
    inputs: dict[str, ArtifactRef]
    identity: dict[str, Any]
    origin: Origin = field(default_factory=Origin)


def make_plan(profile: Profile, store: ArtifactStore) -> dict[str, PlannedStage]:
    """Plan every stage of a profile, in order.

    Raises:
        SourceError: Source files are missing.
    """
    planned: dict[str, PlannedStage] = {}
    for stage in pipeline(profile):
        inputs = {name: planned[name].ref for name in stage.inputs if name in planned}
        identity = {
            "inputs": {name: ref.fingerprint for name, ref in inputs.items()},
            "outside": outside_of(stage, profile, store),
            "profile": {section: _field(profile, section) for section in stage.sections},
            "stage_version": stage.version,
        }
        origin = Origin()
        if stage.name == "quantize":
            before = {name: planned[name].identity for name in ("ingest", "embed")}
            origin = find_origin(profile, {**before, stage.name: identity}, store)
            identity["outside"] = {name: ref.fingerprint for name, ref in origin.inputs.items()}
        ref = ArtifactRef(stage=stage.name, fingerprint=fingerprint({"stage": stage.name, **identity}))
        planned[stage.name] = PlannedStage(stage, ref, inputs, identity, origin)
    return planned


def _field(profile: Profile, dotted: str) -> Any:
    value: Any = profile.fingerprint_fields()
    for part in dotted.split("."):
        value = value[part]
    return value


def outside_of(stage: Stage, profile: Profile, store: ArtifactStore) -> dict[str, Any]:
    """What a stage reads that no artifact holds, by digests: of `ingest` SQL and `files`, of `embed` the encoders.

    Raises:
        SourceError: Source files are missing.
    """
    if stage.name == "ingest":
        outside = {"sql": _sql_digests()}
        if profile.source.kind != "synthetic":
            outside["files"] = _source_digests(profile, store)
        return outside
    if stage.name == "embed":
        from bbqrec_core.embedding.weights import encoder_identity

        return {"encoders": encoder_identity(profile.embedding)}
    return {}


@functools.cache
def _sql_digests() -> dict[str, str]:
    with resources.as_file(resources.files("sql")) as folder:
        return {path.name: sha256_of_file(path) for path in sorted(folder.glob("*.sql"))}


def _source_digests(profile: Profile, store: ArtifactStore) -> dict[str, str]:
    from bbqrec_core.ingest.sources import resolve_source

    files = resolve_source(profile.source, None)
    return {files.name_of(path): digest for path, digest in store.digests.sha256(files.all()).items()}
