"""IDs for new items from a saved quantizer."""

import numpy as np
import pytest
import torch
from artificial_catalogue import run_stage

from bbqrec_core.dataset import ItemFeatures
from bbqrec_core.errors import ArtifactError, StageError
from bbqrec_core.quantization.data import listing_hashes, representatives
from bbqrec_core.quantization.tokenizers.registry import assign, load


@pytest.fixture(scope="module")
def quantizer(quantized):
    return load(quantized[0])


def new_items(catalogue, n=40, seed=3):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, catalogue.n_items, n)
    text = (catalogue.text[rows] + 0.2 * rng.normal(size=(n, catalogue.text.shape[1]))).astype(np.float32)
    image = (catalogue.image[rows] + 0.2 * rng.normal(size=(n, catalogue.image.shape[1]))).astype(np.float32)
    return {"text": ItemFeatures(text, np.ones(n, dtype=bool)), "image": ItemFeatures(image, rng.random(n) > 0.3)}


def test_new_items_get_ids_that_nobody_has(quantizer, catalogue):
    before = quantizer.semantic_ids.copy()
    given = assign(quantizer, new_items(catalogue))
    np.testing.assert_array_equal(quantizer.semantic_ids, before)
    everyone = np.concatenate([before, given.fused])
    assert len(np.unique(everyone, axis=0)) == len(everyone)
    assert not given.shares.any() and set(given.modality_codes) == {"text", "image"}


def test_rounds_of_new_items_do_not_move_one_another(quantizer, catalogue):
    first = assign(quantizer, new_items(catalogue))
    existing = np.concatenate([quantizer.semantic_ids, first.fused])
    second = assign(quantizer, new_items(catalogue), existing_ids=existing)
    everyone = np.concatenate([existing, second.fused])
    assert len(np.unique(everyone, axis=0)) == len(everyone)


def test_similar_items_get_similar_ids(quantizer, catalogue):
    """Prefixes follow the clusters that features come from, for items never seen."""
    rng = np.random.default_rng(1)
    warm = np.arange(catalogue.n_items - 5)
    near = catalogue.text[warm] + 0.01 * rng.normal(size=catalogue.text[warm].shape)
    given = assign(
        quantizer,
        {
            "text": ItemFeatures(near.astype(np.float32), np.ones(len(warm), dtype=bool)),
            "image": ItemFeatures(catalogue.image[warm].astype(np.float32), catalogue.has_image[warm]),
        },
    )
    assert (given.fused[:, 0] == quantizer.semantic_ids[warm, 0]).mean() > 0.8


def test_a_modality_left_out_is_a_mask(quantizer, catalogue):
    features = new_items(catalogue)
    text_only = assign(quantizer, {"text": features["text"]})
    masked = assign(quantizer, {**features, "image": ItemFeatures(features["image"].values, np.zeros(40, dtype=bool))})
    np.testing.assert_array_equal(text_only.fused, masked.fused)


def test_the_stage_gave_cold_items_what_assign_would(quantized, quantizer, catalogue):
    cold = slice(catalogue.n_items - 5, None)
    half = lambda values: values[cold].astype(np.float16).astype(np.float32)  # noqa: E731
    features = {
        "text": ItemFeatures(half(catalogue.text), catalogue.has_text[cold]),
        "image": ItemFeatures(half(catalogue.image), catalogue.has_image[cold]),
    }
    given = assign(quantizer, features, existing_ids=quantizer.semantic_ids[: cold.start])
    np.testing.assert_array_equal(given.fused, quantizer.semantic_ids[cold])


def test_identical_new_items_share_with_existing_ones_if_the_profile_says_so(catalogue, tmp_path):
    out, _ = run_stage(catalogue, tmp_path, share_identical=True, epochs=2, warmup_epochs=1)
    quantizer = load(out)
    rows = np.array([4, 4, 9])
    half = lambda values: values[rows].astype(np.float16).astype(np.float32)  # noqa: E731
    text, image = half(catalogue.text), half(catalogue.image)
    text[2] += 0.5
    text = np.concatenate([text, text[2:]])
    image = np.concatenate([image, image[2:]])
    has = catalogue.has_image[[4, 4, 9, 9]]
    given = assign(quantizer, {"text": ItemFeatures(text, np.ones(4, dtype=bool)), "image": ItemFeatures(image, has)})
    np.testing.assert_array_equal(given.fused[:2], quantizer.semantic_ids[[4, 4]])
    np.testing.assert_array_equal(given.fused[2], given.fused[3])
    assert given.shares.all()
    assert not (quantizer.semantic_ids == given.fused[2]).all(1).any()


def test_listing_hashes_see_masks_and_values_and_nothing_else():
    features = {"text": torch.tensor([[1.0, 2], [1, 2], [1, 2], [0, 0], [1, 3]])}
    present = {"text": torch.tensor([True, True, True, False, True])}
    features["image"] = torch.tensor([[5.0], [5], [9], [9], [5]])
    present["image"] = torch.tensor([True, True, False, False, True])
    hashes = listing_hashes(features, present)
    assert hashes[0] == hashes[1] != hashes[2] and hashes[3] == -1 and hashes[4] != hashes[0]
    features["image"][2] = 7.0
    np.testing.assert_array_equal(listing_hashes(features, present), hashes)
    assert representatives(np.array([5, 5, -1, -1, 3, 5])).tolist() == [0, 0, 2, 3, 4, 0]


def test_bad_input_is_named(quantizer, catalogue):
    features = new_items(catalogue)
    narrow = ItemFeatures(features["text"].values[:, :5], features["text"].present)
    with pytest.raises(StageError, match="text features have 5 dimensions, the tokenizer was fitted on 24"):
        assign(quantizer, {"text": narrow})
    with pytest.raises(StageError, match="'sound'"):
        assign(quantizer, {"sound": features["text"]})
    with pytest.raises(StageError, match="no modality"):
        assign(quantizer, {})
    spoilt = features["text"].values.copy()
    spoilt[3] = np.nan
    with pytest.raises(StageError, match="first at item_idx 3"):
        assign(quantizer, {"text": ItemFeatures(spoilt, features["text"].present)})


def test_no_ids_left_is_named(quantizer):
    everything = np.stack(np.meshgrid(*map(np.arange, (8, 8, 16)), indexing="ij"), -1).reshape(-1, 3)
    one = {"text": ItemFeatures(np.ones((1, 24), np.float32), np.ones(1, dtype=bool))}
    with pytest.raises(StageError, match="1025 items"):
        assign(quantizer, one, existing_ids=everything)


def test_a_damaged_quantizer_is_an_artifact_error(tmp_path):
    with pytest.raises(ArtifactError, match="No readable tokenizer"):
        load(tmp_path)
    (tmp_path / "quantizer.json").write_text("{")
    with pytest.raises(ArtifactError, match="No readable tokenizer"):
        load(tmp_path)
