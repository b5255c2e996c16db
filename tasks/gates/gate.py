"""Keeps a gate's result as an artifact, and refuses to let a stage's output through without a passing one."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from bbqrec_core.digests import fingerprint
from bbqrec_core.errors import GateError
from bbqrec_core.gate_config import GatesConfig
from bbqrec_core.store import Artifact, ArtifactRef, ArtifactStore
from tasks.gates.rules import SUITE_VERSION, rules_for

RESULT = "result.json"


@dataclass(frozen=True)
class GateResult:
    """What a gate said.

    Attributes:
        ref: The gate's own artifact.
        records: One per rule, see `judge`.
        cached: Whether the judgement was in the store already.
    """

    ref: ArtifactRef
    records: list[dict[str, Any]]
    cached: bool

    @property
    def warnings(self) -> list[str]:
        """Failed warnings, as sentences."""
        return [explain(record) for record in self.records if record["outcome"] == "failed" and record["severity"] == "warning"]

    @property
    def blockers(self) -> list[str]:
        """Failed critical rules and crashed expectations of any severity, as sentences."""
        return [
            explain(record)
            for record in self.records
            if record["outcome"] == "error" or (record["outcome"] == "failed" and record["severity"] == "critical")
        ]


def gate_ref(ref: ArtifactRef, thresholds: GatesConfig) -> ArtifactRef:
    """Name of the gate's result for an artifact: keyed on the artifact, the rules with their thresholds, and the suite's version."""
    rules = [asdict(rule) for rule in rules_for(ref.stage, thresholds)]
    identity = {"artifact": ref.fingerprint, "rules": rules, "suite_version": SUITE_VERSION}
    return ArtifactRef(stage=f"gate_{ref.stage}", fingerprint=fingerprint(identity))


def pass_gate(artifact: Artifact, thresholds: GatesConfig, store: ArtifactStore) -> GateResult:
    """Judge an artifact, or recall its judgement, and stop if it may not be used.

    Raises:
        GateError: A critical rule failed or an expectation crashed.
    """
    ref = gate_ref(artifact.ref, thresholds)
    with store.locked(ref):  # looked up under it: of two runs that come here at once, one judges and the other recalls
        found = store.lookup(ref)
        result = _read(found or _judge(artifact, thresholds, store, ref), cached=found is not None)
    if result.blockers:
        raise GateError(
            f"The gate of `{artifact.ref.stage}` does not let its output through:\n  " + "\n  ".join(result.blockers),
            "Look at the input, or set the threshold under `gates` in the profile if this data is meant to be so. "
            f"The output stays for inspection: bbqrec inspect {artifact.ref}",
        )
    return result


def recall_judgement(ref: ArtifactRef, thresholds: GatesConfig, store: ArtifactStore) -> GateResult | None:
    """What the gate said of an artifact, passing or not; None where nobody has judged it yet."""
    kept = store.peek(gate_ref(ref, thresholds))
    return None if kept is None else _read(kept, cached=True)


def _read(kept: Artifact, cached: bool) -> GateResult:
    return GateResult(kept.ref, json.loads((kept.path / RESULT).read_text(encoding="utf-8")), cached)


def _judge(artifact: Artifact, thresholds: GatesConfig, store: ArtifactStore, ref: ArtifactRef) -> Artifact:
    from tasks.gates.judge import judge

    with store.drafting(ref) as draft:
        records = judge(artifact.ref.stage, artifact.manifest["statistics"], rules_for(artifact.ref.stage, thresholds))
        (draft.out / RESULT).write_text(json.dumps(records, indent=2), encoding="utf-8")
        return store.commit(draft, {"judges": str(artifact.ref), "suite_version": SUITE_VERSION})


def require_passed(ref: ArtifactRef, thresholds: GatesConfig, store: ArtifactStore) -> Artifact:
    """Return an input artifact, judging it if nobody has.

    Raises:
        ArtifactError: It does not exist or is damaged.
        GateError: It did not pass.
    """
    artifact = store.require(ref)
    pass_gate(artifact, thresholds, store)
    return artifact


def explain(record: dict[str, Any]) -> str:
    """One sentence for a record that did not pass."""
    code, column, observed = record["code"], record["column"], record["observed"]
    if record["outcome"] == "error":
        return f"{code} ({record['severity']}): '{column}' could not be judged: {record['detail'] or 'no result'} {record['why']}"
    low, high = record["low"], record["high"]
    demand = f"{low} to {high}" if low is not None and high is not None else f"at least {low}" if high is None else f"at most {high}"
    shown = "missing" if observed is None else f"{observed:.4g}" if isinstance(observed, float) else observed
    said = f" ({record['said']})" if record.get("said") else ""
    return f"{code} ({record['severity']}): {column} is {shown}, must be {demand}. {record['why']}{said}"
