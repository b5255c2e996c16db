"""Fitting what the prior, content similarity and repetition weigh, by NDCG@10 on validation, on a small grid.

First the prior's smoothing and its weight, the same for everybody. Then content similarity, its temperature and its weight together with
the prior's level. Then what the prior's weight makes of a history's length and support, which matters most beside content similarity.
These two steps are kept only if users on whom they were not chosen are ranked better by them, by more than a standard error. Then what
was never sold, and is buried where the prior counts for much, is lifted as far as it costs next to nothing. At last repetition, seen items
not masked.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from bbqrec_core.dataset import EvalSplit
from bbqrec_core.determinism import deterministic_on
from bbqrec_core.evaluation.metrics import expected_ndcg
from bbqrec_core.prior.cooccurrence import CoOccurrenceKnn
from bbqrec_core.sequence.config import COLD_COST
from bbqrec_core.sequence.content import ContentSimilarity, ContentVectors
from bbqrec_core.sequence.evidence import Evidence, gather_evidence
from bbqrec_core.sequence.mixture import CUT_OFF, Mixture, PriorWeight, Scores, mix
from bbqrec_core.sequence.prior import BehaviourPrior, blend

SMOOTHINGS = (0.01, 0.03, 0.1, 0.3)
LEVELS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 7.0, 10.0)
SLOPES = (0.0, -0.25, 0.25, -0.5, 0.5)
TEMPERATURES = (0.05, 0.03, 0.1)
"""Of content similarity, the first the one that proposes candidates."""
CONTENTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7)
"""Weights of content similarity."""
COLD_LIFTS = tuple(step / 4 for step in range(33))
LEAST_COLD_TARGETS = 10
"""With fewer nothing can be told of items that were never sold."""
FOLDS = 5
REPETITIONS = (0.0, -1.0, 1.0, -2.0, 2.0, -4.0, 4.0, -8.0, 8.0, -16.0, -32.0)
"""The first of equals is taken, so that nothing is added where it makes no difference."""


@dataclass(frozen=True)
class Helpers:
    """What can have a say beside a model's heads; None = it has none.

    Attributes:
        knn: What the behaviour prior consists of.
        vectors: What content similarity compares.
        max_history: How many of the most recent items it looks at.
        repetition: Whether to fit what it is worth that an item stands in the history.
        cold_cost: Share of NDCG@10 that items which were never sold may cost those who are to get others.
    """

    knn: CoOccurrenceKnn | None = None
    vectors: ContentVectors | None = None
    max_history: int = 20
    repetition: bool = True
    cold_cost: float = COLD_COST

    def __bool__(self) -> bool:
        return self.knn is not None or self.vectors is not None or self.repetition


def fit_helpers(
    valid: EvalSplit,
    score: Callable[[torch.Tensor], Scores],
    heads: Mapping[str, float],
    helpers: Helpers,
    device: torch.device,
    batch: int,
) -> tuple[Mixture, BehaviourPrior | None, ContentSimilarity | None]:
    """Fit on top of the heads, one after the other, what the module's docstring tells.

    Args:
        valid: At least one user.
        score: Log-probabilities by head for histories, int64 [batch, max_history].
        heads: Weights of the heads, which stay as they are.
        helpers: What to fit.
        device: Where `score` gives its results.
        batch: Users scored at a time.

    Returns:
        The mix, the prior, and content similarity if it came out to have a say, on the CPU.
    """
    prior = None if helpers.knn is None else BehaviourPrior(helpers.knn.to(device), 1.0)
    vectors = helpers.vectors
    tried = [] if vectors is None else [ContentSimilarity(vectors, value, helpers.max_history).to(device) for value in TEMPERATURES]
    with deterministic_on(device):
        evidence = gather_evidence(valid, score, prior, batch, tried)
    mixture, smoothing, content = Mixture(heads), 1.0, None
    if prior is not None:
        weight, smoothing = fit_prior_weight(evidence, heads)
        mixture, prior = replace(mixture, prior=weight), prior.with_smoothing(smoothing).to("cpu")
    if tried:
        mixture, column = fit_content(evidence, mixture, smoothing)
        content = tried[column].to("cpu") if mixture.content else None
        evidence = evidence.at_temperature(column)
    mixture = fit_support(evidence, mixture, smoothing)
    mixture = fit_cold_lift(evidence, mixture, smoothing, helpers.cold_cost)
    if helpers.repetition:
        mixture = replace(mixture, repetition=fit_repetition(evidence, mixture, smoothing))
    return mixture, prior, content


def fit_prior_weight(evidence: Evidence, heads: Mapping[str, float]) -> tuple[PriorWeight, float]:
    """The prior's weight, the same for every history, and the smoothing that rank the targets best, seen items masked.

    Args:
        evidence: Of validation, gathered with a prior.
        heads: Weights of the heads, which stay as they are.

    Returns:
        The weight, of level 0 where the prior does not help, and the smoothing.
    """
    choices = list(itertools.product(SMOOTHINGS, LEVELS))
    plain = [(Mixture(heads, PriorWeight(level)), smoothing) for smoothing, level in choices]
    smoothing, level = choices[_best(per_user_ndcg(evidence, plain))]
    return PriorWeight(level), smoothing


def fit_content(evidence: Evidence, mixture: Mixture, smoothing: float) -> tuple[Mixture, int]:
    """The weight and temperature of content similarity, and the prior's level beside it, that rank the targets best, seen items masked.

    Args:
        evidence: Of validation, gathered with content similarity at each of TEMPERATURES.
        mixture: What is fitted so far; comes back as it is where content similarity does not help users on whom it was not chosen.
        smoothing: The prior's.

    Returns:
        The mix, and which of the temperatures.
    """
    weight = mixture.prior
    levels = LEVELS if weight.level else (0.0,)
    beside = [replace(weight, level=level) for level in levels]
    choices = [mixture] + [replace(mixture, prior=prior, content=content) for content in CONTENTS[1:] for prior in beside]
    at = [evidence.at_temperature(column) for column in range(len(TEMPERATURES))]
    values = np.concatenate([per_user_ndcg(part, [(choice, smoothing) for choice in choices]) for part in at])
    if not generalises(values):
        return mixture, 0
    column, row = divmod(_best(values), len(choices))
    return choices[row], column


def fit_support(evidence: Evidence, mixture: Mixture, smoothing: float) -> Mixture:
    """What the prior's weight makes of a history's length and of how often its last item occurs, so that targets are ranked best.

    Args:
        evidence: Of validation, with content similarity at the temperature that was chosen.
        mixture: What is fitted so far; comes back as it is where the prior has no say, or where this does not help users on whom it
            was not chosen.
        smoothing: The prior's.
    """
    level = mixture.prior.level
    if not level:
        return mixture
    length, support = evidence.support.mean(0).tolist()
    tilted = [replace(mixture, prior=PriorWeight(level, slopes, (length, support))) for slopes in itertools.product(SLOPES, SLOPES)]
    values = per_user_ndcg(evidence, [(choice, smoothing) for choice in tilted])
    return tilted[_best(values)] if generalises(values) else mixture


def fit_cold_lift(evidence: Evidence, mixture: Mixture, smoothing: float, cost: float) -> Mixture:
    """How far to lift items that were never sold, so that those who are to get one are ranked best, and all others hardly worse.

    Args:
        evidence: Of validation, with content similarity at the temperature that was chosen.
        mixture: What is fitted so far; comes back as it is where the prior has no say, or too few targets were never sold.
        smoothing: The prior's.
        cost: Share of the others' NDCG@10, seen items masked, that may be lost.
    """
    cold = evidence.cold[:, 0].numpy()
    if not mixture.prior.level or cold.sum() < LEAST_COLD_TARGETS:
        return mixture
    lifted = [replace(mixture, prior=replace(mixture.prior, cold_lift=lift)) for lift in COLD_LIFTS]
    values = per_user_ndcg(evidence, [(choice, smoothing) for choice in lifted])
    others = values[:, ~cold].mean(axis=1) if not cold.all() else np.zeros(len(values))
    affordable = np.flatnonzero(others >= others[0] * (1 - cost) - 1e-12)
    return lifted[affordable[_best(values[np.ix_(affordable, cold)])]]


def fit_repetition(evidence: Evidence, mixture: Mixture, smoothing: float) -> float:
    """What to add to the score of items of the history, so that targets are ranked best where seen items are not masked."""
    values = per_user_ndcg(evidence, [(replace(mixture, repetition=value), smoothing) for value in REPETITIONS], masked=False)
    return REPETITIONS[_best(values)]


def generalises(values: np.ndarray) -> bool:
    """Whether choosing among rows beats the first row on users who had no part in the choice, by more than a standard error.

    Args:
        values: A metric by choice and user, float64 [choices, users]; nothing generalises from fewer than FOLDS users.
    """
    if values.shape[1] < FOLDS:
        return False
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
        masked: Leave out items that the user has.

    Returns:
        float64 [mixes, users].
    """
    closed = ~evidence.real | evidence.seen if masked else ~evidence.real
    values = np.empty((len(mixes), len(evidence)))
    for row, (mixture, smoothing) in enumerate(mixes):
        scores = mix(evidence.heads, mixture.heads)
        if mixture.prior.level:
            told = blend(evidence.shares, evidence.popularity, smoothing)
            if mixture.prior.cold_lift:
                told = told + mixture.prior.cold_lift * evidence.cold
            scores = scores + mixture.prior.of(evidence.support) * told
        if mixture.content:
            scores = scores + mixture.content * evidence.content[:, :, 0]
        if mixture.repetition:
            scores = scores + mixture.repetition * evidence.history
        candidates = scores.masked_fill(closed, float("-inf")).numpy()
        above = np.count_nonzero(candidates > candidates[:, :1], axis=1) + np.where(np.isneginf(candidates[:, 0]), CUT_OFF, 0)
        tied = np.count_nonzero(candidates == candidates[:, :1], axis=1) - 1
        values[row] = expected_ndcg(above, tied, CUT_OFF)
    return values


def _best(values: np.ndarray) -> int:
    """Row of the highest mean, the first of equals (up to rounding)."""
    means = values.mean(axis=1)
    return int(np.flatnonzero(means >= means.max() - 1e-12)[0])
