"""What a gate wants to know of embeddings, counted while shards pass by."""

import hashlib

import numpy as np

from bbqrec_core.embedding.batches import Shard
from bbqrec_core.stage import Statistics


class VectorStatistics:
    """Counts over one modality's shards.

    Attributes:
        dimensions: Of the vectors; 0 as long as nothing was embedded.
        nan_rows: Vectors that are not finite.
        zero_rows: Vectors of zeros, of items that have the modality.
        unreadable: Items whose content was there and could not be read.
    """

    def __init__(self, modality: str) -> None:
        self._modality = modality
        self.dimensions = 0
        self.unreadable = 0
        self.nan_rows = 0
        self.zero_rows = 0
        self._rows = 0
        self._present = 0
        self._norms = 0.0
        self._distinct: set[bytes] = set()

    def add(self, shard: Shard) -> None:
        """Count a shard's rows."""
        vectors = shard.vectors[shard.present].astype(np.float32)
        finite = np.isfinite(vectors).all(axis=1)
        norms = np.linalg.norm(vectors[finite], axis=1)
        self._rows += len(shard)
        self._present += len(vectors)
        self.nan_rows += int((~finite).sum())
        self.zero_rows += int((norms == 0).sum())
        self._norms += float(norms.astype(np.float64).sum())
        self._distinct.update(hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in shard.vectors[shard.present])
        self.unreadable += shard.unreadable

    def row(self, encoder: str | None) -> Statistics:
        """The counts as flat statistics.

        Args:
            encoder: The encoder's name; None if the profile leaves the modality out.

        Returns:
            <modality>_dimensions; _share of items that have the modality; _nan_rows and _zero_rows among those; _mean_norm (null
            without any); _duplicate_share, of vectors that exactly repeat an earlier one; _encoder.
        """
        finite = self._present - self.nan_rows
        values: Statistics = {
            "dimensions": self.dimensions,
            "share": self._present / self._rows if self._rows else 0.0,
            "nan_rows": self.nan_rows,
            "zero_rows": self.zero_rows,
            "mean_norm": self._norms / finite if finite else None,
            "duplicate_share": 1 - len(self._distinct) / self._present if self._present else 0.0,
            "encoder": encoder,
        }
        return {f"{self._modality}_{name}": value for name, value in values.items()}
