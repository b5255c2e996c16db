"""Encoding of items by a trained quantizer, and their IDs: repaired, and without moving anyone who has one already.

What is saved and loaded, and how new items come in, is in `tokenizers/`.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from bbqrec_core.determinism import kernel_threads
from bbqrec_core.quantization.codebook import CodeSearch
from bbqrec_core.quantization.collisions import Codebooks, collides, repair
from bbqrec_core.quantization.data import representatives
from bbqrec_core.quantization.model import BehaviourQuantizer, Features, Masks

BATCH = 8192
"""Items that a thread encodes at once: enough for the work between kernels, which one thread at a time can do, not to be felt."""


Vectors = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""f and z' of the items in given rows, int64 [k]: float [k, d] each. What repair measures its costs from."""


@dataclass(frozen=True)
class Codes:
    """What items are coded as.

    Attributes:
        wished: Fused codes before repair, int64 [n, L].
        modality_codes: c^m, int64 [n, L] per modality; meaningless where absent.
    """

    wished: np.ndarray
    modality_codes: dict[str, np.ndarray]


@dataclass(frozen=True)
class EncodedCatalogue(Codes):
    """Items as the codebooks see them.

    Attributes:
        starts: f, float32 [n, d].
        behaviour: z', float32 [n, d].
        specific, aligned: s and b per modality, float32, for the probe of what they have in common; left out of new items' encoding.
    """

    starts: np.ndarray
    behaviour: np.ndarray
    specific: dict[str, np.ndarray]
    aligned: dict[str, np.ndarray]

    def vectors(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the items in given rows, int64 [k], f and z'."""
        return self.starts[rows], self.behaviour[rows]


def encode_items(
    model: BehaviourQuantizer, features: Features, present: Masks, items: np.ndarray | None, n_items: int | None = None
) -> EncodedCatalogue:
    """Encode items.

    Args:
        model: Trained, in evaluation mode.
        features: Per modality float32 [n, d_m].
        present: Per modality bool [n].
        items: Their item_idx, for those that are in the catalogue; None for new items, whose behaviour is foretold.
        n_items: n, which must be told for new items where there is no modality.
    """
    whole = _encode(model, features, present, items, n_items, codes_alone=False)
    return EncodedCatalogue(
        whole["wished"],
        _by_modality(whole, "codes"),
        whole["starts"],
        whole["behaviour"],
        _by_modality(whole, "specific"),
        _by_modality(whole, "aligned"),
    )


def code_new_items(model: BehaviourQuantizer, features: Features, present: Masks, n_items: int) -> Codes:
    """The codes that `encode_items` gives to new items, without the vectors, which are many times as large. Arguments as there."""
    whole = _encode(model, features, present, None, n_items, codes_alone=True)
    return Codes(whole["wished"], _by_modality(whole, "codes"))


def _by_modality(whole: dict[str, np.ndarray], what: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{what}/"): values for name, values in whole.items() if name.startswith(f"{what}/")}


@torch.no_grad()
def _encode(
    model: BehaviourQuantizer, features: Features, present: Masks, items: np.ndarray | None, n_items: int | None, codes_alone: bool
) -> dict[str, np.ndarray]:
    """Encode in batches, on the CPU as many at once as torch has threads; what comes out by name, and by what and modality."""
    device, fused = model.behaviour.device, CodeSearch(model.quantizer)
    plain = {name: CodeSearch(model.quantizer_of(name)) if name in model.own else fused for name in model.modalities}
    n = n_items if n_items is not None else len(items if items is not None else next(iter(features.values())))
    folded = {name: model.coder(name).fold_standardisation() for name in model.modalities}
    whole: dict[str, np.ndarray] = {}

    def keep(name: str, rows: slice, values: torch.Tensor) -> None:
        part = values.cpu().numpy()
        if name not in whole:
            whole.setdefault(name, np.empty((n, part.shape[1]), dtype=part.dtype))  # another batch may have made it meanwhile
        whole[name][rows] = part

    @torch.no_grad()  # every thread has a setting of its own
    def encode(rows: slice) -> None:
        encoded = model.encode(
            {name: features[name][rows].to(device) for name in model.modalities},
            {name: present[name][rows].to(device) for name in model.modalities},
            rows.stop - rows.start,
            with_specific=items is not None,
            folded=folded,
        )
        behaviour = model.known_behaviour(encoded, None if items is None else torch.from_numpy(items[rows]).to(device))
        start = model.fuse(encoded, behaviour)
        prefix, residual = fused.prefix(start)
        keep("wished", rows, fused.complete(prefix, residual, behaviour))
        for name, vectors in encoded.aligned.items():
            if not model.modality_alone:  # else its chain is the fused one up to the last level
                prefix, residual = plain[name].prefix(vectors)
            keep(f"codes/{name}", rows, plain[name].complete(prefix, residual))
        if codes_alone:
            return
        keep("starts", rows, start)
        keep("behaviour", rows, behaviour)
        for name, vectors in encoded.specific.items():
            keep(f"specific/{name}", rows, vectors)
            keep(f"aligned/{name}", rows, encoded.aligned[name])

    _for_each_batch(encode, n, at_once=torch.get_num_threads() if device.type == "cpu" else 1)
    return whole


def _for_each_batch(work: Callable[[slice], None], n: int, at_once: int) -> None:
    """Do what is to be done with each batch of n rows, or with one batch of none.

    Every batch is computed by one thread: several of them beside one another keep all cores at work, also where a kernel knows no
    threads, and what comes out does not depend on how many there are.
    """
    batches = [slice(low, min(low + BATCH, n)) for low in range(0, max(n, 1), BATCH)]
    with kernel_threads(1), ThreadPoolExecutor(min(at_once, len(batches))) as workers:
        for _ in workers.map(work, batches):
            pass


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
    codes: Codes,
    vectors: Vectors,
    hashes: np.ndarray,
    existing_ids: np.ndarray,
    existing_hashes: np.ndarray,
    share_identical: bool,
) -> Assignment:
    """Repair collisions among items and with existing ones, which keep what they have.

    Args:
        codebooks: What repair measures its costs with.
        codes: The items' codes.
        vectors: Their vectors, asked for where IDs collide and nowhere else.
        hashes: Their listing hashes, int64 [n].
        existing_ids: int64 [m, L].
        existing_hashes: int64 [m].
        share_identical: Give an item the ID of the first whose listing is identical: an existing one, else the first among the items.
    """
    n = len(codes.wished)
    fused = codes.wished.copy()
    first = np.arange(n)
    known = np.full(n, -1)
    if share_identical:
        first = representatives(hashes)
        order = np.argsort(existing_hashes, kind="stable")
        place = np.searchsorted(existing_hashes[order], hashes)
        inside = (place < len(order)) & (hashes >= 0)
        known[inside] = np.where(existing_hashes[order[place[inside]]] == hashes[inside], order[place[inside]], -1)
    own = np.flatnonzero((first == np.arange(n)) & (known < 0))
    colliding = collides(codes.wished[own], codebooks.sizes, existing_ids)
    if colliding.any():
        apart, settled = own[colliding], own[~colliding]
        occupied = np.concatenate([existing_ids, codes.wished[settled]])
        fused[apart] = repair(codes.wished[apart], *vectors(apart), codebooks, occupied).codes
    fused[known >= 0] = existing_ids[known[known >= 0]]
    copies = (first != np.arange(n)) & (known < 0)
    fused[copies] = fused[first[copies]]
    shares = (known >= 0) | copies
    shares[first[copies]] = True
    return Assignment(fused, codes.modality_codes, (fused != codes.wished).any(1), shares)
