"""Which earlier semantic IDs a plan lets `quantize` start from, and that its fingerprint says so."""

import gzip
import os

import pytest

from bbqrec_core.leaderboard.spec import Split
from bbqrec_core.profile import load_profile
from bbqrec_core.quantization.config import PREVIOUS, PREVIOUS_INGEST
from bbqrec_core.store import ArtifactStore
from flows import leaderboard
from tasks.plan import make_plan

STAGES = ("ingest", "embed", "quantize", "prior", "train", "refit", "baselines", "evaluate", "register")


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "home")


@pytest.fixture
def night(tmp_path):
    """Puts a night's data where the profile reads it, and gives the profile; a plan reads nothing of the files but their bytes."""
    raw = tmp_path / "raw"
    raw.mkdir()

    def make(data, name="gift_cards", **overrides):
        for file in ("reviews.json.gz", "meta.json.gz"):
            (raw / file).write_bytes(gzip.compress(data.encode(), mtime=0))
        source = {"raw": str(raw), "reviews": "reviews.json.gz", "metadata": "meta.json.gz", "images": None, **overrides.pop("source", {})}
        return load_profile(name, {"source": source, "embedding": {"image": None}, **overrides})

    return make


def register(plan, store):
    """Make every artifact of a plan up to its registration, with a line for content."""
    for name in STAGES:
        planned = plan[name]
        if store.lookup(planned.ref) is None:
            with store.locked(planned.ref), store.drafting(planned.ref) as draft:
                (draft.out / "file").write_text(str(planned.ref))
                store.commit(draft, {**planned.identity, "statistics": {}})
    return plan


def started_from(plan):
    return {name: str(ref) for name, ref in plan["quantize"].origin.inputs.items()}


def test_the_first_run_starts_from_scratch_and_running_again_finds_it(store, night):
    plan = make_plan(night("monday"), store)
    assert started_from(plan) == {} and plan["quantize"].identity["outside"] == {} and plan["quantize"].origin.note == ""
    register(plan, store)
    again = make_plan(night("monday"), store)
    assert {name: again[name].ref for name in STAGES} == {name: plan[name].ref for name in STAGES}


def test_the_next_night_starts_from_the_last_registered_one_and_its_fingerprint_says_so(store, night, tmp_path):
    monday = register(make_plan(night("monday"), store), store)
    tuesday = make_plan(night("tuesday"), store)
    expected = {PREVIOUS: monday["quantize"].ref, PREVIOUS_INGEST: monday["ingest"].ref}
    assert started_from(tuesday) == {name: str(ref) for name, ref in expected.items()}
    assert tuesday["quantize"].identity["outside"] == {name: ref.fingerprint for name, ref in expected.items()}
    elsewhere = make_plan(night("tuesday"), ArtifactStore(tmp_path / "empty"))
    assert elsewhere["quantize"].ref != tuesday["quantize"].ref and elsewhere["embed"].ref == tuesday["embed"].ref
    register(tuesday, store)
    assert make_plan(night("tuesday"), store)["quantize"].ref == tuesday["quantize"].ref
    wednesday = make_plan(night("wednesday"), store)
    assert started_from(wednesday)[PREVIOUS] == str(tuesday["quantize"].ref)


def test_a_run_that_was_not_registered_is_no_start(store, night):
    plan = make_plan(night("monday"), store)
    register(plan, store)
    store.remove(plan["register"].ref)
    assert started_from(make_plan(night("tuesday"), store)) == {}


def test_data_that_was_there_before_keeps_its_ids(store, night):
    monday = register(make_plan(night("monday"), store), store)
    tuesday = register(make_plan(night("tuesday"), store), store)
    assert make_plan(night("monday"), store)["quantize"].ref == monday["quantize"].ref
    store.remove(monday["register"].ref)  # as garbage collection would
    store.remove(monday["quantize"].ref)
    assert make_plan(night("tuesday"), store)["quantize"].ref == tuesday["quantize"].ref


