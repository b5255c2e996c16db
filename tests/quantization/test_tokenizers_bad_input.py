"""Poor or damaged input ends in a clear error or in sound IDs, whatever the tokenizer; BBQRec's own is in `test_quantizer_bad_input.py`."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from tokenizer_runs import ALL, LEARNED, run_tokenizer

from bbqrec_core.dataset import load_semantic_ids
from bbqrec_core.errors import StageError


@pytest.mark.parametrize("name", LEARNED)
def test_constant_features_end_in_sound_ids(name, catalogue, changed, tmp_path):
    ones = {"text": np.ones_like(catalogue.text), "image": np.ones_like(catalogue.image), "has_image": catalogue.has_text}
    out, statistics = run_tokenizer(changed(**ones), tmp_path, name)
    assert statistics["distinct_ids"] == catalogue.n_items and statistics["nan_losses"] == 0
    assert all(tensor.isfinite().all() for tensor in load_file(out / "quantized.safetensors").values())


@pytest.mark.parametrize("name", LEARNED)
def test_items_without_any_modality_and_few_pictures(name, catalogue, changed, tmp_path):
    """Three pictures are fewer than an image codebook has codes."""
    has_text, has_image = catalogue.has_text.copy(), np.zeros_like(catalogue.has_image)
    has_text[[0, 1, -1]] = False
    has_image[[3, 4, 5]] = True
    out, statistics = run_tokenizer(changed(has_text=has_text, has_image=has_image), tmp_path, name)
    assert statistics["blank_items"] == 3 and statistics["distinct_ids"] == catalogue.n_items and statistics["nan_losses"] == 0
    assert statistics["null_image_codes"] == catalogue.n_items - 3
    assert all(tensor.isfinite().all() for tensor in load_file(out / "quantized.safetensors").values())


@pytest.mark.parametrize("name", LEARNED)
def test_one_modality_for_all_and_none_of_the_other(name, catalogue, changed, tmp_path):
    none = np.zeros(catalogue.n_items, dtype=bool)
    out, statistics = run_tokenizer(changed(has_text=none), tmp_path, name)
    assert statistics["distinct_ids"] == catalogue.n_items and "text" not in load_semantic_ids(out)
    assert not load_file(out / "quantized.safetensors")["text"].any()
    with pytest.raises(StageError, match="any features"):
        run_tokenizer(changed(has_text=none, has_image=none), tmp_path / "none", name)


@pytest.mark.parametrize("name", LEARNED)
def test_fewer_items_than_codes_or_ids_is_named(name, catalogue, tmp_path):
    with pytest.raises(StageError, match="level 2 has 128 codes, but only 115 of 120 items"):
        run_tokenizer(catalogue, tmp_path / "a", name, codebook_sizes=[8, 128, 16])
    with pytest.raises(StageError, match="give 64 semantic IDs"):
        run_tokenizer(catalogue, tmp_path / "b", name, codebook_sizes=[4, 4, 4])


def test_letter_without_any_behaviour_trains_without_alignment(catalogue, changed, tmp_path):
    n = catalogue.n_items
    single = {"train": [[item] for item in range(n - 5)], "valid": [0] * (n - 5), "test": [1] * (n - 5)}
    _, statistics = run_tokenizer(changed(**single), tmp_path, "letter")
    assert statistics["final_alignment"] == 0 and statistics["distinct_ids"] == n


def test_identical_listings_share_an_id_if_the_profile_says_so(catalogue, changed, tmp_path):
    text, image, has = catalogue.text.copy(), catalogue.image.copy(), catalogue.has_image.copy()
    text[10], image[10], has[10] = text[0], image[0], has[0]
    out, statistics = run_tokenizer(changed(text=text, image=image, has_image=has), tmp_path, "residual_kmeans", share_identical=True)
    codes = load_semantic_ids(out)["fused"][0]
    np.testing.assert_array_equal(codes[0], codes[10])
    assert statistics["items_sharing_an_id"] == 2 and statistics["distinct_ids"] == catalogue.n_items - 1


@pytest.mark.parametrize("name", ALL)
def test_nan_features_are_named(name, catalogue, changed, tmp_path):
    text = catalogue.text.copy()
    text[[17, 40], 3] = np.nan
    with pytest.raises(StageError, match="text embedding holds NaN or infinity for 2 of 120 items, the first at item_idx 17"):
        run_tokenizer(changed(text=text), tmp_path, name)


@pytest.mark.parametrize("name", ALL)
def test_one_user_is_enough(name, catalogue, changed, tmp_path):
    everything = [np.random.default_rng(0).permutation(catalogue.n_items - 5).tolist()]
    one = changed(train=everything, valid=[3], test=[4])
    out, statistics = run_tokenizer(one, tmp_path, name, given={"repair": True})
    assert_sound(one, out, statistics)
    assert statistics["behaviour_lcp_pairs"] == 0 and statistics["behaviour_lcp_ratio"] is None


@pytest.mark.parametrize("name", LEARNED)
def test_one_user_with_one_item_is_named(name, changed, tmp_path):
    with pytest.raises(StageError, match="level 1 has 8 codes, but only 1 of 120 items occur in train"):
        run_tokenizer(changed(train=[[7]], valid=[3], test=[4]), tmp_path, name)


@pytest.mark.parametrize("name", LEARNED)
def test_a_prefix_with_more_items_than_last_level_codes_sends_the_rest_on(name, catalogue, changed, tmp_path):
    """All items look the same, so that all wish for one ID: its prefix has room for four."""
    alike = changed(text=np.ones_like(catalogue.text), image=np.ones_like(catalogue.image), has_image=catalogue.has_text)
    out, statistics = run_tokenizer(alike, tmp_path, name, codebook_sizes=[8, 8, 4])
    assert_sound(alike, out, statistics)
    assert statistics["collision_share_before"] == 1.0
    _, counts = np.unique(load_semantic_ids(out)["fused"][0][:, :2], axis=0, return_counts=True)
    assert counts.max() == 4 and len(counts) >= catalogue.n_items / 4


@pytest.mark.parametrize("name", LEARNED)
def test_every_vector_ten_times(name, catalogue, changed, tmp_path):
    """Twelve different listings, fewer than the last codebook has codes, each of ten items; some of them cold."""
    copies = np.arange(catalogue.n_items) % 12
    many = changed(text=catalogue.text[copies], image=catalogue.image[copies], has_image=catalogue.has_image[copies])
    out, statistics = run_tokenizer(many, tmp_path / "apart", name)
    assert_sound(many, out, statistics)
    assert statistics["identical_listings"] == catalogue.n_items - 12
    together, shared = run_tokenizer(many, tmp_path / "together", name, share_identical=True)
    codes = load_semantic_ids(together)["fused"][0]
    assert shared["distinct_ids"] == 12 and shared["items_sharing_an_id"] == catalogue.n_items
    np.testing.assert_array_equal(codes, codes[copies])


def assert_sound(catalogue, out, statistics):
    """Every item has an ID of its own, and every number that was written is finite."""
    codes, present = load_semantic_ids(out)["fused"]
    assert present.all() and len(np.unique(codes, axis=0)) == catalogue.n_items == statistics["distinct_ids"]
    assert statistics["collision_share"] == statistics["nan_losses"] == statistics["null_fused_codes"] == 0
    for name in ("quantized", "quantizer"):
        tensors = load_file(out / f"{name}.safetensors").values()
        assert all(tensor.isfinite().all() for tensor in tensors if tensor.is_floating_point())
    for name in ("codebook_health", "curve"):
        assert np.isfinite(pq.read_table(out / f"{name}.parquet")["value"].to_numpy()).all()
