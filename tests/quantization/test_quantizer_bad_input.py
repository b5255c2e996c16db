"""Poor or damaged input ends in a clear error or in sound IDs.

What is not here: NaN and infinity, constant features, codebooks larger than the catalogue, a modality that no item has, and items without
any are in `test_quantize_stage.py`; a catalogue without any modality in `test_behaviour_alone.py`.
"""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from artificial_catalogue import make_catalogue, run_stage
from safetensors.torch import load_file

from bbqrec_core.dataset import load_semantic_ids
from bbqrec_core.errors import StageError
from bbqrec_core.quantization import probes

SHORT = {"epochs": 3, "warmup_epochs": 2}


@pytest.fixture(scope="module", autouse=True)
def brief_probes():
    """The probe of what s and b share takes most of a small run, and nothing here looks at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "MLP_STEPS", 5)
        yield


def assert_sound(catalogue, out, statistics, sizes=(8, 8, 16)):
    """Every item has a legal ID of its own, and every number that was written is finite."""
    codes, present = load_semantic_ids(out)["fused"]
    assert present.all() and (codes >= 0).all() and (codes < np.array(sizes)).all()
    assert len(np.unique(codes, axis=0)) == catalogue.n_items == statistics["distinct_ids"]
    assert statistics["collision_share"] == statistics["nan_losses"] == statistics["null_fused_codes"] == 0
    for name in ("quantized", "quantizer"):
        tensors = load_file(out / f"{name}.safetensors").values()
        assert all(torch.isfinite(tensor).all() for tensor in tensors if tensor.is_floating_point())
    for name in ("codebook_health", "curve"):
        assert np.isfinite(pq.read_table(out / f"{name}.parquet")["value"].to_numpy()).all()


def test_one_user_is_enough(catalogue, tmp_path):
    """All items are the user's own, so that there is no negative for the next one; content must do."""
    everything = [np.random.default_rng(0).permutation(catalogue.n_items - 5).tolist()]
    one = replace(catalogue, train=everything, valid=[3], test=[4])
    out, statistics = run_stage(one, tmp_path, **SHORT)
    assert_sound(one, out, statistics)
    assert statistics["final_sequence"] == pytest.approx(0, abs=1e-6)
    assert statistics["behaviour_lcp_pairs"] == 0 and statistics["behaviour_lcp_ratio"] is None


def test_one_user_with_one_item_is_named(catalogue, tmp_path):
    with pytest.raises(StageError, match="level 1 has 8 codes, but only 1 of 120 items occur in train"):
        run_stage(replace(catalogue, train=[[7]], valid=[3], test=[4]), tmp_path)


def test_no_user_is_named(catalogue, tmp_path):
    with pytest.raises(StageError, match="only 0 of 120 items"):
        run_stage(replace(catalogue, train=[], valid=[], test=[]), tmp_path)


def test_a_prefix_with_more_items_than_last_level_codes_sends_the_rest_on(catalogue, tmp_path):
    """All items look the same and have nothing in common with each other in train but one neighbour: they want one prefix of 4 codes."""
    n = catalogue.n_items
    alike = replace(catalogue, text=np.ones_like(catalogue.text), image=np.ones_like(catalogue.image), has_image=catalogue.has_text)
    alike = replace(alike, train=[[item] for item in range(n - 5)], valid=[0] * (n - 5), test=[1] * (n - 5))
    out, statistics = run_stage(alike, tmp_path, codebook_sizes=[8, 8, 4], **SHORT)
    assert_sound(alike, out, statistics, (8, 8, 4))
    assert statistics["collision_share_before"] == 1.0
    codes = load_semantic_ids(out)["fused"][0]
    _, counts = np.unique(codes[:, :2], axis=0, return_counts=True)
    assert counts.max() == 4 and len(counts) >= n / 4


def test_a_catalogue_as_large_as_its_ids_fills_them_all(catalogue, tmp_path):
    small = make_catalogue(n_items=64, clusters=8, cold=2)
    out, statistics = run_stage(small, tmp_path, codebook_sizes=[4, 4, 4], **SHORT)
    assert_sound(small, out, statistics, (4, 4, 4))


def test_every_vector_ten_times(catalogue, tmp_path):
    """Twelve different listings, each of ten items, some of them cold; fewer than the last codebook has codes."""
    copies = np.arange(catalogue.n_items) % 12
    has_image = catalogue.has_image[copies]
    many = replace(catalogue, text=catalogue.text[copies], image=catalogue.image[copies], has_image=has_image)
    out, statistics = run_stage(many, tmp_path / "apart", **SHORT)
    assert_sound(many, out, statistics)
    assert statistics["identical_listings"] == catalogue.n_items - 12
    together, shared = run_stage(many, tmp_path / "together", share_identical=True, **SHORT)
    codes = load_semantic_ids(together)["fused"][0]
    assert shared["distinct_ids"] == 12 and shared["items_sharing_an_id"] == catalogue.n_items
    np.testing.assert_array_equal(codes, codes[copies])


@pytest.mark.parametrize("modality", ["text", "image"])
def test_one_modality_for_all_items(catalogue, tmp_path, modality):
    other = {"text": "image", "image": "text"}[modality]
    everyone, nobody = np.ones(catalogue.n_items, dtype=bool), np.zeros(catalogue.n_items, dtype=bool)
    one = replace(catalogue, **{f"has_{modality}": everyone, f"has_{other}": nobody})
    out, statistics = run_stage(one, tmp_path, **SHORT)
    assert_sound(one, out, statistics)
    assert set(load_semantic_ids(out)) == {"fused", modality} and statistics[f"null_{other}_codes"] == catalogue.n_items


def test_one_item_alone_has_the_other_modality(catalogue, tmp_path):
    """Too few for a probe, a contrast or a bound: they are left out, nothing breaks."""
    has_image = np.zeros(catalogue.n_items, dtype=bool)
    has_image[5] = True
    lone = replace(catalogue, has_image=has_image)
    out, statistics = run_stage(lone, tmp_path, **SHORT)
    assert_sound(lone, out, statistics)
    assert statistics["fused_r2_image"] is None and statistics["null_image_codes"] == catalogue.n_items - 1


def test_no_item_has_both_modalities_and_some_have_none(catalogue, tmp_path):
    kind = np.arange(catalogue.n_items) % 3
    apart = replace(catalogue, has_text=kind == 0, has_image=kind == 1)
    out, statistics = run_stage(apart, tmp_path, **SHORT)
    assert_sound(apart, out, statistics)
    assert statistics["blank_items"] == (kind == 2).sum() and 0 < statistics["repair_only_items"] < statistics["blank_items"]


def test_features_a_thousand_times_as_large_are_standardised(catalogue, tmp_path):
    large = replace(catalogue, text=1000 * catalogue.text, image=1e-3 * catalogue.image)
    out, statistics = run_stage(large, tmp_path, **SHORT)
    assert_sound(large, out, statistics)
    assert statistics["fused_r2_text"] > 0.1
