"""Stage `quantize`: features and train behaviour in, semantic IDs out."""

import logging
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from bbqrec_core import schema
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.determinism import choose_device, deterministic
from bbqrec_core.quantization.assign import Assignment, EncodedCatalogue
from bbqrec_core.quantization.catalogue import assign_catalogue, churn
from bbqrec_core.quantization.collisions import collision_share
from bbqrec_core.quantization.data import TrainingData, load_item_features, prepare, representatives
from bbqrec_core.quantization.health import Row, agreement, usage, usage_rows
from bbqrec_core.quantization.lcp import BehaviourLcp, behaviour_lcp
from bbqrec_core.quantization.probes import carried_rows, rows_without_features, shared_information_r2
from bbqrec_core.quantization.tokenizers import given, registry
from bbqrec_core.quantization.tokenizers.interface import Tokenizer
from bbqrec_core.quantization.tokenizers.saved import SavedTokenizer, save
from bbqrec_core.quantization.warm_start import WarmStart, find_warm_start
from bbqrec_core.stage import StageContext, Statistics

log = logging.getLogger(__name__)

HISTORY = 20
"""Width of padded histories; nothing here looks at them, whole histories are used."""


def run(context: StageContext) -> Statistics:
    """Fit the tokenizer that the profile names, give every item an ID, measure the codes, write all of it.

    Raises:
        StageError: Features or catalogue do not allow it; see `data.prepare` and the tokenizer.
    """
    profile = context.profile
    config = profile.quantization
    with deterministic(profile.compute.threads):
        device = choose_device(profile.compute.device)
        dataset = SequenceDataset.load(context.input("ingest"), HISTORY)
        features = load_item_features(context.input("embed"), context.input("ingest"))
        data = prepare(dataset, features, given.without_codebooks(config) if config.tokenizer == "given" else config)
        log.info("Training on %d items (%d cold), %s, %s.", len(data.fitted), len(data.cold), data.known_by, device)
        warm = find_warm_start(context, data)
        fitted = registry.fit(data, config, profile.seed, device, context.input("ingest"), warm.usable)
        tokenizer, curve = fitted.tokenizer, fitted.curve
        encoded, assignment, hashes = assign_catalogue(tokenizer, data, warm.usable)
        save(context.out, SavedTokenizer(tokenizer, assignment.fused, hashes))
        coded = tokenizer.coded({name: mask.numpy() for name, mask in data.present.items()})
        _write_ids(context.out, assignment, coded)
        _write_vectors(context.out, tokenizer, data, assignment, coded)
        _write_usage(context.out, assignment, coded, tokenizer.sizes)
        health = measure(data, tokenizer.sizes, encoded, assignment, coded, hashes, profile.seed)
        behaviour = behaviour_lcp(assignment.fused, dataset, profile.seed)
        health += _lcp_rows(behaviour) + _churn_rows(warm, assignment)
        _write(context.out / "codebook_health.parquet", schema.HEALTH, health)
        _write(context.out / "curve.parquet", schema.CURVE, curve.rows)
    statistics = _statistics(data, tokenizer, warm, assignment, coded, health, curve.last() if curve.rows else {})
    return {**statistics, **tokenizer.statistics()}


