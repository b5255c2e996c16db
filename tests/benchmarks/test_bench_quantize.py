import itertools
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from quantization.artificial_catalogue import make_catalogue, make_profile

from bbqrec_core.dataset import PADDING, SequenceDataset
from bbqrec_core.errors import BBQRecError
from bbqrec_core.evaluation.ranking import validation_metrics
from bbqrec_core.home import PROJECT
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.data import load_item_features, prepare
from bbqrec_core.quantization.lcp import BehaviourLcp
from bbqrec_core.quantization.stage import assign_catalogue
from benchmarks.codebooks import residual_vq
from benchmarks.codebooks.assignment import Assigned, measure_assignment
from benchmarks.codebooks.catalogue import Catalogue
from benchmarks.codebooks.contenders import (
    KMEANS,
    LETTER,
    NAMES,
    OURS,
    PACKAGE,
    PER_MODALITY,
    PUBLISHED,
    RQVAE,
    RQVAE_LONG,
    Budget,
    contenders_for,
)
from benchmarks.codebooks.fixed_model import Recipe, ndcg_per_user, train_model
from benchmarks.codebooks.quality import Measured, measure
from benchmarks.codebooks.steps import OUR_CODEBOOKS, OUR_STEP, PACKAGE_CODEBOOKS, PACKAGE_STEP, StepTimes, time_steps, without_extra_losses
from benchmarks.codebooks.verdicts import Subject, report

CPU = torch.device("cpu")
OF_TEXTS = [name for name in NAMES if name not in (PER_MODALITY, PUBLISHED)]
"""Contenders on a catalogue of texts alone."""
SMALL = Recipe(dimensions=16, layers=1, epochs=3, batch_size=32)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory) -> Catalogue:
    torch.set_num_threads(1)
    inputs = make_catalogue().write(tmp_path_factory.mktemp("catalogue"))
    profile = make_profile()
    dataset = SequenceDataset.load(inputs["ingest"], SMALL.max_history)
    features = load_item_features(inputs["embed"], inputs["ingest"])
    return Catalogue(profile, inputs["ingest"], dataset, prepare(dataset, features, profile.quantization))


@pytest.fixture(scope="module")
def package(catalogue):
    return residual_vq.fit(catalogue.data, catalogue.profile.quantization, 3, CPU)


@pytest.mark.slow
def test_the_command_measures_everything_and_prints_what_it_writes(tmp_path):
    out = tmp_path / "report.md"
    command = [sys.executable, "-m", "benchmarks.quantize", str(PROJECT / "tests" / "tiny.yaml"), "--out", str(out)]
    command += ["--epochs", "1", "--assign", "3000", "--rounds", "1", "--steps", "2", "--seeds", "2"]
    home = {**os.environ, "BBQREC_HOME": str(tmp_path / "home")}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=home, check=False)
    assert ran.returncode == 0, ran.stderr
    assert out.read_text(encoding="utf-8").strip() == ran.stdout.strip()
    for heading in (
        *(f"| {NAMES[name]} |" for name in OF_TEXTS),
        "## 3,000 new items of 768-d features",
        "## A training step",
        "## Targets",
    ):
        assert heading in ran.stdout
    assert re.search(r"seeds \d+ to \d+, means", ran.stdout)
    assert "against residual k-means, p " in ran.stdout


@pytest.mark.slow
def test_when_stopped_the_report_of_the_seeds_before_stands(tmp_path):
    out = tmp_path / "report.md"
    command = [sys.executable, "-m", "benchmarks.quantize", str(PROJECT / "tests" / "tiny.yaml"), "--out", str(out)]
    command += ["--parts", "ids", "--epochs", "1", "--seeds", "2"]
    home = {**os.environ, "BBQREC_HOME": str(tmp_path / "home")}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=PROJECT, env=home) as running:
        assert running.stderr is not None
        seeds = (re.match(r"seed (\d+), ", line) for line in running.stderr)
        told = [int(seed[1]) for seed in itertools.islice(filter(None, seeds), len(OF_TEXTS) + 1)]
        running.terminate()
    assert running.returncode and told == [told[0]] * len(OF_TEXTS) + [told[0] + 1]
    report = out.read_text(encoding="utf-8")
    assert all(f"| {NAMES[name]} |" in report for name in OF_TEXTS) and "against residual k-means, p " in report
    assert not re.search(r"seeds \d+ to", report)


def test_a_profile_that_is_not_there_is_told_in_one_line():
    ran = subprocess.run([sys.executable, "-m", "benchmarks.quantize", "beauty"], capture_output=True, text=True, cwd=PROJECT, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: ")
    assert "Traceback" not in ran.stderr


def test_a_report_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path):
    command = [sys.executable, "-m", "benchmarks.quantize", "--out", str(tmp_path / "nowhere" / "report.md")]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
    assert ran.returncode == 2 and f"--out: there is no folder {tmp_path / 'nowhere'}" in ran.stderr


