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
    for begin in range(0, len(split), batch_size):
        rows = np.arange(begin, min(begin + batch_size, len(split)))
        scores = score(torch.from_numpy(split.histories[rows]))
        for place, weights in enumerate(mixes):
            above, tied = _ranks(mix(scores, weights), split, rows)
            sums[place] += _expected(above, tied)
    return [(float(ndcg), float(recall)) for ndcg, recall in sums / len(split)]


def sample(split: EvalSplit, rows: int, seed: int) -> EvalSplit:
    """A seeded sample of a split's rows, in their order; all of them if `rows` is 0 or no fewer."""
    if rows == 0 or rows >= len(split):
        return split
    chosen = np.sort(np.random.default_rng(seed).choice(len(split), rows, replace=False))
    pieces = [split.seen_items[split.seen_offsets[row] : split.seen_offsets[row + 1]] for row in chosen]
    offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
    return EvalSplit(split.users[chosen], split.histories[chosen], split.targets[chosen], offsets, np.concatenate(pieces))


def _ranks(scores: torch.Tensor, split: EvalSplit, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many items stand above each target, and how many others beside it."""
    seen = split.seen_items[split.seen_offsets[rows[0]] : split.seen_offsets[rows[-1] + 1]]
    owner = np.repeat(np.arange(len(rows)), np.diff(split.seen_offsets[rows[0] : rows[-1] + 2]))
    scores = scores.clone()
    scores[torch.from_numpy(owner).to(scores.device), torch.from_numpy(seen).to(scores.device)] = float("-inf")
    target = scores.gather(1, torch.from_numpy(split.targets[rows]).to(scores.device)[:, None])
    return (scores > target).sum(1).cpu().numpy(), (scores == target).sum(1).cpu().numpy() - 1


def _expected(above: np.ndarray, tied: np.ndarray) -> np.ndarray:
    """Sums of NDCG@10 and Recall@10 over rows, the target being equally likely anywhere among those tied with it."""
    gains = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, CUT_OFF + 2)))])  # gains of the first r places together
    low, high = np.minimum(above, CUT_OFF), np.minimum(above + tied + 1, CUT_OFF)
    return np.array([((gains[high] - gains[low]) / (tied + 1)).sum(), ((high - low) / (tied + 1)).sum()])


def batches(n: int, size: int) -> Iterator[slice]:
    """Slices that cover n rows."""
    for begin in range(0, n, size):
        yield slice(begin, min(begin + size, n))
