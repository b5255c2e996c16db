"""The stage end to end on artificial artifacts: files, learning, determinism, resuming, refusal, no leak from the test part."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from sequence_artifacts import N_ITEMS, make_artifacts, make_context

from bbqrec_core import schema
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.determinism import choose_device
from bbqrec_core.errors import ArtifactError, StageError
from bbqrec_core.evaluation.ranking import validation_metrics
from bbqrec_core.sequence import config, stage, train
from bbqrec_core.sequence.mixture import ranking_quality, weight_grid
from bbqrec_core.sequence.recommender import load_recommender
from bbqrec_core.sequence.windows import Windows

FILES = ["attention_bias.parquet", "curve.parquet", "model.json", "model.safetensors"]


def same_files(one: Path, other: Path) -> bool:
    assert sorted(path.name for path in one.iterdir()) == FILES
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in FILES)


def popularity_ndcg(artifacts: dict[str, Path]) -> float:
    data = SequenceDataset.load(artifacts["ingest"], 8)
    counts = torch.from_numpy(data.train_counts).float()
    return ranking_quality(data.valid, lambda rows: {"popularity": counts.expand(len(rows), -1)}, [{"popularity": 1.0}], 64)[0][0]


def test_learns_a_planted_pattern_far_better_than_popularity(trained, artifacts):
    _, statistics = trained
    assert statistics["valid_ndcg_at_10"] > 0.6 > 2 * popularity_ndcg(artifacts)


def test_files_and_statistics(trained):
    out, statistics = trained
    curve = pq.read_table(out / "curve.parquet")
    assert curve.schema.equals(schema.CURVE)
    names = {"train/loss", "train/loss_dense", "train/loss_generative", "valid/ndcg_at_10", "valid/recall_at_10", "lr"}
    assert set(curve["name"].to_pylist()) == names
    assert curve.num_rows == 6 * statistics["epochs_run"]
    bias = pq.read_table(out / "attention_bias.parquet")
    assert bias.schema.equals(schema.SIMILARITY_WEIGHTS)
    assert bias.num_rows == 2 * 2 * 2 * 4  # layers, heads, sources, lengths of a common prefix
    assert np.abs(bias["weight"].to_numpy()).max() > 0
    share = bias.filter(np.array(bias["source"].to_pylist()) == "text")["train_share"].to_numpy()[:4].sum()
    assert share == pytest.approx(1)
    assert statistics["nan_parameters"] == 0 and statistics["cold_items"] == 1 and statistics["best_epoch"] >= 1
    numbers = {name: value for name, value in statistics.items() if name != "content_temperature"}
    assert all(isinstance(value, int | float | bool | str) for value in numbers.values())
    assert (statistics["content_temperature"] is None) == (statistics["mixture_content"] == 0)


def test_reweighted_by_quantiles_it_is_loaded_as_it_was_saved(artifacts, tmp_path):
    context = make_context(tmp_path, artifacts, similarity={"kind": "quantile"})
    statistics = stage.run(context)
    bias = pq.read_table(context.out / "attention_bias.parquet")
    assert bias.num_rows == 2 * 2 * 2 * 9  # layers, heads, sources, buckets
    share = bias.filter(np.array(bias["source"].to_pylist()) == "text")["train_share"].to_numpy()[:9].sum()
    assert share == pytest.approx(1)
    assert {f"{part}.{source}" for part in ("units", "edges") for source in ("text", "image")} <= load_file(
        context.out / "model.safetensors"
    ).keys()
    data = SequenceDataset.load(artifacts["ingest"], 8)
    assert validation_metrics(load_recommender(context.out), data.valid)["ndcg_at_10"] == statistics["valid_ndcg_at_10"]


def test_score_is_what_validation_measured(trained, artifacts):
    out, statistics = trained
    recommender = load_recommender(out)
    data = SequenceDataset.load(artifacts["ingest"], 8)
    ndcg, recall = ranking_quality(data.valid, lambda rows: {"all": recommender.score(rows)}, [{"all": 1.0}], 64)[0]
    assert ndcg == pytest.approx(statistics["valid_ndcg_at_10"], abs=1e-6)
    assert recall == pytest.approx(statistics["valid_recall_at_10"], abs=1e-6)


def test_the_rate_warms_up_in_a_line_and_falls_by_a_cosine_to_nothing():
    settings = config.SequenceConfig(learning_rate=0.4, warmup_share=0.1)
    rates = [train.learning_rate(step, 100, settings) for step in range(100)]
    assert rates[:10] == pytest.approx([0.04 * step for step in range(1, 11)])
    assert rates[10] == pytest.approx(0.4) and rates[55] == pytest.approx(0.2)
    assert all(later < sooner for sooner, later in itertools.pairwise(rates[10:])) and 0 < rates[-1] < 0.001


@pytest.mark.parametrize("clip_norm", [0.05, 1e6])
def test_no_step_is_made_by_a_gradient_longer_than_the_profile_says(artifacts, tmp_path, monkeypatch, clip_norm):
    norms = []
    real = torch.optim.AdamW.step

    def step(optimizer: torch.optim.AdamW, *told: object) -> object:
        gradients = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.cat(gradients).norm()))
        return real(optimizer, *told)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    stage.run(make_context(tmp_path, artifacts, epochs=2, clip_norm=clip_norm, prior="off"))
    assert len(norms) > 2
    if clip_norm == 0.05:
        assert max(norms) == pytest.approx(clip_norm, rel=1e-3)
    else:
        assert max(norms) > 0.1, "else the smaller limit would have had nothing to do"


def test_auto_is_the_device_that_every_other_stage_takes(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)  # Fabric's own `auto` would take it
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert train.make_fabric("auto", "32-true").device == choose_device("auto") == torch.device("cpu")


def test_in_half_precision_it_learns_and_is_saved_in_full(artifacts, tmp_path):
    context = make_context(tmp_path, artifacts, epochs=8, precision="bf16-mixed", prior="off")
    statistics = stage.run(context)
    tensors = load_file(context.out / "model.safetensors")
    assert all(tensor.dtype != torch.bfloat16 and tensor.isfinite().all() for tensor in tensors.values() if tensor.is_floating_point())
    assert statistics["valid_ndcg_at_10"] > 1.5 * popularity_ndcg(artifacts)
    exact = make_context(tmp_path, artifacts, "exact", epochs=8, prior="off")
    stage.run(exact)
    other = load_file(exact.out / "model.safetensors")
    assert any(not torch.equal(tensors[name], other[name]) for name in tensors), "else nothing was computed in bfloat16"


def test_same_seed_same_bytes_other_seed_other_model(artifacts, tmp_path):
    contexts = [make_context(tmp_path, artifacts, name, epochs=2) for name in ("one", "two")]
    for context in contexts:
        stage.run(context)
    assert same_files(contexts[0].out, contexts[1].out)
    other = make_context(tmp_path, artifacts, "three", epochs=2)
    object.__setattr__(other, "profile", other.profile.model_copy(update={"seed": 8}))
    stage.run(other)
    assert not same_files(contexts[0].out, other.out)


@pytest.mark.parametrize(("interrupted", "average_decay"), [(1, 0.0), (3, 0.0), (2, 0.9)])
def test_an_interrupted_run_resumes_to_the_same_bytes(artifacts, tmp_path, monkeypatch, interrupted, average_decay):
    whole = make_context(tmp_path, artifacts, "whole", epochs=4, average_decay=average_decay)
    stage.run(whole)
    cut = make_context(tmp_path, artifacts, "cut", epochs=4, average_decay=average_decay)
    epochs: list[int] = []
    real = train._epoch

    def interrupt(*arguments: object, **named: object) -> object:
        if len(epochs) == interrupted:
            raise KeyboardInterrupt
        epochs.append(1)
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        stage.run(cut)
    monkeypatch.undo()
    (cut.scratch / "checkpoint.partial").write_bytes(b"half a checkpoint")
    counted = []
    monkeypatch.setattr(train, "_epoch", lambda *a, **n: counted.append(1) or real(*a, **n))
    stage.run(cut)
    assert len(counted) == 4 - interrupted
    assert same_files(whole.out, cut.out)


def test_the_average_is_kept_in_place_of_the_weights(artifacts, tmp_path):
    """With next to no memory the average is the weights; with a long one it lies near where training began."""
    plain, short, long = (
        make_context(tmp_path, artifacts, str(decay), epochs=2, average_decay=decay, prior="off") for decay in (0.0, 1e-9, 0.999)
    )
    tensors = []
    for context in (plain, short, long):
        stage.run(context)
        tensors.append(load_file(context.out / "model.safetensors"))
    assert all(torch.allclose(tensors[0][name], tensors[1][name], atol=1e-5) for name in tensors[0])
    assert not all(torch.allclose(tensors[0][name], tensors[2][name], atol=1e-3) for name in tensors[0])


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from sequence_artifacts import make_context
from bbqrec_core.sequence import stage, train
torch.set_num_threads(1)
save, done = train.write_checkpoint, []
def save_and_die(*arguments):
    save(*arguments)
    done.append(1)
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
train.write_checkpoint = save_and_die
inputs = {name: Path(sys.argv[2]) / name for name in ("ingest", "embed", "quantize", "prior")}
stage.run(make_context(Path(sys.argv[1]), inputs, "killed", epochs=4))
"""


