"""Health figures against independent computations."""

import itertools
import math

import numpy as np
import pytest

from bbqrec_core.dataset import EvalSplit, SequenceDataset
from bbqrec_core.quantization.health import agreement, cohesion, perplexity, prefix_groups, usage_rows
from bbqrec_core.quantization.lcp import behaviour_lcp, common_prefix, cooccurring_keys, popularity_bins
from bbqrec_core.quantization.probes import r2_from_codes, shared_information_r2


def test_usage_by_hand():
    codes = np.array([[0, 1], [0, 1], [2, 0], [2, 1]])
    values = {(level, name): value for _, level, name, value in usage_rows("fused", codes, [4, 2])}
    assert values[1, "used_codes"] == 2 and values[1, "used_code_share"] == 0.5
    assert values[1, "perplexity"] == pytest.approx(2.0) and values[1, "largest_code_share"] == 0.5
    assert values[2, "largest_code_share"] == 0.75
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert values[2, "perplexity"] == pytest.approx(math.exp(entropy))


def test_perplexity_of_uniform_and_of_one():
    assert perplexity(np.full(7, 3)) == pytest.approx(7)
    assert perplexity(np.array([0, 9, 0])) == 1
    assert perplexity(np.zeros(3, dtype=int)) == 0


def test_cohesion_is_the_mean_cosine_of_pairs():
    rng = np.random.default_rng(0)
    vectors, codes = rng.normal(size=(30, 4)), rng.integers(0, 3, (30, 2))
    pairs = []
    for i, j in itertools.combinations(range(30), 2):
        if (codes[i] == codes[j]).all():
            pairs.append(vectors[i] @ vectors[j] / np.linalg.norm(vectors[i]) / np.linalg.norm(vectors[j]))
    assert cohesion(vectors, prefix_groups(codes, 2)) == pytest.approx(np.mean(pairs))
    assert math.isnan(cohesion(vectors, np.arange(30)))
    assert math.isnan(cohesion(np.zeros((3, 2)), np.zeros(3, dtype=int)))


def test_expected_agreement_is_the_mean_over_shuffles():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 4, 50) ** 2 // 3, rng.integers(0, 4, 50)
    observed, expected = agreement(first, second, 4)
    assert observed == (first == second).mean()
    shuffles = [(first == rng.permutation(second)).mean() for _ in range(4000)]
    assert expected == pytest.approx(np.mean(shuffles), abs=0.005)


def test_codes_that_hold_the_features_score_high_and_random_codes_do_not():
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 5, (400, 2))
    values = (rng.normal(size=(5, 6))[codes[:, 0]] + 0.5 * rng.normal(size=(5, 6))[codes[:, 1]]).astype(np.float32)
    first, both = r2_from_codes(codes, [5, 5], values, seed=0)
    assert 0.5 < first < 0.97 < both <= 1
    assert max(r2_from_codes(rng.integers(0, 5, (400, 2)), [5, 5], values, seed=0)) < 0.05


def test_probe_of_codes_is_ridge_regression_on_held_out_folds():
    rng = np.random.default_rng(3)
    codes, values = rng.integers(0, 3, (20, 1)), rng.normal(size=(20, 2)).astype(np.float32)
    from bbqrec_core.quantization.probes import FOLDS, RIDGE, folds

    fold, error, spread = folds(20, 4), 0.0, 0.0
    for number in range(FOLDS):
        fit = fold != number
        onehot = np.eye(3)[codes[:, 0]]
        centre, mean = onehot[fit].mean(0), values[fit].mean(0)
        # Ridge as ordinary least squares on extended data.
        design = np.concatenate([onehot[fit] - centre, math.sqrt(RIDGE) * np.eye(3)])
        weights = np.linalg.lstsq(design, np.concatenate([values[fit] - mean, np.zeros((3, 2))]), rcond=None)[0]
        error += (((onehot[~fit] - centre) @ weights + mean - values[~fit]) ** 2).sum()
        spread += ((values[~fit] - mean) ** 2).sum()
    assert r2_from_codes(codes, [3], values, seed=4) == [pytest.approx(1 - error / spread)]


