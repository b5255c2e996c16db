"""The stage on an artificial catalogue: files, determinism, leakage, missing parts, bad input."""

import dataclasses
import hashlib
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from artificial_catalogue import make_catalogue, make_trainer, run_stage
from pydantic import ValidationError
from safetensors.torch import load_file

from bbqrec_core import schema
from bbqrec_core.dataset import SequenceDataset, load_features, load_semantic_ids
from bbqrec_core.errors import StageError
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.data import prepare
from bbqrec_core.quantization.tokenizers.registry import load

MEASURED_ON_VALIDATION = "behaviour_lcp"


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_files_and_schemas(quantized, catalogue):
    out, statistics = quantized
    assert sorted(path.name for path in out.iterdir()) == [
        "codebook_health.parquet",
        "curve.parquet",
        "quantized.safetensors",
        "quantizer.json",
        "quantizer.safetensors",
        "semantic_ids.parquet",
        "usage.parquet",
    ]
    for name, expected in (
        ("semantic_ids", schema.semantic_id_schema(3)),
        ("codebook_health", schema.HEALTH),
        ("curve", schema.CURVE),
        ("usage", schema.USAGE),
    ):
        table = pq.read_table(out / f"{name}.parquet")
        assert len(table) and table.column_names == expected.names
        for field, wanted in zip(table.schema, expected, strict=True):  # a fixed-size list with nulls is read as a plain one
            assert field.type == wanted.type or field.type.value_type == wanted.type.value_type
        assert all(table[column].null_count == 0 for column in table.column_names if column != schema.IMAGE)
    health = pq.read_table(out / "codebook_health.parquet")
    assert np.isfinite(health["value"].to_numpy()).all()
    assert all(isinstance(value, (str, int, float, bool, type(None))) for value in statistics.values())
    usage = pq.read_table(out / "usage.parquet").filter(pa.compute.field("source") == "fused")
    assert sum(usage["items"].to_pylist()) == 3 * catalogue.n_items


def test_every_item_has_an_id_of_its_own_and_modality_codes_where_it_has_the_modality(quantized, catalogue):
    out, statistics = quantized
    ids = load_semantic_ids(out)
    assert len(np.unique(ids["fused"][0], axis=0)) == catalogue.n_items == statistics["distinct_ids"]
    assert statistics["collision_share"] == 0
    np.testing.assert_array_equal(ids["image"][1], catalogue.has_image)
    assert statistics["null_image_codes"] == (~catalogue.has_image).sum() and statistics["null_fused_codes"] == 0
    assert statistics["cold_items"] == 5 and statistics["fitted_items"] == 115


def test_quantized_vectors_are_the_sums_of_the_written_codes(quantized, catalogue):
    out, _ = quantized
    vectors, codebooks = load_file(out / "quantized.safetensors"), load(out).tokenizer.model.quantizer.codebooks
    for source, (codes, present) in load_semantic_ids(out).items():
        expected = sum(codebook.detach()[torch.from_numpy(codes[:, level])] for level, codebook in enumerate(codebooks))
        torch.testing.assert_close(vectors[source], torch.where(torch.from_numpy(present)[:, None], expected, 0.0))


def test_training_learns(quantized):
    out, _ = quantized
    curve = pq.read_table(out / "curve.parquet").to_pylist()
    losses = {name: [row["value"] for row in curve if row["name"] == name] for name in {row["name"] for row in curve}}
    assert losses["train/reconstruction"][-1] < 0.85 * losses["train/reconstruction"][0]
    assert losses["train/regression"][-1] < losses["train/regression"][0]


def test_codes_carry_the_features_and_the_clusters(quantized, catalogue):
    out, statistics = quantized
    assert statistics["reconstruction_r2_text"] > 0.3 and statistics["fused_r2_text"] > 0.3
    first = load_semantic_ids(out)["fused"][0][:, 0]
    cluster = np.arange(catalogue.n_items) % 10
    same_code, same_cluster = first[:, None] == first, cluster[:, None] == cluster
    assert same_cluster[same_code].mean() > 4 * same_cluster.mean()


def test_same_seed_same_bytes_and_another_seed_others(quantized, catalogue, tmp_path):
    out, statistics = quantized
    # Whatever the process drew before must not matter.
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    again, same = run_stage(catalogue, tmp_path / "again")
    assert digests(again) == digests(out) and same == statistics
    other, _ = run_stage(catalogue, tmp_path / "other", seed=8)
    assert digests(other)["semantic_ids.parquet"] != digests(out)["semantic_ids.parquet"]


