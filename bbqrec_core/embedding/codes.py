"""Features of a modality that is known only by published semantic IDs: nothing but what the codes themselves say.

Each node of the tree of prefixes gets a fixed random vector, and an item the sum of those on its path, so that two items are as similar as
the prefix they share is long. Encoders do not belong here.
"""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bbqrec_core import schema
from bbqrec_core.embedding.batches import Shard

GIVEN_CODES = "given_codes.parquet"
DIMENSIONS = 128
NAME = "published codes, no features behind them"


def given_modalities(ingest: Path) -> list[str]:
    """The modalities of which an ingest artifact holds published codes."""
    path = ingest / GIVEN_CODES
    if not path.exists():
        return []
    table = pq.read_table(path, schema=schema.GIVEN_CODES)
    return [modality for modality in schema.MODALITIES if table[modality].null_count < len(table)]


def read_given_codes(ingest: Path, modality: str) -> tuple[np.ndarray, np.ndarray]:
    """One modality's published codes.

    Returns:
        int64 [n_items, levels], zeros where absent, and present, bool [n_items].
    """
    column = pq.read_table(ingest / GIVEN_CODES, schema=schema.GIVEN_CODES)[modality].combine_chunks()
    present = column.is_valid().to_numpy(zero_copy_only=False)
    given = column.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(int(present.sum()), -1)
    codes = np.zeros((len(present), given.shape[1]), dtype=np.int64)
    codes[present] = given
    return codes, present


def code_features(ingest: Path, modality: str) -> Shard:
    """One modality's vectors from its codes.

    Args:
        ingest: The artifact's directory.
        modality: One of `given_modalities`.

    Returns:
        float16 [n_items, DIMENSIONS], of length 1 where the item has codes and zeros elsewhere.
    """
    given, present = read_given_codes(ingest, modality)
    codes = given[present]
    sums = np.zeros((len(codes), DIMENSIONS), dtype=np.float32)
    for length in range(1, codes.shape[1] + 1):
        prefixes, rows = np.unique(codes[:, :length], axis=0, return_inverse=True)
        nodes = np.stack([_node_vector(modality, prefix) for prefix in prefixes.tolist()])
        sums += nodes[rows.reshape(-1)]
    vectors = np.zeros((len(present), DIMENSIONS), dtype=np.float16)
    vectors[present] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return Shard(vectors, present, 0)


def _node_vector(modality: str, prefix: list[int]) -> np.ndarray:
    digest = hashlib.sha256(f"{modality} {prefix}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little")).standard_normal(DIMENSIONS, dtype=np.float32)
