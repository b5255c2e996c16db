"""Metrics against brute force: every order of the ties, and an implementation that shares nothing with ours."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score, top_k_accuracy_score

from bbqrec_core.evaluation import metrics


def naive(rank: int, k: int) -> tuple[float, float, float]:
    """Recall@K, NDCG@K and the reciprocal rank of one target at a known rank, from the definitions."""
    relevance = [1 if place == rank else 0 for place in range(1, max(rank, k) + 1)]
    dcg = sum((2**gain - 1) / math.log2(place + 1) for place, gain in enumerate(relevance[:k], start=1))
    return float(any(relevance[:k])), dcg, 1 / rank


@given(above=st.integers(0, 6), tied=st.integers(0, 5), k=st.integers(1, 14))
def test_ties_are_the_mean_over_all_orders(above: int, tied: int, k: int) -> None:
    orders = list(permutations(["target", *range(tied)]))
    values = np.mean([naive(above + 1 + order.index("target"), k) for order in orders], axis=0)
    counts = np.array([above]), np.array([tied])
    ours = [metrics.expected_recall(*counts, k)[0], metrics.expected_ndcg(*counts, k)[0], metrics.expected_reciprocal_rank(*counts)[0]]
    np.testing.assert_allclose(ours, values, rtol=1e-12)


def place_targets(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    own = scores[np.arange(len(scores)), targets][:, None]
    return (scores > own).sum(1), (scores == own).sum(1) - 1


@pytest.mark.parametrize("k", [1, 5, 10, 60])
def test_random_rankings_are_worth_what_scikit_learn_says(k: int) -> None:
    rng = np.random.default_rng(k)
    targets = rng.integers(0, 50, 300)
    relevance = np.eye(50)[targets]
    scores = rng.permuted(np.tile(np.arange(50.0), (300, 1)), axis=1)  # no ties
    above, tied = place_targets(scores, targets)
    assert metrics.expected_ndcg(above, tied, k).mean() == pytest.approx(ndcg_score(relevance, scores, k=k))
    hits = top_k_accuracy_score(targets, scores, k=min(k, 49), labels=np.arange(50))
    assert metrics.expected_recall(above, tied, min(k, 49)).mean() == pytest.approx(hits)
    assert metrics.expected_reciprocal_rank(above, tied).mean() == pytest.approx(label_ranking_average_precision_score(relevance, scores))
    few = rng.integers(0, 6, (300, 50)).astype(float)  # many ties, which scikit-learn's NDCG averages over too
    above, tied = place_targets(few, targets)
    assert tied.min() >= 0 and tied.max() > 5
    assert metrics.expected_ndcg(above, tied, k).mean() == pytest.approx(ndcg_score(relevance, few, k=k))


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=1, max_size=20), st.integers(1, 5000))
def test_bounds_and_monotony(counts: list[tuple[int, int]], k: int) -> None:
    above, tied = np.array(counts).T
    recall, ndcg = metrics.expected_recall(above, tied, k), metrics.expected_ndcg(above, tied, k)
    assert ((ndcg >= 0) & (ndcg <= recall + 1e-12) & (recall <= 1)).all()
    assert (metrics.expected_recall(above, tied, k + 1) >= recall).all()
    assert (metrics.expected_recall(above + 1, tied, k) <= recall).all()
    assert (metrics.expected_ndcg(above, tied + 1, k) <= ndcg + 1e-12).all(), "one more tie cannot help"


def test_known_values() -> None:
    above, tied = np.array([0, 1, 9, 10]), np.zeros(4, dtype=int)
    np.testing.assert_allclose(metrics.expected_ndcg(above, tied, 10), [1, 1 / math.log2(3), 1 / math.log2(11), 0])
    assert metrics.expected_recall(above, tied, 10).tolist() == [1, 1, 1, 0]


def test_constant_scores_give_chance() -> None:
    n = 500
    assert metrics.expected_recall(np.array([0]), np.array([n - 1]), 10)[0] == pytest.approx(10 / n)


def test_k_beyond_the_catalogue_finds_everything() -> None:
    above, tied = np.arange(5), np.zeros(5, dtype=int)
    assert metrics.expected_recall(above, tied, 1000).tolist() == [1] * 5
    np.testing.assert_allclose(metrics.expected_ndcg(above, tied, 1000), 1 / np.log2(np.arange(5) + 2))


@pytest.mark.parametrize(("above", "tied", "k"), [([1], [0], 0), ([-1], [0], 1), ([0], [-1], 1), ([1, 2], [0], 1)])
def test_nonsense_is_refused(above: list[int], tied: list[int], k: int) -> None:
    with pytest.raises(ValueError, match=r"K must|negative|shape"):
        metrics.expected_ndcg(np.array(above), np.array(tied), k)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_popularity_percentiles_by_pairs(counts: list[int]) -> None:
    expected = [np.mean([1.0 if other < own else 0.5 if other == own else 0.0 for other in counts]) for own in counts]
    ours = metrics.popularity_percentiles(np.array(counts))
    np.testing.assert_allclose(ours, expected)
    assert ours.mean() == pytest.approx(0.5)


def test_coverage_and_means_ignore_padding() -> None:
    recommended = np.array([[3, 1, -1], [1, -1, -1], [-1, -1, -1]])
    assert metrics.coverage(recommended, 8) == 2 / 8
    means = metrics.mean_over_recommended(recommended, np.array([0.0, 1.0, 2.0, 3.0]))
    np.testing.assert_equal(means, [2.0, 1.0, np.nan])
