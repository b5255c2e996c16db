"""Retraining that goes on from an earlier run: IDs stay where they fit, or everything starts from scratch and says why."""

import hashlib
import logging
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from other_catalogues import behaviour_alone, published_codes
from two_days import NEW_ITEMS, a_day_later, held_out_before, ids_by_name, run_day

from bbqrec_core.quantization import probes

NETWORKS = {"rqvae": {"dimensions": 8, "hidden": [32]}, "letter": {"clusters": 3, "diversity_weight": 0.1}}
WARM = {"warm_start": {"epochs": 4}, **NETWORKS}
TOKENIZERS = ["bbqrec", "rqvae", "residual_kmeans", "rqvae_per_modality", "letter"]


@pytest.fixture(scope="module", autouse=True)
def brief_probes():
    """The probe of what s and b share takes most of a small run, and nothing here looks at it."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "MLP_STEPS", 5)
        yield


@pytest.fixture(scope="module")
def today(catalogue):
    return a_day_later(catalogue)


@pytest.fixture(scope="module")
def yesterday(catalogue, tmp_path_factory):
    """The folder of yesterday's run of BBQRec's own quantizer."""
    folder = tmp_path_factory.mktemp("yesterday")
    run_day(catalogue, folder, **WARM)
    return folder


@pytest.fixture(scope="module")
def scratch(today, tmp_path_factory):
    """Today's run without any other day."""
    return run_day(today, tmp_path_factory.mktemp("scratch"), **WARM)


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_most_items_keep_their_ids_and_new_ones_get_ids_of_their_own(catalogue, today, tmp_path, tokenizer):
    fields = {**WARM, "tokenizer": tokenizer}
    before, _ = run_day(catalogue, tmp_path / "before", **fields)
    out, statistics = run_day(today, tmp_path / "after", tmp_path / "before", **fields)
    _, cold = run_day(today, tmp_path / "cold", tmp_path / "before", **{**fields, "warm_start": {"start": "scratch"}})
    had, have = ids_by_name(catalogue, before), ids_by_name(today, out)
    moved = np.mean([had[name] != have[name] for name in had])
    assert statistics["churn_share"] == pytest.approx(moved) and statistics["known_items"] == len(had) == today.n_items - NEW_ITEMS
    assert statistics["started_from"] == "out" and statistics["warm_start_refused"] is None
    assert len(set(have.values())) == today.n_items == statistics["distinct_ids"]
    by_level = [statistics[f"churn_share_level_{level}"] for level in (1, 2, 3)]
    assert by_level == sorted(by_level) and by_level[-1] == statistics["churn_share"]
    assert statistics["churn_share"] < 0.4 and statistics["churn_share_level_1"] < 0.1
    assert cold["churn_share"] > 2 * statistics["churn_share"] and cold["started_from"] == "scratch"
    health = {(row["source"], row["level"]): row["value"] for row in rows_named(out, "churn_share")}
    assert health == {("fused", level): by_level[(level or 3) - 1] for level in range(4)}


def rows_named(out, name):
    return [row for row in pq.read_table(out / "codebook_health.parquet").to_pylist() if row["name"] == name]


def test_codes_carry_as_much_as_from_scratch(today, yesterday, scratch, tmp_path):
    _, warm = run_day(today, tmp_path, yesterday, **WARM)
    assert warm["fused_r2_text"] > scratch[1]["fused_r2_text"] - 0.1 and warm["collision_share"] == 0 == warm["nan_losses"]
    assert pq.read_table(tmp_path / "out" / "curve.parquet")["step"].to_pylist()[-1] == WARM["warm_start"]["epochs"]


def test_the_first_run_is_what_it_is_whatever_the_profile_says_of_warm_starts(catalogue, yesterday, tmp_path):
    out, statistics = run_day(catalogue, tmp_path, **{**NETWORKS, "warm_start": {"start": "scratch"}})
    one, two = digests(out), digests(yesterday / "out")
    assert {name for name in one if one[name] != two[name]} == {"quantizer.json"}  # which holds the profile's section
    assert statistics["churn_share"] is None and statistics["known_items"] == 0 and statistics["started_from"] == "scratch"


def test_same_earlier_run_same_bytes_whatever_the_test_targets(today, yesterday, tmp_path):
    first, statistics = run_day(today, tmp_path / "a", yesterday, **WARM)
    targets = np.random.default_rng(0).permutation(today.test).tolist()
    targets[::2] = [max(row) for row in today.train[::2]]
    other, same = run_day(replace(today, test=targets), tmp_path / "b", yesterday, **WARM)
    assert digests(first) == digests(other) and same == statistics


