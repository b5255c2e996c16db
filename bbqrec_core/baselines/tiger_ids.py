"""The semantic IDs that TIGER foretells: a plain RQ-VAE's, as TIGER has them, published ones where nothing else is known, or ours."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bbqrec_core.dataset import SequenceDataset, load_semantic_ids
from bbqrec_core.determinism import choose_device, deterministic
from bbqrec_core.errors import StageError
from bbqrec_core.quantization.catalogue import assign_catalogue
from bbqrec_core.quantization.data import load_item_features, prepare
from bbqrec_core.quantization.tokenizers import given, registry
from bbqrec_core.schema import FUSED
from bbqrec_core.stage import StageContext

if TYPE_CHECKING:  # reading profiles needs YAML, which a bare PyTorch box need not have
    from bbqrec_core.profile import Profile

FILE = "tiger_ids.npy"


def tiger_ids(context: StageContext, data: SequenceDataset) -> np.ndarray:
    """As `baselines.tiger.ids` says, int64 [n_items, levels]; kept in scratch, since a resumed training must have the same.

    Raises:
        StageError: An RQ-VAE is asked for, and there are no texts and no pictures.
    """
    if context.profile.baselines.tiger.ids == "ours":
        return load_semantic_ids(context.input("quantize"))[FUSED][0]
    file = context.scratch / FILE
    if not file.exists():
        partial = file.with_suffix(".partial.npy")
        np.save(partial, _learned(context.profile, data, context.input("embed"), context.input("ingest")), allow_pickle=False)
        partial.replace(file)
    return np.load(file, allow_pickle=False)


def _learned(profile: "Profile", data: SequenceDataset, embed: Path, ingest: Path) -> np.ndarray:
    features = load_item_features(embed, ingest)
    if not features:
        raise StageError("TIGER's IDs are made of texts and pictures, and there are none.", "Give it ours: `baselines.tiger.ids: ours`.")
    published = any(of_modality.codes is not None for of_modality in features.values())
    section = profile.quantization
    config = section.model_copy(update={"tokenizer": "given" if published else "rqvae"})
    with deterministic(profile.compute.threads):
        known = prepare(data, features, given.without_codebooks(config) if published else config)
        fitted = registry.fit(known, config, profile.seed, choose_device(profile.compute.device), ingest)
        return assign_catalogue(fitted.tokenizer, known)[1].fused
