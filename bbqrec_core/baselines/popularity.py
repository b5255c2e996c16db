"""The baseline that knows nobody: how often an item was bought in train."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from bbqrec_core.baselines.files import write_model


class Popularity:
    """Scores an item by its interactions in train, for everybody alike.

    Args:
        counts: Interactions per item in train, integer [n_items].
        device: Where scores are made.
    """

    kind = "popularity"
    name = "popularity"
    max_history = 0

    def __init__(self, counts: np.ndarray | torch.Tensor, device: str = "cpu") -> None:
        self._counts = torch.as_tensor(counts, device=device).to(torch.float32)
        self.n_items = len(self._counts)

    def score(self, histories: torch.Tensor) -> torch.Tensor:
        """See `Recommender.score`."""
        return self._counts.expand(len(histories), -1)

    def save(self, folder: Path) -> None:
        """Write it as `files.write_model` does."""
        write_model(folder, {"kind": self.kind}, {"counts": self._counts})

    @classmethod
    def load(cls, description: dict[str, Any], tensors: dict[str, torch.Tensor], device: str) -> "Popularity":
        """Rebuild it from what `files.read_model` read."""
        return cls(tensors["counts"], device)
