"""Gates: their rules, and that one artifact is judged once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bbqrec_core.errors import GateError
from bbqrec_core.gate_config import GatesConfig
from bbqrec_core.store import ArtifactRef, ArtifactStore
from tasks.gates import judge as judging
from tasks.gates.gate import gate_ref, pass_gate
from tasks.gates.judge import judge
from tasks.gates.rules import RULES, rules_for

NAN = float("nan")
GOOD = {
    "train": {"nan_parameters": 0, "valid_ndcg_at_10": 0.1, "epochs_run": 3},
    "evaluate": {
        "users_evaluated": 80,
        "ndcg_at_10": 0.1,
        "ndcg_over_popularity": 1.5,
        "ndcg_over_best_baseline": 1.1,
        "null_metrics": 0,
        "registered_ndcg_over_ours": 1.05,
    },
    "quantize": {
        "repaired_collision_share": 0.0,
        "published_collision_share": 0.0,
        "collision_share_before_distinct_listings": 0.04,
        "null_fused_codes": 0,
        "used_code_share": 1.0,
        "largest_code_share": 0.02,
        "nan_losses": 0,
    },
}


def artifact(store, stage, **changes):
    ref = ArtifactRef(stage=stage, fingerprint="f1")
    with store.locked(ref), store.drafting(ref) as draft:
        (draft.out / "file").write_text("x")
        return store.commit(draft, {"statistics": {**GOOD[stage], **changes}})


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path)


@pytest.mark.parametrize(
    ("changes", "severities"),
    [
        ({}, {}),
        ({"repaired_collision_share": 0.06}, {"QNT-001": "critical"}),
        ({"published_collision_share": 1.0}, {"QNT-006": "warning"}),
        ({"collision_share_before_distinct_listings": 0.4}, {"QNT-007": "warning"}),
    ],
)
def test_collisions_stop_the_pipeline_unless_they_were_published(changes, severities):
    records = judge("quantize", {**GOOD["quantize"], **changes}, rules_for("quantize", GatesConfig()))
    assert {record["code"]: record["severity"] for record in records if record["outcome"] != "passed"} == severities


@pytest.mark.parametrize(
    ("stage", "changes", "codes"),
    [
        ("train", {}, []),
        ("train", {"valid_ndcg_at_10": 0.0}, []),  # as bad as can be, but a number
        ("train", {"valid_ndcg_at_10": NAN}, ["TRN-002"]),
        ("train", {"valid_ndcg_at_10": None}, ["TRN-002"]),
        ("evaluate", {}, []),
        ("evaluate", {"ndcg_at_10": 0.0}, []),
        ("evaluate", {"ndcg_at_10": NAN}, ["EVA-002"]),
        ("evaluate", {"ndcg_at_10": None}, ["EVA-002"]),
        ("evaluate", {"ndcg_at_10": float("inf")}, ["EVA-002"]),
        ("evaluate", {"null_metrics": 1}, ["EVA-005"]),
        ("evaluate", {"null_metrics": None}, ["EVA-005"]),
        ("evaluate", {"registered_ndcg_over_ours": 0.9}, ["EVA-006"]),
    ],
)
def test_a_metric_must_be_a_number(stage, changes, codes):
    records = judge(stage, {**GOOD[stage], **changes}, rules_for(stage, GatesConfig()))
    assert [record["code"] for record in records if record["outcome"] != "passed"] == codes
    assert all(record["severity"] == "critical" for record in records if record["code"] in ("TRN-002", "EVA-002", "EVA-005"))


def test_every_threshold_is_used_by_a_rule():
    bounds = {bound for rules in RULES.values() for rule in rules for bound in (rule.low, rule.high) if isinstance(bound, str)}
    assert bounds == set(GatesConfig.model_fields)


@pytest.mark.parametrize("blocked", [False, True])
def test_two_runs_at_once_judge_once(store, monkeypatch, blocked):
    made = artifact(store, "train", **({"epochs_run": 0} if blocked else {}))
    judged, together = [], threading.Barrier(3)

    def slowly(*args):
        judged.append(args)
        time.sleep(0.3)  # long enough for the others to have looked
        return judge(*args)

    monkeypatch.setattr(judging, "judge", slowly)

    def run(_):
        together.wait()
        try:
            return pass_gate(made, GatesConfig(), store).cached
        except GateError as error:
            return "TRN-003" in error.problem

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(run, range(3)))
    assert len(judged) == 1
    assert results == [True] * 3 if blocked else sorted(results) == [False, True, True]


def test_a_damaged_judgement_is_made_again(store):
    made = artifact(store, "train")
    first = pass_gate(made, GatesConfig(), store)
    (store.path(gate_ref(made.ref, GatesConfig())) / "result.json").write_text("[]")
    again = pass_gate(made, GatesConfig(), store)
    assert not again.cached and again.records == first.records
    assert pass_gate(made, GatesConfig(), store).cached