def test_a_killed_process_resumes_to_the_same_bytes(artifacts, tmp_path, caplog):
    whole = make_context(tmp_path, artifacts, "whole", epochs=4)
    stage.run(whole)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(artifacts["ingest"].parent)]
    killed = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (tmp_path / "killed").rmdir()  # nothing had been written there
    with caplog.at_level("INFO"):
        stage.run(make_context(tmp_path, artifacts, "killed", epochs=4))
    assert "resuming after epoch 2 of 4" in caplog.text
    assert same_files(whole.out, tmp_path / "killed")


def test_a_damaged_or_foreign_checkpoint_is_not_used(artifacts, tmp_path):
    whole = make_context(tmp_path, artifacts, "whole", epochs=2)
    stage.run(whole)
    damaged = make_context(tmp_path, artifacts, "damaged", epochs=2)
    (damaged.scratch / "checkpoint.pt").write_bytes((whole.scratch / "checkpoint.pt").read_bytes()[:5000])
    stage.run(damaged)
    assert same_files(whole.out, damaged.out)
    foreign = make_context(tmp_path, artifacts, "foreign", epochs=2, learning_rate=1e-3)
    shutil.copy(whole.scratch / "checkpoint.pt", foreign.scratch / "checkpoint.pt")
    stage.run(foreign)
    assert not same_files(whole.out, foreign.out)


