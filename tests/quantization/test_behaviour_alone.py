"""Catalogues of which nothing is known but behaviour."""

import json
import logging
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from artificial_catalogue import make_profile, run_stage
from other_catalogues import behaviour_alone
from safetensors.torch import load_file

from bbqrec_core.dataset import ItemFeatures, SequenceDataset, load_features, load_semantic_ids
from bbqrec_core.errors import ArtifactError, StageError
from bbqrec_core.quantization.tokenizers.registry import assign, load
from bbqrec_core.sequence.config import SequenceConfig
from bbqrec_core.sequence.stage import run as train
from bbqrec_core.stage import StageContext


@pytest.fixture(scope="module")
def alone(catalogue, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("alone")
    return folder, *run_stage(behaviour_alone(catalogue), folder)


def rows_of(out, name):
    return pq.read_table(out / f"{name}.parquet").to_pylist()


def test_every_item_gets_a_legal_id_of_its_own(alone, catalogue):
    _, out, statistics = alone
    ids = load_semantic_ids(out)
    assert set(ids) == {"fused"}
    codes = ids["fused"][0]
    assert (codes >= 0).all() and (codes < [8, 8, 16]).all() and len(np.unique(codes, axis=0)) == catalogue.n_items
    assert statistics["blank_items"] == statistics["null_text_codes"] == statistics["null_image_codes"] == catalogue.n_items
    assert statistics["null_fused_codes"] == statistics["collision_share"] == statistics["nan_losses"] == 0


def test_items_of_which_nothing_is_known_are_counted(alone, catalogue):
    """Cold ones, and those that no train neighbour tells anything of; their IDs come from repair alone."""
    _, out, statistics = alone
    known = load(out).tokenizer.model.has_behaviour.numpy()
    assert not known[-5:].any() and known[:-5].mean() > 0.9
    assert statistics["repair_only_items"] == (~known).sum() >= 5
    [row] = [row for row in rows_of(out, "codebook_health") if row["name"] == "repair_only_share"]
    assert row["value"] == pytest.approx((~known).mean())


def test_ids_say_what_goes_together(alone, catalogue):
    _, out, statistics = alone
    warm = np.arange(catalogue.n_items - 5)
    first, cluster = load_semantic_ids(out)["fused"][0][warm, 0], warm % 10
    same_code, same_cluster = first[:, None] == first, cluster[:, None] == cluster
    assert same_cluster[same_code].mean() > 2.5 * same_cluster.mean()
    assert statistics["fused_r2_behaviour"] > 0.2
    assert statistics["fused_r2_text"] is statistics["reconstruction_r2_image"] is None


def test_only_losses_of_behaviour_are_left(alone):
    _, out, _ = alone
    names = {row["name"] for row in rows_of(out, "curve")} - {"train/revived_codes"}
    assert names == {f"train/{name}" for name in ("loss", "anchor", "sequence", "codebook", "commitment")}
    health = {row["name"] for row in rows_of(out, "codebook_health")}
    assert {"r2_behaviour", "prefix_cohesion_behaviour"} <= health and not {name for name in health if "text" in name or "image" in name}


def test_same_seed_same_bytes(alone, catalogue, tmp_path):
    _, out, statistics = alone
    again, same = run_stage(behaviour_alone(catalogue), tmp_path)
    assert same == statistics
    assert all((again / path.name).read_bytes() == path.read_bytes() for path in out.iterdir())


def test_no_other_weight_is_needed(catalogue, tmp_path):
    names = ("anchor", "sequence", "reconstruction", "regression", "item_behaviour", "shared_variance", "club")
    weights = {f"{name}_weight": 0.0 for name in names}
    _, statistics = run_stage(behaviour_alone(catalogue), tmp_path, epochs=2, warmup_epochs=2, **weights)
    assert statistics["distinct_ids"] == catalogue.n_items and statistics["nan_losses"] == 0


def test_items_that_look_like_nothing_share_no_id(catalogue, tmp_path):
    _, statistics = run_stage(behaviour_alone(catalogue), tmp_path, epochs=2, warmup_epochs=1, share_identical=True)
    assert statistics["items_sharing_an_id"] == statistics["identical_listings"] == 0
    assert statistics["distinct_ids"] == catalogue.n_items


def test_new_items_get_ids_that_say_nothing_of_them(alone, caplog):
    quantizer = load(alone[1])
    assert quantizer.tokenizer.model.modalities == ()
    with caplog.at_level(logging.WARNING):
        given = assign(quantizer, {"text": ItemFeatures(np.ones((30, 4), np.float32), np.ones(30, dtype=bool))})
    assert "not fitted on text" in caplog.text
    everyone = np.concatenate([quantizer.semantic_ids, given.fused])
    assert len(np.unique(everyone, axis=0)) == len(everyone)
    with pytest.raises(StageError, match="only behaviour"):
        assign(quantizer, {})


def test_masked_features_are_none(alone, catalogue, changed, tmp_path, caplog):
    """Tables that hold no item's features come to the same as no tables."""
    none = np.zeros(catalogue.n_items, dtype=bool)
    with caplog.at_level(logging.WARNING):
        out, statistics = run_stage(changed(has_text=none, has_image=none), tmp_path)
    assert "rest on behaviour alone" in caplog.text and statistics == alone[2]
    assert (out / "semantic_ids.parquet").read_bytes() == (alone[1] / "semantic_ids.parquet").read_bytes()


def test_a_catalogue_of_which_nothing_is_known_is_named(catalogue, tmp_path):
    single = behaviour_alone(replace(catalogue, train=[[item] for item in range(115)], valid=[0] * 115, test=[1] * 115))
    with pytest.raises(StageError, match="nothing to make semantic IDs of"):
        run_stage(single, tmp_path / "single")
    with pytest.raises(StageError, match="more often than chance") as caught:
        run_stage(behaviour_alone(catalogue), tmp_path / "shifted", ppmi_shift=1e6)
    assert "ppmi_shift" in caught.value.way_out


def test_tables_that_should_be_there_are_missed(catalogue, tmp_path):
    embed = behaviour_alone(catalogue).write(tmp_path)["embed"]
    assert load_features(embed) == {}
    (embed / "encoders.json").write_text(json.dumps({"image": {"name": "x"}}))
    with pytest.raises(ArtifactError, match="No image embeddings"):
        load_features(embed)
    (embed / "encoders.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_features(embed)
    (embed / "encoders.json").unlink()
    with pytest.raises(ArtifactError, match="No text and no image embeddings"):
        load_features(embed)


def test_the_sequence_model_trains_on_fused_codes_alone(alone, tmp_path):
    folder, out, _ = alone
    sequence = SequenceConfig(epochs=1, dimensions=16, layers=1, prior="off")
    profile = make_profile().model_copy(update={"sequence": sequence})
    trained = tmp_path / "train"
    trained.mkdir()
    (tmp_path / "scratch").mkdir()
    inputs = {"ingest": folder / "ingest", "embed": folder / "embed", "quantize": out}
    statistics = train(StageContext(profile, inputs, trained, tmp_path / "scratch"))
    assert statistics["similarity_sources"] == 0 and statistics["nan_parameters"] == 0
    assert statistics["cold_items"] == 5 == (SequenceDataset.load(folder / "ingest", 20).train_counts == 0).sum()
    assert not rows_of(trained, "attention_bias")
    assert set(json.loads((trained / "model.json").read_text())["sources"]) == {"fused"}
    assert all(tensor.isfinite().all() for tensor in load_file(trained / "model.safetensors").values() if tensor.is_floating_point())
