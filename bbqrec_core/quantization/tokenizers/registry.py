"""Tokenizers by name: fitting what a profile asks for, loading what a stage saved, coding new items with it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from bbqrec_core import schema
from bbqrec_core.dataset import ItemFeatures
from bbqrec_core.errors import ArtifactError, StageError
from bbqrec_core.quantization.assign import Assignment, TrainedQuantizer, assign_ids
from bbqrec_core.quantization.assign import assign as assign_with_bbqrec
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.data import TrainingData, check_features, listing_hashes
from bbqrec_core.quantization.tokenizers import bbqrec, given, letter, residual_kmeans, rqvae, rqvae_per_modality
from bbqrec_core.quantization.tokenizers.interface import FORMAT, HASHES, IDS, WEIGHTS, Baseline, Fitted, Tokenizer

FITTED_ON_FEATURES = {
    "bbqrec": bbqrec.fit,
    "rqvae": rqvae.fit,
    "residual_kmeans": residual_kmeans.fit,
    "rqvae_per_modality": rqvae_per_modality.fit,
    "letter": letter.fit,
}
BASELINES: dict[str, type[Baseline]] = {
    "rqvae": rqvae.RqvaeTokenizer,
    "residual_kmeans": residual_kmeans.ResidualKmeansTokenizer,
    "rqvae_per_modality": rqvae_per_modality.PerModalityTokenizer,
    "letter": rqvae.RqvaeTokenizer,
    "given": given.GivenTokenizer,
}


def fit(data: TrainingData, config: QuantizationConfig, seed: int, device: torch.device, ingest: Path) -> Fitted:
    """Fit the tokenizer that a profile names.

    Args:
        data: All that it may see.
        config: The profile's section.
        seed: Its only source of randomness.
        device: Where to train.
        ingest: The ingest artifact, for published codes.

    Raises:
        StageError: The data does not allow it.
    """
    if config.tokenizer == "given":
        return given.fit(data, config, ingest)
    return FITTED_ON_FEATURES[config.tokenizer](data, config, seed, device)


@dataclass(frozen=True)
class SavedTokenizer:
    """A tokenizer as a stage saved it.

    Attributes:
        tokenizer: In evaluation mode, on the CPU.
        semantic_ids: IDs of the catalogue, int64 [n_items, L].
        listing_hashes: int64 [n_items].
    """

    tokenizer: Tokenizer
    semantic_ids: np.ndarray
    listing_hashes: np.ndarray


def load(folder: Path) -> SavedTokenizer:
    """Read the tokenizer of a quantize artifact, whichever it is.

    Raises:
        ArtifactError: A file is missing, damaged, or of another format version.
    """
    try:
        meaning = json.loads((folder / "quantizer.json").read_text(encoding="utf-8"))
        if "tokenizer" not in meaning:
            saved = TrainedQuantizer.load(folder)
            return SavedTokenizer(bbqrec.BbqrecTokenizer(saved.model), saved.semantic_ids, saved.listing_hashes)
        tensors = load_file(folder / "quantizer.safetensors")
    except (OSError, ValueError) as error:
        raise ArtifactError(f"No readable tokenizer in {folder}: {error}.", "Run the stage `quantize` again.") from None
    if meaning["format_version"] != FORMAT:
        raise ArtifactError(
            f"The tokenizer in {folder} has format version {meaning['format_version']}, this code reads {FORMAT}.",
            "Run the stage `quantize` again.",
        )
    config = QuantizationConfig.model_validate(meaning["config"])
    widths = {name: meaning["feature_dimensions"][name] for name in meaning["modalities"]}
    tokenizer = BASELINES[config.tokenizer](config, widths, meaning["codebook_sizes"], meaning["n_items"])
    tokenizer.load_state_dict({name.removeprefix(WEIGHTS): value for name, value in tensors.items() if name.startswith(WEIGHTS)})
    return SavedTokenizer(tokenizer.eval(), tensors[IDS].numpy().astype(np.int64), tensors[HASHES].numpy())


def assign(
    saved: SavedTokenizer,
    features: Mapping[str, ItemFeatures],
    existing_ids: np.ndarray | None = None,
    existing_hashes: np.ndarray | None = None,
) -> Assignment:
    """Give new items semantic IDs; no existing ID moves. For any tokenizer what `assign.assign` is for BBQRec's own.

    Args:
        saved: A saved tokenizer.
        features: Per modality the new items' features, from the same encoders. A modality that is left out is absent for all of them.
        existing_ids: int64 [m, L], IDs given so far; the catalogue's when None.
        existing_hashes: int64 [m]; the catalogue's when None.

    Raises:
        StageError: Features that the tokenizer does not know, or NaN among them; no ID is left; or it codes no new items at all.
    """
    tokenizer = saved.tokenizer
    if isinstance(tokenizer, bbqrec.BbqrecTokenizer):
        own = TrainedQuantizer(tokenizer.model, saved.semantic_ids, saved.listing_hashes)
        return assign_with_bbqrec(own, features, existing_ids, existing_hashes)
    unknown = sorted(set(features) - set(schema.MODALITIES))
    if unknown or not features:
        raise StageError(
            f"Features of {unknown or 'no modality'} were given.", f"This tokenizer knows {', '.join(tokenizer.widths) or 'no modality'}."
        )
    n = len(next(iter(features.values())).values)
    check_features(features, n)
    tensors, masks = {}, {}
    for name, width in tokenizer.widths.items():
        item = features.get(name, ItemFeatures(np.zeros((n, width), dtype=np.float32), np.zeros(n, dtype=bool)))
        if item.values.shape[1] != width:
            raise StageError(
                f"The new items' {name} features have {item.values.shape[1]} dimensions, the tokenizer was fitted on {width}.",
                f"Embed them with the {name} encoder that the tokenizer's catalogue was embedded with.",
            )
        tensors[name] = torch.from_numpy(np.where(item.present[:, None], item.values, 0).astype(np.float32))
        masks[name] = torch.from_numpy(np.ascontiguousarray(item.present))
    return assign_ids(
        tokenizer.codebooks(),
        tokenizer.encode(tensors, masks, None),
        listing_hashes(tensors, masks, n),
        saved.semantic_ids if existing_ids is None else existing_ids,
        saved.listing_hashes if existing_hashes is None else existing_hashes,
        tokenizer.config.share_identical,
    )
