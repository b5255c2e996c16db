"""Published codes as IDs: as they come, or repaired."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizer_runs import publish, run_tokenizer

from bbqrec_core.dataset import load_semantic_ids
from bbqrec_core.errors import StageError
from bbqrec_core.gate_config import GatesConfig
from bbqrec_core.quantization.tokenizers import given
from tasks.gates.judge import judge
from tasks.gates.rules import rules_for


def test_published_codes_come_through(catalogue, tmp_path):
    out, statistics = run_tokenizer(catalogue, tmp_path, "given")
    text, image = publish(tmp_path / "ingest", catalogue)
    ids, vectors = load_semantic_ids(out), load_file(out / "quantized.safetensors")
    np.testing.assert_array_equal(ids["fused"][0], text)
    np.testing.assert_array_equal(ids["text"][0], text)
    np.testing.assert_array_equal(ids["image"][0][catalogue.has_image], image[catalogue.has_image])
    assert statistics["items_moved_by_repair"] == 0 and statistics["items_without_given_codes"] == 0
    assert statistics["collision_share"] == statistics["collision_share_before"] == 1.0
    assert statistics["items_sharing_an_id"] == catalogue.n_items and statistics["distinct_ids"] <= catalogue.n_items / 2
    torch.testing.assert_close(vectors["fused"], vectors["text"])
    units = vectors["fused"].numpy()
    assert np.allclose(np.linalg.norm(units, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal((units @ units.T > 0.999), (text[:, None] == text).all(-1))
    shared = (text[:, None, :2] == text[None, :, :2]).all(-1) & (text[:, None, 2] != text[None, :, 2])
    assert (units @ units.T)[shared].mean() > 0.4


@pytest.mark.parametrize(("repair", "codes"), [(False, ["QNT-006"]), (True, [])])
def test_the_gate_lets_published_collisions_through_with_a_warning(catalogue, tmp_path, repair, codes):
    """All items collide as published; the threshold for what repair leaves stays as it is."""
    _, statistics = run_tokenizer(catalogue, tmp_path, "given", given={"repair": repair})
    assert statistics["published_collision_share"] == (0.0 if repair else 1.0) and statistics["repaired_collision_share"] == 0.0
    collisions = [rule for rule in rules_for("quantize", GatesConfig()) if rule.column.endswith("_collision_share")]
    failed = [record for record in judge("quantize", statistics, collisions) if record["outcome"] != "passed"]
    assert [record["code"] for record in failed] == codes and all(record["severity"] == "warning" for record in failed)
    assert len(collisions) == 2 and all("given: {repair: true}" in record["why"] for record in failed)


def test_image_codes_can_be_the_fused_ones_and_items_without_get_ids_of_their_own(catalogue, tmp_path):
    out, statistics = run_tokenizer(catalogue, tmp_path, "given", given={"modality": "image"})
    codes = load_semantic_ids(out)["fused"][0]
    lacking = ~catalogue.has_image
    assert statistics["items_without_given_codes"] == lacking.sum() > 0 and statistics["codebook_sizes"] == "6,9,7"
    assert (codes[lacking, 0] == 5).all() and (codes[~lacking, 0] < 5).all()
    assert len(np.unique(codes[lacking], axis=0)) == lacking.sum()


def test_repair_of_published_codes_moves_only_what_collides_and_no_further_than_needed(catalogue, tmp_path):
    out, statistics = run_tokenizer(catalogue, tmp_path, "given", given={"repair": True})
    text, _ = publish(tmp_path / "ingest", catalogue)
    codes = load_semantic_ids(out)["fused"][0]
    kept = (codes == text).all(1)
    assert statistics["items_moved_by_repair"] == (~kept).sum()
    assert kept.sum() == len(np.unique(text, axis=0))  # of every ID one item keeps it: the rest had to go
    prefix = (codes[:, :2] == text[:, :2]).all(1)
    _, inverse, counts = np.unique(text[:, :2], axis=0, return_inverse=True, return_counts=True)
    assert (counts[inverse.reshape(-1)][~prefix] > 7).all()


def test_prefixes_come_in_the_order_of_what_they_share():
    tree = given.PrefixTree(tuple(np.empty((size, 0)) for size in (3, 2, 4, 5)))
    order = np.array(list(tree.nearest_prefixes(np.array([1, 1, 2, 3]) + 1.0)))
    assert len(order) == len(np.unique(order, axis=0)) == 24
    shared = np.cumprod(order == [1, 1, 2], axis=1).sum(1)
    assert shared[0] == 3 and (np.diff(shared) <= 0).all()


def test_published_codes_that_are_not_there_are_named(catalogue, tmp_path):
    with pytest.raises(StageError, match="published text codes, and the source has none") as caught:
        run_tokenizer(catalogue, tmp_path / "a", "given", published=False)
    assert "text_codes" in caught.value.way_out
    with pytest.raises(StageError, match="the source has codes of image") as caught:
        run_tokenizer(catalogue, tmp_path / "b", "given", without=range(catalogue.n_items))
    assert "modality: image" in caught.value.way_out
    with pytest.raises(StageError, match="78 of 120 items have no published text codes, more than the 63 IDs"):
        run_tokenizer(catalogue, tmp_path / "c", "given", without=range(78))


def test_published_codes_need_no_features(catalogue, changed, tmp_path):
    none = np.zeros(catalogue.n_items, dtype=bool)
    out, statistics = run_tokenizer(changed(has_text=none, has_image=none), tmp_path, "given")
    assert statistics["blank_items"] == catalogue.n_items and statistics["null_text_codes"] == 0
    assert load_semantic_ids(out)["text"][1].all()
