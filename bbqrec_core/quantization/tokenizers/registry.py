"""Tokenizers by name: fitting what a profile asks for, loading what a stage saved, coding new items with it."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from bbqrec_core import schema
from bbqrec_core.dataset import ItemFeatures
from bbqrec_core.errors import StageError
from bbqrec_core.quantization.assign import Assignment, assign_ids
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.data import TrainingData, check_features, listing_hashes, masked_values
from bbqrec_core.quantization.model import BehaviourQuantizer
from bbqrec_core.quantization.tokenizers import bbqrec, given, letter, residual_kmeans, rqvae, rqvae_per_modality
from bbqrec_core.quantization.tokenizers.interface import Baseline, Earlier, Fitted, Tokenizer
from bbqrec_core.quantization.tokenizers.saved import SavedFiles, SavedTokenizer, read, unreadable

log = logging.getLogger(__name__)

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


def fit(
    data: TrainingData, config: QuantizationConfig, seed: int, device: torch.device, ingest: Path, earlier: Earlier | None = None
) -> Fitted:
    """Fit the tokenizer that a profile names.

    Args:
        data: All that it may see.
        config: The profile's section.
        seed: Its only source of randomness.
        device: Where to train.
        ingest: The ingest artifact, for published codes.
        earlier: What to go on from, see `warm_start.py`; from scratch when None.

    Raises:
        StageError: The data does not allow it.
    """
    if config.tokenizer == "given":
        return given.fit(data, config, ingest)
    return FITTED_ON_FEATURES[config.tokenizer](data, config, seed, device, earlier)


def load(folder: Path) -> SavedTokenizer:
    """Read the tokenizer of a quantize artifact, whichever it is.

    Raises:
        ArtifactError: A file is missing, damaged, or of another format version.
    """
    files = read(folder)
    try:
        tokenizer = _empty(files)
        tokenizer.module.load_state_dict(files.state)
    except (KeyError, TypeError, RuntimeError) as error:  # a state that is not this tokenizer's
        raise unreadable(folder, f"its two files do not belong together ({error})") from None
    tokenizer.module.eval()
    return SavedTokenizer(tokenizer, files.semantic_ids, files.listing_hashes)


def _empty(files: SavedFiles) -> Tokenizer:
    """A tokenizer as it is before its state is loaded."""
    config, meaning = files.config, files.meaning
    widths = {name: int(meaning["feature_dimensions"][name]) for name in meaning["modalities"]}
    if config.tokenizer == "bbqrec":
        sizes = {name: tuple(levels) for name, levels in meaning["published_code_sizes"].items()}
        return bbqrec.BbqrecTokenizer(BehaviourQuantizer(config, widths, meaning["n_items"], sizes))
    return BASELINES[config.tokenizer](config, widths, meaning["codebook_sizes"], meaning["n_items"])


def assign(
    saved: SavedTokenizer,
    features: Mapping[str, ItemFeatures],
    existing_ids: np.ndarray | None = None,
    existing_hashes: np.ndarray | None = None,
) -> Assignment:
    """Give new items semantic IDs; no existing ID moves.

    Args:
        saved: A saved tokenizer.
        features: Per modality the new items' features, from the same encoders. A modality that is left out is absent for all of them, and
            one that the tokenizer was not fitted on says nothing: an item without any other gets an ID by repair alone.
        existing_ids: int64 [m, L], IDs given so far; the catalogue's when None. To assign in several rounds, append each round's IDs (and
            hashes, `data.listing_hashes`).
        existing_hashes: int64 [m]; the catalogue's when None.

    Raises:
        StageError: Features of a modality, width or row count that the tokenizer does not know, or NaN among them; no ID is left; or it
            codes no new items at all.
    """
    tokenizer = saved.tokenizer
    if not tokenizer.codes_new_items:
        raise StageError(
            f"The tokenizer `{tokenizer.config.tokenizer}` knows the codes of its catalogue's items only: new items cannot be given any.",
            "Use a tokenizer that quantizes features, such as `quantization: {tokenizer: residual_kmeans}`.",
        )
    tensors, masks, n_items = _known_features(tokenizer, features)

    def vectors(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        some, of_these = ({name: values[rows] for name, values in of_all.items()} for of_all in (tensors, masks))
        return tokenizer.encode(some, of_these, None, len(rows)).vectors(np.arange(len(rows)))

    return assign_ids(
        tokenizer.codebooks(),
        tokenizer.code_new_items(tensors, masks, n_items),
        vectors,
        listing_hashes(tensors, masks, n_items),
        saved.semantic_ids if existing_ids is None else existing_ids,
        saved.listing_hashes if existing_hashes is None else existing_hashes,
        tokenizer.config.share_identical,
    )


def _known_features(
    tokenizer: Tokenizer, features: Mapping[str, ItemFeatures]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], int]:
    """Check new items' features; values and masks of the modalities that a tokenizer looks at, absent ones included, and n."""
    unknown = sorted(set(features) - set(schema.MODALITIES))
    if unknown or not features:
        knows = ", ".join(tokenizer.widths) or "no modality, only behaviour"
        raise StageError(f"Features of {unknown or 'no modality'} were given.", f"This tokenizer knows {knows}.")
    n_items = len(next(iter(features.values())).values)
    check_features(features, n_items)
    if not set(features) & set(tokenizer.widths):
        log.warning("The tokenizer was not fitted on %s: the new items' IDs say nothing of them.", " and ".join(features))
    tensors, masks = {}, {}
    for name, width in tokenizer.widths.items():
        given = features.get(name, ItemFeatures(np.zeros((n_items, width), dtype=np.float32), np.zeros(n_items, dtype=bool)))
        if given.values.shape[1] != width:
            raise StageError(
                f"The new items' {name} features have {given.values.shape[1]} dimensions, the tokenizer was fitted on {width}.",
                f"Embed them with the {name} encoder that the tokenizer's catalogue was embedded with.",
            )
        tensors[name] = masked_values(given)
        masks[name] = torch.from_numpy(np.ascontiguousarray(given.present))
    return tensors, masks, n_items
