"""How several sources of scores become one: the heads' and the prior's log-probabilities, weighted, and what repetition is worth.

    score(j) = sum over heads of weight * log p_head(j) + alpha(history) * (log p_prior(j) + lift, if j was never sold)
               + content * similarity(history, j) + repetition, if j stands in the history
    alpha(history) = level * exp(slopes . (support - centre)), support = log(1 + length), log(1 + train count of the last item)

Weights are fitted on validation (`mixture_fit.py`). Method, stage 2: final score = normalised log-probabilities, mixed with weights fitted
on validation, which may depend on history length and support.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from bbqrec_core.dataset import EvalSplit
from bbqrec_core.evaluation.metrics import expected_ndcg, expected_recall
from bbqrec_core.evaluation.ranking import rank_targets, require_finite, seen_items
from bbqrec_core.recommender import mask_seen
from bbqrec_core.sequence.content import CONTENT
from bbqrec_core.sequence.prior import PRIOR, BehaviourPrior

Scores = Mapping[str, torch.Tensor]
"""Log-probabilities by source, of CONTENT the logarithm of a similarity, each float32 [batch, n]."""
CUT_OFF = 10
SPAN = 3.0
"""Support further than this from its centre counts as this far: nothing is known of weights out there."""


@dataclass(frozen=True)
class PriorWeight:
    """How much the prior counts for a history.

    Attributes:
        level: For a history of average support; 0 = the prior is not looked at.
        slopes: What a unit more of log(1 + length) and of log(1 + count of the last item) adds to the weight's logarithm.
        centre: Average support on validation.
        cold_lift: Added to the prior's log-probability of items that were never sold: nobody can have voted for them.
    """

    level: float = 0.0
    slopes: tuple[float, float] = (0.0, 0.0)
    centre: tuple[float, float] = (0.0, 0.0)
    cold_lift: float = 0.0

    def of(self, support: torch.Tensor) -> torch.Tensor:
        """The weight of each history: float32 [batch, 2] to [batch, 1]."""
        away = (support - support.new_tensor(self.centre)).clamp(-SPAN, SPAN)
        return self.level * (away @ support.new_tensor(self.slopes)).exp()[:, None]


@dataclass(frozen=True)
class Mixture:
    """All that is fitted on top of the sources.

    Attributes:
        heads: Weight of each head, summing to 1.
        prior: Weight of the behaviour prior.
        content: Weight of content similarity.
        repetition: Added to the score of items that stand in the history.
    """

    heads: Mapping[str, float]
    prior: PriorWeight = PriorWeight()
    content: float = 0.0
    repetition: float = 0.0

    def combine(
        self, scores: Scores, histories: torch.Tensor, prior: BehaviourPrior | None = None, items: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Final scores.

        Args:
            scores: Log-probabilities by head and, under PRIOR, of the prior, each float32 [batch, n]; under CONTENT, content similarity.
            histories: int64 [batch, any]; negative entries are ignored.
            prior: Which prior; needed where its weight is not 0.
            items: What the n columns are, int64 [batch, n]; None = the catalogue in its order.

        Returns:
            float32 [batch, n].
        """
        mixed = mix(scores, self.heads)
        if prior is not None and self.prior.level:
            told = scores[PRIOR]
            if self.prior.cold_lift:
                told = told + self.prior.cold_lift * (prior.cold if items is None else prior.cold[items])
            mixed = mixed + self.prior.of(prior.support(histories)) * told
        if self.content:
            mixed = mixed + self.content * scores[CONTENT]
        if self.repetition:
            mixed = mixed + self.repetition * stands_in(histories, mixed.shape[1], items)
        return mixed

    def without_prior(self) -> "Mixture":
        """The heads alone, with what repetition is worth: neither the prior nor content similarity."""
        return Mixture(self.heads, repetition=self.repetition)

    def describe(self) -> dict[str, Any]:
        """JSON-ready, for `load`."""
        return {"heads": dict(self.heads), "prior": asdict(self.prior), "content": self.content, "repetition": self.repetition}

    @classmethod
    def load(cls, description: Mapping[str, Any]) -> "Mixture":
        """What `describe` described.

        Raises:
            KeyError, TypeError: It is something else.
        """
        prior = description["prior"]
        weight = PriorWeight(prior["level"], tuple(prior["slopes"]), tuple(prior["centre"]), prior["cold_lift"])
        return cls(dict(description["heads"]), weight, description["content"], description["repetition"])


