"""Measures one contender: what fitting and assigning cost, how healthy its codes are, and what they are worth to the fixed model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from bbqrec_core import schema
from bbqrec_core.dataset import EvalSplit
from bbqrec_core.quantization.assign import EncodedCatalogue
from bbqrec_core.quantization.collisions import collision_share
from bbqrec_core.quantization.data import representatives
from bbqrec_core.quantization.health import usage_rows
from bbqrec_core.quantization.lcp import BehaviourLcp, behaviour_lcp
from bbqrec_core.quantization.probes import carried_rows, shared_information_r2
from bbqrec_core.quantization.stage import assign_catalogue
from benchmarks.codebooks.catalogue import Catalogue
from benchmarks.codebooks.contenders import Budget, fit
from benchmarks.codebooks.fixed_model import Recipe, ndcg_per_user, train_model


@dataclass(frozen=True)
class Measured:
    """One contender, fitted with one seed.

    Attributes:
        fit_seconds, assign_seconds: Wall clock: until it is fitted; until every item has its ID from then on.
        cpu_seconds: Of both together, all threads.
        carried: By modality, what a probe foretells from the final IDs alone on held-out items: R2 of the features, or the accuracy on
            published codes where nothing else is known of the modality.
        collisions: Share of items whose ID another item had before repair, items of identical features counted once.
        used_share: Codes in use, at the worst level.
        perplexity_share: Of level 1, relative to its size.
        largest_share: Share of the items on the largest code of level 1.
        lcp: behaviour-LCP; None where no pair qualifies.
        ndcg: NDCG@10 of the fixed model by user, float64 [users].
        shared: By modality, R2 of what a probe foretells of b from s; empty for tokenizers that have no such parts.
    """

    fit_seconds: float
    assign_seconds: float
    cpu_seconds: float
    carried: dict[str, float]
    collisions: float
    used_share: float
    perplexity_share: float
    largest_share: float
    lcp: BehaviourLcp | None
    ndcg: np.ndarray
    shared: dict[str, float] = field(default_factory=dict)


def measure(
    name: str, catalogue: Catalogue, split: EvalSplit, recipe: Recipe, seed: int, device: torch.device, budget: Budget | None = None
) -> Measured:
    """Fit a contender, give every item its ID, and judge the IDs.

    Args:
        name: As for `contenders.fit`.
        catalogue: What it is measured on.
        split: Whom the fixed model is ranked for.
        recipe: Of the fixed model.
        seed: Of the contender, of the fixed model, and of every probe.
        device: Where the contender trains.
        budget: See `contenders.fit`.
    """
    data = catalogue.data
    begin, cpu_before = time.perf_counter(), time.process_time()
    tokenizer = fit(name, catalogue, seed, device, budget).tokenizer
    fitted = time.perf_counter()
    encoded, assignment, hashes = assign_catalogue(tokenizer, data)
    assigned, cpu_after = time.perf_counter(), time.process_time()
    codes, sizes = assignment.fused, tokenizer.sizes
    distinct = representatives(hashes) == np.arange(data.n_items)
    usage = {(level, row): value for _, level, row, value in usage_rows(schema.FUSED, codes, sizes)}
    return Measured(
        fit_seconds=fitted - begin,
        assign_seconds=assigned - fitted,
        cpu_seconds=cpu_after - cpu_before,
        carried=_carried(catalogue, codes, sizes, seed),
        collisions=collision_share(encoded.wished[distinct]),
        used_share=min(usage[level, "used_code_share"] for level in range(1, len(sizes) + 1)),
        perplexity_share=usage[1, "perplexity"] / sizes[0],
        largest_share=usage[1, "largest_code_share"],
        lcp=behaviour_lcp(codes, catalogue.dataset, seed),
        ndcg=ndcg_per_user(train_model(codes, sizes, catalogue.dataset, recipe, seed), split),
        shared=_shared(encoded, catalogue, seed),
    )


def _carried(catalogue: Catalogue, codes: np.ndarray, sizes: Sequence[int], seed: int) -> dict[str, float]:
    """Of each modality, what all levels together carry."""
    data, last, found = catalogue.data, len(sizes), {}
    for name, features in data.features.items():
        has = data.present[name].numpy()
        rows = carried_rows(schema.FUSED, codes[has], list(sizes), name, features.numpy()[has], data.published(name, has), seed)
        value = {(level, row): value for _, level, row, value in rows}
        kind = "r2" if (last, f"r2_{name}") in value else "accuracy"
        found[name] = value[last, f"{kind}_{name}"]
    return found


def _shared(encoded: EncodedCatalogue, catalogue: Catalogue, seed: int) -> dict[str, float]:
    found = {}
    for name, specific in encoded.specific.items():
        has = catalogue.data.present[name].numpy()
        found[name] = shared_information_r2(specific[has], encoded.aligned[name][has], seed)
    return found
