"""What `bbqrec gc` takes and what it leaves."""

import json
import os
import subprocess
import sys
import time

import pytest

from bbqrec_core.store import MANIFEST, ArtifactRef, ArtifactStore
from tasks.garbage import collect_garbage

HOURS = 24.0
OLD, YOUNG = 30 * 3600, 3600


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "home")


def ref(name):
    stage, fingerprint = name.split("/")
    return ArtifactRef(stage=stage, fingerprint=fingerprint)


def make(store, name, *made_from, profile="demo", **facts):
    """An artifact, by stage/fingerprint, with its gate's result."""
    inputs = dict(one.split("/") for one in made_from)
    facts = {"inputs": inputs, "profile": {"name": profile}, **facts}
    for one, about in ((name, facts), (f"gate_{name}", {"judges": name})):
        with store.locked(ref(one)), store.drafting(ref(one)) as draft:
            (draft.out / "file").write_text(one)
            store.commit(draft, about)


def age(store, seconds=OLD, *, names=None):
    for one in names or map(str, store.entries()):
        then = time.time() - seconds
        os.utime(store.path(ref(one)), (then, then))


def gc(store, delete=True):
    return [one.name for one in collect_garbage(store, HOURS, delete)]


def standing(store):
    return {str(one) for one in store.entries() if not one.stage.startswith("gate_")}


def files(store):
    return sorted((str(path), path.stat().st_mtime_ns) for path in store.home.rglob("*") if path.name != "digests.sqlite")


@pytest.fixture
def two_runs(store):
    """Two runs of a profile, the later on newer data, and one of another profile; all long ago."""
    for run, seconds in (("1", 3 * OLD), ("2", 2 * OLD)):
        make(store, f"ingest/{run}", "shop/same") if run == "2" else make(store, f"ingest/{run}")
        make(store, f"train/{run}", f"ingest/{run}")
        make(store, f"report/{run}", f"train/{run}", f"ingest/{run}")
        make(store, f"register/{run}", f"train/{run}")
        age(store, seconds, names=[f"{stage}/{run}" for stage in ("ingest", "train", "report", "register")])
    make(store, "shop/same")
    make(store, "report/other", profile="other")
    age(store, names=[name for name in map(str, store.entries()) if name.startswith("gate_")] + ["shop/same", "report/other"])
    return store


SECOND_RUN = {"shop/same", "ingest/2", "train/2", "report/2", "register/2", "report/other"}


def test_between_two_stages_a_run_under_way_keeps_what_it_has_made(store):
    make(store, "ingest/1")
    with store.at_work():
        assert [one.name for one in collect_garbage(store, 0.0, True)] == []
        assert standing(store) == {"ingest/1"}
    assert {one.name for one in collect_garbage(store, 0.0, True)} >= {"ingest/1"}
    assert not list((store.home / "locks").glob("run-*"))


def test_each_profiles_latest_chain_stays_and_what_it_superseded_goes(two_runs):
    gone = {f"{stage}/1" for stage in ("ingest", "train", "report", "register")}
    assert set(gc(two_runs)) == gone | {f"gate_{name}" for name in gone}
    assert standing(two_runs) == SECOND_RUN
    assert {str(one) for one in two_runs.entries()} - SECOND_RUN == {f"gate_{name}" for name in SECOND_RUN}
    assert gc(two_runs) == []


def test_a_run_found_again_is_the_latest(two_runs):
    two_runs.lookup(ref("report/1"))
    two_runs.lookup(ref("register/1"))
    age(two_runs, names=["report/1", "register/1"])
    gc(two_runs)
    assert {"ingest/1", "train/1", "report/1", "register/1"} <= standing(two_runs)


def test_what_was_used_lately_stays_with_all_it_was_made_from(two_runs):
    age(two_runs, YOUNG, names=["train/1"])
    gc(two_runs)
    assert standing(two_runs) == SECOND_RUN | {"train/1", "ingest/1"}


def test_a_lookup_keeps_what_a_run_under_way_will_read(two_runs):
    assert two_runs.lookup(ref("ingest/1")) is not None
    gc(two_runs)
    assert standing(two_runs) == SECOND_RUN | {"ingest/1"}


def test_a_dry_run_tells_the_same_and_changes_nothing(two_runs):
    make(two_runs, "embed/damaged")
    (two_runs.path(ref("embed/damaged")) / "file").write_text("other")
    leave_behind(two_runs, "train/killed")
    before = files(two_runs)
    told = gc(two_runs, delete=False)
    assert files(two_runs) == before
    assert told == gc(two_runs)
    assert {"embed/damaged (damaged)", "train/1", "train/killed (draft)"} <= set(told)


@pytest.mark.parametrize("harm", ["alter", "no manifest"])
def test_the_damaged_goes_at_any_age(two_runs, harm):
    path = two_runs.path(ref("train/2"))
    if harm == "alter":
        (path / "file").write_text("other")
    else:
        (path / MANIFEST).unlink()
    assert "train/2 (damaged)" in gc(two_runs)
    assert "train/2" not in standing(two_runs)


