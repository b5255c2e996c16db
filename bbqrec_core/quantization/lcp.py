"""behaviour-LCP: do items that go together on VALIDATION share prefixes, beyond what training could have memorised?

Measurement only. It reads validation, so nothing that trains may import it.
"""

from dataclasses import dataclass

import numpy as np

from bbqrec_core.dataset import SequenceDataset

BOOTSTRAPS = 1000
POPULARITY_BINS = 10
DRAWS = 20
"""Attempts to find a popularity-matched random item that never co-occurs in train."""
CHUNK = 2_000_000


@dataclass(frozen=True)
class BehaviourLcp:
    """Result of the measurement.

    Attributes:
        pairs: Pairs measured.
        mean: Mean common prefix of train-to-validation pairs that never co-occur in train, in levels.
        random: The same of popularity-matched random pairs.
        difference, ratio: mean - random, mean / random (NaN where random is 0).
        difference_low, difference_high, ratio_low, ratio_high: 95 % bootstrap intervals over users.
    """

    pairs: int
    mean: float
    random: float
    difference: float
    ratio: float
    difference_low: float
    difference_high: float
    ratio_low: float
    ratio_high: float


def common_prefix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Length of the common prefix of two arrays of codes, int64 [n, L] each -> int64 [n]."""
    return np.cumprod(first == second, axis=1).sum(axis=1)


def cooccurring_keys(offsets: np.ndarray, items: np.ndarray, n_items: int) -> np.ndarray:
    """Sorted keys a * n_items + b of all ordered pairs of different items that some train sequence holds both of, at any distance."""
    sequence = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    keys = np.empty(0, dtype=np.int64)
    pending: list[np.ndarray] = []
    for distance in range(1, int(np.diff(offsets).max(initial=0))):
        together = sequence[:-distance] == sequence[distance:]
        first, second = items[:-distance][together], items[distance:][together]
        pending += [first * n_items + second, second * n_items + first]
        if sum(map(len, pending)) > CHUNK:
            keys, pending = np.unique(np.concatenate([keys, *pending])), []
    return np.unique(np.concatenate([keys, *pending]))


def _contains(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    if not len(keys):
        return np.zeros(wanted.shape, dtype=bool)
    return keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted


def popularity_bins(counts: np.ndarray) -> np.ndarray:
    """Bin of each item by its train count: items of equal count share a bin, bins hold about equally many items. int64 [n]."""
    values, inverse, sizes = np.unique(counts, return_inverse=True, return_counts=True)
    middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    return np.minimum((middle * POPULARITY_BINS).astype(np.int64), POPULARITY_BINS - 1)[inverse] if len(values) else inverse


def behaviour_lcp(codes: np.ndarray, dataset: SequenceDataset, seed: int) -> BehaviourLcp | None:
    """Measure behaviour-LCP.

    Pairs are (distinct item of a user's train history, the user's validation target), different items that no train sequence holds
    together. The random partner replaces the target by an item of the same popularity bin under the same condition.

    Args:
        codes: Semantic IDs, int64 [n_items, L].
        dataset: Train and validation.
        seed: Draws random partners and bootstrap samples.

    Returns:
        The measurement, or None where no pair qualifies.
    """
    n = dataset.n_items
    split = dataset.valid
    users = np.repeat(np.arange(len(split)), np.diff(split.seen_offsets))
    keys = np.unique(users * n + split.seen_items)
    users, history = keys // n, keys % n
    targets = split.targets[users]
    known = cooccurring_keys(dataset.train_offsets, dataset.train_items, n)
    keep = (history != targets) & ~_contains(known, history * n + targets)
    users, history, targets = users[keep], history[keep], targets[keep]
    rng = np.random.default_rng(seed)
    bins = popularity_bins(dataset.train_counts)
    order = np.argsort(bins, kind="stable")
    starts = np.searchsorted(bins[order], np.arange(POPULARITY_BINS + 1))
    partner = np.full(len(targets), -1)
    for _ in range(DRAWS):
        open_rows = np.flatnonzero(partner < 0)
        if not len(open_rows):
            break
        low, high = starts[bins[targets[open_rows]]], starts[bins[targets[open_rows]] + 1]
        drawn = order[low + (rng.random(len(open_rows)) * (high - low)).astype(np.int64)]
        fits = (drawn != history[open_rows]) & ~_contains(known, history[open_rows] * n + drawn)
        partner[open_rows[fits]] = drawn[fits]
    found = partner >= 0
    users, history, targets, partner = users[found], history[found], targets[found], partner[found]
    if not len(users):
        return None
    real, random = common_prefix(codes[history], codes[targets]), common_prefix(codes[history], codes[partner])
    _, user = np.unique(users, return_inverse=True)
    sums = np.stack([np.bincount(user, weights=real), np.bincount(user, weights=random), np.bincount(user)])
    draws = np.stack([sums[:, rng.integers(sums.shape[1], size=sums.shape[1])].sum(1) for _ in range(BOOTSTRAPS)])
    with np.errstate(divide="ignore", invalid="ignore"):
        differences = (draws[:, 0] - draws[:, 1]) / draws[:, 2]
        ratios = draws[:, 0] / draws[:, 1]
    ratios = ratios[np.isfinite(ratios)]
    low_high = np.percentile(ratios, [2.5, 97.5]) if len(ratios) else (np.nan, np.nan)
    return BehaviourLcp(
        pairs=len(real),
        mean=float(real.mean()),
        random=float(random.mean()),
        difference=float(real.mean() - random.mean()),
        ratio=float(real.sum() / random.sum()) if random.sum() else float("nan"),
        difference_low=float(np.percentile(differences, 2.5)),
        difference_high=float(np.percentile(differences, 97.5)),
        ratio_low=float(low_high[0]),
        ratio_high=float(low_high[1]),
    )
