"""Intervals cover what they promise; permutation tests agree with enumeration; Holm agrees with a hand-worked example."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbqrec_core.evaluation import significance


def test_bootstrap_covers_the_true_mean() -> None:
    rng = np.random.default_rng(3)
    samples = rng.exponential(size=(400, 200))  # skewed, true mean 1
    covered = 0
    for number, sample in enumerate(samples):
        low, high = significance.bootstrap_intervals(sample, seed=number, samples=200)
        covered += int(low[0] <= 1 <= high[0])
    assert 0.90 <= covered / len(samples) <= 0.98


def test_bootstrap_matches_the_normal_approximation() -> None:
    values = np.random.default_rng(4).normal(5, 2, size=4000)
    low, high = significance.bootstrap_intervals(values, seed=0, samples=2000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert (high[0] - low[0]) / 2 == pytest.approx(half, rel=0.1)
    assert low[0] < values.mean() < high[0]


def test_bootstrap_is_seeded_shared_by_rows_and_indifferent_to_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(size=(3, 50))
    values[2] = values[0] + 1
    low, high = significance.bootstrap_intervals(values, seed=1, samples=300)
    np.testing.assert_allclose(low[2], low[0] + 1)
    monkeypatch.setattr(significance, "BLOCK", 50 * 7)
    again = significance.bootstrap_intervals(values, seed=1, samples=300)
    np.testing.assert_allclose(again, (low, high), rtol=1e-12)
    assert not np.allclose(significance.bootstrap_intervals(values, seed=2, samples=300), (low, high))


def test_bootstrap_of_a_constant_is_the_constant() -> None:
    low, high = significance.bootstrap_intervals(np.full(10, 0.25), seed=0)
    assert low[0] == high[0] == 0.25


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
def test_small_permutation_tests_are_exact(differences: list[int]) -> None:
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in product([1, -1], repeat=len(differences))
    ]
    expected = np.mean([total >= abs(sum(differences)) for total in sums])
    assert significance.paired_permutation_test(np.array(differences), seed=0) == pytest.approx(expected)


def test_drawn_patterns_approach_the_exact_p() -> None:
    differences = np.random.default_rng(6).normal(0.4, 1, size=16)
    exact = significance.paired_permutation_test(differences, seed=0, samples=2**16)
    drawn = significance.paired_permutation_test(differences, seed=0, samples=2**16 - 1)
    assert drawn == pytest.approx(exact, abs=0.01)
    assert drawn == significance.paired_permutation_test(differences, seed=0, samples=2**16 - 1)


def test_p_is_uniform_under_the_null_and_small_far_from_it() -> None:
    rng = np.random.default_rng(7)
    p_values = [significance.paired_permutation_test(rng.normal(size=60), seed=trial, samples=400) for trial in range(300)]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.06)
    assert significance.paired_permutation_test(rng.normal(1, 1, size=60), seed=0, samples=999) == 1 / 1000


def test_blocks_do_not_change_p(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(8).normal(0.1, 1, size=64)  # whole bytes, so that blocks share one stream
    whole = significance.paired_permutation_test(differences, seed=3, samples=2000)
    monkeypatch.setattr(significance, "BLOCK", 64 * 100)
    assert significance.paired_permutation_test(differences, seed=3, samples=2000) == whole


def test_no_difference_at_all() -> None:
    assert significance.paired_permutation_test(np.zeros(40), seed=0) == 1.0


def test_holm_by_hand() -> None:
    # Sorted: 0.005 * 4 = 0.02, 0.01 * 3 = 0.03, 0.03 * 2 = 0.06, 0.04 * 1 = 0.04, raised to 0.06.
    np.testing.assert_allclose(significance.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    assert significance.holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]
    assert significance.holm(np.array([])).tolist() == []


def test_all_others_are_set_beside_one() -> None:
    generator = np.random.default_rng(0)
    ours = generator.random(400)
    values = {"worse": ours - 0.1 - 0.01 * generator.random(400), "ours": ours, "same": ours + 0.2 * generator.standard_normal(400)}
    compared = significance.compare_with("ours", values, seed=1)
    assert list(compared) == ["worse", "same"]
    assert compared["worse"][0] == pytest.approx(float((values["worse"] - ours).mean()))
    alone = significance.paired_permutation_test(values["worse"] - ours, 1)
    assert compared["worse"][1] == pytest.approx(2 * alone)  # Holm: the smaller of two counts twice
    assert compared["worse"][1] < 0.001 < 0.05 < compared["same"][1]