def measure(
    data: TrainingData,
    sizes: list[int],
    encoded: EncodedCatalogue,
    assignment: Assignment,
    coded: dict[str, np.ndarray],
    hashes: np.ndarray,
    seed: int,
) -> list[Row]:
    """Every health figure that needs no validation; `coded` says which items have a modality's codes, bool [n_items] each."""
    rows: list[Row] = list(usage_rows(schema.FUSED, assignment.fused, sizes))
    distinct = representatives(hashes) == np.arange(data.n_items)
    for name, codes in (("before", encoded.wished), ("after", assignment.fused)):
        rows.append((schema.FUSED, 0, f"collision_share_{name}_repair", collision_share(codes)))
        rows.append((schema.FUSED, 0, f"collision_share_{name}_repair_distinct_listings", collision_share(codes[distinct])))
    rows.append((schema.FUSED, 0, "identical_listing_share", float((~distinct).mean())))
    rows.append((schema.FUSED, 0, "moved_by_repair_share", float(assignment.moved.mean())))
    for name in schema.MODALITIES:
        sources = {schema.FUSED: assignment.fused}
        masks = {schema.FUSED: np.ones(data.n_items, dtype=bool)}
        if name in coded:
            sources[name], masks[name] = assignment.modality_codes[name], coded[name]
            rows += usage_rows(name, sources[name][masks[name]], sizes)
            rows.append((name, 0, "collision_share", collision_share(sources[name][masks[name]])))
        if name in data.features:
            for source, codes in sources.items():
                has = masks[source] & data.present[name].numpy()
                rows += carried_rows(source, codes[has], sizes, name, data.features[name].numpy()[has], data.published(name, has), seed)
        if name in encoded.specific:
            has = data.present[name].numpy()
            rows.append(
                (name, 0, "specific_to_aligned_r2", shared_information_r2(encoded.specific[name][has], encoded.aligned[name][has], seed))
            )
    behaviour_alone = not data.features and encoded.behaviour.shape[1] > 0
    rows += rows_without_features(assignment.fused, sizes, encoded.starts, encoded.behaviour, behaviour_alone, seed)
    if len(coded) == 2:
        both = np.logical_and(*coded.values())
        text, image = (assignment.modality_codes[name][both] for name in schema.MODALITIES)
        for level, size in enumerate(sizes, start=1):
            observed, shuffled = agreement(text[:, level - 1], image[:, level - 1], size)
            rows += [
                (schema.FUSED, level, "text_image_agreement", observed),
                (schema.FUSED, level, "text_image_agreement_shuffled", shuffled),
            ]
    return [row for row in rows if math.isfinite(row[3])]


def _lcp_rows(behaviour: BehaviourLcp | None) -> list[Row]:
    if behaviour is None:
        return [(schema.FUSED, 0, "behaviour_lcp_pairs", 0.0)]
    rows = [(schema.FUSED, 0, f"behaviour_lcp_{name}", float(value)) for name, value in vars(behaviour).items()]
    return [row for row in rows if math.isfinite(row[3])]


def _churn_rows(warm: WarmStart, assignment: Assignment) -> list[Row]:
    """How many items had an ID before, and what share of them has another now: whole (level 0), and by prefix of so many levels."""
    earlier = warm.earlier
    if earlier is None or earlier.semantic_ids.shape[1] != assignment.fused.shape[1]:
        return []
    known = earlier.known
    shares = churn(earlier.ids[known], assignment.fused[known])
    rows: list[Row] = [(schema.FUSED, 0, "known_item_share", float(known.mean())), (schema.FUSED, 0, "churn_share", shares[-1])]
    rows += [(schema.FUSED, level, "churn_share", share) for level, share in enumerate(shares, start=1)]
    return [row for row in rows if math.isfinite(row[3])]


def _write(path: Path, table_schema: pa.Schema, rows: list) -> None:
    columns = zip(*rows, strict=True) if rows else [[] for _ in table_schema]
    pq.write_table(
        pa.table([pa.array(list(column), type=kind.type) for column, kind in zip(columns, table_schema, strict=True)], schema=table_schema),
        path,
    )


def _write_ids(out: Path, assignment: Assignment, coded: dict[str, np.ndarray]) -> None:
    n, levels = assignment.fused.shape
    table_schema = schema.semantic_id_schema(levels)

    def column(codes: np.ndarray, has: np.ndarray) -> pa.Array:
        flat = np.where(has[:, None], codes, 0).astype(np.int16).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=table_schema.field(schema.FUSED).type, mask=pa.array(~has))

    arrays = [pa.array(np.arange(n, dtype=np.int32)), column(assignment.fused, np.ones(n, dtype=bool))]
    for name in schema.MODALITIES:
        codes = assignment.modality_codes.get(name, np.zeros_like(assignment.fused))
        arrays.append(column(codes, coded.get(name, np.zeros(n, dtype=bool))))
    # Arrow cannot read fixed-size lists with nulls back from Parquet; without its own schema in the file they come as plain lists.
    pq.write_table(pa.table(arrays, schema=table_schema), out / "semantic_ids.parquet", store_schema=False)


def _write_vectors(out: Path, tokenizer: Tokenizer, data: TrainingData, assignment: Assignment, coded: dict[str, np.ndarray]) -> None:
    vectors = tokenizer.vectors(assignment.fused, assignment.modality_codes, data.present)
    tensors = {schema.FUSED: vectors[schema.FUSED]}
    for name in schema.MODALITIES:
        tensors[name] = torch.zeros_like(tensors[schema.FUSED])
        if name in coded:
            tensors[name] = torch.where(torch.from_numpy(coded[name])[:, None], vectors[name], 0.0)
    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()}, out / "quantized.safetensors")


