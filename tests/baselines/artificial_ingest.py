"""Small ingest artifacts with a planted pattern, as the schemas want them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bbqrec_core import schema


def planted_sequences(
    n_users: int, n_items: int, seed: int = 0, follow: float = 0.6, shortest: int = 5, longest: int = 14
) -> list[list[int]]:
    """Sequences without repeats in which item i is mostly followed by (7 i + 3) mod n_items, the rest drawn by a skewed popularity."""
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, n_items + 1)
    rng.shuffle(popularity)
    popularity /= popularity.sum()
    sequences = []
    for _ in range(n_users):
        length = int(rng.integers(shortest, longest + 1))
        sequence = [int(rng.choice(n_items, p=popularity))]
        while len(sequence) < length:
            following = (7 * sequence[-1] + 3) % n_items
            item = following if rng.random() < follow else int(rng.choice(n_items, p=popularity))
            if item in sequence:
                item = int(rng.choice(n_items))
            if item not in sequence:
                sequence.append(item)
        sequences.append(sequence)
    return sequences


def write_ingest(folder: Path, sequences: list[list[int]], n_items: int) -> Path:
    """Write items, train, valid and test of leave-one-out: the last item is the test target, the one before the validation target."""
    folder.mkdir(parents=True, exist_ok=True)
    train = [sequence[:-2] for sequence in sequences]
    counts = np.bincount([item for sequence in train for item in sequence], minlength=n_items)
    items: dict[str, list[object]] = {name: [None] * n_items for name in schema.ITEMS.names}
    items |= {schema.ITEM_IDX: list(range(n_items)), schema.ITEM_ID: [f"item{n}" for n in range(n_items)], "train_count": counts.tolist()}
    pq.write_table(pa.table(items, schema=schema.ITEMS), folder / "items.parquet")
    users = list(range(len(sequences)))
    pq.write_table(pa.table({schema.USER_IDX: users, schema.HISTORY: train}, schema=schema.TRAIN_SEQUENCES), folder / "train.parquet")
    for split, left in (("valid", 2), ("test", 1)):
        columns = {
            schema.USER_IDX: users,
            schema.HISTORY: [sequence[:-left] for sequence in sequences],
            schema.TARGET: [sequence[-left] for sequence in sequences],
        }
        pq.write_table(pa.table(columns, schema=schema.EVAL_SEQUENCES), folder / f"{split}.parquet")
    return folder


def write_semantic_ids(folder: Path, n_items: int) -> Path:
    """Write fused and text codes of two levels; every third item has no picture, the others have codes of it too."""
    folder.mkdir(parents=True, exist_ok=True)
    codes = [[item % 5, item // 5] for item in range(n_items)]
    images = [None if item % 3 == 0 else [item % 4, item % 7] for item in range(n_items)]
    columns = {schema.ITEM_IDX: list(range(n_items)), schema.FUSED: codes, schema.TEXT: codes, schema.IMAGE: images}
    # Arrow cannot read fixed-size lists with nulls back from Parquet: without its own schema they come as plain lists.
    pq.write_table(pa.table(columns, schema=schema.semantic_id_schema(2)), folder / "semantic_ids.parquet", store_schema=False)
    return folder


def twin_sequences(n_users: int, n_items: int, seed: int = 0) -> list[list[int]]:
    """Four items at random, then one that reads like the last of them and never stands beside it in train, then one more."""
    rng = np.random.default_rng(seed)
    sequences = []
    for _ in range(n_users):
        twins = rng.permutation(n_items // 2)[:5]
        first = (2 * twins + rng.integers(2, size=5)).tolist()
        sequences.append([*first[:4], first[3] ^ 1, first[4]])
    return sequences


def write_features(folder: Path, n_items: int) -> Path:
    """Text features on a circle: items 2k and 2k + 1 are the same, and most like those numbered next to them."""
    folder.mkdir(parents=True, exist_ok=True)
    angle = 2 * np.pi * (np.arange(n_items) // 2) / n_items
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.stack([np.cos(angle), np.sin(angle)], axis=1).ravel().astype(np.float16)), 2)
    columns = [np.arange(n_items, dtype=np.int32), vectors, np.ones(n_items, dtype=bool)]
    pq.write_table(pa.table(columns, schema=schema.embedding_schema("text", 2)), folder / "text_embedding.parquet")
    return folder
