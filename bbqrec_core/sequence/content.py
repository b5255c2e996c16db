"""Content similarity: how near an item is, by what it looks like and reads like, to the items of a history, as a score beside the others.

    score(j) = log( sum over the history of w_h exp(max(cos(h, j), 0) / tau) ),   w_h ~ r^-1/2, summing to 1, r = 1 for the most recent

cos is that of two items' frozen text or image features, centred and reduced to their main components, and the mean of both where both items
have both; an item says nothing of itself. Codes are made to forget what tells two shades of one nail polish apart; this is what remembers.
It is similarity of history and candidate at the output, beside the one that reweights attention (method, stage 2). Its weight and tau are
fitted on validation (`mixture_fit.py`). Nothing here has seen behaviour.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from bbqrec_core.dataset import ItemFeatures
from bbqrec_core.errors import ArtifactError
from bbqrec_core.sequence.prior import packed

CONTENT = "content"
COMPONENTS = 64
"""Main components kept of each modality: as good as all 384 of a sentence encoder (docs/experiments/mix.md)."""
RECENCY_DECAY = 0.5
COLUMNS, SPEAKERS = 16_384, 1_024
"""Items, and items of histories, compared at a time: memory goes with these, not with the catalogue or the batch."""
ROWS = 65_536
"""Feature vectors in double precision at a time."""


@dataclass(frozen=True)
class ContentVectors:
    """What `ContentSimilarity` compares.

    Attributes:
        values: A modality's components after the other's, each part of unit length, or zeros where the item lacks it: float32 [n_items, d].
        widths: How many of them are of each modality.
    """

    values: torch.Tensor
    widths: tuple[int, ...]


class ContentSimilarity:
    """See the module's docstring.

    Args:
        vectors: From `content_vectors`.
        temperature: tau, above 0.
        max_history: How many of the most recent items speak.
    """

    def __init__(self, vectors: ContentVectors, temperature: float, max_history: int) -> None:
        self.vectors, self.temperature, self.max_history = vectors, temperature, max_history
        self.n_items = len(vectors.values)
        self._has = torch.stack([part.any(1) for part in vectors.values.split(vectors.widths, dim=1)], dim=1).float()

    def scores(self, histories: torch.Tensor) -> torch.Tensor:
        """Of every item.

        Args:
            histories: item_idx in time order, most recent last, int64 [batch, any]; -1 may stand anywhere and is skipped.

        Returns:
            float32 [batch, n_items], finite, at least 0 and at most 1 / temperature; all 0 for an empty history.
        """
        known, weights = self._speakers(histories)
        items, place = known.unique(return_inverse=True)
        speakers = weights.new_zeros(len(known), len(items)).scatter_add_(1, place, weights)
        sums = weights.new_zeros(len(known), self.n_items)
        for begin in range(0, self.n_items, COLUMNS):
            columns = torch.arange(begin, min(begin + COLUMNS, self.n_items), device=items.device)
            for first in range(0, len(items), SPEAKERS):
                rows = items[first : first + SPEAKERS]
                sums[:, columns] += speakers[:, first : first + SPEAKERS] @ self._near(rows, columns)
        return _log(sums)

    def scores_of(self, histories: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """The same of some items, int64 [batch, n], at no cost that goes with the catalogue: float32 [batch, n]."""
        known, weights = self._speakers(histories)
        return _log((self._near(items, known) @ weights[:, :, None]).squeeze(2))

    def proposals(self, histories: torch.Tensor) -> torch.Tensor:
        """A score of every item, to find candidates by, at the cost of one product: float32 [batch, n_items]."""
        known, weights = self._speakers(histories)
        return (self.vectors.values[known] * weights[:, :, None]).sum(1) @ self.vectors.values.T

    def to(self, device: str | torch.device) -> "ContentSimilarity":
        """The same on a device."""
        return ContentSimilarity(replace(self.vectors, values=self.vectors.values.to(device)), self.temperature, self.max_history)

    def describe(self) -> dict[str, Any]:
        """All but the vectors' values, JSON-ready."""
        return {"temperature": self.temperature, "max_history": self.max_history, "widths": list(self.vectors.widths)}

    @classmethod
    def load(cls, description: Mapping[str, Any], values: torch.Tensor) -> "ContentSimilarity":
        """What `describe` described, on the CPU.

        Raises:
            KeyError, RuntimeError: The description is of something else.
        """
        return cls(ContentVectors(values, tuple(description["widths"])), description["temperature"], description["max_history"])

    def _speakers(self, histories: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The items that speak, int64 [batch, width], 0 in place of padding, and how much each says, float32, the same shape."""
        recent = packed(histories)[:, -self.max_history :]
        real = recent >= 0
        place = torch.arange(recent.shape[1], 0, -1, device=recent.device, dtype=torch.float32)  # 1 for the most recent
        weights = torch.where(real, place**-RECENCY_DECAY, 0.0)
        return recent.clamp_min(0), weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)

    def _near(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """exp(max(cos, 0) / tau) of items, int64 [..., a] and [..., b], 1 for an item with itself: float32 [..., a, b]."""
        values, has = self.vectors.values, self._has
        near = values[left] @ values[right].transpose(-1, -2)
        if has.shape[1] > 1:  # with one modality nothing is shared but 0 or 1
            near /= (has[left] @ has[right].transpose(-1, -2)).clamp_min_(1.0)
        near.clamp_min_(0).div_(self.temperature).exp_()
        return near.masked_fill_(left[..., :, None] == right[..., None, :], 1.0)


def content_vectors(features: Mapping[str, ItemFeatures]) -> ContentVectors | None:
    """What `ContentSimilarity` compares.

    Args:
        features: By modality, from an embed artifact.

    Returns:
        None where no two items have features of one modality that differ.

    Raises:
        ArtifactError: Features are not finite.
    """
    parts = [part for name in sorted(features) if (part := _main_components(name, features[name])) is not None]
    if not parts:
        return None
    return ContentVectors(torch.from_numpy(np.concatenate(parts, axis=1)), tuple(part.shape[1] for part in parts))


def _main_components(modality: str, features: ItemFeatures) -> np.ndarray | None:
    """Unit vectors along the largest principal directions, zeros for items without the modality; None where all are the same."""
    rows = np.flatnonzero(features.present)
    if len(rows) < 2:
        return None
    if not np.isfinite(features.values[rows]).all():
        raise ArtifactError(f"Some {modality} features are not finite.", "Run the stage `embed` again.")
    mean = features.values[rows].mean(axis=0, dtype=np.float64)
    parts = np.array_split(rows, -(-len(rows) // ROWS))
    scatter = sum((centred.T @ centred for centred in (features.values[part] - mean for part in parts)), np.zeros((len(mean), len(mean))))
    variances, directions = np.linalg.eigh(scatter)
    if variances[-1] <= 1e-9 * (variances.clip(0).sum() + len(rows) * float(mean @ mean)):
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


def _log(sums: torch.Tensor) -> torch.Tensor:
    """Logarithm of weighted means of what is at least 1; the sum of an empty history, 0, counts as 1: it is near to nothing."""
    return sums.clamp_min(1.0).log()