@pytest.mark.parametrize("name", [OURS, LETTER, PER_MODALITY, KMEANS, PACKAGE])
def test_a_contender_is_fitted_and_judged(catalogue, name):
    run = measure(name, catalogue, catalogue.dataset.test, SMALL, 3, CPU)
    assert run.fit_seconds > 0
    assert run.assign_seconds > 0
    assert set(run.carried) == {"text", "image"}
    assert run.carried["text"] > 0.2
    assert len(run.ndcg) == len(catalogue.dataset.test)
    assert 0 < run.perplexity_share <= run.used_share <= 1
    assert run.lcp is not None


def test_who_cannot_be_fitted_on_a_catalogue_is_left_out(catalogue):
    assert contenders_for(catalogue) == [name for name in NAMES if name != PUBLISHED]
    text = {"text": catalogue.data.features["text"]}
    codes = {"text": torch.zeros(catalogue.data.n_items, 2, dtype=torch.int64)}
    published = replace(catalogue, data=replace(catalogue.data, features=text, codes=codes))
    assert contenders_for(published) == [name for name in NAMES if name != PER_MODALITY]


def test_plain_rqvae_gets_as_many_seconds_as_ours_and_never_fewer_passes():
    config = QuantizationConfig(warmup_epochs=40, epochs=120)
    assert Budget(ours=30.0, rqvae=10.0).passes(config) == 480
    assert Budget(ours=5.0, rqvae=10.0).passes(config) == 160


def test_what_the_package_learned_is_what_is_judged(catalogue, package):
    network = package.tokenizer.network
    quantizer = network.quantizer
    with torch.no_grad():
        latents, _ = network.latents(catalogue.data.features, catalogue.data.present)
        quantizer.package.eval()
        _, indices, _ = quantizer.package(latents)
    encoded, _, _ = assign_catalogue(package.tokenizer, catalogue.data)
    assert np.array_equal(encoded.wished, indices.numpy())
    assert torch.equal(quantizer.decode(indices), quantizer.package.get_output_from_indices(indices))


def test_the_package_learns_its_own_way_and_its_loss_falls(package):
    losses = [value for _, name, value in package.curve.rows if name == "train/reconstruction"]
    assert losses[-1] < losses[0]
    assert all(value == 0 for _, name, value in package.curve.rows if name == "train/codebook")


