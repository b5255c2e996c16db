"""What models see of a catalogue: sequences and features as arrays, read from artifacts.

Everything that trains or evaluates gets its data through here, without a Python loop per row.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bbqrec_core import schema
from bbqrec_core.errors import ArtifactError

PADDING = -1
"""Fills histories on the left; never a valid item_idx."""


@dataclass(frozen=True)
class EvalSplit:
    """Users to be ranked for.

    Attributes:
        users: user_idx, int32 [n].
        histories: item_idx in time order, most recent last, padded on the left with PADDING, int64 [n, max_history].
        targets: item_idx, int64 [n].
        seen_offsets: int64 [n + 1]; `seen_items[seen_offsets[r]:seen_offsets[r + 1]]` is the history of row r as ingest wrote it:
            whole, unless `ingest.split.max_history` cuts it.
        seen_items: int64, these histories one after another, for masking.
        withheld_offsets, withheld_items: The same of what a user has of the items that are held out of train: in no history, and for
            masking alone. Who has bought an item will not be recommended it, whatever a model was told. None = nobody has any.
    """

    users: np.ndarray
    histories: np.ndarray
    targets: np.ndarray
    seen_offsets: np.ndarray
    seen_items: np.ndarray
    withheld_offsets: np.ndarray | None = None
    withheld_items: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.users)

    def nobody(self) -> "EvalSplit":
        """The same without any user."""
        return self.of(np.arange(0))

    def of(self, rows: np.ndarray) -> "EvalSplit":
        """The same with some of its rows, int64 [any], in their order."""
        seen = _ragged_rows(self.seen_offsets, self.seen_items, rows)
        if self.withheld_offsets is None or self.withheld_items is None:
            return EvalSplit(self.users[rows], self.histories[rows], self.targets[rows], *seen)
        withheld = _ragged_rows(self.withheld_offsets, self.withheld_items, rows)
        return EvalSplit(self.users[rows], self.histories[rows], self.targets[rows], *seen, *withheld)


@dataclass(frozen=True)
class SequenceDataset:
    """Sequences of an ingest artifact.

    Attributes:
        n_items: Catalogue size; item_idx runs from 0 to n_items - 1.
        train_users: user_idx of each train sequence, int32 [n_train].
        train_offsets: int64 [n_train + 1].
        train_items: item_idx, int64; sequence r is `train_items[train_offsets[r]:train_offsets[r + 1]]`, in time order, whole.
        train_counts: Interactions per item in train, int64 [n_items].
        valid, test: What to rank.
    """

    n_items: int
    train_users: np.ndarray
    train_offsets: np.ndarray
    train_items: np.ndarray
    train_counts: np.ndarray
    valid: EvalSplit
    test: EvalSplit

    @classmethod
    def load(cls, ingest: Path, max_history: int) -> "SequenceDataset":
        """Read `items`, `train`, `valid` and `test` of an ingest artifact.

        Args:
            ingest: The artifact's directory.
            max_history: Columns of the padded histories of `valid` and `test`.
        """
        n_items = pq.read_metadata(ingest / "items.parquet").num_rows
        train = pq.read_table(ingest / "train.parquet", schema=schema.TRAIN_SEQUENCES)
        offsets, items = _ragged(train[schema.HISTORY])
        withheld = _withheld(ingest / "interactions.parquet")
        return cls(
            n_items=n_items,
            train_users=train[schema.USER_IDX].to_numpy(),
            train_offsets=offsets,
            train_items=items,
            train_counts=np.bincount(items, minlength=n_items),
            valid=_eval_split(ingest / "valid.parquet", max_history, withheld),
            test=_eval_split(ingest / "test.parquet", max_history, withheld),
        )

    @classmethod
    def load_refit(cls, ingest: Path, max_history: int, latest: int | None = None) -> "SequenceDataset":
        """The same with validation among train, nobody left to validate on, and test as it is.

        Args:
            ingest: The artifact's directory.
            max_history: As for `load`.
            latest: How many of a user's latest items a sequence keeps, `ingest.split.max_history`; None = all.
        """
        held_out = cls.load(ingest, max_history)
        table = pq.read_table(
            ingest / "interactions.parquet",
            columns=[schema.USER_IDX, schema.ITEM_IDX, "position"],
            filters=pc.field("part").isin(["train", "valid"]),
        )
        users, items, position = (table[name].to_numpy().astype(np.int64) for name in table.column_names)
        order = np.lexsort((position, users))
        users, items = users[order], items[order]
        known, counts = np.unique(users, return_counts=True)
        if latest is not None:
            left = np.repeat(np.cumsum(counts), counts) - np.arange(len(items))  # 1 = the user's last
            items, counts = items[left <= latest], np.minimum(counts, latest)
        return replace(
            held_out,
            train_users=known.astype(np.int32),
            train_offsets=np.concatenate([[0], np.cumsum(counts)]),
            train_items=items,
            train_counts=np.bincount(items, minlength=held_out.n_items),
            valid=held_out.valid.nobody(),
        )


@dataclass(frozen=True)
class ItemFeatures:
    """One modality's frozen features.

    Attributes:
        values: float32 [n_items, d]; zeros where absent.
        present: bool [n_items].
        codes: Published codes, int64 [n_items, levels], zeros where absent, if they are all that stands behind the values; else None.
    """

    values: np.ndarray
    present: np.ndarray
    codes: np.ndarray | None = None


def load_encoders(embed: Path) -> dict[str, dict[str, Any]] | None:
    """Read `encoders.json` of an embed artifact: what made each modality's vectors; None without the file."""
    path = embed / "encoders.json"
    if not path.exists():
        return None
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} cannot be read: {error}.", "Run the stage `embed` again.") from None
    return {modality: described[modality] for modality in schema.MODALITIES if modality in described}


