"""The stage `baselines`: fits what the model is measured against, picks settings on validation, writes a folder each."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from bbqrec_core.baselines import load_recommenders
from bbqrec_core.baselines.files import TENSORS
from bbqrec_core.baselines.popularity import Popularity
from bbqrec_core.baselines.sasrec import Sasrec, code_rows
from bbqrec_core.baselines.sasrec_training import train_sasrec
from bbqrec_core.baselines.tiger_ids import tiger_ids
from bbqrec_core.baselines.with_prior import SasrecWithPrior
from bbqrec_core.curves import write_curve
from bbqrec_core.dataset import SequenceDataset, load_features, load_semantic_ids
from bbqrec_core.determinism import choose_device
from bbqrec_core.evaluation.ranking import sample_users, validation_metrics
from bbqrec_core.prior.artifact import load_knn
from bbqrec_core.recommender import Recommender
from bbqrec_core.sequence.catalogue import load_catalogue
from bbqrec_core.sequence.content import content_vectors
from bbqrec_core.sequence.mixture_fit import Helpers
from bbqrec_core.sequence.similarity import SimilarityBuckets, similarity_spec
from bbqrec_core.stage import StageContext, Statistics

CHECKPOINT = "sasrec.pt"
TIGER_CHECKPOINT = "tiger.pt"


def run(context: StageContext) -> Statistics:
    """Fit every baseline that the profile asks for.

    Files: `<kind>/model.json` and `<kind>/model.safetensors` each, and `curve.parquet` by epoch.
    """
    config, seed, max_history = context.profile.baselines, context.profile.seed, context.profile.baseline_history
    data = SequenceDataset.load(context.input("ingest"), max_history)
    curve: list[tuple[int, str, float]] = []
    statistics: Statistics = {"valid_users": len(data.valid), "max_history": max_history}

    popularity = Popularity(data.train_counts)
    popularity.save(context.out / Popularity.kind)
    statistics["popularity_valid_ndcg_at_10"] = _judge(popularity, data)

    knn = None
    if config.knn.enabled:
        knn = load_knn(context.input("prior"))
        knn.save(context.out / knn.kind)
        statistics["knn_valid_ndcg_at_10"] = _judge(knn, data)

    if config.sasrec.enabled:
        _fit_sasrec(context, data, None, curve, statistics)
        if config.sasrec.codes:
            codes = code_rows(load_semantic_ids(context.input("quantize")))
            with_codes = _fit_sasrec(context, data, codes, curve, statistics)
            if config.sasrec.reweighted:
                catalogue = load_catalogue(context.input("quantize"), data.train_counts)
                spec = similarity_spec(config.sasrec.similarity, catalogue, seed)
                if spec is not None:
                    _fit_sasrec(context, data, codes, curve, statistics, SimilarityBuckets(catalogue, spec))
            if config.sasrec.prior and knn is not None:
                profile = context.profile
                helpers = Helpers(knn, None, max_history, profile.sequence.repetition, profile.sequence.cold_cost)
                _mix(context, data, with_codes, helpers, statistics)
                vectors = content_vectors(load_features(context.input("embed"))) if config.sasrec.content else None
                if vectors is not None:
                    _mix(context, data, with_codes, replace(helpers, vectors=vectors), statistics)
    if config.tiger.enabled:
        _fit_tiger(context, data, curve, statistics)

    write_curve(context.out, curve)
    statistics["models"] = ", ".join(recommender.name for recommender in load_recommenders(context.out))
    statistics["nan_values"] = _non_finite(context.out)
    return statistics


def _fit_sasrec(
    context: StageContext,
    data: SequenceDataset,
    codes: torch.Tensor | None,
    curve: list[tuple[int, str, float]],
    statistics: Statistics,
    buckets: SimilarityBuckets | None = None,
) -> Sasrec:
    """Train and save a SASRec, with codes or without, reweighted or not, and add what is to be told of it."""
    config, seed, max_history = context.profile.baselines, context.profile.seed, context.profile.baseline_history
    device = str(choose_device(context.profile.compute.device))
    given = "".join(name for name, part in (("codes_", codes), ("reweighted_", buckets)) if part is not None)
    checkpoint = context.scratch / f"{given}{CHECKPOINT}"
    sasrec, progress = train_sasrec(data, config.sasrec, max_history, seed, device, checkpoint, codes, buckets)
    sasrec.save(context.out / sasrec.kind)
    curve += [(step, f"{sasrec.kind}/{name}", value) for step, name, value in progress.curve]
    statistics |= {
        f"{sasrec.kind}_valid_ndcg_at_10": _judge(sasrec, data),
        f"{sasrec.kind}_epochs_run": progress.epoch,
        f"{sasrec.kind}_best_epoch": progress.best_epoch,
        f"{sasrec.kind}_parameters": sum(parameter.numel() for parameter in sasrec.model.parameters()),
    }
    return sasrec


def _mix(context: StageContext, data: SequenceDataset, sasrec: Sasrec, helpers: Helpers, statistics: Statistics) -> None:
    """Mix a SASRec with its helpers, save it unless it came out as one that is there, and add what is to be told of it."""
    config, seed = context.profile.baselines, context.profile.seed
    mixed = SasrecWithPrior.fit(sasrec, helpers, sample_users(data.valid, config.sasrec.mixture_users, seed))
    if helpers.vectors is not None and mixed.content is None:
        return
    mixed.save(context.out / mixed.kind)
    statistics |= {f"{mixed.kind}_valid_ndcg_at_10": _judge(mixed, data), f"{mixed.kind}_weight": mixed.mixture.prior.level}


def _fit_tiger(context: StageContext, data: SequenceDataset, curve: list[tuple[int, str, float]], statistics: Statistics) -> None:
    """Train and save TIGER, and add what is to be told of it; its steps in the curve are checks."""
    from bbqrec_core.baselines.tiger_training import train_tiger  # transformers stays out of a run without it

    profile = context.profile
    config, seed = profile.baselines, profile.seed
    ids = torch.from_numpy(tiger_ids(context, data))
    checkpoint = context.scratch / TIGER_CHECKPOINT
    device = str(choose_device(profile.compute.device))
    tiger, progress = train_tiger(data, ids, config.tiger, profile.baseline_history, seed, device, checkpoint)
    tiger.save(context.out / tiger.kind)
    curve += [(step, f"{tiger.kind}/{name}", value) for step, name, value in progress.curve]
    statistics |= {
        f"{tiger.kind}_examples": config.tiger.examples,
        f"{tiger.kind}_best_examples": config.tiger.examples * progress.best_epoch // config.tiger.checks,
        f"{tiger.kind}_sampled_valid_ndcg_at_10": progress.best_ndcg,
        f"{tiger.kind}_parameters": sum(parameter.numel() for parameter in tiger.model.network.parameters()),
    }


def _judge(recommender: Recommender, data: SequenceDataset) -> float:
    return validation_metrics(recommender, data.valid)["ndcg_at_10"]


def _non_finite(out: Path) -> int:
    """Numbers in the written models that are NaN or infinite."""
    files = sorted(out.glob(f"*/{TENSORS}"))
    return sum(int((~torch.isfinite(tensor)).sum()) for file in files for tensor in load_file(file).values())