def test_test_targets_never_matter(quantized, catalogue, changed, tmp_path):
    out, statistics = quantized
    targets = np.random.default_rng(0).permutation(catalogue.test).tolist()
    targets[::2] = [max(row) for row in catalogue.train[::2]]  # a planted pattern: the largest item of the history
    other, same = run_stage(changed(test=targets), tmp_path)
    assert digests(other) == digests(out) and same == statistics


def test_validation_moves_nothing_but_its_own_measurement(quantized, catalogue, changed, tmp_path):
    out, statistics = quantized
    other, changed_statistics = run_stage(changed(valid=np.random.default_rng(1).permutation(catalogue.valid).tolist()), tmp_path)
    before, after = digests(out), digests(other)
    differing = {name for name in before if before[name] != after[name]}
    assert differing == {"codebook_health.parquet"}
    tables = [pq.read_table(folder / "codebook_health.parquet").to_pylist() for folder in (out, other)]
    kept = [[row for row in table if not row["name"].startswith(MEASURED_ON_VALIDATION)] for table in tables]
    assert kept[0] == kept[1]
    moved = {name for name in statistics if statistics[name] != changed_statistics[name]}
    assert moved and all(name.startswith(MEASURED_ON_VALIDATION) for name in moved)


def test_features_of_cold_items_move_nobody_else(quantized, catalogue, changed, tmp_path):
    out, _ = quantized
    text = catalogue.text.copy()
    text[-5:] = 10 * text[:5]
    other, _ = run_stage(changed(text=text), tmp_path)
    warm = slice(0, catalogue.n_items - 5)
    np.testing.assert_array_equal(load_semantic_ids(other)["fused"][0][warm], load_semantic_ids(out)["fused"][0][warm])


def test_nothing_is_lost_without_pictures(catalogue, changed, tmp_path):
    none = np.zeros(catalogue.n_items, dtype=bool)
    out, statistics = run_stage(changed(has_image=none, image=np.zeros_like(catalogue.image)), tmp_path)
    assert "image" not in load_semantic_ids(out)
    assert statistics["null_image_codes"] == catalogue.n_items and statistics["reconstruction_r2_image"] is None
    assert statistics["distinct_ids"] == catalogue.n_items
    assert not load_file(out / "quantized.safetensors")["image"].any()
    assert json.loads((out / "quantizer.json").read_text())["modalities"] == ["text"]


def test_items_without_any_modality_live_on_behaviour(catalogue, changed, tmp_path):
    has_text, has_image = catalogue.has_text.copy(), catalogue.has_image.copy()
    blank = [0, 1, 2, catalogue.n_items - 1]  # the last one is cold as well: nothing at all is known of it
    has_text[blank] = has_image[blank] = False
    out, statistics = run_stage(changed(has_text=has_text, has_image=has_image), tmp_path)
    assert statistics["blank_items"] == 4 and statistics["distinct_ids"] == catalogue.n_items
    assert statistics["nan_losses"] == 0
    assert all(torch.isfinite(tensor).all() for tensor in load_file(out / "quantized.safetensors").values())


def test_constant_features_end_in_sound_ids(catalogue, changed, tmp_path, caplog):
    ones = {"text": np.ones_like(catalogue.text), "image": np.ones_like(catalogue.image), "has_image": catalogue.has_text}
    out, statistics = run_stage(changed(**ones), tmp_path)
    assert statistics["distinct_ids"] == catalogue.n_items and statistics["nan_losses"] == 0
    assert "are the same" in caplog.text
    assert statistics["identical_listings"] == catalogue.n_items - 1
    assert all(torch.isfinite(tensor).all() for tensor in load_file(out / "quantizer.safetensors").values() if tensor.is_floating_point())


def identical(catalogue, changed):
    text, image, has = catalogue.text.copy(), catalogue.image.copy(), catalogue.has_image.copy()
    pairs = [(0, 10), (3, 43), (7, catalogue.n_items - 1)]
    for first, second in pairs:
        text[second], image[second], has[second] = text[first], image[first], has[first]
    return changed(text=text, image=image, has_image=has), pairs


def test_identical_listings_are_counted_and_kept_apart(catalogue, changed, tmp_path):
    twins, _ = identical(catalogue, changed)
    _, statistics = run_stage(twins, tmp_path)
    assert statistics["identical_listings"] == 3
    assert statistics["distinct_ids"] == catalogue.n_items and statistics["items_sharing_an_id"] == 0


def test_identical_listings_share_an_id_if_the_profile_says_so(catalogue, changed, tmp_path):
    twins, pairs = identical(catalogue, changed)
    out, statistics = run_stage(twins, tmp_path, share_identical=True)
    codes = load_semantic_ids(out)["fused"][0]
    for first, second in pairs:
        np.testing.assert_array_equal(codes[first], codes[second])
    assert statistics["items_sharing_an_id"] == 6 and statistics["distinct_ids"] == catalogue.n_items - 3
    assert statistics["collision_share"] == pytest.approx(6 / catalogue.n_items)
    assert statistics["collision_share_distinct_listings"] == 0


