"""The interface that the model and every baseline share.

Whatever can score a catalogue can be evaluated, reported and served; nothing else is asked of it.
"""

from typing import Protocol

import torch


class Recommender(Protocol):
    """Scores every item of the catalogue for a batch of histories.

    Attributes:
        name: Short, unique in a run, as shown in tables: "BBQRec", "SASRec", "co-occurrence kNN", "popularity".
        n_items: Catalogue size.
        max_history: How many of the most recent items it looks at.
    """

    name: str
    n_items: int
    max_history: int

    def score(self, histories: torch.Tensor) -> torch.Tensor:
        """Score the catalogue.

        Args:
            histories: item_idx in time order, most recent last, padded on the left with -1, int64 [batch, any width]. A row may
                be all padding (an unknown user): then popularity, or what the model takes for it, decides.

        Returns:
            float32 [batch, n_items], higher is better, finite; comparable within a row only. Seen items are not masked here.
        """
        ...


def mask_seen(scores: torch.Tensor, rows: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Set the scores of seen items to minus infinity, on a copy.

    Args:
        scores: float32 [batch, n_items].
        rows: int64 [n_seen], row of each seen item.
        items: int64 [n_seen], item_idx.
    """
    masked = scores.clone()
    masked[rows, items] = float("-inf")
    return masked