def stands_in(histories: torch.Tensor, n_items: int, items: torch.Tensor | None = None) -> torch.Tensor:
    """Whether items stand in histories.

    Args:
        histories: int64 [batch, any]; negative entries are ignored.
        n_items: Columns asked for, if they are the catalogue.
        items: Columns asked for otherwise, int64 [batch, n].

    Returns:
        bool [batch, n_items or n].
    """
    if items is not None:
        if not histories.shape[1]:
            return torch.zeros_like(items, dtype=torch.bool)
        ordered = histories.sort(dim=1).values  # looked up, not compared one by one: rows may be thousands of items long
        place = torch.searchsorted(ordered, items.contiguous()).clamp_max(ordered.shape[1] - 1)
        return (ordered.gather(1, place) == items) & (items >= 0)
    found = torch.zeros(len(histories), n_items + 1, dtype=torch.bool, device=histories.device)
    return found.scatter_(1, torch.where(histories >= 0, histories, n_items), True)[:, :-1]


def mix(scores: Scores, weights: Mapping[str, float]) -> torch.Tensor:
    """Weighted sum of log-probabilities; sources of weight 0 are not looked at."""
    parts = [scores[name] * weight for name, weight in sorted(weights.items()) if weight]
    return torch.stack(parts).sum(0)


def even(names: tuple[str, ...]) -> dict[str, float]:
    """The same weight for all."""
    return {name: 1 / len(names) for name in names}


def weight_grid(names: tuple[str, ...], steps: int) -> list[dict[str, float]]:
    """All weights that are multiples of 1/steps and sum to 1, the most even first."""
    shares = [counts for counts in itertools.product(range(steps + 1), repeat=len(names)) if sum(counts) == steps]
    shares.sort(key=lambda counts: (sum(count * count for count in counts), counts))
    return [{name: count / steps for name, count in zip(names, counts, strict=True)} for counts in shares]


def ranking_quality(
    split: EvalSplit, score: Callable[[torch.Tensor], Scores], mixes: list[dict[str, float]], batch_size: int
) -> list[tuple[float, float]]:
    """Rank every row's target among all items, seen ones masked, under each mix.

    Args:
        split: What to rank; at least one row.
        score: Log-probabilities by source for histories, int64 [batch, max_history].
        mixes: Weights to try.
        batch_size: Rows scored at a time.

    Returns:
        NDCG@10 and Recall@10 per mix. Ties count by expectation.

    Raises:
        StageError: A score is not finite.
    """
    sums = np.zeros((len(mixes), 2))
    for place in batches(len(split), batch_size):
        scores = score(torch.from_numpy(split.histories[place]))
        for name, values in scores.items():
            require_finite(values, f"The model's {name} head", split.users[place])
        rows, seen = seen_items(split, place)
        for column, weights in enumerate(mixes):
            mixed = mix(scores, weights)
            targets = torch.from_numpy(split.targets[place]).to(mixed.device)
            masked = mask_seen(mixed, rows.to(mixed.device), seen.to(mixed.device))
            above, tied = (count.cpu().numpy() for count in rank_targets(masked, targets))
            sums[column] += expected_ndcg(above, tied, CUT_OFF).sum(), expected_recall(above, tied, CUT_OFF).sum()
    return [(float(ndcg), float(recall)) for ndcg, recall in sums / len(split)]


def batches(n: int, size: int) -> Iterator[slice]:
    """Slices that cover n rows."""
    for begin in range(0, n, size):
        yield slice(begin, min(begin + size, n))
