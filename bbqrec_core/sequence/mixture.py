"""How several sources of scores become one, and how the mix is fitted on validation.

A score source is anything that gives log-probabilities of all items for a batch of users: the heads today, a behaviour prior tomorrow.
Add it to the mapping under its name, and it is mixed and fitted like the others.
Method, stage 2: final score = normalised log-probabilities, mixed with weights fitted on validation.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from bbqrec_core.dataset import EvalSplit
from bbqrec_core.evaluation.metrics import expected_ndcg, expected_recall
from bbqrec_core.evaluation.ranking import mask_histories, rank_targets, seen_items

Scores = Mapping[str, torch.Tensor]
"""Log-probabilities by source, each float32 [batch, n]."""
CUT_OFF = 10


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
    """
    sums = np.zeros((len(mixes), 2))
    for place in batches(len(split), batch_size):
        scores = score(torch.from_numpy(split.histories[place]))
        rows, seen = seen_items(split, place)
        for column, weights in enumerate(mixes):
            mixed = mix(scores, weights)
            targets = torch.from_numpy(split.targets[place]).to(mixed.device)
            masked = mask_histories(mixed, rows.to(mixed.device), seen.to(mixed.device), targets)
            above, tied = (count.cpu().numpy() for count in rank_targets(masked, targets))
            sums[column] += expected_ndcg(above, tied, CUT_OFF).sum(), expected_recall(above, tied, CUT_OFF).sum()
    return [(float(ndcg), float(recall)) for ndcg, recall in sums / len(split)]


def batches(n: int, size: int) -> Iterator[slice]:
    """Slices that cover n rows."""
    for begin in range(0, n, size):
        yield slice(begin, min(begin + size, n))
