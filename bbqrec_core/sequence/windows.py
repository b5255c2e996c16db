"""Training sequences: which stretch of a user's history is a row, what its targets are, in which order rows come."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from bbqrec_core.sequence.model import PAD, place_start


@dataclass(frozen=True)
class Windows:
    """Stretches of train sequences.

    A sequence of up to max_history + 1 items is one window. A longer one is cut from its end into windows of max_history + 1 items that
    overlap by one, so that EVERY interaction is a target exactly once an epoch, recent ones under the fullest history, and a heavy
    user weighs as much as what he bought. Keeping only the last window would throw data away; a window per position would
    repeat it max_history times for no new target.

    Attributes:
        items: item_idx, int32 [n, max_history + 1], right-aligned, PAD elsewhere.
        from_start: Whether the window begins where the user does; only then is its first item a target (of START). bool [n].
    """

    items: torch.Tensor
    from_start: torch.Tensor

    @classmethod
    def cut(cls, offsets: np.ndarray, items: np.ndarray, max_history: int) -> "Windows":
        """Cut ragged sequences into windows.

        Args:
            offsets: int64 [n_sequences + 1].
            items: item_idx of all sequences one after another, int64.
            max_history: Items that the model looks at.
        """
        lengths = np.diff(offsets)
        counts = np.where(lengths > 0, np.maximum(1, -(-(lengths - 1) // max_history)), 0)
        sequence = np.repeat(np.arange(len(lengths)), counts)
        place = np.arange(len(sequence)) - np.repeat(np.cumsum(counts) - counts, counts)
        end = offsets[1:][sequence] - place * max_history
        begin = np.maximum(offsets[:-1][sequence], end - max_history - 1)
        index = end[:, None] - (max_history + 1) + np.arange(max_history + 1)
        inside = index >= begin[:, None]
        matrix = np.full(index.shape, PAD, dtype=np.int32)
        matrix[inside] = items[index[inside]]
        return cls(torch.from_numpy(matrix), torch.from_numpy(begin == offsets[:-1][sequence]))

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and next items of some rows, each int64 [len(rows), width of the longest]; a target is PAD where there is none."""
        items = self.items[rows].long()
        longest = int((items >= 0).sum(1).max())
        targets = items[:, items.shape[1] - longest :].clone()
        tokens = place_start(F.pad(targets[:, :-1], (1, 0), value=PAD))
        first = longest - (targets >= 0).sum(1)
        cut = ~self.from_start[rows]
        targets[cut.nonzero()[:, 0], first[cut]] = PAD
        return tokens, targets

    def targets_of(self, rows: torch.Tensor) -> int:
        """How many targets some rows have."""
        return int((self.items[rows] >= 0).sum()) - int((~self.from_start[rows]).sum())

    def epoch(self, batch_size: int, seed: int) -> list[torch.Tensor]:
        """Rows of each batch of an epoch, in an order that depends on the seed alone; no batch is empty."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return list(order.split(batch_size))
