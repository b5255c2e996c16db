"""Running a stage: its process, its artifact, its gate."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bbqrec_core.errors import ArtifactError, GateError, SourceError, StageError
from bbqrec_core.profile import load_profile
from bbqrec_core.store import ArtifactRef, ArtifactStore
from tasks.gates import rules
from tasks.gates.gate import gate_ref, pass_gate
from tasks.gates.judge import judge
from tasks.gates.rules import ResolvedRule, Rule
from tasks.plan import PlannedStage, outside_of
from tasks.runner import run_stage
from tasks.stages import Stage
from tasks.warm_start import Origin

HERE = Path(__file__).parent
PROFILE = load_profile("demo")


@pytest.fixture(autouse=True)
def stages_are_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path)


def planned(function, name="count", inputs=None, fingerprint="f1"):
    stage = Stage(name, 1, f"stages_for_tests:{function}", (), (), (), "{users}")
    return PlannedStage(stage, ArtifactRef(stage=name, fingerprint=fingerprint), inputs or {}, {"inputs": {}, "profile": {}})


@pytest.fixture(autouse=True)
def rules_for_the_stage(monkeypatch):
    demanded = (Rule("TST-001", "critical", "users", 1, None, "why"), Rule("TST-002", "warning", "share", 0.9, 1, "why"))
    monkeypatch.setitem(rules.RULES, "count", demanded)


def test_makes_once_then_finds(store):
    first = run_stage(planned("counts"), PROFILE, store)
    again = run_stage(planned("counts"), PROFILE, store)
    assert (first.cached, again.cached) == (False, True)
    assert first.artifact.manifest == again.artifact.manifest
    assert again.statistics == {"users": 7, "share": 0.5, "seen": 0}
    assert [warning.split()[0] for warning in again.gate.warnings] == ["TST-002"]


@pytest.mark.parametrize(("given", "told"), [(None, "passive"), ("active", "active")])
def test_a_stage_s_process_has_its_variables_unless_the_user_set_them(store, monkeypatch, given, told):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    plan = planned("tells_how_threads_wait")
    made = run_stage(replace(plan, stage=replace(plan.stage, environment={"OMP_WAIT_POLICY": "passive"})), PROFILE, store)
    assert (made.artifact.path / "waiting").read_text() == told


def test_an_input_is_handed_over_only_with_a_passed_gate(store):
    first = run_stage(planned("counts"), PROFILE, store)
    second = run_stage(planned("counts", fingerprint="f2", inputs={"count": first.artifact.ref}), PROFILE, store)
    assert second.statistics["seen"] == 1
    bad = planned("empty_handed", fingerprint="f3")
    with pytest.raises(GateError, match=r"TST-001.*users is missing"):
        run_stage(bad, PROFILE, store)
    with pytest.raises(GateError, match="TST-001"):  # the artifact stands, and so does its gate's judgement
        run_stage(bad, PROFILE, store)
    with pytest.raises(GateError, match="TST-001"):
        run_stage(planned("counts", fingerprint="f4", inputs={"count": bad.ref}), PROFILE, store)


def test_an_earlier_output_to_start_from_is_handed_over_and_a_start_from_scratch_is_told(store, caplog):
    first = run_stage(planned("counts"), PROFILE, store)
    warm = replace(planned("counts", fingerprint="f2"), origin=Origin({"previous": first.artifact.ref}))
    assert run_stage(warm, PROFILE, store).statistics["seen"] == 1
    gone = replace(planned("counts", fingerprint="f3"), origin=Origin({"previous": ArtifactRef(stage="count", fingerprint="f0")}))
    with pytest.raises(ArtifactError, match="count/f0"):
        run_stage(gone, PROFILE, store)
    run_stage(replace(planned("counts", fingerprint="f4"), origin=Origin(note="Its settings are others.")), PROFILE, store)
    assert "Its settings are others. It starts from scratch" in caplog.text


def test_a_gate_is_judged_anew_when_a_threshold_moves(store, monkeypatch):
    first = run_stage(planned("counts"), PROFILE, store)
    monkeypatch.setitem(rules.RULES, "count", (Rule("TST-001", "critical", "users", 8, None, "why"),))
    assert gate_ref(first.artifact.ref, PROFILE.gates) != first.gate.ref
    with pytest.raises(GateError, match="users is 7, must be at least 8"):
        pass_gate(first.artifact, PROFILE.gates, store)


def test_an_expected_error_keeps_its_class_and_its_way_out(store):
    with pytest.raises(SourceError, match="The file is bad") as caught:
        run_stage(planned("refuses"), PROFILE, store)
    assert caught.value.way_out == "Bring a good one."
    assert store.entries() == []


def test_a_source_that_changes_while_it_is_read_is_refused_and_nothing_stays(store, tmp_path, monkeypatch):
    """Or the new data would stand under the old data's fingerprint."""
    for name in ("orders.csv", "items.csv"):
        (tmp_path / name).write_text("a line")
    source = {"kind": "amazon", "raw": str(tmp_path), "reviews": "orders.csv", "metadata": "items.csv"}
    profile = load_profile("demo", {"source": source})
    stage = replace(planned("finds_its_source_growing", "ingest").stage, sections=())
    plan = PlannedStage(
        stage, ArtifactRef(stage="ingest", fingerprint="f1"), {}, {"inputs": {}, "outside": outside_of(stage, profile, store)}
    )
    monkeypatch.setenv("GROWING", str(tmp_path / "orders.csv"))
    with pytest.raises(SourceError, match=r"changed while `ingest` was at work: orders.csv\. What it made") as caught:
        run_stage(plan, profile, store)
    assert "when they are complete" in caught.value.way_out and store.entries() == []


