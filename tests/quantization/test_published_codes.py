"""Modalities that are known by published codes alone: cross-entropy in training, accuracy in place of R2."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from artificial_catalogue import make_profile, run_stage
from other_catalogues import published_codes

from bbqrec_core import schema
from bbqrec_core.dataset import ItemFeatures, SequenceDataset, load_features
from bbqrec_core.embedding.codes import DIMENSIONS
from bbqrec_core.errors import StageError
from bbqrec_core.quantization import probes
from bbqrec_core.quantization.data import load_item_features, prepare
from bbqrec_core.quantization.model import ModalityCoder
from bbqrec_core.quantization.probes import FOLDS, RIDGE, accuracy_from_codes, folds
from bbqrec_core.quantization.tokenizers.registry import assign, load
from bbqrec_core.quantization.training import Trainer


@pytest.fixture(scope="module", autouse=True)
def brief_probes(quantized):
    """The probe of what s and b share takes most of a small run, and nothing here looks at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "MLP_STEPS", 5)
        yield


@pytest.fixture(scope="module")
def coded(catalogue, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("coded")
    return folder, *run_stage(published_codes(catalogue), folder, epochs=15)


def health_of(out):
    rows = pq.read_table(out / "codebook_health.parquet").to_pylist()
    return {(row["source"], row["level"], row["name"]): row["value"] for row in rows}


def prepared(catalogue, folder, **fields):
    paths, config = catalogue.write(folder), make_profile(**fields).quantization
    features = load_item_features(paths["embed"], paths["ingest"])
    return prepare(SequenceDataset.load(paths["ingest"], 20), features, config), config


def test_accuracy_takes_the_place_of_r2(coded, catalogue):
    _, out, statistics = coded
    health = health_of(out)
    assert not [name for _, _, name in health if name.startswith("r2_")]
    for modality in schema.MODALITIES:
        for source in ("fused", modality):
            without = health[source, 0, f"accuracy_{modality}_without_codes"]
            accuracies = [health[source, level, f"accuracy_{modality}"] for level in (1, 2, 3)]
            assert all(0 <= value <= 1 for value in [without, *accuracies])
            assert max(accuracies) > without + 0.1
        assert statistics[f"reconstruction_accuracy_{modality}"] == health[modality, 3, f"accuracy_{modality}"]
        assert statistics[f"fused_accuracy_{modality}"] == health["fused", 3, f"accuracy_{modality}"]
        assert statistics[f"reconstruction_r2_{modality}"] is statistics[f"fused_r2_{modality}"] is None
    assert statistics["distinct_ids"] == catalogue.n_items and statistics["nan_losses"] == 0


def test_cross_entropy_falls(coded):
    curve = pq.read_table(coded[1] / "curve.parquet").to_pylist()
    losses = [row["value"] for row in curve if row["name"] == "train/reconstruction"]
    assert losses[-1] < 0.8 * losses[0]
    assert losses[0] == pytest.approx((np.log(10) + (np.log(3) + np.log(4)) / 2) / 2, rel=0.15)  # knowing nothing yet


def test_reconstruction_error_is_the_mean_over_levels_of_minus_log_softmax():
    torch.manual_seed(0)
    coder = ModalityCoder(8, make_profile().quantization, (5, 3))
    inputs, codes = torch.randn(4, 32), torch.tensor([[4, 2], [0, 0], [1, 2], [3, 1]])
    logits = coder.decoder(inputs)
    assert logits.shape == (4, 8)
    expected = [-(logits[i, :5].log_softmax(0)[a] + logits[i, 5:].log_softmax(0)[b]) / 2 for i, (a, b) in enumerate(codes.tolist())]
    torch.testing.assert_close(coder.reconstruction_error(inputs, torch.empty(4, 8), codes), torch.stack(expected))
    plain = ModalityCoder(8, make_profile().quantization)
    target = torch.randn(4, 8)
    torch.testing.assert_close(plain.reconstruction_error(inputs, target), ((plain.decoder(inputs) - target) ** 2).mean(1))


def test_a_saved_quantizer_knows_its_codes(coded, catalogue):
    folder, out, _ = coded
    assert json.loads((out / "quantizer.json").read_text())["published_code_sizes"] == {"text": [10, 3], "image": [10, 4]}
    quantizer = load(out)
    assert quantizer.tokenizer.model.coder("image").code_sizes == (10, 4)
    cold = slice(catalogue.n_items - 5, None)
    features = {name: ItemFeatures(given.values[cold], given.present[cold]) for name, given in load_features(folder / "embed").items()}
    given = assign(quantizer, features, existing_ids=quantizer.semantic_ids[: cold.start])
    np.testing.assert_array_equal(given.fused, quantizer.semantic_ids[cold])


def test_ordinary_features_have_no_published_codes(quantized):
    assert json.loads((quantized[0] / "quantizer.json").read_text())["published_code_sizes"] == {}
    assert not [name for _, _, name in health_of(quantized[0]) if name.startswith("accuracy_")]


def test_codes_and_features_side_by_side(catalogue, tmp_path):
    out, statistics = run_stage(published_codes(catalogue, ("text",)), tmp_path)
    assert statistics["fused_accuracy_text"] is not None and statistics["fused_r2_image"] is not None
    assert statistics["fused_r2_text"] is statistics["fused_accuracy_image"] is None
    assert load(out).tokenizer.model.coder("text").decoder[-1].out_features == 13


def test_features_that_an_encoder_made_are_features_though_codes_are_published(catalogue, tmp_path):
    paths = published_codes(catalogue).write(tmp_path)
    encoders = json.loads((paths["embed"] / "encoders.json").read_text())
    encoders["text"]["name"] = "all-MiniLM-L6-v2"
    (paths["embed"] / "encoders.json").write_text(json.dumps(encoders))
    features = load_item_features(paths["embed"], paths["ingest"])
    assert features["text"].codes is None and features["image"].codes.shape == (catalogue.n_items, 2)


def test_sizes_come_from_fitted_items_and_a_cold_items_unknown_code_is_harmless(catalogue, tmp_path):
    codes = published_codes(catalogue)
    paths = codes.write(tmp_path)
    table = pq.read_table(paths["ingest"] / "given_codes.parquet").to_pylist()
    table[-1]["text"] = [999, 2]
    pq.write_table(pa.Table.from_pylist(table, schema.GIVEN_CODES), paths["ingest"] / "given_codes.parquet")
    config = make_profile(epochs=1, warmup_epochs=1).quantization
    data = prepare(SequenceDataset.load(paths["ingest"], 20), load_item_features(paths["embed"], paths["ingest"]), config)
    assert data.code_sizes == {"text": (10, 3), "image": (10, 4)}
    losses = Trainer(data, config, 0, torch.device("cpu")).train().last()
    assert all(np.isfinite(value) for value in losses.values())


def test_codes_of_another_catalogue_are_named(catalogue, tmp_path):
    paths = published_codes(catalogue).write(tmp_path)
    table = pq.read_table(paths["ingest"] / "given_codes.parquet").to_pylist()
    table[3]["text"] = None
    pq.write_table(pa.Table.from_pylist(table, schema.GIVEN_CODES), paths["ingest"] / "given_codes.parquet")
    with pytest.raises(StageError, match="text vectors stand for published codes, but not for those of this catalogue"):
        load_item_features(paths["embed"], paths["ingest"])
    (paths["ingest"] / "given_codes.parquet").unlink()
    with pytest.raises(StageError, match="Build the stage `embed` again"):
        load_item_features(paths["embed"], paths["ingest"])


def test_reconstruction_weight_is_that_of_the_cross_entropy(catalogue, tmp_path):
    data, config = prepared(published_codes(catalogue), tmp_path, epochs=1, warmup_epochs=0)
    assert data.features["text"].shape == (catalogue.n_items, DIMENSIONS) and set(data.codes) == {"text", "image"}
    once = Trainer(data, config, 0, torch.device("cpu")).step(torch.arange(40))["reconstruction"]
    doubled = config.model_copy(update={"reconstruction_weight": 2.0})
    assert float(Trainer(data, doubled, 0, torch.device("cpu")).step(torch.arange(40))["reconstruction"]) == pytest.approx(2 * float(once))


def test_accuracy_of_codes_that_say_everything_and_of_random_ones():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 6, (500, 2))
    published = np.stack([codes[:, 0] * 100, (codes[:, 1] % 3) + 7], 1)  # any labels
    without, first, both = accuracy_from_codes(codes, [6, 6], published, seed=0)
    assert without < 0.4 and 0.6 < first < 0.8 and both == 1.0  # half of what is published is known from level 1, the rest is guessed
    without, *random = accuracy_from_codes(rng.integers(0, 6, (500, 2)), [6, 6], published, seed=0)
    assert all(abs(value - without) < 0.08 for value in random)
    assert accuracy_from_codes(codes, [6, 6], np.full((500, 1), 3), seed=0) == [1.0, 1.0, 1.0]
    assert all(np.isnan(value) for value in accuracy_from_codes(codes[:5], [6, 6], published[:5], seed=0))


def test_accuracy_is_that_of_ridge_regression_on_one_hot_codes():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 4, (60, 2))
    published = np.stack([(codes[:, 0] + (rng.random(60) < 0.4)) % 4, rng.integers(0, 3, 60)], 1)
    fold, right = folds(60, 5), np.zeros(3)
    for number in range(FOLDS):
        fit, held = fold != number, fold == number
        for column in published.T:
            target = np.eye(4)[column]
            mean = target[fit].mean(0)
            right[0] += (column[held] == mean.argmax()).sum()
            for level in (1, 2):
                onehot = np.concatenate([np.eye(4)[codes[:, at]] for at in range(level)], 1)
                centred = onehot[fit] - onehot[fit].mean(0)
                design = np.concatenate([centred, np.sqrt(RIDGE) * np.eye(4 * level)])
                aim = np.concatenate([target[fit] - mean, np.zeros((4 * level, 4))])
                weights = np.linalg.lstsq(design, aim, rcond=None)[0]
                scores = (onehot[held] - onehot[fit].mean(0)) @ weights + mean
                right[level] += (scores.argmax(1) == column[held]).sum()
    assert accuracy_from_codes(codes, [4, 4], published, seed=5) == pytest.approx(list(right / published.size))
