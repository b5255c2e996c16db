"""The chosen model once more on train and validation: what it learns from, what it keeps, what it may never see."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sequence_artifacts import N_ITEMS, make_artifacts, make_context

from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.errors import ArtifactError
from bbqrec_core.sequence import refit, stage, train
from bbqrec_core.sequence.artifact import load_model
from bbqrec_core.sequence.recommender import load_refitted
from bbqrec_core.stage import StageContext

BEST = 2
FILES = ("curve.parquet", "model.json", "model.safetensors")


def sequences(data: SequenceDataset) -> dict[int, list[int]]:
    ends = zip(data.train_users, data.train_offsets[:-1], data.train_offsets[1:], strict=True)
    return {int(user): data.train_items[start:end].tolist() for user, start, end in ends}


def make(root: Path, inputs: dict[str, Path], **sequence: object) -> dict[str, Path]:
    """Train, and keep the statistics as the runner does, but that an earlier epoch was best. Returns the inputs of `refit`."""
    context = make_context(root, inputs, **sequence)
    statistics = stage.run(context) | {"best_epoch": BEST}
    pq.write_table(pa.Table.from_pylist([statistics]), context.out / "statistics.parquet")
    return {name: inputs[name] for name in ("ingest", "quantize")} | {"train": context.out}


@pytest.fixture(scope="module")
def chosen(artifacts, tmp_path_factory) -> dict[str, Path]:
    return make(tmp_path_factory.mktemp("chosen"), artifacts, epochs=8)


@pytest.fixture(scope="module")
def refitted(chosen, tmp_path_factory) -> tuple[StageContext, dict]:
    context = make_context(tmp_path_factory.mktemp("refitted"), chosen, "refit", epochs=8)
    return context, refit.run(context)


def test_validation_comes_last_in_each_user_s_sequence_and_nothing_of_test_is_there(artifacts):
    held_out, known = SequenceDataset.load(artifacts["ingest"], 8), SequenceDataset.load_refit(artifacts["ingest"], 8)
    wanted = sequences(held_out)
    for user, target in zip(held_out.valid.users.tolist(), held_out.valid.targets.tolist(), strict=True):
        wanted[user] = [*wanted[user], target]
    assert sequences(known) == wanted
    assert known.train_counts.sum() == held_out.train_counts.sum() + len(held_out.valid)
    assert len(known.valid) == 0 and known.valid.histories.shape == (0, 8)
    assert np.array_equal(known.test.targets, held_out.test.targets) and known.n_items == held_out.n_items


def test_a_limit_keeps_the_latest(artifacts):
    whole = sequences(SequenceDataset.load_refit(artifacts["ingest"], 8))
    cut = sequences(SequenceDataset.load_refit(artifacts["ingest"], 8, latest=4))
    assert cut == {user: items[-4:] for user, items in whole.items()} and any(len(items) > 4 for items in whole.values())


def test_users_of_validation_alone_are_learned_from_too(artifacts, tmp_path):
    """As a temporal split has them: everything that they did came after train ended, and some of it after the first target."""
    ingest = shutil.copytree(artifacts["ingest"], tmp_path / "ingest")
    table = pq.read_table(ingest / "interactions.parquet")
    newcomer = table.slice(0, 3).to_pylist()
    for position, (row, part) in enumerate(zip(newcomer, ("valid", "valid", "test"), strict=True)):
        row |= {"user_idx": 10_000, "item_idx": 5 + position, "position": position, "part": part}
    pq.write_table(pa.concat_tables([pa.Table.from_pylist(newcomer[::-1], table.schema), table]), ingest / "interactions.parquet")
    known = sequences(SequenceDataset.load_refit(ingest, 8))
    assert known.pop(10_000) == [5, 6]
    assert known == sequences(SequenceDataset.load_refit(artifacts["ingest"], 8))


def test_it_trains_the_chosen_epochs_on_more_and_keeps_the_mix(chosen, refitted, artifacts):
    context, statistics = refitted
    before, after = load_model(chosen["train"]), load_model(context.out)
    assert statistics["epochs_run"] == BEST and statistics["nan_parameters"] == 0
    assert after.mixture == before.mixture
    assert before.prior is not None and after.prior is not None
    assert after.prior.smoothing == before.prior.smoothing and after.prior.knn.settings == before.prior.knn.settings
    held_out = SequenceDataset.load(artifacts["ingest"], 8)
    learned = held_out.train_counts + np.bincount(held_out.valid.targets, minlength=N_ITEMS)
    assert after.prior.knn.counts.tolist() == learned.tolist() and statistics["interactions"] == learned.sum()
    assert after.model.items.warm.tolist() == (learned > 0).tolist()
    assert statistics["items_new_to_train"] == ((learned > 0) & (held_out.train_counts == 0)).sum()
    assert after.meaning["codes_sha256"] == before.meaning["codes_sha256"]
    curve = pq.read_table(context.out / "curve.parquet")
    assert not [name for name in curve["name"].to_pylist() if name.startswith("valid/")]
    whole = {row["step"]: row["value"] for row in pq.read_table(chosen["train"] / "curve.parquet").to_pylist() if row["name"] == "lr"}
    rates = {row["step"]: row["value"] for row in curve.to_pylist() if row["name"] == "lr"}
    assert list(rates) == [1, 2] and rates == pytest.approx({step: whole[step] for step in rates}, rel=0.05), "the schedule stays"


def test_model_and_knn_have_names_of_their_own(refitted):
    model, knn = load_refitted(refitted[0].out)
    assert (model.name, knn.name, type(knn).name) == ("BBQRec refitted", "co-occurrence kNN refitted", "co-occurrence kNN")
    assert model.score(torch.tensor([[1, 2, 3]])).isfinite().all() and knn.score(torch.tensor([[1, 2, 3]])).shape == (1, N_ITEMS)


def test_without_a_prior_there_is_none_afterwards(artifacts, tmp_path):
    inputs = make(tmp_path, artifacts, epochs=2, prior="off")
    context = make_context(tmp_path, inputs, "refit", epochs=2, prior="off")
    refit.run(context)
    assert [recommender.name for recommender in load_refitted(context.out)] == ["BBQRec refitted"]


def test_permuted_test_targets_change_no_byte(refitted, tmp_path):
    inputs = make(tmp_path, make_artifacts(tmp_path, test_seed=9), epochs=8)
    context = make_context(tmp_path, inputs, "refit", epochs=8)
    refit.run(context)
    assert all((context.out / name).read_bytes() == (refitted[0].out / name).read_bytes() for name in FILES)


def test_what_validation_says_does_matter(chosen, refitted, artifacts, tmp_path):
    """Against a stage that ignores validation: where its targets are other ones, the model is another."""
    ingest = shutil.copytree(artifacts["ingest"], tmp_path / "ingest")
    table = pq.read_table(ingest / "interactions.parquet").to_pandas()
    rows = table["part"] == "valid"
    table.loc[rows, "item_idx"] = np.random.default_rng(1).permutation(table.loc[rows, "item_idx"].to_numpy())
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), ingest / "interactions.parquet")
    context = make_context(tmp_path, {**chosen, "ingest": ingest}, "refit", epochs=8)
    refit.run(context)
    assert (context.out / "model.safetensors").read_bytes() != (refitted[0].out / "model.safetensors").read_bytes()


def test_a_refit_that_was_cut_ends_with_the_same_bytes(chosen, refitted, tmp_path, monkeypatch):
    context = make_context(tmp_path, chosen, "refit", epochs=8)
    epochs, real = [], train._epoch

    def second_is_cut(*arguments: object, **named: object) -> object:
        epochs.append(1)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "_epoch", second_is_cut)
    with pytest.raises(KeyboardInterrupt):
        refit.run(context)
    statistics = refit.run(context)
    assert len(epochs) == 3 and statistics["epochs_run"] == BEST
    assert all((context.out / name).read_bytes() == (refitted[0].out / name).read_bytes() for name in FILES)


def test_a_checkpoint_of_more_epochs_than_are_wanted_now_is_not_taken(chosen, refitted, tmp_path):
    inputs = dict(chosen, train=shutil.copytree(chosen["train"], tmp_path / "other"))
    statistics = pq.read_table(chosen["train"] / "statistics.parquet").to_pylist()[0]
    pq.write_table(pa.Table.from_pylist([statistics | {"best_epoch": BEST + 2}]), inputs["train"] / "statistics.parquet")
    context = make_context(tmp_path, inputs, "refit", epochs=8)
    assert refit.run(context)["epochs_run"] == BEST + 2
    assert refit.run(replace(context, inputs=chosen))["epochs_run"] == BEST
    assert (context.out / "model.safetensors").read_bytes() == (refitted[0].out / "model.safetensors").read_bytes()


def test_a_model_of_other_codes_is_refused(chosen, tmp_path):
    other = make_artifacts(tmp_path / "other", relabel=np.roll(np.arange(N_ITEMS), 3))
    context = make_context(tmp_path, {**chosen, "quantize": other["quantize"]}, "refit", epochs=8)
    with pytest.raises(ArtifactError, match="other semantic IDs"):
        refit.run(context)
