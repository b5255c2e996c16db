"""Encoding of items by a trained quantizer, and their IDs: repaired, and without moving anyone who has one already.

What is saved and loaded, and how new items come in, is in `tokenizers/`.
"""

from dataclasses import dataclass

import numpy as np
import torch

from bbqrec_core.quantization.codebook import CodeSearch
from bbqrec_core.quantization.collisions import Codebooks, repair
from bbqrec_core.quantization.data import representatives
from bbqrec_core.quantization.model import BehaviourQuantizer, Features, Masks

BATCH = 2048
"""Items encoded at once: few enough for what lies between one product and the next to stay in the cache."""


@dataclass(frozen=True)
class EncodedCatalogue:
    """Items as the codebooks see them.

    Attributes:
        wished: Fused codes before repair, int64 [n, L].
        starts: f, float32 [n, d].
        behaviour: z', float32 [n, d].
        modality_codes: c^m, int64 [n, L] per modality; meaningless where absent.
        specific, aligned: s and b per modality, float32, for the probe of what they have in common; left out of new items' encoding.
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
    device, fused = model.behaviour.device, CodeSearch(model.quantizer)
    plain = {name: CodeSearch(model.quantizer_of(name)) if name in model.own else fused for name in model.modalities}
    n = n_items if n_items is not None else len(items if items is not None else next(iter(features.values())))
    whole: dict[str, np.ndarray] = {}

    def keep(name: str, rows: slice, values: torch.Tensor) -> None:
        part = values.cpu().numpy()
        if name not in whole:
            whole[name] = np.empty((n, part.shape[1]), dtype=part.dtype)
        whole[name][rows] = part

    for low in range(0, max(n, 1), BATCH):
        rows = slice(low, min(low + BATCH, n))
        encoded = model.encode(
            {name: features[name][rows].to(device) for name in model.modalities},
            {name: present[name][rows].to(device) for name in model.modalities},
            rows.stop - rows.start,
            with_specific=items is not None,
        )
        behaviour = model.known_behaviour(encoded, None if items is None else torch.from_numpy(items[rows]).to(device))
        start = model.fuse(encoded, behaviour)
        prefix, residual = fused.prefix(start)
        keep("wished", rows, fused.complete(prefix, residual, behaviour))
        keep("starts", rows, start)
        keep("behaviour", rows, behaviour)
        for name, vectors in encoded.aligned.items():
            if len(model.modalities) > 1 or plain[name] is not fused:  # else the plain chain is the fused one up to its last level
                prefix, residual = plain[name].prefix(vectors)
            keep(f"codes/{name}", rows, plain[name].complete(prefix, residual))
        for name, vectors in encoded.specific.items():
            keep(f"specific/{name}", rows, vectors)
            keep(f"aligned/{name}", rows, encoded.aligned[name])
    return EncodedCatalogue(
        whole["wished"],
        whole["starts"],
        whole["behaviour"],
        {name: whole[f"codes/{name}"] for name in model.modalities},
        {name: whole[f"specific/{name}"] for name in model.modalities if f"specific/{name}" in whole},
        {name: whole[f"aligned/{name}"] for name in model.modalities if f"aligned/{name}" in whole},
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