def _write_usage(out: Path, assignment: Assignment, coded: dict[str, np.ndarray], sizes: list[int]) -> None:
    rows = []
    for source in (schema.FUSED, *coded):
        codes = assignment.fused if source == schema.FUSED else assignment.modality_codes[source][coded[source]]
        for level, counts in enumerate(usage(codes, sizes), start=1):
            rows += [(source, level, code, int(items)) for code, items in enumerate(counts)]
    _write(out / "usage.parquet", schema.USAGE, rows)


def _statistics(
    data: TrainingData,
    tokenizer: Tokenizer,
    warm: WarmStart,
    assignment: Assignment,
    coded: dict[str, np.ndarray],
    health: list[Row],
    losses: dict[str, float],
) -> Statistics:
    sizes = tokenizer.sizes
    value = {(source, level, name): number for source, level, name, number in health}
    fused = schema.FUSED
    last = len(sizes)
    levels = range(1, last + 1)
    statistics: Statistics = {
        "items": data.n_items,
        "fitted_items": len(data.fitted),
        "cold_items": len(data.cold),
        "blank_items": int((~data.has_content).sum()),
        "repair_only_items": round(value.get((fused, 0, "repair_only_share"), 0.0) * data.n_items),
        "levels": last,
        "codebook_sizes": ",".join(map(str, sizes)),
        "distinct_ids": len(np.unique(assignment.fused, axis=0)),
        "collision_share_before": value[fused, 0, "collision_share_before_repair"],
        "collision_share_before_distinct_listings": value[fused, 0, "collision_share_before_repair_distinct_listings"],
        "collision_share": value[fused, 0, "collision_share_after_repair"],
        "collision_share_distinct_listings": value[fused, 0, "collision_share_after_repair_distinct_listings"],
        "repaired_collision_share": value[fused, 0, "collision_share_after_repair"] if tokenizer.repairs else 0.0,
        "published_collision_share": 0.0 if tokenizer.repairs else value[fused, 0, "collision_share_after_repair"],
        "started_from": warm.source if warm.usable else "scratch",
        "warm_start_refused": warm.refused or None,
        "known_items": 0 if warm.earlier is None else int(warm.earlier.known.sum()),
        "churn_share": value.get((fused, 0, "churn_share")),
        **{f"churn_share_level_{level}": value.get((fused, level, "churn_share")) for level in levels},
        "identical_listings": round(value[fused, 0, "identical_listing_share"] * data.n_items),
        "items_sharing_an_id": int(assignment.shares.sum()),
        "items_moved_by_repair": int(assignment.moved.sum()),
        "used_code_share": min(value[fused, level, "used_code_share"] for level in levels),
        "largest_code_share": value[fused, 1, "largest_code_share"],
    }
    for level in levels:
        statistics[f"perplexity_level_{level}"] = value[fused, level, "perplexity"]
    for name in schema.MODALITIES:
        statistics[f"reconstruction_r2_{name}"] = value.get((name, last, f"r2_{name}"))
        statistics[f"fused_r2_{name}"] = value.get((fused, last, f"r2_{name}"))
        statistics[f"reconstruction_accuracy_{name}"] = value.get((name, last, f"accuracy_{name}"))
        statistics[f"fused_accuracy_{name}"] = value.get((fused, last, f"accuracy_{name}"))
        statistics[f"null_{name}_codes"] = data.n_items - (int(coded[name].sum()) if name in coded else 0)
    statistics["fused_r2_behaviour"] = value.get((fused, last, "r2_behaviour"))
    statistics["null_fused_codes"] = 0
    statistics["behaviour_lcp_ratio"] = value.get((fused, 0, "behaviour_lcp_ratio"))
    statistics["behaviour_lcp_difference"] = value.get((fused, 0, "behaviour_lcp_difference"))
    statistics["behaviour_lcp_pairs"] = int(value[fused, 0, "behaviour_lcp_pairs"])
    statistics["nan_losses"] = sum(not math.isfinite(number) for number in losses.values())
    for name, number in sorted(losses.items()):
        if name != "train/revived_codes":
            statistics[f"final_{name.removeprefix('train/')}"] = number
    return statistics
