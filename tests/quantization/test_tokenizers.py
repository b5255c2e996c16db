"""The baselines behind the tokenizers' interface: legal, deterministic, repaired IDs from train alone; and saved ones read back."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from artificial_catalogue import make_profile
from pydantic import ValidationError
from safetensors.torch import load_file
from tokenizer_runs import ALL, LEARNED, LEVELS, digests, run_tokenizer, training_data

from bbqrec_core.dataset import ItemFeatures, load_semantic_ids
from bbqrec_core.determinism import deterministic
from bbqrec_core.errors import ArtifactError, StageError
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.tokenizers import registry
from bbqrec_core.quantization.tokenizers.bbqrec import BbqrecTokenizer
from bbqrec_core.quantization.tokenizers.saved import SavedTokenizer, save
from bbqrec_core.quantization.training import Trainer


@pytest.fixture(scope="module", params=ALL)
def tokenized(request, catalogue, tmp_path_factory):
    """One run of the stage per tokenizer; published codes repaired."""
    torch.set_num_threads(1)
    out, statistics = run_tokenizer(catalogue, tmp_path_factory.mktemp(request.param), request.param, given={"repair": True})
    return request.param, out, statistics


@pytest.fixture
def features(catalogue):
    half = lambda values: values.astype(np.float16).astype(np.float32)  # noqa: E731
    return {
        "text": ItemFeatures(half(catalogue.text), catalogue.has_text),
        "image": ItemFeatures(half(catalogue.image), catalogue.has_image),
    }


def test_every_tokenizer_writes_the_same_files_with_legal_and_repaired_ids(tokenized, quantized, catalogue):
    name, out, statistics = tokenized
    assert {path.name for path in out.iterdir()} == {path.name for path in quantized[0].iterdir()}
    assert set(quantized[1]) - {key for key in quantized[1] if key.startswith("final_")} <= set(statistics)
    ids, vectors = load_semantic_ids(out), load_file(out / "quantized.safetensors")
    codes, present = ids["fused"]
    sizes = [int(size) for size in statistics["codebook_sizes"].split(",")]
    assert sizes == ([5, 9, 7] if name == "given" else [8, 8, 16])
    assert present.all() and ((codes >= 0) & (codes < sizes)).all()
    assert len(np.unique(codes, axis=0)) == catalogue.n_items == statistics["distinct_ids"]
    assert statistics["collision_share"] == 0 and statistics["null_fused_codes"] == 0 and statistics["nan_losses"] == 0
    np.testing.assert_array_equal(ids["image"][1], catalogue.has_image)
    for source in ("fused", "text", "image"):
        assert vectors[source].dtype == torch.float32 and vectors[source].isfinite().all()
        assert vectors[source].shape == (catalogue.n_items, vectors["fused"].shape[1])
        np.testing.assert_array_equal(vectors[source].any(1).numpy(), ids[source][1])
    health = pq.read_table(out / "codebook_health.parquet").to_pylist()
    assert {row["source"] for row in health} == {"fused", "text", "image"}
    assert ("fused", "r2_text") in {(row["source"], row["name"]) for row in health}
    usage = pq.read_table(out / "usage.parquet").to_pylist()
    assert sum(row["items"] for row in usage if row["source"] == "fused") == LEVELS * catalogue.n_items


def test_codes_carry_the_features(tokenized):
    name, _, statistics = tokenized
    if name == "given":
        assert statistics["fused_r2_text"] < 0.1  # these were drawn at random
    else:
        assert statistics["fused_r2_text"] > 0.3


def test_same_seed_same_bytes_whatever_the_test_targets(tokenized, catalogue, changed, tmp_path):
    name, out, statistics = tokenized
    torch.manual_seed(99)
    np.random.seed(99)
    targets = np.random.default_rng(0).permutation(catalogue.test).tolist()
    targets[::2] = [max(row) for row in catalogue.train[::2]]
    other, same = run_tokenizer(changed(test=targets), tmp_path, name, given={"repair": True})
    assert digests(other) == digests(out) and same == statistics


def test_validation_moves_nothing_but_its_own_measurement(tokenized, catalogue, changed, tmp_path):
    name, out, _ = tokenized
    valid = np.random.default_rng(1).permutation(catalogue.valid).tolist()
    other, _ = run_tokenizer(changed(valid=valid), tmp_path, name, given={"repair": True})
    before, after = digests(out), digests(other)
    assert {file for file in before if before[file] != after[file]} == {"codebook_health.parquet"}


def test_assign_gives_catalogue_items_their_own_wished_codes(tokenized, catalogue, features):
    name, out, _ = tokenized
    saved = registry.load(out)
    tensors = {key: torch.from_numpy(np.where(item.present[:, None], item.values, 0)) for key, item in features.items()}
    masks = {key: torch.from_numpy(item.present) for key, item in features.items()}
    known = saved.tokenizer.encode(tensors, masks, np.arange(catalogue.n_items))
    if name == "given":
        with pytest.raises(StageError, match="new items cannot be given any"):
            registry.assign(saved, features)
        return
    new = saved.tokenizer.encode(tensors, masks, None)
    np.testing.assert_array_equal(new.wished, known.wished)
    given_ids = registry.assign(saved, features, existing_ids=np.empty((0, LEVELS), np.int64), existing_hashes=np.empty(0, np.int64))
    np.testing.assert_array_equal(given_ids.fused[~given_ids.moved], known.wished[~given_ids.moved])
    unmoved = (saved.semantic_ids == known.wished).all(1)
    assert unmoved.mean() > 0.3
    for modality, (codes, present) in load_semantic_ids(out).items():
        if modality != "fused":
            np.testing.assert_array_equal(new.modality_codes[modality][present], codes[present])


def test_new_items_get_ids_that_nobody_has(tokenized, features):
    name, out, _ = tokenized
    if name == "given":
        pytest.skip("codes no new items")
    saved = registry.load(out)
    assigned = registry.assign(saved, {"text": features["text"]})
    everyone = np.concatenate([saved.semantic_ids, assigned.fused])
    assert len(np.unique(everyone, axis=0)) == len(everyone)
    with pytest.raises(StageError, match="text features have 5 dimensions"):
        registry.assign(saved, {"text": ItemFeatures(features["text"].values[:, :5], features["text"].present)})
    with pytest.raises(StageError, match="no modality"):
        registry.assign(saved, {})


@pytest.mark.parametrize("name", LEARNED)
def test_nothing_is_fitted_on_cold_items(name, catalogue, changed, tmp_path):
    text, image = catalogue.text.copy(), catalogue.image.copy()
    text[-5:], image[-5:] = 100 * text[:5], -100.0
    first, _ = run_tokenizer(catalogue, tmp_path / "a", name)
    second, _ = run_tokenizer(changed(text=text, image=image), tmp_path / "b", name)
    weights = [load_file(folder / "quantizer.safetensors") for folder in (first, second)]
    for key in weights[0]:
        assert key.startswith("catalogue/") or torch.equal(weights[0][key], weights[1][key]), key


# The default


def test_ours_through_the_interface_is_what_it_was_without(quantized, catalogue, tmp_path):
    """Model, IDs, hashes and meaning, byte for byte, from the parts alone."""
    out, _ = quantized
    data, config = training_data(catalogue, tmp_path / "in", epochs=6, warmup_epochs=4)
    config = make_profile().quantization
    with deterministic(1):
        trainer = Trainer(data, config, 7, torch.device("cpu"))
        curve = trainer.train()
    saved = registry.load(out)
    (tmp_path / "out").mkdir()
    save(tmp_path / "out", SavedTokenizer(BbqrecTokenizer(trainer.model), saved.semantic_ids, saved.listing_hashes))
    for name, digest in digests(tmp_path / "out").items():
        assert digest == digests(out)[name]
    assert [tuple(row.values()) for row in pq.read_table(out / "curve.parquet").to_pylist()] == curve.rows


@pytest.mark.parametrize("written", [None, "{", "[]", "{}", '{"format_version": 2}', '{"format_version": 3}'])
def test_a_damaged_tokenizer_is_an_artifact_error(quantized, tmp_path, written):
    shutil.copy(quantized[0] / "quantizer.safetensors", tmp_path)
    if written is not None:
        (tmp_path / "quantizer.json").write_text(written)
    with pytest.raises(ArtifactError, match="No readable tokenizer"):
        registry.load(tmp_path)


def test_a_state_of_another_tokenizer_is_an_artifact_error(tokenized, quantized, tmp_path):
    shutil.copy(tokenized[1] / "quantizer.json", tmp_path)
    shutil.copy(quantized[0] / "quantizer.safetensors", tmp_path)
    with pytest.raises(ArtifactError, match="do not belong together"):
        registry.load(tmp_path)
    (tmp_path / "quantizer.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ArtifactError, match="No readable tokenizer"):
        registry.load(tmp_path)


@pytest.mark.parametrize(
    "fields", [{"tokenizer": "tiger"}, {"rqvae": {"hidden": []}}, {"given": {"modality": "sound"}}, {"letter": {"clusters": 1}}]
)
def test_profile_refuses_what_is_no_tokenizer(fields):
    with pytest.raises(ValidationError):
        QuantizationConfig(**fields)