def codes_of(n_items: int) -> np.ndarray:
    """An ID of its own for every item, in three levels of 8."""
    items = np.arange(n_items)
    return np.stack([items // 64, items // 8 % 8, items % 8], axis=1)


def test_items_are_told_apart_by_their_codes_alone(catalogue):
    codes = codes_of(catalogue.data.n_items)
    codes[7] = codes[5]
    model = train_model(codes, [8, 8, 8], catalogue.dataset, SMALL, seed=1)
    items = model.items()
    assert torch.equal(items[7], items[5])
    assert not torch.equal(items[6], items[5])
    assert sum(weights.numel() for name, weights in model.named_parameters() if "tables" in name) == 24 * SMALL.dimensions


def test_the_fixed_model_learns_and_is_the_same_each_time(catalogue):
    cluster = np.arange(catalogue.data.n_items) % 10  # sequences stay within two of ten clusters
    telling = np.stack([cluster, np.arange(catalogue.data.n_items) // 10, np.zeros_like(cluster)], axis=1)
    scrambled = telling[np.random.default_rng(0).permutation(len(telling))]
    recipe = replace(SMALL, epochs=25)
    values = [ndcg_per_user(train_model(codes, [10, 16, 2], catalogue.dataset, recipe, seed=1), catalogue.dataset.test).mean()
              for codes in (telling, telling, scrambled)]  # fmt: skip
    assert values[0] == values[1]
    assert values[0] > values[2] + 0.02


def test_ranking_agrees_with_the_pipelines_own(catalogue):
    model = train_model(codes_of(catalogue.data.n_items), [8, 8, 8], catalogue.dataset, SMALL, seed=2)

    def score(histories: torch.Tensor) -> torch.Tensor:
        rows = []
        for history in histories:
            known = history[history != PADDING]
            rows.append(model(known[None], model.items())[0, -1] @ model.items().T)
        return torch.stack(rows)

    own = ndcg_per_user(model, catalogue.dataset.valid).mean()
    assert own == pytest.approx(validation_metrics(score, catalogue.dataset.valid)["ndcg_at_10"], abs=1e-6)


def test_nothing_of_validation_or_test_is_trained_on(catalogue):
    shuffled = replace(catalogue.dataset.test, targets=catalogue.dataset.test.targets[::-1].copy())
    other = replace(catalogue.dataset, test=shuffled, valid=shuffled)
    codes = codes_of(catalogue.data.n_items)
    first, second = (train_model(codes, [8, 8, 8], dataset, SMALL, seed=1).state_dict() for dataset in (catalogue.dataset, other))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_many_new_items_are_assigned_in_a_process_of_its_own():
    config = QuantizationConfig(codebook_sizes=[16, 16, 32], dimensions=16, hidden=32, kmeans_iterations=2)
    assigned = measure_assignment(config, 5000, 1, 1, 7)
    assert assigned.distinct == assigned.items == 5000
    assert assigned.peak_bytes > 5000 * 768 * 4
    assert 0 < assigned.aligned_seconds < assigned.floor_seconds
    assert assigned.whole_seconds > assigned.hashing_seconds > 0


def test_a_process_that_fails_says_why():
    config = QuantizationConfig(codebook_sizes=[2, 2, 2], dimensions=16, hidden=32)
    with pytest.raises(BBQRecError, match="Assigning 9 items failed: 9 items need semantic IDs of their own"):
        measure_assignment(config, 9, 1, 1, 7)


def test_steps_are_timed_turn_by_turn_with_the_extra_losses_off():
    config = QuantizationConfig(codebook_sizes=[8, 8, 8], dimensions=16, hidden=32, batch_size=16)
    bare = without_extra_losses(config)
    assert (bare.sequence_weight, bare.shared_variance_weight, bare.reconstruction_weight) == (0, 0, 1)
    times = time_steps(config, 2, 7)
    assert list(times.milliseconds) == [OUR_CODEBOOKS, PACKAGE_CODEBOOKS, OUR_STEP, PACKAGE_STEP]
    assert min(times.milliseconds.values()) > 0


def run_of(ndcg: float, **more) -> Measured:
    lcp = BehaviourLcp(100, 0.5, 0.4, 0.1, 1.25, 0.08, 0.12, 1.2, 1.3)
    users = np.random.default_rng(0).random(400) * 0.01
    fields = {"fit_seconds": 50.0, "assign_seconds": 10.0, "cpu_seconds": 100.0, "carried": {"text": 0.5}, "collisions": 0.005}
    fields |= {"used_share": 1.0, "perplexity_share": 0.8, "largest_share": 0.02, "lcp": lcp}
    return Measured(**{**fields, **more}, ndcg=users + ndcg)


def test_targets_are_judged_plainly():
    subject = Subject("shop", 12_101, 400, "the test part", "text", [256] * 4, 160, 42, ())
    lower = BehaviourLcp(100, 0.4, 0.38, 0.02, 1.05, 0.01, 0.03, 1.0, 1.1)
    measured = {
        OURS: [run_of(0.05)],
        RQVAE: [run_of(0.03, lcp=lower, carried={"text": 0.6})],
        RQVAE_LONG: [run_of(0.05)],
        KMEANS: [run_of(0.06)],
        PACKAGE: [run_of(0.04)],
    }
    assigned = Assigned(1_000_000, 768, 2, 8.0, 4.0, 10.0, 3.0, 20.0, 10 * 2**30, 1_000_000)
    steps = StepTimes({OUR_CODEBOOKS: 1.0, PACKAGE_CODEBOOKS: 2.0, OUR_STEP: 8.0, PACKAGE_STEP: 4.0}, 512, 384, 64, [256] * 4)
    text = report(subject, measured, assigned, steps, "A machine.")
    for line in (
        "- passes: ours takes 60 s for 12,101 items, at most 180",
        "- passes: 0.50% of the items collide before repair, below 1%",
        "- FALLS SHORT: probe R2 of text is 0.100 below that of plain RQ-VAE, as many passes as ours, at most 0.05 below",
        "- passes: behaviour-LCP as difference is 0.100 (0.080 to 0.120), that of plain RQ-VAE, as many passes as ours 0.020 (0.010 to",
        "- passes: NDCG@10 is +0.0200 against plain RQ-VAE, as many passes as ours, p 0.0004 (Holm)",
        "- FALLS SHORT: NDCG@10 is +0.0000 against plain RQ-VAE, as many seconds as ours, p 1.0000 (Holm)",
        "- FALLS SHORT: NDCG@10 is -0.0100 against residual k-means",
        "- passes: 1,000,000 items take 10.0 GiB of memory, at most 24",
        "- passes: features become codes at 80% of the speed",
        "- passes: our codebooks alone: 0.50 times ResidualVQ alone",
        "- FALLS SHORT: our whole training step, extra losses off: 2.00 times the same encoder and decoder around ResidualVQ",
        "| features to codes | 10.0 | 100,000 | 80% |",
    ):
        assert line in text, line


def test_a_larger_catalogue_has_longer_and_one_bad_seed_is_enough():
    subject = Subject("shop", 24_202, 400, "the test part", "text", [256] * 4, 160, 42, ())
    runs = [run_of(0.05, fit_seconds=300.0), run_of(0.05, fit_seconds=300.0, largest_share=0.04)]
    text = report(subject, {OURS: runs, RQVAE: [run_of(0.03)] * 2}, None, None, "A machine.")
    assert "- passes: ours takes 310 s for 24,202 items, at most 360" in text
    assert "- FALLS SHORT: the largest code holds 4.0% of the items with the worst seed, at most 3%" in text
    assert "seeds 42 to 43, means" in text
