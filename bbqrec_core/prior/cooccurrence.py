"""Co-occurrence kNN: items bought near one another in train recommend each other.

    C[i, j]   = sum over train sequences and positions p < q of |q - p|^-distance_decay, where i is at p and j at q,
                + backward * the same with i and j exchanged; distances beyond the window do not count
    sim(i, j) = C[i, j]^sharpness / (count_j + shrinkage)^popularity, the `neighbours` largest per i kept
    votes(j)  = sum over the history of r^-recency_decay * count_i^-rarity * sim(i, j), r = 1 for the most recent item
    score(j)  = votes(j) / the user's most votes + BACKOFF * popularity of j

so that popularity decides where nothing co-occurs. Memory goes with the pairs that do co-occur, never with n_items squared. Item-based kNN
with such weights is a strong baseline that published tables often lack (Ludewig and Jannach, 2018; Ferrari Dacrema et al., 2019). How the
settings are chosen is `tuning.py`.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bbqrec_core.baselines.files import write_model
from bbqrec_core.dataset import SequenceDataset

BACKOFF = 1e-4
"""Share of popularity in a score whose co-occurrence part is at most 1: it orders what co-occurrence leaves equal."""


@dataclass(frozen=True)
class KnnSettings:
    """One point of the grid; the module's docstring has the formulas."""

    window: int
    distance_decay: float
    backward: float
    sharpness: float
    shrinkage: float
    popularity: float
    neighbours: int
    recency_decay: float
    rarity: float

    @property
    def of_neighbours(self) -> tuple[float, ...]:
        """The settings that decide which neighbours items have."""
        return (self.window, self.distance_decay, self.backward, self.sharpness, self.shrinkage, self.popularity, self.neighbours)


@dataclass(frozen=True)
class Pairs:
    """Every pair of different items near one another in a train sequence, both ways round.

    Attributes:
        n_items: Catalogue size.
        cells: Distinct i * n_items + j, sorted, int64 [n_cells].
        cell: Of each pair, its place in `cells`, int64 [n_pairs].
        distance: Of each pair, in positions, 1 to the window, int32 [n_pairs].
        forward: Whether i came before j, bool [n_pairs].
    """

    n_items: int
    cells: np.ndarray
    cell: np.ndarray
    distance: np.ndarray
    forward: np.ndarray

    @property
    def farthest(self) -> int:
        """Largest distance of any pair; 0 = there is none."""
        return int(self.distance.max(initial=0))


@dataclass(frozen=True)
class Neighbours:
    """Similar items.

    Attributes:
        items: item_idx, int64 [n_items, width].
        similarities: float32 [n_items, width]; 0 where an item has fewer neighbours.
    """

    items: torch.Tensor
    similarities: torch.Tensor


def collect_pairs(offsets: np.ndarray, items: np.ndarray, n_items: int, window: int) -> Pairs:
    """Find the pairs of a set of sequences.

    Args:
        offsets: int64 [n_sequences + 1].
        items: item_idx, int64; sequence r is `items[offsets[r]:offsets[r + 1]]`.
        n_items: Catalogue size.
        window: Largest distance.
    """
    lengths = np.diff(offsets)
    ends = np.repeat(offsets[1:], lengths)  # of each position, where its sequence ends
    keys, distances = [], []
    for distance in range(1, min(window, int(lengths.max(initial=0)) - 1) + 1):
        early = np.flatnonzero(np.arange(len(items)) + distance < ends)
        first, second = items[early], items[early + distance]
        different = first != second
        keys.append(first[different] * n_items + second[different])
        distances.append(np.full(len(keys[-1]), distance, dtype=np.int32))
    key = np.concatenate([np.empty(0, dtype=np.int64), *keys])
    distance_of = np.concatenate([np.empty(0, dtype=np.int32), *distances])
    reverse = key % n_items * n_items + key // n_items
    cells, cell = np.unique(np.concatenate([key, reverse]), return_inverse=True)
    forward = np.repeat([True, False], len(key))
    return Pairs(n_items, cells, cell, np.tile(distance_of, 2), forward)


