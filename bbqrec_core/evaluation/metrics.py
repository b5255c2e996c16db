"""Ranking metrics as pure functions of where the target landed.

A target's place is given by two counts: `above`, the candidates scored strictly higher, and `tied`, the other candidates with exactly the
target's score. Ties are broken by expectation: the target's rank is uniform over the places above + 1 .. above + tied + 1, so a model that
gives many items one score gains nothing by it. What belongs here is only arithmetic on such counts and on lists of recommendations; how
they come about is `ranking.py`, how certain they are is `significance.py`.
"""

from collections.abc import Sequence

import numpy as np


def expected_recall(above: np.ndarray, tied: np.ndarray, k: int) -> np.ndarray:
    """Expected Recall@K with one target per user, which is also HR@K: the probability of a rank of at most K.

    Args:
        above: Candidates strictly above the target, integer [n].
        tied: Other candidates tied with the target, integer [n].
        k: Cut-off, at least 1; may exceed the catalogue.

    Returns:
        float64 [n], each in [0, 1].
    """
    above, tied = _checked(above, tied, k)
    return np.clip(k - above, 0, tied + 1) / (tied + 1)


def expected_ndcg(above: np.ndarray, tied: np.ndarray, k: int) -> np.ndarray:
    """Expected NDCG@K with one target per user: the mean of 1 / log2(rank + 1) over the tied places, ranks beyond K counting 0.

    The gain follows Järvelin and Kekäläinen (2002); the ideal DCG is 1, since there is one target. The mean over places that are equally
    likely is McSherry and Najork's (2008) treatment of ties.

    Args:
        above: Candidates strictly above the target, integer [n].
        tied: Other candidates tied with the target, integer [n].
        k: Cut-off, at least 1; may exceed the catalogue.

    Returns:
        float64 [n], each in [0, 1].
    """
    above, tied = _checked(above, tied, k)
    last = int(np.minimum(above + tied + 1, k).max(initial=0))
    gains = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(1, last + 1) + 1))])
    return (gains[np.minimum(above + tied + 1, last)] - gains[np.minimum(above, last)]) / (tied + 1)


def expected_reciprocal_rank(above: np.ndarray, tied: np.ndarray) -> np.ndarray:
    """Expected reciprocal rank, without a cut-off; its mean over users is MRR.

    Args:
        above: Candidates strictly above the target, integer [n].
        tied: Other candidates tied with the target, integer [n].

    Returns:
        float64 [n], each in (0, 1].
    """
    above, tied = _checked(above, tied, 1)
    last = int((above + tied + 1).max(initial=0))
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, last + 1))])
    return (harmonic[above + tied + 1] - harmonic[above]) / (tied + 1)


def per_user_metrics(above: np.ndarray, tied: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    """All metrics of each user: `recall_at_<k>` and `ndcg_at_<k>` for each cut-off, and `mrr`.

    Args:
        above: Candidates strictly above the target, integer [n].
        tied: Other candidates tied with the target, integer [n].
        ks: Cut-offs.

    Returns:
        float64 [n] per name, in a fixed order.
    """
    values = {}
    for k in ks:
        values[f"recall_at_{k}"] = expected_recall(above, tied, k)
        values[f"ndcg_at_{k}"] = expected_ndcg(above, tied, k)
    values["mrr"] = expected_reciprocal_rank(above, tied)
    return values


def coverage(recommended: np.ndarray, n_items: int) -> float:
    """Share of the catalogue that is recommended to anyone.

    Args:
        recommended: item_idx, integer [n, k]; negative where a list has no more items.
        n_items: Catalogue size.
    """
    return len(np.unique(recommended[recommended >= 0])) / n_items


def popularity_percentiles(counts: np.ndarray) -> np.ndarray:
    """Place of each item among all by popularity: 0 the least, 1 the most popular, equally popular items sharing the middle.

    The mean over the catalogue is 0.5, so recommending at random scores 0.5 whatever the distribution of popularity.

    Args:
        counts: Interactions per item in train, integer [n_items].

    Returns:
        float64 [n_items].
    """
    ordered = np.sort(counts)
    below = np.searchsorted(ordered, counts, side="left")
    up_to = np.searchsorted(ordered, counts, side="right")
    return (below + up_to) / (2 * len(counts))


def mean_over_recommended(recommended: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of an item's value over each user's recommendations.

    Args:
        recommended: item_idx, integer [n, k]; negative where a list has no more items.
        values: One per item, [n_items].

    Returns:
        float64 [n]; NaN for a user who was recommended nothing.
    """
    present = recommended >= 0
    total = np.where(present, values[np.maximum(recommended, 0)], 0.0).sum(axis=1)
    number = present.sum(axis=1)
    return np.divide(total, number, out=np.full(len(recommended), np.nan), where=number > 0)


def _checked(above: np.ndarray, tied: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    above, tied = np.asarray(above, dtype=np.int64), np.asarray(tied, dtype=np.int64)
    if k < 1:
        raise ValueError(f"K must be at least 1, not {k}")
    if above.shape != tied.shape:
        raise ValueError(f"above and tied differ in shape: {above.shape} and {tied.shape}")
    if above.min(initial=0) < 0 or tied.min(initial=0) < 0:
        raise ValueError("above and tied are counts and cannot be negative")
    return above, tied