@pytest.mark.parametrize(
    "weight",
    ["reconstruction", "commitment", "regression", "anchor", "item_behaviour", "sequence", "semantic", "shared_variance", "club"],
)
def test_a_weight_of_zero_switches_a_loss_off_and_others_stay(catalogue, tmp_path, weight):
    weights = {"club_weight": 0.01, f"{weight}_weight": 0.0}
    losses = make_trainer(catalogue, tmp_path, epochs=2, warmup_epochs=0, **weights).train().last()
    assert not losses.get(f"train/{weight}")
    every = {"codebook", "commitment", "reconstruction", "regression", "anchor", "item_behaviour"}
    every |= {"sequence", "semantic", "shared_variance", "club"}
    assert all(losses[f"train/{name}"] for name in every - {weight})


def test_z_stays_near_its_anchor_and_a_free_one_does_not_matter_to_items_without_behaviour(quantized, catalogue):
    model = load(quantized[0]).tokenizer.model
    known = model.has_behaviour
    assert torch.nn.functional.cosine_similarity(model.behaviour[known], model.anchor[known]).mean() > 0.9
    assert not torch.equal(model.behaviour[known], model.anchor[known])
    assert not model.behaviour[~known].any()


def test_catalogue_smaller_than_a_codebook_is_named(catalogue, tmp_path):
    with pytest.raises(StageError) as caught:
        run_stage(catalogue, tmp_path, codebook_sizes=[8, 128, 16])
    assert "level 2 has 128 codes, but only 115 of 120 items" in str(caught.value)
    assert "codebook_sizes" in caught.value.way_out
    assert not list((tmp_path / "out").iterdir())


def test_catalogue_larger_than_all_ids_is_named(catalogue, tmp_path):
    with pytest.raises(StageError, match=r"give 64 semantic IDs, the catalogue has 120"):
        run_stage(catalogue, tmp_path, codebook_sizes=[4, 4, 4])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_features_are_named(catalogue, changed, tmp_path, bad):
    text = catalogue.text.copy()
    text[[17, 40], 3] = bad
    with pytest.raises(StageError, match="text embedding holds NaN or infinity for 2 of 120 items, the first at item_idx 17"):
        run_stage(changed(text=text), tmp_path)


def test_nan_behind_a_mask_is_harmless(quantized, catalogue, changed, tmp_path):
    image = np.where(catalogue.has_image[:, None], catalogue.image, np.nan)
    out, _ = run_stage(changed(image=image), tmp_path)
    assert digests(out) == digests(quantized[0])


def test_embedding_of_another_catalogue_is_an_error(catalogue, changed, tmp_path):
    one_less = {name: getattr(catalogue, name)[:-1] for name in ("text", "has_text", "image", "has_image")}
    paths, other = catalogue.write(tmp_path / "a"), changed(**one_less).write(tmp_path / "b")
    data = SequenceDataset.load(paths["ingest"], 20)
    with pytest.raises(StageError, match="119 rows, the catalogue 120 items"):
        prepare(data, load_features(other["embed"]), QuantizationConfig())


def test_sequences_of_one_item_train_too(catalogue, changed, tmp_path):
    """Without any co-occurrence there is no behaviour to bind to; content alone must do."""
    n = catalogue.n_items
    single = {"train": [[item] for item in range(n - 5)], "valid": [0] * (n - 5), "test": [1] * (n - 5)}
    _, statistics = run_stage(changed(**single), tmp_path, epochs=2, warmup_epochs=1)
    assert statistics["distinct_ids"] == n and statistics["nan_losses"] == 0


@pytest.mark.parametrize(
    "fields", [{"codebook_sizes": [8, 8]}, {"codebook_sizes": [8, 8, 1]}, {"specific_dimensions": 17}, {"specific_dimensions": 1}]
)
def test_profile_refuses_what_the_method_rules_out(fields):
    with pytest.raises(ValidationError):
        QuantizationConfig(**fields)


def test_profile_refuses_an_alignment_level_that_does_not_exist():
    with pytest.raises(ValidationError, match="semantic_from_level is 5, but there are 4 levels"):
        QuantizationConfig(semantic_from_level=5)


def test_catalogue_is_frozen_so_that_tests_cannot_spoil_each_other(catalogue):
    with pytest.raises(dataclasses.FrozenInstanceError):
        catalogue.text = None
    assert make_catalogue().train == catalogue.train
