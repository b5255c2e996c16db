"""Recommending in the shop's own item IDs: between requests and the trained model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from bbqrec_core import schema
from bbqrec_core.sequence.config import SearchConfig
from bbqrec_core.sequence.recommender import SequenceRecommender, load_recommender
from serving.limits import MAX_HISTORY

BATCH = 256


class RequestError(ValueError):
    """A request that cannot be answered; says why."""


@dataclass(frozen=True)
class Catalogue:
    """A trained model and the names of its items.

    Attributes:
        recommender: Searches the catalogue: by scoring every item where it is small, else by beam over the trie of semantic IDs.
        item_ids: The shop's ID of each item_idx.
        index: item_idx of each of the shop's IDs.
    """

    recommender: SequenceRecommender
    item_ids: list[str]
    index: dict[str, int]

    @classmethod
    def load(cls, model: str | Path, items: str | Path, search: SearchConfig | None = None) -> "Catalogue":
        """Read a train artifact's directory and an items table; `search` says how the best items are looked for."""
        item_ids = pq.read_table(items, columns=[schema.ITEM_ID])[schema.ITEM_ID].to_pylist()
        return cls(load_recommender(Path(model), search=search), item_ids, {item: index for index, item in enumerate(item_ids)})

    def recommend(self, histories: Sequence[Any], k: int, masked: bool = True) -> list[dict[str, Any]]:
        """Answer a batch.

        Args:
            histories: Lists of item IDs in time order, most recent last.
            k: At most so many items each; fewer where the catalogue has no more.
            masked: Leave out items of the history.

        Returns:
            Per history: items (best first), scores, unknown (IDs of the history that the catalogue lacks).

        Raises:
            RequestError: A history is not a list of strings.
        """
        answers: list[dict[str, Any]] = []
        for start in range(0, len(histories), BATCH):
            answers += self._recommend_batch([self._known(history) for history in histories[start : start + BATCH]], k, masked)
        return answers

    def _known(self, history: Any) -> tuple[list[int], int]:
        if isinstance(history, str) or not hasattr(history, "__iter__"):
            raise RequestError(f"A history must be a list of item IDs, not {str(history)[:80]!r}.")
        ids = list(history)
        if len(ids) > MAX_HISTORY:
            raise RequestError(f"A history of {len(ids)} items is longer than {MAX_HISTORY}.")
        if not all(isinstance(item, str) for item in ids):
            raise RequestError("A history must hold item IDs as strings.")
        known = [self.index[item] for item in ids if item in self.index]
        return known, len(ids) - len(known)

    def _recommend_batch(self, histories: list[tuple[list[int], int]], k: int, masked: bool) -> list[dict[str, Any]]:
        width = max(len(items) for items, _ in histories)
        padded = torch.full((len(histories), width), -1, dtype=torch.int64)
        for row, (items, _) in enumerate(histories):
            if items:
                padded[row, -len(items) :] = torch.tensor(items)
        found, scores = self.recommender.recommend(padded, k, seen_mask=masked)
        return [
            {
                "items": [self.item_ids[item] for item in items if item >= 0],
                "scores": [value for item, value in zip(items, values, strict=True) if item >= 0],
                "unknown": unknown,
            }
            for items, values, (_, unknown) in zip(found.tolist(), scores.tolist(), histories, strict=True)
        ]
