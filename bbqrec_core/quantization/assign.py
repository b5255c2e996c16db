"""Semantic IDs from a trained quantizer: for the catalogue, and for new items without moving anyone.

A saved quantizer is `quantizer.safetensors` (weights, codebooks, the catalogue's IDs and listing hashes) beside `quantizer.json` (what
they mean). New items come with features only; their behaviour is foretold from content.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from bbqrec_core import schema
from bbqrec_core.dataset import ItemFeatures
from bbqrec_core.errors import ArtifactError, StageError
from bbqrec_core.quantization.collisions import Codebooks, repair
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.data import check_features, listing_hashes, representatives
from bbqrec_core.quantization.model import BehaviourQuantizer, Features, Masks

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
BATCH = 8192
_IDS, _HASHES, _WEIGHTS = "catalogue/semantic_ids", "catalogue/listing_hashes", "weights/"


@dataclass(frozen=True)
class EncodedCatalogue:
    """Items as the codebooks see them.

    Attributes:
        wished: Fused codes before repair, int64 [n, L].
        starts: f, float32 [n, d].
        behaviour: z', float32 [n, d].
        modality_codes: c^m, int64 [n, L] per modality; meaningless where absent.
        specific, aligned: s and b per modality, float32; for the probe of what they have in common.
    """

    wished: np.ndarray
    starts: np.ndarray
    behaviour: np.ndarray
    modality_codes: dict[str, np.ndarray]
    specific: dict[str, np.ndarray]
    aligned: dict[str, np.ndarray]


@torch.no_grad()
def encode_items(
    model: BehaviourQuantizer, features: Features, present: Masks, items: np.ndarray | None, n_items: int | None = None
) -> EncodedCatalogue:
    """Encode items in batches.

    Args:
        model: Trained, in evaluation mode.
        features: Per modality float32 [n, d_m].
        present: Per modality bool [n].
        items: Their item_idx, for those that are in the catalogue; None for new items, whose behaviour is foretold.
        n_items: n, which must be told for new items where there is no modality.
    """
    device = model.behaviour.device
    n = n_items if n_items is not None else len(items if items is not None else next(iter(features.values())))
    parts: dict[str, list[np.ndarray]] = {}

    def keep(name: str, values: torch.Tensor) -> None:
        parts.setdefault(name, []).append(values.cpu().numpy())

    for low in range(0, max(n, 1), BATCH):
        rows = slice(low, min(low + BATCH, n))
        encoded = model.encode(
            {name: features[name][rows].to(device) for name in model.modalities},
            {name: present[name][rows].to(device) for name in model.modalities},
            rows.stop - rows.start,
        )
        index = None if items is None else torch.from_numpy(items[rows]).to(device)
        behaviour = model.known_behaviour(encoded, index)
        keep("wished", model.quantize_fused(encoded, behaviour).codes)
        keep("starts", model.fuse(encoded, behaviour))
        keep("behaviour", behaviour)
        for name in model.modalities:
            keep(f"codes/{name}", model.quantizer(encoded.aligned[name]).codes)
            keep(f"specific/{name}", encoded.specific[name])
            keep(f"aligned/{name}", encoded.aligned[name])
    whole = {name: np.concatenate(values) for name, values in parts.items()}
    return EncodedCatalogue(
        whole["wished"],
        whole["starts"],
        whole["behaviour"],
        {name: whole[f"codes/{name}"] for name in model.modalities},
        {name: whole[f"specific/{name}"] for name in model.modalities},
        {name: whole[f"aligned/{name}"] for name in model.modalities},
    )


@dataclass(frozen=True)
class Assignment:
    """IDs of some items.

    Attributes:
        fused: Repaired semantic IDs, int64 [n, L].
        modality_codes: c^m, int64 [n, L] per modality; meaningless where the item lacks it.
        moved: bool [n], whether repair changed the ID.
        shares: bool [n], whether the ID is also another's, as the profile may allow for identical listings.
    """

    fused: np.ndarray
    modality_codes: dict[str, np.ndarray]
    moved: np.ndarray
    shares: np.ndarray


def assign_ids(
    codebooks: Codebooks,
    encoded: EncodedCatalogue,
    hashes: np.ndarray,
    existing_ids: np.ndarray,
    existing_hashes: np.ndarray,
    share_identical: bool,
) -> Assignment:
    """Repair collisions among items and with existing ones, which keep what they have.

    Args:
        codebooks: What repair measures its costs with.
        encoded: The items.
        hashes: Their listing hashes, int64 [n].
        existing_ids: int64 [m, L].
        existing_hashes: int64 [m].
        share_identical: Give an item the ID of the first whose listing is identical: an existing one, else the first among the items.
    """
    n = len(encoded.wished)
    fused = np.zeros_like(encoded.wished)
    first = np.arange(n)
    known = np.full(n, -1)
    if share_identical:
        first = representatives(hashes)
        order = np.argsort(existing_hashes, kind="stable")
        place = np.searchsorted(existing_hashes[order], hashes)
        inside = (place < len(order)) & (hashes >= 0)
        known[inside] = np.where(existing_hashes[order[place[inside]]] == hashes[inside], order[place[inside]], -1)
    own = np.flatnonzero((first == np.arange(n)) & (known < 0))
    repaired = repair(encoded.wished[own], encoded.starts[own], encoded.behaviour[own], codebooks, existing_ids)
    fused[own] = repaired.codes
    fused[known >= 0] = existing_ids[known[known >= 0]]
    copies = (first != np.arange(n)) & (known < 0)
    fused[copies] = fused[first[copies]]
    shares = (known >= 0) | copies
    shares[first[copies]] = True
    return Assignment(fused, encoded.modality_codes, (fused != encoded.wished).any(1), shares)


@dataclass(frozen=True)
class TrainedQuantizer:
    """A saved quantizer, loaded.

    Attributes:
        model: In evaluation mode, on the CPU.
        semantic_ids: Repaired IDs of the catalogue, int64 [n_items, L].
        listing_hashes: int64 [n_items].
    """

    model: BehaviourQuantizer
    semantic_ids: np.ndarray
    listing_hashes: np.ndarray

    def save(self, folder: Path) -> None:
        """Write `quantizer.safetensors` and `quantizer.json`."""
        tensors = {_WEIGHTS + name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}
        tensors[_IDS] = torch.from_numpy(self.semantic_ids.astype(np.int16))
        tensors[_HASHES] = torch.from_numpy(self.listing_hashes)
        save_file(tensors, folder / "quantizer.safetensors")
        meaning = {
            "format_version": FORMAT_VERSION,
            "n_items": len(self.semantic_ids),
            "feature_dimensions": {name: len(self.model.coder(name).mean) for name in self.model.modalities},
            "modalities": list(self.model.modalities),
            "config": self.model.config.of_bbqrec(),
        }
        sizes = {name: list(self.model.coder(name).code_sizes) for name in self.model.modalities if self.model.coder(name).code_sizes}
        if sizes:
            meaning["published_code_sizes"] = sizes
        (folder / "quantizer.json").write_text(json.dumps(meaning, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "TrainedQuantizer":
        """Read what `save` wrote.

        Raises:
            ArtifactError: A file is missing, or of another format version.
        """
        try:
            meaning = json.loads((folder / "quantizer.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / "quantizer.safetensors")
        except (OSError, ValueError) as error:
            raise ArtifactError(f"No readable quantizer in {folder}: {error}.", "Run the stage `quantize` again.") from None
        if meaning["format_version"] != FORMAT_VERSION:
            raise ArtifactError(
                f"The quantizer in {folder} has format version {meaning['format_version']}, this code reads {FORMAT_VERSION}.",
                "Run the stage `quantize` again.",
            )
        config = QuantizationConfig.model_validate(meaning["config"])
        dimensions = {name: meaning["feature_dimensions"][name] for name in meaning["modalities"]}
        sizes = {name: tuple(levels) for name, levels in meaning.get("published_code_sizes", {}).items()}
        model = BehaviourQuantizer(config, dimensions, meaning["n_items"], sizes)
        model.load_state_dict({name.removeprefix(_WEIGHTS): value for name, value in tensors.items() if name.startswith(_WEIGHTS)})
        return cls(model.eval(), tensors[_IDS].numpy().astype(np.int64), tensors[_HASHES].numpy())


def assign(
    quantizer: TrainedQuantizer,
    features: Mapping[str, ItemFeatures],
    existing_ids: np.ndarray | None = None,
    existing_hashes: np.ndarray | None = None,
) -> Assignment:
    """Give new items semantic IDs; no existing ID moves.

    Args:
        quantizer: A trained quantizer.
        features: Per modality the new items' features, from the same encoders. A modality that is left out is absent for all of them, and
            one that the quantizer was not trained on says nothing: an item without any other gets an ID by repair alone.
        existing_ids: int64 [m, L], IDs given so far; the quantizer's catalogue when None. To assign in several rounds, append each
            round's IDs (and hashes, `data.listing_hashes`).
        existing_hashes: int64 [m]; the catalogue's when None.

    Raises:
        StageError: Features of a modality, width or row count that the quantizer does not know, or NaN among them; or no ID is left.
    """
    model = quantizer.model
    unknown = sorted(set(features) - set(schema.MODALITIES))
    if unknown or not features:
        knows = ", ".join(model.modalities) or "no modality, only behaviour"
        raise StageError(f"Features of {unknown or 'no modality'} were given.", f"This quantizer knows {knows}.")
    n = len(next(iter(features.values())).values)
    check_features(features, n)
    if not set(features) & set(model.modalities):
        log.warning("The quantizer was not trained on %s: the new items' IDs say nothing of them.", " and ".join(features))
    tensors, masks = {}, {}
    for name in model.modalities:
        width = len(model.coder(name).mean)
        given = features.get(name, ItemFeatures(np.zeros((n, width), dtype=np.float32), np.zeros(n, dtype=bool)))
        if given.values.shape[1] != width:
            raise StageError(
                f"The new items' {name} features have {given.values.shape[1]} dimensions, the quantizer was trained on {width}.",
                f"Embed them with the {name} encoder that the quantizer's catalogue was embedded with.",
            )
        tensors[name] = torch.from_numpy(np.where(given.present[:, None], given.values, 0).astype(np.float32))
        masks[name] = torch.from_numpy(np.ascontiguousarray(given.present))
    return assign_ids(
        Codebooks.of(model.quantizer),
        encode_items(model, tensors, masks, None, n),
        listing_hashes(tensors, masks, n),
        quantizer.semantic_ids if existing_ids is None else existing_ids,
        quantizer.listing_hashes if existing_hashes is None else existing_hashes,
        model.config.share_identical,
    )