def test_the_one_that_a_run_came_to_last_is_the_start(store, night):
    monday = register(make_plan(night("monday"), store), store)
    tuesday = register(make_plan(night("tuesday"), store), store)
    for age, plan in ((10, tuesday), (5, monday)):
        path = store.path(plan["register"].ref)
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert started_from(make_plan(night("wednesday"), store))[PREVIOUS] == str(monday["quantize"].ref)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"quantization": {"epochs": 2}}, "`quantization.epochs`"),
        ({"quantization": {"codebook_sizes": [8, 8, 8], "dimensions": 8}}, "`quantization.codebook_sizes`, `quantization.dimensions`"),
        ({"seed": 9}, "`data_seed`"),  # which follows it, and comes first
        ({"seed": 9, "data_seed": 2026}, "`seed`"),
        ({"ingest": {"k_user": 3}}, "`ingest.k_user`"),
        ({"embedding": {"image": None, "text": {"max_tokens": 16}}}, "`embedding.text.max_tokens`"),
    ],
)
def test_a_run_with_other_settings_starts_from_scratch_and_says_why(store, night, tmp_path, overrides, words):
    monday = register(make_plan(night("monday"), store), store)
    changed = make_plan(night("tuesday", **overrides), store)
    assert started_from(changed) == {} and words in changed["quantize"].origin.note
    assert str(monday["quantize"].ref) in changed["quantize"].origin.note
    alone = make_plan(night("tuesday", **overrides), ArtifactStore(tmp_path / "empty"))
    assert alone["quantize"].ref == changed["quantize"].ref  # it does not depend on the nights before
    register(changed, store)
    assert started_from(make_plan(night("wednesday"), store))[PREVIOUS] == str(monday["quantize"].ref)


def test_files_of_another_name_and_how_to_start_are_no_other_settings(store, night):
    register(make_plan(night("monday"), store), store)
    moved = night(
        "tuesday", quantization={"warm_start": {"tolerance": 0.5}}, ingest={"split": {"kind": "leave_one_out", "test_from": 0.95}}
    )
    assert started_from(make_plan(moved, store))


@pytest.mark.parametrize("quantization", [{"warm_start": {"start": "scratch"}}, {"tokenizer": "given"}])
def test_a_profile_can_do_without(store, night, quantization):
    register(make_plan(night("monday", quantization=quantization), store), store)
    plan = make_plan(night("tuesday", quantization=quantization), store)
    assert started_from(plan) == {} and plan["quantize"].origin.note == ""


def test_another_profile_is_no_start(store, night, tmp_path):
    register(make_plan(night("monday"), store), store)
    (tmp_path / "mine.yaml").write_text("extends: gift_cards\n")
    assert started_from(make_plan(night("tuesday", name=str(tmp_path / "mine.yaml")), store)) == {}


def test_a_damaged_one_is_passed_over(store, night):
    monday = register(make_plan(night("monday"), store), store)
    tuesday = register(make_plan(night("tuesday"), store), store)
    (store.path(tuesday["quantize"].ref) / "file").write_text("altered")
    assert started_from(make_plan(night("wednesday"), store))[PREVIOUS] == str(monday["quantize"].ref)
    assert make_plan(night("tuesday"), store)["quantize"].ref == tuesday["quantize"].ref  # what it was started from is there: made again


def test_other_versions_and_other_encoders_are_no_start(store, night, monkeypatch):
    import dataclasses

    from tasks import plan, stages

    register(make_plan(night("monday"), store), store)
    monkeypatch.setattr("bbqrec_core.embedding.weights.encoder_identity", lambda _: {"text": "other weights"})
    assert "other weights" in make_plan(night("tuesday"), store)["quantize"].origin.note
    monkeypatch.undo()
    raised = [
        dataclasses.replace(stage, version=99) if stage.name == "quantize" else stage for stage in stages.STAGES if stage.name != "shop"
    ]
    monkeypatch.setattr(plan, "pipeline", lambda _: raised)
    assert "the stage `quantize` has another version" in make_plan(night("tuesday"), store)["quantize"].origin.note


def test_a_leaderboards_runs_start_from_scratch_whatever_is_registered(store, night, tmp_path, monkeypatch):
    """Other seeds and variants could not start from the registered IDs, and would be compared with one that did."""
    profile = night("monday")
    register(make_plan(profile, store), store)
    night("tuesday")
    monkeypatch.setenv("BBQREC_HOME", str(tmp_path / "home"))
    asked = []

    def stopped(**told):
        asked.append(told["overrides"].model_dump(exclude_unset=True))
        raise InterruptedError

    monkeypatch.setattr(leaderboard, "retrain", stopped)
    source = profile.source.model_dump(include={"raw", "reviews", "metadata", "images"})
    for seed in (profile.seed, profile.seed + 1):
        change = {"source": source, "embedding": {"image": None}, "seed": seed, "data_seed": profile.data_seed}
        with pytest.raises(InterruptedError):
            leaderboard._evaluate(Split(profile="gift_cards", title="Gifts"), change, set())
    assert asked[0]["quantization"] == {"warm_start": {"start": "scratch"}}
    assert "quantization" not in asked[1], "of another seed nothing is there to start from"
