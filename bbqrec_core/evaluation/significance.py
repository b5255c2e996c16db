"""How certain a mean or a difference is: bootstrap intervals, paired permutation tests, Holm's correction.

Users are the unit throughout: they are what a new sample would bring anew. Everything is seeded and vectorised, in bounded memory.
"""

from collections.abc import Mapping

import numpy as np

BLOCK = 1 << 23
"""Random numbers drawn at once."""


def bootstrap_intervals(values: np.ndarray, seed: int, samples: int = 1000, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap intervals of means over users (Efron and Tibshirani, 1993, chapter 13).

    All rows share their resamples, so that metrics of one set of users can be set beside one another.

    Args:
        values: One row per metric, one column per user, [m, n], n at least 1.
        seed: Decides the resamples.
        samples: How many resamples.
        level: Share of the resampled means inside the interval.

    Returns:
        low and high, float64 [m] each.
    """
    values = np.atleast_2d(np.asarray(values, dtype=np.float64))
    n = values.shape[1]
    if n == 0:
        raise ValueError("there is nobody to resample")
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK // n)
    means = []
    for start in range(0, samples, block):
        size = min(block, samples - start)
        drawn = rng.integers(n, size=(size, n)) + np.arange(size)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        means.append(values @ times.T / n)
    low, high = np.quantile(np.concatenate(means, axis=1), [(1 - level) / 2, (1 + level) / 2], axis=1)
    return low, high


def paired_permutation_test(differences: np.ndarray, seed: int, samples: int = 10_000) -> float:
    """Two-sided p of a paired permutation test of mean zero: under the null hypothesis each difference could have had the other sign.

    All sign patterns are tried if there are no more of them than `samples`; otherwise that many are drawn, and the observed one counts
    as one of them, so that p is never 0 (Phipson and Smyth, 2010).

    Args:
        differences: One per user, [n]. Zeros change no sum and are left out of the work, not of the null hypothesis.
        seed: Decides the patterns drawn.
        samples: How many patterns.
    """
    differences = np.asarray(differences, dtype=np.float64)
    differences = differences[differences != 0]
    n = len(differences)
    if n == 0:
        return 1.0
    observed = abs(differences.sum()) - 1e-9 * np.abs(differences).sum()  # rounding must not tell equal sums apart
    if n < 63 and 2**n <= samples:
        signs = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float(np.mean(np.abs((2 * signs - 1) @ differences) >= observed))
    rng = np.random.default_rng(seed)
    total = differences.sum()
    block = max(1, BLOCK // n)
    extreme = 0
    for start in range(0, samples, block):
        size = min(block, samples - start)
        bits = np.unpackbits(np.frombuffer(rng.bytes(size * -(-n // 8)), dtype=np.uint8).reshape(size, -1), axis=1, count=n)
        extreme += int((np.abs(2 * (bits @ differences) - total) >= observed).sum())
    return (extreme + 1) / (samples + 1)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's (1979) step-down correction for several tests: adjusted p values, in the given order.

    Args:
        p_values: float [m].

    Returns:
        float64 [m]; rejecting where it is at most alpha keeps the chance of any false rejection at alpha or below.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * (len(p_values) - np.arange(len(p_values))))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def compare_with(base: str, values: Mapping[str, np.ndarray], seed: int) -> dict[str, tuple[float, float]]:
    """Set one model beside all others, in pairs of the same user.

    Args:
        base: Its name.
        values: By name a value per user, [n] each; over several seeds, each user's mean.
        seed: Decides the permutations.

    Returns:
        By the others' names, in their order: mean of other minus base, and Holm's p over all the others.
    """
    differences = {name: other - values[base] for name, other in values.items() if name != base}
    adjusted = holm(np.array([paired_permutation_test(difference, seed) for difference in differences.values()]))
    return {name: (float(difference.mean()), float(p)) for (name, difference), p in zip(differences.items(), adjusted, strict=True)}
