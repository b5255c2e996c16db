"""What stage 1 learns from: checked features, train sequences, and behaviour. Nothing of validation or test passes through here."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from bbqrec_core.dataset import ItemFeatures, SequenceDataset, load_encoders, load_features
from bbqrec_core.embedding.codes import NAME as PUBLISHED_CODES
from bbqrec_core.embedding.codes import given_modalities, read_given_codes
from bbqrec_core.errors import StageError
from bbqrec_core.quantization.config import QuantizationConfig

log = logging.getLogger(__name__)

HASHED_AT_ONCE = 4096
"""Items whose features are copied at once to be hashed."""


@dataclass(frozen=True)
class TrainingData:
    """The input of training.

    Attributes:
        features: Per usable modality float32 [n_items, d_m]; none where the data is behaviour alone.
        present: Per usable modality bool [n_items].
        fitted: item_idx of the items that occur in train, sorted, int64.
        cold: item_idx of all others, sorted, int64: they get IDs, but nothing is fitted on them.
        offsets, items: Train sequences as in `SequenceDataset`.
        counts: Train interactions per item, int64 [n_items].
        codes: Per modality that is known by published codes alone, those codes, int64 [n_items, levels]; zeros where absent. Not the
            features but these are to be reconstructed.
    """

    features: dict[str, torch.Tensor]
    present: dict[str, torch.Tensor]
    fitted: np.ndarray
    cold: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    counts: np.ndarray
    codes: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def n_items(self) -> int:
        """Catalogue size."""
        return len(self.counts)

    @property
    def known_by(self) -> str:
        """What IDs are made from, in words."""
        return "+".join(self.features) or "behaviour alone"

    def published(self, name: str, items: np.ndarray) -> np.ndarray | None:
        """Published codes of some items, int64 [n, levels], if the modality is known by nothing else."""
        return self.codes[name].numpy()[items] if name in self.codes else None

    @property
    def has_content(self) -> np.ndarray:
        """Items that have any modality, bool [n_items]."""
        has = np.zeros(self.n_items, dtype=bool)
        for mask in self.present.values():
            has |= mask.numpy()
        return has

    @property
    def code_sizes(self) -> dict[str, tuple[int, ...]]:
        """Per modality in `codes` and level, how many codes there are: one more than the largest of any fitted item."""
        fitted = torch.from_numpy(self.fitted)
        return {
            name: tuple(int(size) for size in codes[fitted][self.present[name][fitted]].max(0).values + 1)
            for name, codes in self.codes.items()
        }

    def rows(self, items: torch.Tensor) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Features and masks of some items."""
        return {name: values[items] for name, values in self.features.items()}, {name: mask[items] for name, mask in self.present.items()}


def load_item_features(embed: Path, ingest: Path) -> dict[str, ItemFeatures]:
    """Read an embed artifact, and from its ingest artifact the published codes of a modality that is known by nothing else.

    Raises:
        ArtifactError: Something that should be in the embed artifact is not.
        StageError: The two artifacts do not belong together.
    """
    features = load_features(embed)
    encoders, given = load_encoders(embed) or {}, given_modalities(ingest)
    for name in features:
        if encoders.get(name, {}).get("name") != PUBLISHED_CODES:
            continue
        codes, present = read_given_codes(ingest, name) if name in given else (np.empty((0, 0), np.int64), np.empty(0, bool))
        if not np.array_equal(present, features[name].present):
            raise StageError(
                f"The {name} vectors stand for published codes, but not for those of this catalogue.",
                "Build the stage `embed` again from this very `ingest`.",
            )
        features[name] = replace(features[name], codes=codes)
    return features


def check_features(features: Mapping[str, ItemFeatures], n_items: int) -> None:
    """Refuse features that cannot be worked with.

    Raises:
        StageError: Another number of rows than the catalogue has, or a NaN or infinity in a present row.
    """
    for name, given in features.items():
        if len(given.values) != n_items or len(given.present) != n_items:
            raise StageError(
                f"The {name} embedding has {len(given.values)} rows, the catalogue {n_items} items.",
                "Build the stage `embed` again from this very `ingest`.",
            )
        bad = np.flatnonzero(given.present & ~np.isfinite(given.values).all(axis=1))
        if len(bad):
            raise StageError(
                f"The {name} embedding holds NaN or infinity for {len(bad)} of {n_items} items, the first at item_idx {bad[0]}.",
                f"Check the {name} encoder's weights and precision, then run the stage `embed` again.",
            )


def masked_values(given: ItemFeatures) -> torch.Tensor:
    """Features with zeros where absent, float32 [n, d]; the very memory that was given where nothing has to be changed."""
    values = np.asarray(given.values, dtype=np.float32)
    if not given.present.all():
        values = np.where(given.present[:, None], values, np.float32(0))
    return torch.from_numpy(values if values.flags.writeable else values.copy())


