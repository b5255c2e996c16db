"""Content similarity: how near an item is, by what it looks like and reads like, to the items of a history, as a score beside the others.

    score(j) = log( sum over the history of w_h exp(max(cos(x_h, x_j), 0) / tau) ),   w_h ~ r^-1/2, summing to 1, r = 1 for the most recent

x is an item's frozen text and image features, each centred, reduced to its main components and of unit length, put together so that the
cosine of two items is the mean of both; an item says nothing of itself. Codes are made to forget what tells two shades of one nail polish
apart; this is what remembers. The score is one of the history and the candidate, the variant at the output of the similarity that reweights
attention (method, stage 2), and what tau and its weight are is fitted on validation (`mixture_fit.py`). Nothing here has seen behaviour.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bbqrec_core.dataset import ItemFeatures

CONTENT = "content"
COMPONENTS = 64
"""Main components kept of each modality: as good as all 384 of a sentence encoder (docs/experiments.md)."""
RECENCY_DECAY = 0.5
COLUMNS = 16_384
"""Items compared at a time, so that memory does not go with the catalogue."""
ROWS = 65_536
"""Feature vectors in double precision at a time."""


class ContentSimilarity:
    """See the module's docstring.

    Args:
        vectors: Of each item, of unit length, zeros where nothing is known of it, float32 [n_items, d].
        temperature: tau, above 0.
    """

    def __init__(self, vectors: torch.Tensor, temperature: float) -> None:
        self.vectors = vectors
        self.temperature = temperature
        self.n_items = len(vectors)

    def scores(self, histories: torch.Tensor) -> torch.Tensor:
        """Of every item.

        Args:
            histories: item_idx in time order, most recent last, int64 [batch, any]; -1 may stand anywhere and is skipped.

        Returns:
            float32 [batch, n_items], finite, at least 0 and at most 1 / temperature; all 0 for an empty history.
        """
        weights = _weights(histories)
        items, place = histories.clamp_min(0).unique(return_inverse=True)
        speakers = weights.new_zeros(len(histories), len(items)).scatter_add_(1, place, weights)
        scores = weights.new_empty(len(histories), self.n_items)
        for begin in range(0, self.n_items, COLUMNS):
            near = self._near(self.vectors[items] @ self.vectors[begin : begin + COLUMNS].T)
            own = (items >= begin) & (items < begin + near.shape[1])
            near[own, items[own] - begin] = 1.0
            scores[:, begin : begin + near.shape[1]] = speakers @ near
        return _log(scores, weights)

    def scores_of(self, histories: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """The same of some items, int64 [batch, n], at no cost that goes with the catalogue: float32 [batch, n]."""
        weights, known = _weights(histories), histories.clamp_min(0)
        near = self._near(self.vectors[items] @ self.vectors[known].transpose(1, 2))
        near = torch.where(items[:, :, None] == known[:, None, :], 1.0, near)
        return _log((near @ weights[:, :, None]).squeeze(2), weights)

    def at(self, temperature: float) -> "ContentSimilarity":
        """The same vectors, sharper or smoother."""
        return ContentSimilarity(self.vectors, temperature)

    def to(self, device: str | torch.device) -> "ContentSimilarity":
        """The same on a device."""
        return ContentSimilarity(self.vectors.to(device), self.temperature)

    def describe(self) -> dict[str, Any]:
        """All but the vectors, JSON-ready."""
        return {"temperature": self.temperature}

    def _near(self, cosines: torch.Tensor) -> torch.Tensor:
        return (cosines.clamp_min(0) / self.temperature).exp()


def content_vectors(features: Mapping[str, ItemFeatures]) -> torch.Tensor | None:
    """What `ContentSimilarity` compares.

    Args:
        features: By modality, from an embed artifact.

    Returns:
        float32 [n_items, at most COMPONENTS a modality]; None where no two items have features of one modality that differ.
    """
    parts = [part for name in sorted(features) if (part := _main_components(features[name])) is not None]
    if not parts:
        return None
    return torch.from_numpy(_unit(np.concatenate(parts, axis=1)))


def _main_components(features: ItemFeatures) -> np.ndarray | None:
    """Unit vectors along the largest principal directions, zeros for items without the modality; None where all are the same."""
    rows = np.flatnonzero(features.present)
    if len(rows) < 2:
        return None
    mean = features.values[rows].mean(axis=0, dtype=np.float64)
    parts = np.array_split(rows, -(-len(rows) // ROWS))
    scatter = sum((centred.T @ centred for centred in (features.values[part] - mean for part in parts)), np.zeros((len(mean), len(mean))))
    variances, directions = np.linalg.eigh(scatter)
    if variances[-1] <= 1e-9 * len(rows) * max(1.0, float(mean @ mean)):
        return None
    main = directions[:, variances > 1e-6 * variances[-1]][:, -COMPONENTS:]
    vectors = np.zeros((len(features.present), main.shape[1]), dtype=np.float32)
    for part in parts:
        vectors[part] = _unit((features.values[part] - mean) @ main)
    return vectors


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, rows of zeros as they are."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)


def _weights(histories: torch.Tensor) -> torch.Tensor:
    """How much each position says, float32 [batch, any]: each row sums to 1, padding has none, an empty row is all 0."""
    real = histories >= 0
    place = real.flip(1).cumsum(1).flip(1)  # 1 for the most recent item that is one
    weights = torch.where(real, place.clamp_min(1).float() ** -RECENCY_DECAY, 0.0)
    return weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


def _log(sums: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Logarithm of the weighted sum; a history of nothing is near to nothing."""
    return torch.where(weights.any(1, keepdim=True), sums, 1.0).clamp_min(1.0).log()
