"""Full ranking over the catalogue: from scores to where each user's target landed, and to lists of recommendations.

The protocol's rules live here: no sampled negatives, seen items masked and unmasked, ties counted and never resolved in the target's
favour. What the counts mean as metrics is `metrics.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bbqrec_core.dataset import PADDING, EvalSplit
from bbqrec_core.errors import StageError
from bbqrec_core.evaluation.metrics import per_user_metrics
from bbqrec_core.recommender import Recommender, mask_seen

ScoreFunction = Callable[[torch.Tensor], torch.Tensor]
"""From histories, int64 [batch, width], to scores, float32 [batch, n_items]: what `Recommender.score` is."""

FIRST_BATCH = 64
"""Users in the first batch, at most: only scores tell how large a scoring function's catalogue is."""
MAX_BATCH = 1024
MISSED = 1_000_000
"""How many are above a target that is masked itself: more than any list is long."""
MAX_SCORES = 1 << 23
"""Scores held at once; 32 MiB as float32, and a few times that while they are ranked. Batches are cut accordingly."""


@dataclass(frozen=True)
class Ranks:
    """Where the targets landed.

    Attributes:
        above: Candidates scored strictly above the target, int64 [n].
        tied: Other candidates with exactly the target's score, int64 [n].
    """

    above: np.ndarray
    tied: np.ndarray


@dataclass(frozen=True)
class Ranking:
    """What a recommender makes of a split, one way of masking.

    Attributes:
        ranks: Where the targets landed.
        top: item_idx of the best k, best first, int64 [n, k]; PADDING where nothing is left to recommend. Equal scores come in the order
            of item_idx, which a seeded permutation gave.
    """

    ranks: Ranks
    top: np.ndarray