def find_neighbours(pairs: Pairs, counts: np.ndarray, settings: KnnSettings) -> Neighbours:
    """The most similar items of each item; equal similarities in the order of item_idx.

    Args:
        pairs: What co-occurs, at least as far apart as the window says.
        counts: Interactions per item in train, integer [n_items].
        settings: Of which those in `KnnSettings.of_neighbours` matter here.
    """
    n_items = pairs.n_items
    by_distance = np.arange(1, pairs.farthest + 1, dtype=np.float64) ** -settings.distance_decay
    by_distance[settings.window :] = 0.0
    weight = by_distance[pairs.distance - 1] * np.where(pairs.forward, 1.0, settings.backward)
    together = np.bincount(pairs.cell, weight, minlength=len(pairs.cells))
    cells = pairs.cells[together > 0]
    rows, columns = np.divmod(cells, n_items)
    similarity = together[together > 0] ** settings.sharpness / np.maximum(counts + settings.shrinkage, 1.0)[columns] ** settings.popularity
    degrees = np.bincount(rows, minlength=n_items)
    if degrees.max(initial=0) > settings.neighbours:
        order = np.lexsort((columns, -similarity, rows))
        columns, similarity = columns[order], similarity[order]  # rows are sorted already
    place = np.arange(len(rows)) - (np.cumsum(degrees) - degrees)[rows]
    kept = place < settings.neighbours
    width = min(settings.neighbours, int(degrees.max(initial=0)))
    items = np.zeros((n_items, width), dtype=np.int64)
    similarities = np.zeros((n_items, width), dtype=np.float32)
    items[rows[kept], place[kept]] = columns[kept]
    similarities[rows[kept], place[kept]] = similarity[kept]
    return Neighbours(torch.from_numpy(items), torch.from_numpy(similarities))


class CoOccurrenceKnn:
    """Recommends what was bought near the items of the history.

    Args:
        neighbours: Similar items.
        counts: Interactions per item in train, integer [n_items].
        settings: Of which recency_decay and rarity matter here.
        max_history: How many of the most recent items vote.
        device: Where scores are made.
    """

    kind = "co_occurrence"
    name = "co-occurrence kNN"

    def __init__(
        self, neighbours: Neighbours, counts: np.ndarray | torch.Tensor, settings: KnnSettings, max_history: int, device: str = "cpu"
    ) -> None:
        self.settings = settings
        self.max_history = max_history
        self.counts = torch.as_tensor(counts, device=device).to(torch.float32)
        self.n_items = len(self.counts)
        self._items = neighbours.items.to(device)
        self._similarities = neighbours.similarities.to(device)
        self._rarity = self.counts.clamp_min(1) ** -settings.rarity
        self._popularity = BACKOFF * self.counts / self.counts.max().clamp_min(1)

    def votes(self, histories: torch.Tensor) -> torch.Tensor:
        """What the history's items vote for.

        Args:
            histories: As for `score`.

        Returns:
            float32 [batch, n_items], at least 0; all 0 where nothing co-occurs.
        """
        recent = histories.to(self._items.device)[:, max(histories.shape[1] - self.max_history, 0) :]
        rows, columns = (recent >= 0).nonzero(as_tuple=True)
        voters = recent[rows, columns]
        weight = (recent.shape[1] - columns).to(torch.float32) ** -self.settings.recency_decay * self._rarity[voters]
        cells = rows[:, None] * self.n_items + self._items[voters]
        votes = torch.zeros(len(recent) * self.n_items, device=recent.device)
        votes.scatter_add_(0, cells.flatten(), (weight[:, None] * self._similarities[voters]).flatten())
        return votes.view(len(recent), self.n_items)

    def score(self, histories: torch.Tensor) -> torch.Tensor:
        """See `Recommender.score`."""
        votes = self.votes(histories)
        largest = votes.amax(1, keepdim=True)
        return votes / torch.where(largest > 0, largest, 1.0) + self._popularity

    def to(self, device: str | torch.device) -> "CoOccurrenceKnn":
        """The same on a device."""
        return CoOccurrenceKnn(Neighbours(self._items, self._similarities), self.counts, self.settings, self.max_history, str(device))

    def describe(self) -> dict[str, Any]:
        """All but the numbers of `tensors`, JSON-ready."""
        return {"kind": self.kind, "max_history": self.max_history, "settings": asdict(self.settings)}

    def tensors(self) -> dict[str, torch.Tensor]:
        """What `load` needs besides `describe`."""
        return {"counts": self.counts, "items": self._items.to(torch.int32), "similarities": self._similarities}

    def save(self, folder: Path) -> None:
        """Write it as `files.write_model` does."""
        write_model(folder, self.describe(), self.tensors())

    @classmethod
    def load(cls, description: dict[str, Any], tensors: dict[str, torch.Tensor], device: str) -> "CoOccurrenceKnn":
        """Rebuild it from what `files.read_model` read."""
        neighbours = Neighbours(tensors["items"].to(torch.int64), tensors["similarities"])
        return cls(neighbours, tensors["counts"], KnnSettings(**description["settings"]), description["max_history"], device)


def fit_knn(data: SequenceDataset, settings: KnnSettings, max_history: int) -> CoOccurrenceKnn:
    """The kNN of a data set's train part, its settings given.

    Args:
        data: Train sequences.
        settings: All of them.
        max_history: Items of a history that vote.
    """
    neighbours = find_neighbours(train_pairs(data, settings.window), data.train_counts, settings)
    return CoOccurrenceKnn(neighbours, data.train_counts, settings, max_history)


def train_pairs(data: SequenceDataset, window: int) -> Pairs:
    """The pairs of a data set's train sequences; what else it holds reaches nothing here."""
    return collect_pairs(data.train_offsets, data.train_items, data.n_items, window)