def test_a_checkpoint_of_another_catalogue_is_not_used(artifacts, tmp_path, caplog):
    whole = make_context(tmp_path, artifacts, "whole", epochs=2)
    stage.run(whole)
    renumbered = make_artifacts(tmp_path / "renumbered", relabel=np.random.default_rng(5).permutation(N_ITEMS))
    for name, inputs in (
        ("data", {**artifacts, "ingest": renumbered["ingest"]}),
        ("codes", {**artifacts, "quantize": renumbered["quantize"]}),
    ):
        other = make_context(tmp_path, inputs, f"other-{name}", epochs=2)
        stage.run(other)
        own = make_context(tmp_path, artifacts, f"beside-{name}", epochs=2)
        shutil.copy(other.scratch / "checkpoint.pt", own.scratch / "checkpoint.pt")
        with caplog.at_level("INFO"):
            stage.run(own)
        assert "is of another training: this one starts anew" in caplog.text
        assert same_files(whole.out, own.out)
        caplog.clear()


def test_permuted_test_targets_leave_everything_bit_identical(artifacts, tmp_path):
    permuted = make_artifacts(tmp_path / "permuted", test_seed=3)
    before, after = ((inputs["ingest"] / "test.parquet").read_bytes() for inputs in (artifacts, permuted))
    assert before != after
    one, other = make_context(tmp_path, artifacts, "one", epochs=2), make_context(tmp_path, permuted, "other", epochs=2)
    assert stage.run(one) == stage.run(other)
    assert same_files(one.out, other.out)


def test_quality_does_not_depend_on_how_items_are_numbered(trained, artifacts, tmp_path):
    relabelled = make_artifacts(tmp_path / "relabelled", relabel=np.random.default_rng(11).permutation(N_ITEMS))
    statistics = stage.run(make_context(tmp_path, relabelled, epochs=25))
    assert statistics["valid_ndcg_at_10"] == pytest.approx(trained[1]["valid_ndcg_at_10"], abs=0.08)


def test_a_model_of_another_catalogue_is_refused(trained, artifacts, tmp_path):
    out = trained[0]
    meaning = json.loads((out / "model.json").read_text())
    load_recommender(out, expected_codes=meaning["codes_sha256"], expected_items=N_ITEMS)
    with pytest.raises(ArtifactError, match="other semantic IDs"):
        load_recommender(out, expected_codes="0" * 64)
    with pytest.raises(ArtifactError, match=f"is of {N_ITEMS} items, this catalogue has 12"):
        load_recommender(out, expected_items=12)
    mixed = tmp_path / "mixed"
    shutil.copytree(out, mixed)
    tensors = load_file(mixed / "model.safetensors")
    tensors["codes.fused"][0, 0] += 1
    save_file(tensors, mixed / "model.safetensors")
    with pytest.raises(ArtifactError, match="different catalogues"):
        load_recommender(mixed)


@pytest.mark.parametrize("damage", ["missing", "cut", "no json", "no tensor", "other format"])
def test_damaged_models_are_refused_with_a_way_out(trained, tmp_path, damage):
    folder = tmp_path / "model"
    shutil.copytree(trained[0], folder)
    weights, meaning = folder / "model.safetensors", folder / "model.json"
    if damage == "missing":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "no json":
        meaning.write_text("{")
    elif damage == "no tensor":
        tensors = load_file(weights)
        del tensors["parameter.norm.weight"]
        save_file(tensors, weights)
    else:
        meaning.write_text(meaning.read_text().replace('"format": 3', '"format": 2'))
    with pytest.raises(ArtifactError, match="stage `train` again"):
        load_recommender(folder)


