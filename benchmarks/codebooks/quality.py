"""Measures one contender: what fitting and assigning cost, how healthy its codes are, and what they are worth to the fixed model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bbqrec_core import schema
from bbqrec_core.dataset import EvalSplit
from bbqrec_core.quantization.assign import EncodedCatalogue
from bbqrec_core.quantization.collisions import collision_share
from bbqrec_core.quantization.data import representatives
from bbqrec_core.quantization.health import usage_rows
from bbqrec_core.quantization.lcp import BehaviourLcp, behaviour_lcp
from bbqrec_core.quantization.probes import carried_rows
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


def measure(
    name: str, catalogue: Catalogue, split: EvalSplit, recipe: Recipe, seed: int, device: torch.device, budget: Budget | None = None
) -> Measured:
    """Fit a contender, give every item its ID, and judge the IDs.

    Args:
        name: Its key in `contenders.NAMES`.
        catalogue: What it is measured on.
        split: Whom the fixed model is ranked for.
        recipe: Of the fixed model.
        seed: Of the contender, of the fixed model, and of every probe.
        device: Where the contender trains.
        budget: See `contenders.fit`.
    """
    begin, cpu_before = time.perf_counter(), time.process_time()
    tokenizer = fit(name, catalogue, seed, device, budget).tokenizer
    fitted = time.perf_counter()
    encoded, assignment, hashes = assign_catalogue(tokenizer, catalogue.data)
    seconds = (fitted - begin, time.perf_counter() - fitted, time.process_time() - cpu_before)
    return judge(encoded, assignment.fused, hashes, tokenizer.sizes, catalogue, split, recipe, seed, seconds)


def judge(
    encoded: EncodedCatalogue,
    codes: np.ndarray,
    hashes: np.ndarray,
    sizes: list[int],
    catalogue: Catalogue,
    split: EvalSplit,
    recipe: Recipe,
    seed: int,
    seconds: tuple[float, float, float],
) -> Measured:
    """Judge IDs, whoever made them.

    Args:
        encoded: What the tokenizer wished for, before repair.
        codes: Final IDs, int64 [n_items, L].
        hashes: Of the listings, as `assign_catalogue` gives them.
        sizes: K_1..K_L.
        catalogue: What is measured on.
        split: Whom the fixed model is ranked for.
        recipe: Of the fixed model.
        seed: Of the fixed model and of every probe.
        seconds: What goes into `fit_seconds`, `assign_seconds` and `cpu_seconds`.
    """
    data = catalogue.data
    distinct = representatives(hashes) == np.arange(data.n_items)
    usage = {(level, row): value for _, level, row, value in usage_rows(schema.FUSED, codes, sizes)}
    return Measured(
        fit_seconds=seconds[0],
        assign_seconds=seconds[1],
        cpu_seconds=seconds[2],
        carried=_carried(catalogue, codes, sizes, seed),
        collisions=collision_share(encoded.wished[distinct]),
        used_share=min(usage[level, "used_code_share"] for level in range(1, len(sizes) + 1)),
        perplexity_share=usage[1, "perplexity"] / sizes[0],
        largest_share=usage[1, "largest_code_share"],
        lcp=behaviour_lcp(codes, catalogue.dataset, seed),
        ndcg=ndcg_per_user(train_model(codes, sizes, catalogue.dataset, recipe, seed), split),
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