def load_features(embed: Path) -> dict[str, ItemFeatures]:
    """Read every `<modality>_embedding.parquet` of an embed artifact, keyed by modality.

    Returns:
        A modality that the artifact does not have is left out; all are where the source has nothing but behaviour.

    Raises:
        ArtifactError: A table that the artifact's `encoders.json` speaks of is not there, or neither it nor any table.
    """
    features = {}
    for modality in schema.MODALITIES:
        path = embed / f"{modality}_embedding.parquet"
        if not path.exists():
            continue
        table = pq.read_table(path)
        column = table["embedding"].combine_chunks()
        values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1).astype(np.float32)
        features[modality] = ItemFeatures(values, table[f"has_{modality}"].to_numpy())
    described = load_encoders(embed)
    missing = sorted(set(described or ()) - set(features))
    if missing or (described is None and not features):
        raise ArtifactError(f"No {' and no '.join(missing) or 'text and no image'} embeddings in {embed}.", "Run the stage `embed` again.")
    return features


def load_semantic_ids(quantize: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read `semantic_ids.parquet`.

    Returns:
        Per source (fused, text, image): codes, int64 [n_items, levels] (zeros where absent), and present, bool [n_items]. A source that no
        item has is left out.
    """
    table = pq.read_table(quantize / "semantic_ids.parquet")
    sources = {}
    for source in (schema.FUSED, *schema.MODALITIES):
        column = table[source].combine_chunks()
        present = column.is_valid().to_numpy(zero_copy_only=False)
        if not present.any():
            continue
        given = column.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(int(present.sum()), -1)
        codes = np.zeros((len(table), given.shape[1]), dtype=np.int64)
        codes[present] = given
        sources[source] = (codes, present)
    return sources


def pad_left(offsets: np.ndarray, items: np.ndarray, width: int) -> np.ndarray:
    """Turn ragged sequences into a matrix of their last `width` items, padded on the left.

    Args:
        offsets: int64 [n + 1].
        items: int64, all sequences one after another.
        width: Columns of the result.

    Returns:
        int64 [n, width].
    """
    lengths = np.diff(offsets)
    columns = np.arange(width)
    index = offsets[1:, None] - width + columns[None, :]
    valid = columns[None, :] >= width - lengths[:, None]
    padded = np.full((len(lengths), width), PADDING, dtype=np.int64)
    padded[valid] = items[index[valid]]
    return padded


def _eval_split(path: Path, max_history: int, withheld: tuple[np.ndarray, np.ndarray] | None) -> EvalSplit:
    table = pq.read_table(path, schema=schema.EVAL_SEQUENCES)
    offsets, items = _ragged(table[schema.HISTORY])
    split = EvalSplit(
        users=table[schema.USER_IDX].to_numpy(),
        histories=pad_left(offsets, items, max_history),
        targets=table[schema.TARGET].to_numpy().astype(np.int64),
        seen_offsets=offsets,
        seen_items=items,
    )
    if withheld is None:
        return split
    owners, items = withheld
    bounds = np.searchsorted(owners, split.users, "left"), np.searchsorted(owners, split.users, "right")
    lengths = bounds[1] - bounds[0]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return replace(split, withheld_offsets=offsets, withheld_items=items[_counted_from(bounds[0], offsets)])


def _withheld(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Who has which of the items that are held out of train: user_idx, sorted, and item_idx, int64 [n] each; None where none is."""
    if not path.exists():
        return None
    table = pq.read_table(path, columns=[schema.USER_IDX, schema.ITEM_IDX], filters=pc.field("part") == "held_out")
    users, items = (table[name].to_numpy().astype(np.int64) for name in table.column_names)
    order = np.argsort(users, kind="stable")
    return (users[order], items[order]) if len(users) else None


def _ragged_rows(offsets: np.ndarray, values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and values of some rows of a ragged matrix."""
    chosen = np.concatenate([[0], np.cumsum(np.diff(offsets)[rows])])
    return chosen, values[_counted_from(offsets[:-1][rows], chosen)]


def _counted_from(starts: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Places of rows that begin at `starts` and are as long as `offsets` has them, one after another: int64 [offsets[-1]]."""
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], np.diff(offsets))


def _ragged(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (starting at 0) and flat values of a list column."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no rows
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    offsets = array.offsets.to_numpy().astype(np.int64)
    return offsets - offsets[0], array.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