def test_probes_of_constant_or_few_features_say_nan():
    assert all(math.isnan(value) for value in r2_from_codes(np.zeros((30, 2), dtype=int), [2, 2], np.ones((30, 3), np.float32), 0))
    assert all(math.isnan(value) for value in r2_from_codes(np.zeros((3, 2), dtype=int), [2, 2], np.eye(3, dtype=np.float32), 0))


def test_probe_of_shared_information_tells_dependent_from_independent():
    rng = np.random.default_rng(4)
    s = rng.normal(size=(600, 4)).astype(np.float32)
    b = np.tanh(s @ rng.normal(size=(4, 8))).astype(np.float32)
    assert shared_information_r2(s, b, seed=0) > 0.8
    assert shared_information_r2(rng.permutation(s), b, seed=0) < 0.1


def dataset(train, valid, n_items):
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in train])]).astype(np.int64)
    items = np.array([item for row in train for item in row], dtype=np.int64)
    users = np.arange(len(train), dtype=np.int32)
    split = EvalSplit(users, np.zeros((len(train), 1), np.int64), np.array(valid), offsets, items)
    return SequenceDataset(n_items, users, offsets, items, np.bincount(items, minlength=n_items), split, split)


def test_cooccurring_pairs_at_any_distance():
    data = dataset([[0, 1, 2], [2, 3], [4]], [5, 5, 5], 6)
    found = {(int(key) // 6, int(key) % 6) for key in cooccurring_keys(data.train_offsets, data.train_items, 6) if key // 6 != key % 6}
    expected = {(0, 1), (0, 2), (1, 2), (2, 3)}
    assert found == expected | {(b, a) for a, b in expected}


def test_common_prefix_stops_at_the_first_difference():
    assert common_prefix(np.array([[1, 2, 3], [1, 9, 3], [0, 2, 3]]), np.array([[1, 2, 3]] * 3)).tolist() == [3, 1, 0]


def test_popularity_bins_keep_equal_counts_together_and_in_order():
    counts = np.random.default_rng(0).integers(0, 30, 200)
    bins = popularity_bins(counts)
    for count in np.unique(counts):
        assert len(np.unique(bins[counts == count])) == 1
    assert (np.diff(bins[np.argsort(counts, kind="stable")]) >= 0).all()
    assert 5 <= len(np.unique(bins)) <= 10


def test_lcp_leaves_out_pairs_that_train_holds():
    # User 0's target 1 stands beside 0 in user 1's history, so only (2, 1) may count for that user.
    data = dataset([[0, 2], [0, 1]], [1, 3], 8)
    codes = np.zeros((8, 2), dtype=np.int64)
    codes[2], codes[1] = [5, 5], [5, 6]
    codes[0] = codes[3] = [7, 7]
    result = behaviour_lcp(codes, data, seed=0)
    assert result is not None
    assert result.pairs <= 3  # (2, 1), (0, 3), (1, 3)
    assert result.difference == pytest.approx(result.mean - result.random)


def test_lcp_finds_planted_structure_and_none_in_random_codes():
    rng = np.random.default_rng(5)
    n = 300
    group = rng.integers(0, 15, n)
    train, valid = [], []
    for _ in range(250):
        pool = np.flatnonzero(group == rng.integers(15))
        picked = rng.choice(pool, min(4, len(pool)), replace=False)
        train.append(picked[:-1].tolist())
        valid.append(int(picked[-1]))
    data = dataset(train, valid, n)
    good = behaviour_lcp(np.stack([group, rng.integers(0, 8, n)], 1), data, seed=0)
    bad = behaviour_lcp(np.stack([rng.permutation(group), rng.integers(0, 8, n)], 1), data, seed=0)
    assert good is not None and bad is not None
    assert good.ratio > 5 and good.ratio_low > 3 and good.difference_low > 0
    assert bad.difference_low < 0.02 and bad.ratio < 2
    assert good.difference_low <= good.difference <= good.difference_high
    assert behaviour_lcp(np.stack([group, group], 1), data, seed=0) == behaviour_lcp(np.stack([group, group], 1), data, seed=0)


def test_lcp_without_pairs_is_none():
    assert behaviour_lcp(np.zeros((3, 2), dtype=np.int64), dataset([[0, 1]], [1], 3), seed=0) is None