def test_what_is_locked_stays(two_runs):
    (two_runs.path(ref("train/2")) / "file").write_text("other")
    with two_runs.locked(ref("train/1")), two_runs.locked(ref("train/2")):
        assert not {"train/1", "train/2 (damaged)"} & set(gc(two_runs))
        assert {"train/1", "train/2"} <= standing(two_runs)
        assert len(list((two_runs.home / "locks").iterdir())) == 2
    assert {"train/1", "train/2 (damaged)"} <= set(gc(two_runs))


def test_what_a_long_stage_under_way_stands_on_stays(two_runs):
    """A stage that has been at work for two days; what it, or the stages after it, read was last used when it began."""
    with two_runs.locked(ref("evaluate/busy")):
        began = time.time() - 2 * 24 * 3600
        os.utime(two_runs.home / "locks" / "evaluate-busy.lock", (began, began))
        age(two_runs, 2 * 24 * 3600 + 60, names=["train/1"])
        age(two_runs, 3 * 24 * 3600, names=["report/1", "register/1", "ingest/1"])
        gone = collect_garbage(two_runs, 0, delete=True)
        assert {"report/1", "register/1"} <= {one.name for one in gone}
        assert {"train/1", "ingest/1"} <= standing(two_runs)
    collect_garbage(two_runs, 0, delete=True)
    assert standing(two_runs) == SECOND_RUN


def test_it_is_judged_again_under_the_lock(two_runs, monkeypatch):
    """Between the first look and the lock, one artifact is used and another is made whole again."""
    make(two_runs, "embed/damaged")
    (two_runs.path(ref("embed/damaged")) / "file").write_text("other")
    acquire = two_runs.locked_if_free

    def meanwhile(one, tidy):
        if str(one) == "train/1":
            two_runs.lookup(one)
        elif str(one) == "embed/damaged":
            make(two_runs, "embed/damaged")
        return acquire(one, tidy)

    monkeypatch.setattr(two_runs, "locked_if_free", meanwhile)
    gone = gc(two_runs)
    assert "report/1" in gone
    assert {"train/1", "embed/damaged"} <= standing(two_runs)


def leave_behind(store, name, seconds=OLD):
    """What a killed run leaves: a draft, scratch, a lock's file."""
    with store.locked(ref(name)):
        store.draft_path(ref(name)).mkdir(parents=True)
        (store.draft_path(ref(name)) / "half").write_text("half")
        store.scratch_path(ref(name)).mkdir(parents=True)
        (store.scratch_path(ref(name)) / "checkpoint").write_text("far")
    for path in (store.scratch_path(ref(name)) / "checkpoint", store.scratch_path(ref(name))):
        os.utime(path, (time.time() - seconds, time.time() - seconds))


def test_leftovers_of_killed_runs_go_but_not_work_that_may_be_resumed(store):
    leave_behind(store, "train/killed")
    leave_behind(store, "train/resumable", YOUNG)
    assert gc(store) == ["train/killed (draft)", "train/killed (unfinished work)", "train/resumable (draft)"]
    assert store.unfinished() == [ref("train/resumable")]
    assert (store.scratch_path(ref("train/resumable")) / "checkpoint").exists()
    assert list((store.home / "locks").iterdir()) == []
    assert not store.draft_path(ref("train/killed")).exists()


def test_a_half_deleted_artifact_goes(store):
    make(store, "train/a")
    store.path(ref("train/a")).rename(store.home / "artifacts" / "train" / ".a.discarded")
    assert "train/a (half deleted)" in gc(store)
    assert not list((store.home / "artifacts" / "train").iterdir())


WORKER = """
import sys
from pathlib import Path
from bbqrec_core.store import ArtifactRef, ArtifactStore
store, ref = ArtifactStore(Path(sys.argv[1])), ArtifactRef(stage="train", fingerprint="busy")
with store.locked(ref), store.drafting(ref) as draft:
    (draft.out / "file").write_text("half")
    print("working", flush=True)
    sys.stdin.readline()
    (draft.out / "file").write_text("whole")
    store.commit(draft, {"inputs": {}})
"""


def test_a_run_under_way_in_another_process_is_not_disturbed(store):
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(store.home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdout.readline() == "working\n"
    assert collect_garbage(store, 0, delete=True) == []
    worker.communicate("\n")
    assert worker.returncode == 0
    assert json.loads((store.path(ref("train/busy")) / MANIFEST).read_text())["stage"] == "train"
    assert store.lookup(ref("train/busy")) is not None


def test_what_a_serving_version_stands_on_stays_though_an_experiment_was_registered_later(store):
    """The next run of the profile as it is starts from those IDs."""
    for number in "12":
        make(store, f"ingest/{number}")
        make(store, f"quantize/{number}", f"ingest/{number}")
        make(store, f"register/{number}", f"ingest/{number}", f"quantize/{number}")
    age(store)
    age(store, OLD - 60, names=["register/2"])
    serving = [ref("ingest/1"), ref("quantize/1")]
    assert collect_garbage(store, HOURS, delete=True, serving=serving) == []
    assert len(standing(store)) == 6
    collect_garbage(store, HOURS, delete=True)
    assert standing(store) == {"ingest/2", "quantize/2", "register/2"}