def test_codes_of_another_catalogue_are_refused(artifacts, tmp_path):
    counts = SequenceDataset.load(artifacts["ingest"], 8).train_counts
    with pytest.raises(ArtifactError, match="codes of 48 items, the catalogue has 47"):
        stage.load_catalogue(artifacts["quantize"], counts[:-1])


@pytest.mark.parametrize("fields", [{"dense_weight": 0.0}, {"generative_weight": 0.0}, {"similarity": {"sources": []}}])
def test_parts_switched_off_train_and_load(artifacts, tmp_path, fields):
    context = make_context(tmp_path, artifacts, epochs=1, **fields)
    statistics = stage.run(context)
    recommender = load_recommender(context.out)
    for exact in (True, False):
        assert (recommender.recommend(torch.tensor([[1, 2]]), 5, exact=exact)[0] >= 0).all()
    if "dense_weight" in fields:
        assert (statistics["mixture_dense"], statistics["mixture_generative"]) == (0.0, 1.0)
    if "similarity" in fields:
        assert pq.read_table(context.out / "attention_bias.parquet").num_rows == 0


def test_a_loss_that_is_no_number_stops_with_a_way_out(artifacts, tmp_path, monkeypatch):
    real = train.learning_rate
    monkeypatch.setattr(train, "learning_rate", lambda *arguments: real(*arguments) * 1e30)
    with pytest.raises(StageError, match="learning_rate"):
        stage.run(make_context(tmp_path, artifacts, epochs=3))


def test_patience_ends_training_and_the_best_epoch_is_kept(artifacts, tmp_path):
    context = make_context(tmp_path, artifacts, epochs=60, patience=2)
    statistics = stage.run(context)
    assert statistics["epochs_run"] == statistics["best_epoch"] + 2 < 60
    curve = pq.read_table(context.out / "curve.parquet").to_pylist()
    ndcg = [row["value"] for row in curve if row["name"] == "valid/ndcg_at_10"]
    assert max(range(len(ndcg)), key=lambda place: (ndcg[place], -place)) + 1 == statistics["best_epoch"]


def test_windows_train_every_interaction_exactly_once():
    rng = np.random.default_rng(0)
    lengths = np.array([1, 0, 2, 5, 6, 7, 11, 12, 40])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = rng.permutation(offsets[-1])
    windows = Windows.cut(offsets, items, 5)
    batches = [windows.batch(rows) for rows in windows.epoch(4, seed=1)]
    targets = torch.cat([targets[targets >= 0] for _, targets in batches])
    assert sorted(targets.tolist()) == sorted(items.tolist())
    sequences = [items[begin:end].tolist() for begin, end in itertools.pairwise(offsets)]
    follows = {after: before for sequence in sequences for before, after in itertools.pairwise(sequence)}
    for tokens, wanted in batches:
        assert tokens.shape[1] <= 6
        for row, target in zip(*np.nonzero(wanted.numpy() >= 0), strict=True):
            before = int(tokens[row, target])
            assert before == follows.get(int(wanted[row, target]), -2)
    assert [rows.tolist() for rows in windows.epoch(4, 1)] == [rows.tolist() for rows in windows.epoch(4, 1)]
    assert [rows.tolist() for rows in windows.epoch(4, 1)] != [rows.tolist() for rows in windows.epoch(4, 2)]


def test_weight_grid_covers_the_simplex_most_even_first():
    assert weight_grid(("a", "b"), 2) == [{"a": 0.5, "b": 0.5}, {"a": 0.0, "b": 1.0}, {"a": 1.0, "b": 0.0}]
    three = weight_grid(("a", "b", "c"), 10)
    assert len(three) == 66 and all(sum(weights.values()) == pytest.approx(1) for weights in three)


def test_ties_count_by_expectation(artifacts):
    valid = SequenceDataset.load(artifacts["ingest"], 8).valid
    unseen = np.array([N_ITEMS - len(set(valid.seen_items[a:b])) for a, b in zip(valid.seen_offsets, valid.seen_offsets[1:], strict=False)])
    ndcg, recall = ranking_quality(valid, lambda rows: {"none": torch.zeros(len(rows), N_ITEMS)}, [{"none": 1.0}], 50)[0]
    assert recall == pytest.approx(float((10 / unseen).mean()))
    assert ndcg == pytest.approx(float((sum(1 / np.log2(place + 1) for place in range(1, 11)) / unseen).mean()))
