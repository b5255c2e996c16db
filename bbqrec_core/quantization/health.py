"""Health of the codes: use, collisions, cohesion, agreement of modalities.

Counts only; what needs a fitted probe is in `probes.py`, what needs validation in `lcp.py`. Nothing here is seen by training.
"""

from collections.abc import Iterator

import numpy as np

Row = tuple[str, int, str, float]
"""(source, level, name, value) of the health table; level 0 means the whole ID."""


def usage(codes: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Items per code and level: int64 [K_l] each, of codes int64 [n, L]."""
    return [np.bincount(codes[:, level], minlength=size) for level, size in enumerate(sizes)]


def perplexity(counts: np.ndarray) -> float:
    """Perplexity, exp of the entropy of the shares, in codes: 1 when one code holds all items, K when all hold the same; 0 for no items.

    >>> perplexity(np.array([3, 3, 0, 0]))
    2.0
    """
    total = counts.sum()
    if total == 0:
        return 0.0
    shares = counts[counts > 0] / total
    return float(np.round(np.exp(-(shares * np.log(shares)).sum()), 12))


def usage_rows(source: str, codes: np.ndarray, sizes: list[int]) -> Iterator[Row]:
    """Used codes, their share, perplexity and the largest code's share, per level."""
    for level, counts in enumerate(usage(codes, sizes), start=1):
        used = int((counts > 0).sum())
        yield source, level, "used_codes", float(used)
        yield source, level, "used_code_share", used / len(counts)
        yield source, level, "perplexity", perplexity(counts)
        yield source, level, "largest_code_share", float(counts.max() / max(1, counts.sum()))


def prefix_groups(codes: np.ndarray, level: int) -> np.ndarray:
    """Group number of each item by its first `level` codes, int64 [n]."""
    if level == 0 or not len(codes):
        return np.zeros(len(codes), dtype=np.int64)
    return np.unique(codes[:, :level], axis=0, return_inverse=True)[1].reshape(-1)


def cohesion(vectors: np.ndarray, groups: np.ndarray) -> float:
    """Mean cosine over all pairs of items in the same group; NaN without such a pair.

    Per group of n unit vectors it is (|sum|^2 - n) / (n (n - 1)), so no pair is visited.

    Args:
        vectors: float [n, d]; zero vectors are left out.
        groups: int64 [n].
    """
    norms = np.linalg.norm(vectors, axis=1)
    kept = norms > 0
    if not kept.any():
        return float("nan")
    units = vectors[kept].astype(np.float64) / norms[kept, None]
    _, groups = np.unique(groups[kept], return_inverse=True)
    size = np.bincount(groups)
    sums = np.zeros((len(size), units.shape[1]))
    np.add.at(sums, groups, units)
    pairs = float((size * (size - 1)).sum())
    return float(((sums**2).sum() - size.sum()) / pairs) if pairs else float("nan")


def cohesion_rows(source: str, codes: np.ndarray, modality: str, vectors: np.ndarray) -> Iterator[Row]:
    """Cohesion of a modality's centred features within shared prefixes, per level; level 0 is all pairs, so about 0."""
    centred = vectors - vectors.mean(0)
    for level in range(codes.shape[1] + 1):
        value = cohesion(centred, prefix_groups(codes, level))
        if np.isfinite(value):
            yield source, level, f"prefix_cohesion_{modality}", value


def agreement(first: np.ndarray, second: np.ndarray, size: int) -> tuple[float, float]:
    """Share of items whose two codes are the same, and what shuffling one of the two would give on average.

    Args:
        first: One level's codes of a modality, int64 [n].
        second: The same of another.
        size: K.

    Returns:
        observed, and expected = sum_k n_k m_k / n^2, which is exact for a uniformly random permutation.
    """
    n = len(first)
    if n == 0:
        return float("nan"), float("nan")
    expected = (np.bincount(first, minlength=size) / n) @ (np.bincount(second, minlength=size) / n)
    return float((first == second).mean()), float(expected)
