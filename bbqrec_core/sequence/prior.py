"""The behaviour prior: what the co-occurrence kNN says of every item, as a score beside the heads'.

    p(j | history) = (1 - smoothing) * votes_j / (sum of votes) + smoothing * (count_j + 1) / (sum over items of (count + 1))

with the median count of what was sold for an item that never was: how it will sell is not known, so it is taken for an ordinary one.

Votes are those of `bbqrec_core.prior.cooccurrence`, fitted on train, in a refitted model on validation too; the second part lets nothing be
impossible, new items included, and is all that there is where nothing co-occurs. The prior is no input of training: a train pair always
co-occurs in train, while most pairs of validation and test never do. How much it weighs is `mixture.py`.
"""

from typing import Any

import torch

from bbqrec_core.prior.cooccurrence import CoOccurrenceKnn

PRIOR = "prior"


class BehaviourPrior:
    """Log-probabilities of all items from what was bought near the items of a history.

    Args:
        knn: Fitted on train.
        smoothing: Share of popularity in the probability, above 0 and at most 1.

    Attributes:
        popularity: What is expected to be bought, float32 [n_items].
        cold: Items that were never sold, bool [n_items].
    """

    def __init__(self, knn: CoOccurrenceKnn, smoothing: float) -> None:
        self.knn = knn
        self.smoothing = smoothing
        self.popularity = expected_popularity(knn.counts)
        self.cold = knn.counts == 0

    def log_probs(self, histories: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of every item.

        Args:
            histories: item_idx in time order, most recent last, int64 [batch, any]; -1 may stand anywhere and is skipped.

        Returns:
            float32 [batch, n_items], finite; each row's exponentials sum to 1.
        """
        return blend(self.shares(histories), self.popularity, self.smoothing)

    def shares(self, histories: torch.Tensor) -> torch.Tensor:
        """Each item's share of the votes, float32 [batch, n_items]; a row without any vote is popularity."""
        votes = self.knn.votes(packed(histories))
        total = votes.sum(1, keepdim=True)
        return torch.where(total > 0, votes / torch.where(total > 0, total, 1.0), self.popularity)

    def support(self, histories: torch.Tensor) -> torch.Tensor:
        """What is known of a history, float32 [batch, 2]: log(1 + items of it that vote), and log(1 + train count of its last item)."""
        known = packed(histories)[:, -self.knn.max_history :]
        length = (known >= 0).sum(1)
        last = known[:, -1] if known.shape[1] else known.new_full((len(known),), -1)
        count = torch.where(last >= 0, self.knn.counts[last.clamp_min(0)], 0.0)
        return torch.stack([length.float(), count], dim=1).log1p()

    def with_smoothing(self, smoothing: float) -> "BehaviourPrior":
        """The same votes, smoothed otherwise."""
        return BehaviourPrior(self.knn, smoothing)

    def to(self, device: str | torch.device) -> "BehaviourPrior":
        """The same prior on a device."""
        return BehaviourPrior(self.knn.to(device), self.smoothing)

    def describe(self) -> dict[str, Any]:
        """All but the numbers of `tensors`, JSON-ready."""
        return {"kind": self.knn.kind, "smoothing": self.smoothing, "knn": self.knn.describe()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """What `load` needs besides `describe`."""
        return self.knn.tensors()

    @classmethod
    def load(cls, description: dict[str, Any], tensors: dict[str, torch.Tensor]) -> "BehaviourPrior":
        """Rebuild it, on the CPU.

        Raises:
            KeyError, TypeError: The description is of something else.
        """
        if description["kind"] != CoOccurrenceKnn.kind:
            raise TypeError(f"a prior of the unknown kind {description['kind']!r}")
        return cls(CoOccurrenceKnn.load(description["knn"], tensors, "cpu"), float(description["smoothing"]))


def expected_popularity(counts: torch.Tensor) -> torch.Tensor:
    """Each item's share of purchases to come, float32 [n_items], from its purchases so far, [n_items]; the sum is 1.

    An item without any counts as the median of the others: a catalogue's new items are no worse than its old ones.
    """
    sold = counts[counts > 0]
    expected = torch.where(counts > 0, counts, sold.median() if len(sold) else 0.0) + 1
    return expected / expected.sum()


def blend(shares: torch.Tensor, popularity: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Log of (1 - smoothing) * shares + smoothing * popularity; the two broadcast."""
    return ((1 - smoothing) * shares + smoothing * popularity).log()


def packed(histories: torch.Tensor) -> torch.Tensor:
    """Move every -1 of a history to its left, items keep their order: int64 [batch, any], the same shape."""
    return histories.gather(1, (histories >= 0).long().argsort(dim=1, stable=True))