def rank_targets(scores: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Count what is above and what ties with each row's target.

    Args:
        scores: float32 [batch, n_items]; minus infinity for masked items. A target may be one of them, where purchases repeat: nobody is
            recommended it, and MISSED are above it.
        targets: item_idx, int64 [batch].

    Returns:
        above and tied, int64 [batch] each; the target itself is in neither.
    """
    own = scores.gather(1, targets[:, None])
    missed = torch.isneginf(own[:, 0])
    if scores.device.type != "cpu":
        above, tied = (scores > own).sum(1), (scores == own).sum(1)
    else:
        values, others = own.numpy(), scores.numpy()  # numpy counts ten times faster than torch sums booleans
        above, tied = (torch.from_numpy(np.count_nonzero(found, axis=1)) for found in (others > values, others == values))
    return above.masked_fill(missed, MISSED), (tied - 1).masked_fill(missed, 0)


def top_items(scores: torch.Tensor, k: int) -> torch.Tensor:
    """The best k items of each row, best first; equal scores in the order of item_idx, on every device.

    `torch.topk` promises no order among equals. Here score and number become one integer: the float's bits, mapped so that they sort
    like the float, above the number, inverted.

    Args:
        scores: float32 [batch, n_items]; minus infinity for what must not be recommended.
        k: How many; may exceed the catalogue.

    Returns:
        int64 [batch, k], PADDING where nothing is left.
    """
    n_items = scores.shape[1]
    bits = (scores + 0.0).contiguous().view(torch.int32)  # + 0.0 makes -0.0 and 0.0 one
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)
    keys = (ordered << 32) + (n_items - 1 - torch.arange(n_items, device=scores.device))
    best = keys.topk(min(k, n_items), dim=1).indices
    best = best.masked_fill(torch.isneginf(scores.gather(1, best)), PADDING)
    return torch.nn.functional.pad(best, (0, k - best.shape[1]), value=PADDING)


def rank_split(recommender: Recommender, split: EvalSplit, k: int = 10) -> dict[bool, Ranking]:
    """Rank the whole catalogue for every user of a split, each scored once.

    Args:
        recommender: What scores.
        split: Whom to score for; at least one user.
        k: Length of the lists of recommendations.

    Returns:
        Rankings by "seen items masked?".

    Raises:
        StageError: There are no users, or a score is not finite.
    """
    parts: dict[bool, list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]] = {True: [], False: []}
    for scores, rows, items, targets in _batches(recommender.score, recommender.name, split, recommender.n_items):
        for masked in parts:
            candidates = mask_seen(scores, rows, items) if masked else scores
            above, tied = rank_targets(candidates, targets)
            parts[masked].append((above.cpu(), tied.cpu(), top_items(candidates, k).cpu()))
    rankings = {}
    for masked, batches in parts.items():
        columns = [torch.cat(column).numpy() for column in zip(*batches, strict=True)]
        rankings[masked] = Ranking(Ranks(columns[0], columns[1]), columns[2])
    return rankings


def validation_metrics(recommender: Recommender | ScoreFunction, split: EvalSplit, ks: Sequence[int] = (10,)) -> dict[str, float]:
    """Metrics of a split by full ranking, seen items masked, for training loops and tuning.

    Args:
        recommender: A recommender, or just its scoring function.
        split: Whom to score for; at least one user.
        ks: Cut-offs.

    Returns:
        Means over users: `recall_at_<k>`, `ndcg_at_<k>` and `mrr`.

    Raises:
        StageError: There are no users, or a score is not finite.
    """
    score = recommender.score if hasattr(recommender, "score") else recommender
    name = getattr(recommender, "name", "the model")
    above, tied = [], []
    for scores, rows, items, targets in _batches(score, name, split, getattr(recommender, "n_items", 0)):
        counts = rank_targets(mask_seen(scores, rows, items), targets)
        above.append(counts[0].cpu())
        tied.append(counts[1].cpu())
    values = per_user_metrics(torch.cat(above).numpy(), torch.cat(tied).numpy(), ks)
    return {metric: float(value.mean()) for metric, value in values.items()}


def sample_users(split: EvalSplit, size: int, seed: int) -> EvalSplit:
    """A seeded sample of a split's users, in their order; the split itself if it has no more than `size`.

    Args:
        split: The users to choose from.
        size: How many at most; 0 = all.
        seed: Decides who.
    """
    if size == 0 or len(split) <= size:
        return split
    return split.of(np.sort(np.random.default_rng(seed).choice(len(split), size, replace=False)))


def seen_items(split: EvalSplit, place: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """What the users of some consecutive rows have, told to a model or not: what is not recommended where seen items are masked.

    Args:
        split: The users.
        place: Which rows; start and stop given.

    Returns:
        Row within the slice and item_idx of each seen item, int64 [n_seen] each.
    """
    told = _flat(split.seen_offsets, split.seen_items, place)
    if split.withheld_offsets is None or split.withheld_items is None:
        return told
    withheld = _flat(split.withheld_offsets, split.withheld_items, place)
    return torch.cat([told[0], withheld[0]]), torch.cat([told[1], withheld[1]])


def _flat(offsets: np.ndarray, items: np.ndarray, place: slice) -> tuple[torch.Tensor, torch.Tensor]:
    part = offsets[place.start : place.stop + 1]
    rows = np.repeat(np.arange(len(part) - 1), np.diff(part))
    return torch.from_numpy(rows), torch.from_numpy(items[part[0] : part[-1]])


def require_finite(scores: torch.Tensor, name: str, users: np.ndarray) -> None:
    """See that a model can be ranked by.

    Args:
        scores: Of the users' candidates, float [users, n].
        name: Who gave them.
        users: user_idx, int64 [users].

    Raises:
        StageError: A score is not finite.
    """
    if np.isfinite(scores.numpy()).all() if scores.device.type == "cpu" else torch.isfinite(scores).all():  # numpy's is the faster
        return
    bad = int((~torch.isfinite(scores)).any(dim=1).nonzero()[0])
    raise StageError(
        f"{name} gives user {users[bad]} scores that are not finite numbers, so nothing can be ranked by them.",
        "Its training diverged, most likely: lower the learning rate, or look at its curve.",
    )


def _batches(
    score: ScoreFunction, name: str, split: EvalSplit, n_items: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield scores, rows and items of what was seen, and targets, on the scores' device; `n_items` is 0 where nobody knows yet."""
    if not len(split):
        raise StageError(f"There are no users to rank for, so {name} cannot be evaluated.", "Lower ingest's k-core or use more data.")
    start, size = 0, min(FIRST_BATCH, _users_at_once(n_items))
    while start < len(split):
        stop = min(start + size, len(split))
        with torch.inference_mode():
            scores = score(torch.from_numpy(split.histories[start:stop])).to(torch.float32)
        require_finite(scores, name, split.users[start:stop])
        rows, items = seen_items(split, slice(start, stop))
        targets = torch.from_numpy(split.targets[start:stop])
        yield scores, rows.to(scores.device), items.to(scores.device), targets.to(scores.device)
        start, size = stop, _users_at_once(scores.shape[1])


def _users_at_once(n_items: int) -> int:
    return max(1, min(MAX_BATCH, MAX_SCORES // max(1, n_items)))