def prepare(dataset: SequenceDataset, features: Mapping[str, ItemFeatures], config: QuantizationConfig) -> TrainingData:
    """Check everything that can be wrong before training, and keep what training may see.

    Raises:
        StageError: Bad features, or a catalogue smaller than a codebook or larger than all IDs, or one of which nothing is known at all:
            no train item has any modality, and no train sequence holds two different items.
    """
    n_items = dataset.n_items
    check_features(features, n_items)
    fitted = np.flatnonzero(dataset.train_counts > 0)
    for level, size in enumerate(config.codebook_sizes, start=1):
        if size > len(fitted):
            smaller = [min(other, max(2, len(fitted) // 2)) for other in config.codebook_sizes]
            raise StageError(
                f"The codebook of level {level} has {size} codes, but only {len(fitted)} of {n_items} items occur in train.",
                f"Choose smaller codebooks: `quantization: {{codebook_sizes: {smaller}}}` in the profile.",
            )
    capacity = 1
    for size in config.codebook_sizes:
        capacity *= size
    if capacity < n_items:
        raise StageError(
            f"Codebooks of {config.codebook_sizes} codes give {capacity} semantic IDs, the catalogue has {n_items} items.",
            "Raise `quantization.codebook_sizes` in the profile, or add a level.",
        )
    usable = {}
    for name, given in features.items():
        if given.present[fitted].any():
            usable[name] = given
        else:
            log.warning("No item of the train part has %s: the modality is left out.", name)
    if not usable:
        if not _any_cooccurrence(dataset):
            raise StageError(
                "No item of the train part has any features, no text and no image, and no two items go together in any train sequence: "
                "there is nothing to make semantic IDs of.",
                "Check `embedding` in the profile and the masks in the stage `embed`, or give longer sequences.",
            )
        log.warning("There is no text and no image: semantic IDs rest on behaviour alone.")
    for name, given in usable.items():
        seen = given.values[fitted][given.present[fitted]]
        if len(seen) > 1 and not np.ptp(seen, axis=0).any():
            log.warning("The %s features of all train items are the same: IDs rest on the other modalities and on behaviour.", name)
    return TrainingData(
        features={name: masked_values(given) for name, given in usable.items()},
        present={name: torch.from_numpy(np.ascontiguousarray(given.present)) for name, given in usable.items()},
        fitted=fitted,
        cold=np.flatnonzero(dataset.train_counts == 0),
        offsets=dataset.train_offsets,
        items=dataset.train_items,
        counts=dataset.train_counts,
        codes={name: torch.from_numpy(given.codes) for name, given in usable.items() if given.codes is not None},
    )


def _any_cooccurrence(dataset: SequenceDataset) -> bool:
    """Whether any train sequence holds two different items."""
    sequence = np.repeat(np.arange(len(dataset.train_offsets) - 1), np.diff(dataset.train_offsets))
    items = dataset.train_items
    return bool(((items[1:] != items[:-1]) & (sequence[1:] == sequence[:-1])).any())


def listing_hashes(features: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor], n_items: int | None = None) -> np.ndarray:
    """A 63-bit hash of what an item looks like in every modality; equal where features and masks are identical.

    Args:
        features: Per modality float32 [n, d_m].
        present: Per modality bool [n].
        n_items: n, which must be told where there is no modality.

    Returns:
        int64 [n]; -1 for an item without any modality, which looks like nothing rather than like others of its kind.
    """
    names = sorted(features)
    arrays = [features[name].cpu().numpy() for name in names]
    masks = [present[name].cpu().numpy() for name in names]
    hashes = np.full(len(arrays[0]) if n_items is None else n_items, -1, dtype=np.int64)
    known = np.any(masks, axis=0) if masks else np.zeros(0, dtype=bool)
    for low in range(0, len(known), HASHED_AT_ONCE):
        parts = [np.ascontiguousarray(array[low : low + HASHED_AT_ONCE] + 0.0) for array in arrays]  # + 0.0 makes -0.0 and 0.0 one
        for row in np.flatnonzero(known[low : low + HASHED_AT_ONCE]):
            digest = hashlib.sha256()
            for name, part, mask in zip(names, parts, masks, strict=True):
                digest.update(name.encode() + (b"\1" + part[row].tobytes() if mask[low + row] else b"\0"))
            hashes[low + row] = int.from_bytes(digest.digest()[:8], "little") >> 1
    return hashes


def representatives(hashes: np.ndarray) -> np.ndarray:
    """Row of the first item with the same hash, int64 [n]; an item with hash -1 stands for itself."""
    rows = np.arange(len(hashes))
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    return np.where(hashes < 0, rows, first[inverse])
