"""Fitting what the prior and repetition weigh, by NDCG@10 on validation, on a grid that is small beside the number of users.

First the prior's smoothing and its weight, the same for everybody. Then what the weight makes of a history's length and support: kept only
if users on whom it was not chosen are ranked better by it, by more than a standard error. At last repetition, seen items not masked.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bbqrec_core.evaluation.metrics import expected_ndcg
from bbqrec_core.sequence.evidence import Evidence
from bbqrec_core.sequence.mixture import CUT_OFF, Mixture, PriorWeight, mix
from bbqrec_core.sequence.prior import blend

SMOOTHINGS = (0.01, 0.03, 0.1, 0.3)
LEVELS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 7.0, 10.0)
SLOPES = (0.0, -0.25, 0.25, -0.5, 0.5)
FOLDS = 5
REPETITIONS = (0.0, -1.0, 1.0, -2.0, 2.0, -4.0, 4.0, -8.0, 8.0, -16.0, -32.0)
"""The first of equals is taken, so that nothing is added where it makes no difference."""


def fit_prior_weight(evidence: Evidence, heads: Mapping[str, float]) -> tuple[PriorWeight, float]:
    """The prior's weight and smoothing that rank the targets best, seen items masked.

    Args:
        evidence: Of validation, gathered with a prior.
        heads: Weights of the heads, which stay as they are.

    Returns:
        The weight, of level 0 where the prior does not help, and the smoothing.
    """
    choices = list(itertools.product(SMOOTHINGS, LEVELS))
    plain = [(Mixture(heads, PriorWeight(level)), smoothing) for smoothing, level in choices]
    smoothing, level = choices[_best(per_user_ndcg(evidence, plain))]
    if level == 0:
        return PriorWeight(), smoothing
    length, support = evidence.support.mean(0).tolist()
    tilted = [PriorWeight(level, slopes, (length, support)) for slopes in itertools.product(SLOPES, SLOPES)]
    values = per_user_ndcg(evidence, [(Mixture(heads, weight), smoothing) for weight in tilted])
    return (tilted[_best(values)] if generalises(values) else PriorWeight(level)), smoothing


def fit_repetition(evidence: Evidence, mixture: Mixture, smoothing: float) -> float:
    """What to add to the score of items of the history, so that targets are ranked best where seen items are not masked."""
    values = per_user_ndcg(evidence, [(replace(mixture, repetition=value), smoothing) for value in REPETITIONS], masked=False)
    return REPETITIONS[_best(values)]


def generalises(values: np.ndarray) -> bool:
    """Whether choosing among rows beats the first row on users who had no part in the choice, by more than a standard error.

    Args:
        values: A metric by choice and user, float64 [choices, users].
    """
    fold = np.arange(values.shape[1]) % FOLDS
    gain = np.zeros(values.shape[1])
    for number in range(FOLDS):
        chosen = _best(values[:, fold != number])
        gain[fold == number] = (values[chosen] - values[0])[fold == number]
    return bool(gain.mean() > gain.std() / np.sqrt(max(1, len(gain))))


def per_user_ndcg(evidence: Evidence, mixes: Sequence[tuple[Mixture, float]], masked: bool = True) -> np.ndarray:
    """NDCG@10 of every user under each mix and smoothing, ties by expectation.

    Args:
        evidence: The candidates.
        mixes: Mixture and the prior's smoothing.
        masked: Leave out items of the history, but never the target.

    Returns:
        float64 [mixes, users].
    """
    closed = ~evidence.real | evidence.seen if masked else ~evidence.real
    closed[:, 0] = False
    values = np.empty((len(mixes), len(evidence)))
    for row, (mixture, smoothing) in enumerate(mixes):
        scores = mix(evidence.heads, mixture.heads)
        if mixture.prior.level:
            scores = scores + mixture.prior.of(evidence.support) * blend(evidence.shares, evidence.popularity, smoothing)
        if mixture.repetition:
            scores = scores + mixture.repetition * evidence.history
        candidates = scores.masked_fill(closed, float("-inf")).numpy()
        above = np.count_nonzero(candidates > candidates[:, :1], axis=1)
        tied = np.count_nonzero(candidates == candidates[:, :1], axis=1) - 1
        values[row] = expected_ndcg(above, tied, CUT_OFF)
    return values


def _best(values: np.ndarray) -> int:
    """Row of the highest mean, the first of equals (up to rounding)."""
    means = values.mean(axis=1)
    return int(np.flatnonzero(means >= means.max() - 1e-12)[0])