def test_a_crash_leaves_nothing_and_its_traceback_in_the_log(store, caplog):
    with pytest.raises(StageError, match="ZeroDivisionError"):
        run_stage(planned("crashes"), PROFILE, store)
    assert "1 / 0" in caplog.text
    assert store.entries() == []


def test_a_killed_stage_leaves_only_its_scratch(store):
    with pytest.raises(StageError, match="SIGKILL"):
        run_stage(planned("dies"), PROFILE, store)
    assert store.entries() == []
    assert (store.home / "scratch" / "count" / "f1" / "checkpoint").exists()


PARENT = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import test_runner
from bbqrec_core.store import ArtifactStore
from tasks.runner import run_stage
run_stage(test_runner.planned("sleeps_with_a_child"), test_runner.PROFILE, ArtifactStore(Path(sys.argv[1])))
"""


def test_stage_and_its_children_die_with_a_killed_parent(store):
    pids = store.home / "scratch" / "count" / "f1" / "pids"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(store.home), str(HERE)])
    try:
        wait_for(pids.exists)
        stage, child = (int(pid) for pid in pids.read_text().split())
        assert psutil.pid_exists(stage) and psutil.pid_exists(child)
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: not any(alive(pid) for pid in (stage, child)))


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def resolved(**changes):
    return ResolvedRule(**{"code": "X-1", "severity": "critical", "column": "a", "low": 0, "high": 1, "why": "why", **changes})


@pytest.mark.parametrize(
    ("statistics", "outcome"),
    [
        ({"a": 0.5}, "passed"),
        ({"a": 2}, "failed"),
        ({"a": None}, "failed"),  # Great Expectations lets NULL pass a range
        ({"a": float("nan")}, "failed"),
        ({"b": 0.5}, "error"),  # a missing column crashes the expectation
        ({"a": "text"}, "error"),
    ],
)
def test_judgement(statistics, outcome):
    assert [record["outcome"] for record in judge("stage", statistics, [resolved()])] == [outcome]


def test_a_crashed_warning_blocks_too(store, monkeypatch):
    monkeypatch.setitem(rules.RULES, "count", (Rule("TST-009", "warning", "no_such_statistic", 0, 1, "why"),))
    with pytest.raises(GateError, match="could not be judged"):
        run_stage(planned("counts"), PROFILE, store)


def test_every_expected_failure_crosses_between_the_processes():
    import bbqrec_core.errors as errors
    from bbqrec_core.ingest.damage import DamagedSourceError
    from bbqrec_core.ingest.decompress import DamagedFileError
    from tasks.process import _kind

    fine = DamagedSourceError(Path("file.gz"), DamagedFileError("is cut off", 3), 7, "line")
    assert _kind(fine) == "SourceError"

    def family(kind):
        return [kind, *(deeper for child in kind.__subclasses__() for deeper in family(child))]

    for kind in family(errors.BBQRecError):
        error = kind.__new__(kind)
        known = getattr(errors, _kind(error))
        assert issubclass(kind, known) and issubclass(known, errors.BBQRecError)
