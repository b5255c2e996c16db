"""Which earlier semantic IDs the stage `quantize` may start from: those that a registered model of the profile stands on.

The latest first, by when a run last came to it. Only the data may have changed since: an experiment with other settings, encoders or
versions never depends on the nights before it. IDs that were made from this very data stay what they are, whatever they were started from:
nothing is made twice. The stage itself may still refuse what it is given, see `bbqrec_core/quantization/warm_start.py`.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bbqrec_core.errors import ArtifactError
from bbqrec_core.profile import Profile, flatten
from bbqrec_core.quantization.config import PREVIOUS, PREVIOUS_INGEST
from bbqrec_core.store import ArtifactRef, ArtifactStore

STAGES_OF = {PREVIOUS: "quantize", PREVIOUS_INGEST: "ingest"}
WHERE_DATA_IS = ("source.", "ingest.split.valid_from", "ingest.split.test_from", "quantization.warm_start.")
"""Beginnings of fields that may differ: a night's files may have other names, its split another day; and how to start warm is no matter."""
NAMED = 3
"""Differing settings that a note names."""

Identity = Mapping[str, Any]
"""What a stage's fingerprint is made from, see `tasks/plan.py`; manifests hold it too."""


@dataclass(frozen=True)
class Origin:
    """What `quantize` starts from.

    Attributes:
        inputs: The earlier `quantize` and its `ingest`, as the stage knows them; none for a start from scratch.
        note: Why it is a start from scratch, where there would be something; for the log.
    """

    inputs: dict[str, ArtifactRef] = field(default_factory=dict)
    note: str = ""


def find_origin(profile: Profile, identities: Mapping[str, Identity], store: ArtifactStore) -> Origin:
    """Choose what `quantize` starts from.

    Args:
        profile: The profile.
        identities: Of its stages up to `quantize`, by name.
        store: Where artifacts are.
    """
    config = profile.quantization
    if config.warm_start.start != "previous" or config.tokenizer == "given":
        return Origin()
    note = ""
    earlier = list(_registered(profile.name, store))
    for manifests in earlier:
        if _same_base(manifests["quantize"], identities["quantize"]):
            started = manifests["quantize"]["outside"]
            return Origin({name: ArtifactRef(stage=stage, fingerprint=started[name]) for name, stage in STAGES_OF.items() if started})
    for manifests in earlier:
        why_not = _why_not(manifests, identities)
        if not why_not:
            return Origin({name: _ref(manifests[stage]) for name, stage in STAGES_OF.items()})
        note = note or f"The IDs of the last registered model ({_ref(manifests['quantize'])}) do not serve as a start: {why_not}."
    return Origin(note=note)


def _registered(profile: str, store: ArtifactStore) -> Iterator[dict[str, Identity]]:
    """Manifests of `ingest`, `embed` and `quantize` behind the profile's registrations, the latest first; those that stand whole."""
    with_times = []
    for ref in store.entries():
        if ref.stage == "register":
            with contextlib.suppress(OSError):
                with_times.append((store.path(ref).stat().st_mtime_ns, ref))
    for _, ref in sorted(with_times, key=lambda one: (-one[0], str(one[1]))):
        with contextlib.suppress(ArtifactError):
            registration = store.examine(ref).manifest
            if registration["profile"]["name"] == profile:
                inputs = {
                    name: ArtifactRef(stage=name, fingerprint=registration["inputs"][name]) for name in ("ingest", "embed", "quantize")
                }
                yield {name: store.examine(made).manifest for name, made in inputs.items()}


def _same_base(manifest: Identity, identity: Identity) -> bool:
    return all(manifest[part] == identity[part] for part in ("inputs", "profile", "stage_version"))


def _why_not(manifests: Mapping[str, Identity], identities: Mapping[str, Identity]) -> str:
    """What but the data has changed, in words; empty if nothing has."""
    for name, manifest in manifests.items():
        identity = identities[name]
        if manifest["stage_version"] != identity["stage_version"]:
            return f"the stage `{name}` has another version now"
        before, now = (dict(flatten(one["profile"])) for one in (manifest, identity))
        changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key) and not key.startswith(WHERE_DATA_IS))
        if changed:
            more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
            return f"they were made with other settings of {', '.join(f'`{key}`' for key in changed[:NAMED])}{more}"
    if manifests["embed"]["outside"] != identities["embed"]["outside"]:
        return "the encoders have other weights now"
    if manifests["ingest"]["inputs"] != identities["ingest"]["inputs"]:
        return "the synthetic shop is another one"
    return ""


def _ref(manifest: Identity) -> ArtifactRef:
    return ArtifactRef(stage=manifest["stage"], fingerprint=manifest["fingerprint"])
