"""The stage `train`: reads ingest and quantize, trains the sequence model, writes it with its curve and its similarity weights."""

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bbqrec_core import schema
from bbqrec_core.dataset import EvalSplit, SequenceDataset
from bbqrec_core.evaluation.ranking import sample_users
from bbqrec_core.sequence.artifact import save_model
from bbqrec_core.sequence.catalogue import Catalogue, load_catalogue
from bbqrec_core.sequence.config import SequenceConfig
from bbqrec_core.sequence.mixture import even, ranking_quality, weight_grid
from bbqrec_core.sequence.model import DENSE, GENERATIVE, SequenceModel
from bbqrec_core.sequence.similarity import SimilarityBias, SimilarityBuckets, SimilaritySpec, bucket_shares
from bbqrec_core.sequence.train import Progress, identity_of, make_fabric, reproducible, scorer, train
from bbqrec_core.sequence.windows import Windows
from bbqrec_core.stage import StageContext, Statistics

log = logging.getLogger(__name__)


def run(context: StageContext) -> Statistics:
    """Train and write `model.safetensors`, `model.json`, `curve.parquet` and `attention_bias.parquet`."""
    config, seed, compute = context.profile.sequence, context.profile.seed, context.profile.compute
    if compute.threads:
        torch.set_num_threads(compute.threads)
    data = SequenceDataset.load(context.input("ingest"), config.max_history)
    catalogue = load_catalogue(context.input("quantize"), data.train_counts)
    windows = Windows.cut(data.train_offsets, data.train_items, config.max_history)
    valid = sample_users(data.valid, config.selection_users, seed)
    similarity = similarity_spec(config, catalogue, seed)
    shares = None if similarity is None else bucket_shares(SimilarityBuckets(catalogue, similarity), windows.items)
    fabric = make_fabric(compute.device, config.precision)
    with reproducible(seed):
        model = SequenceModel(config, catalogue, similarity)
    identity = identity_of(config, seed, catalogue.digest(), windows, valid)
    progress = train(model, windows, valid, config, seed, fabric, context.scratch, identity)
    model.eval()
    weights, ndcg, recall = fit_mixture(model, valid, config)
    model.cpu()
    save_model(context.out, model, catalogue, similarity, weights, seed)
    _write_curve(context.out / "curve.parquet", progress)
    _write_similarity(context.out / "attention_bias.parquet", model.similarity, shares)
    return _statistics(model, catalogue, windows, progress, weights, ndcg, recall)


def similarity_spec(config: SequenceConfig, catalogue: Catalogue, seed: int) -> SimilaritySpec | None:
    """What the profile asks for, less the sources that no item has; None where nothing is left."""
    sources = tuple(source for source in config.similarity.sources if source in catalogue.codes)
    for source in config.similarity.sources:
        if source not in catalogue.codes:
            log.info("no item has %s codes: attention is not reweighted by them", source)
    if not sources:
        return None
    return SimilaritySpec.fit(catalogue, sources, config.similarity.kind, config.similarity.buckets, seed)


def fit_mixture(model: SequenceModel, valid: EvalSplit, config: SequenceConfig) -> tuple[dict[str, float], float, float]:
    """The heads' weights that rank validation best, with the NDCG@10 and Recall@10 that they reach there."""
    if not len(valid):
        return even(model.heads), 0.0, 0.0
    grid = weight_grid(model.heads, config.mixture_steps) if len(model.heads) > 1 else [even(model.heads)]
    with torch.no_grad():
        qualities = ranking_quality(valid, scorer(model), grid, config.score_batch)
    place = max(range(len(grid)), key=lambda index: (qualities[index][0], -index))
    return grid[place], *qualities[place]


def _write_curve(path: Path, progress: Progress) -> None:
    steps, names, values = zip(*progress.curve, strict=True)
    pq.write_table(pa.table([steps, names, values], schema=schema.CURVE), path)


def _write_similarity(path: Path, bias: SimilarityBias | None, shares: torch.Tensor | None) -> None:
    """One row per layer, head, source and bucket; no rows where attention is not reweighted."""
    rows: list[tuple[int, int, str, int, str, float, float]] = []
    if bias is not None and shares is not None:
        for layer, by_head in enumerate(bias.weight.tolist()):
            for head, by_source in enumerate(by_head):
                for source, by_bucket in enumerate(by_source):
                    for bucket, weight in enumerate(by_bucket[: bias.buckets.counts[source]]):
                        label = bias.buckets.label(source, bucket)
                        rows.append((layer, head, bias.buckets.spec.sources[source], bucket, label, weight, float(shares[source, bucket])))
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * len(schema.SIMILARITY_WEIGHTS)
    pq.write_table(pa.table(columns, schema=schema.SIMILARITY_WEIGHTS), path)


def _statistics(
    model: SequenceModel, catalogue: Catalogue, windows: Windows, progress: Progress, weights: dict[str, float], ndcg: float, recall: float
) -> Statistics:
    losses = [value for _, name, value in progress.curve if name == "train/loss"]
    bias = model.similarity
    return {
        "epochs_run": progress.epoch,
        "best_epoch": progress.best_epoch,
        "valid_ndcg_at_10": ndcg,
        "valid_recall_at_10": recall,
        "final_train_loss": losses[-1],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "nan_parameters": sum(int((~parameter.isfinite()).sum()) for parameter in model.parameters()),
        "mixture_dense": weights.get(DENSE, 0.0),
        "mixture_generative": weights.get(GENERATIVE, 0.0),
        "similarity_weight_norm": 0.0 if bias is None else float(bias.weight.detach().norm()),
        "similarity_sources": 0 if bias is None else len(bias.buckets.spec.sources),
        "trie_nodes": 0 if model.decoder is None else model.decoder.trie.n_nodes,
        "cold_items": int((~catalogue.warm).sum()),
        "train_windows": len(windows),
        "items": catalogue.n_items,
    }