def test_on_the_same_data_nearly_nothing_moves(catalogue, yesterday, tmp_path):
    _, statistics = run_day(catalogue, tmp_path, yesterday, **WARM)
    assert statistics["churn_share"] < 0.15


@pytest.mark.parametrize("kind", [behaviour_alone, published_codes])
def test_other_kinds_of_data_start_warm_too(catalogue, tmp_path, kind):
    run_day(kind(catalogue), tmp_path / "before", **WARM)
    _, statistics = run_day(kind(catalogue), tmp_path / "after", tmp_path / "before", **WARM)
    assert statistics["started_from"] == "out" and statistics["churn_share"] < 0.4


# What is refused


def assert_from_scratch(folder, statistics, caplog, words, **alone):
    """It says why, in statistics and log, and the IDs are those of a run that knew of no other."""
    assert statistics["started_from"] == "scratch" and words in statistics["warm_start_refused"]
    assert any(words in record.message and record.levelno == logging.WARNING for record in caplog.records)
    catalogue, fields = alone["catalogue"], alone["fields"]
    out, _ = run_day(catalogue, folder / "alone", **fields)
    assert digests(out)["semantic_ids.parquet"] == digests(folder / "out")["semantic_ids.parquet"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"epochs": 2}, "other settings of `quantization.epochs`"),
        ({"codebook_sizes": [8, 16, 8]}, "other settings of `quantization.codebook_sizes`"),
        ({"dimensions": 8, "hidden": 16}, "other settings of `quantization.dimensions`, `quantization.hidden`"),
        ({"tokenizer": "residual_kmeans"}, "other settings of `quantization.tokenizer`"),
    ],
)
def test_other_settings_start_from_scratch(today, yesterday, tmp_path, caplog, fields, words):
    _, statistics = run_day(today, tmp_path, yesterday, **{**WARM, **fields})
    assert_from_scratch(tmp_path, statistics, caplog, words, catalogue=today, fields={**WARM, **fields})


def test_features_of_another_width_or_modality_start_from_scratch(today, yesterday, tmp_path, caplog):
    narrow = replace(today, text=today.text[:, :20])
    _, statistics = run_day(narrow, tmp_path / "a", yesterday, **WARM)
    words = "features of 24 text dimensions and 12 image dimensions, and now there are features of 20 text"
    assert_from_scratch(tmp_path / "a", statistics, caplog, words, catalogue=narrow, fields=WARM)
    blind = replace(today, has_image=np.zeros_like(today.has_image))
    _, statistics = run_day(blind, tmp_path / "b", yesterday, **WARM)
    assert_from_scratch(tmp_path / "b", statistics, caplog, "features of 24 text dimensions.", catalogue=blind, fields=WARM)


def test_another_shop_starts_from_scratch(today, yesterday, tmp_path, caplog):
    names = tuple(name if place % 3 == 0 else f"B{place}" for place, name in enumerate(today.item_ids))
    other = replace(today, names=names)
    _, statistics = run_day(other, tmp_path, yesterday, **WARM)
    assert_from_scratch(
        tmp_path, statistics, caplog, "of the items that occur in train, and 50% are asked for", catalogue=other, fields=WARM
    )


def test_what_was_learned_from_what_is_held_out_today_is_refused(catalogue, tmp_path, caplog):
    """One user's test item was in train the day before."""
    leaky = held_out_before(catalogue)
    run_day(leaky, tmp_path / "before", **WARM)
    _, statistics = run_day(catalogue, tmp_path / "after", tmp_path / "before", **WARM)
    words = "fitted on 1 interactions that are held out now"
    assert_from_scratch(tmp_path / "after", statistics, caplog, words, catalogue=catalogue, fields=WARM)


def test_a_damaged_earlier_run_starts_from_scratch(today, yesterday, tmp_path, caplog):
    shutil.copytree(yesterday, tmp_path / "before")
    (tmp_path / "before" / "out" / "quantizer.json").write_text("{")
    _, statistics = run_day(today, tmp_path / "after", tmp_path / "before", **WARM)
    assert statistics["churn_share"] is None
    assert_from_scratch(tmp_path / "after", statistics, caplog, "No readable tokenizer", catalogue=today, fields=WARM)
