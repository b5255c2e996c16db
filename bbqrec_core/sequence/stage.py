"""The stage `train`: trains the sequence model, fits its mix, writes both with the curve and the similarity weights."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bbqrec_core import schema
from bbqrec_core.checkpoints import LOSS, Progress
from bbqrec_core.curves import write_curve
from bbqrec_core.dataset import EvalSplit, SequenceDataset, load_features
from bbqrec_core.determinism import reproducible
from bbqrec_core.evaluation.metrics import expected_ndcg, expected_recall
from bbqrec_core.evaluation.ranking import rank_split, sample_users, validation_metrics
from bbqrec_core.prior.artifact import load_knn
from bbqrec_core.sequence.artifact import TrainedModel, save_model
from bbqrec_core.sequence.catalogue import Catalogue, load_catalogue
from bbqrec_core.sequence.config import SequenceConfig
from bbqrec_core.sequence.content import ContentSimilarity, content_vectors
from bbqrec_core.sequence.mixture import CUT_OFF, Mixture, even, ranking_quality, weight_grid
from bbqrec_core.sequence.mixture_fit import Helpers, fit_helpers
from bbqrec_core.sequence.model import DENSE, GENERATIVE, SequenceModel
from bbqrec_core.sequence.parallel import train_on_devices
from bbqrec_core.sequence.prior import BehaviourPrior
from bbqrec_core.sequence.recommender import SequenceRecommender
from bbqrec_core.sequence.similarity import SimilarityBias, SimilarityBuckets, SimilaritySpec, bucket_shares, similarity_spec
from bbqrec_core.sequence.train import identity_of, scorer
from bbqrec_core.sequence.windows import Windows
from bbqrec_core.stage import StageContext, Statistics

if TYPE_CHECKING:  # reading profiles needs YAML, which a bare PyTorch box need not have
    from bbqrec_core.profile import Profile

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fit:
    """What training came to.

    Attributes:
        trained: The model, on the CPU, with its mix.
        progress: How training went.
        windows: What it was trained on.
        selection: The validation users who picked the epoch; more of them may have fitted the mix.
    """

    trained: TrainedModel
    progress: Progress
    windows: Windows
    selection: EvalSplit


def run(context: StageContext) -> Statistics:
    """Train and write `model.safetensors`, `model.json`, `curve.parquet` and `attention_bias.parquet`."""
    profile = context.profile
    helpers = load_helpers(profile.sequence, context.inputs)
    data = SequenceDataset.load(context.input("ingest"), history_width(profile.sequence, helpers))
    catalogue = load_catalogue(context.input("quantize"), data.train_counts)
    similarity = similarity_spec(profile.sequence.similarity, catalogue, profile.seed)
    made = fit(profile, data, catalogue, similarity, helpers, context.scratch)
    trained, model = made.trained, made.trained.model
    shares = None if similarity is None else bucket_shares(SimilarityBuckets(catalogue, similarity), made.windows.items)
    save_model(context.out, model, catalogue, similarity, trained.mixture, trained.prior, trained.content, profile.seed)
    write_curve(context.out, made.progress.curve)
    _write_similarity(context.out / "attention_bias.parquet", model.similarity, shares)
    return _statistics(model, catalogue, made.windows, made.progress) | _mixture_statistics(trained, made.selection)


def nan_parameters(model: SequenceModel) -> int:
    """How many of a model's numbers are not finite: what the gates of `train` and `refit` ask."""
    return sum(int((~parameter.isfinite()).sum()) for parameter in model.parameters())


def history_width(config: SequenceConfig, helpers: Helpers) -> int:
    """Items of a history that the network or anything beside it looks at: as long must be what the mix is fitted on."""
    return max(config.max_history, 0 if helpers.knn is None else helpers.knn.max_history)


def load_helpers(config: SequenceConfig, inputs: Mapping[str, Path]) -> Helpers:
    """What the profile lets have a say beside the heads.

    Args:
        config: Section `sequence`.
        inputs: Folders of the artifacts `prior` and `embed`.
    """
    knn = None if config.prior == "off" else load_knn(inputs["prior"])
    vectors = content_vectors(load_features(inputs["embed"])) if config.content else None
    return Helpers(knn, vectors, config.max_history, config.repetition, config.cold_cost)


def fit(
    profile: "Profile",
    data: SequenceDataset,
    catalogue: Catalogue,
    similarity: SimilaritySpec | None,
    helpers: Helpers,
    scratch: Path,
) -> Fit:
    """Train the model and fit its mix, as the profile says.

    Args:
        profile: Its sections `sequence` and `compute` and its seed count.
        data: Sequences; train is learned from, validation picks the epoch and the mix.
        catalogue: The items' codes.
        similarity: From `similarity_spec`; None = attention is not reweighted.
        helpers: What can have a say beside the heads.
        scratch: Where checkpoints are kept.
    """
    config = profile.sequence
    windows = Windows.cut(data.train_offsets, data.train_items, config.max_history)
    selection = sample_users(data.valid, config.selection_users, profile.seed)
    model, progress = train_model(profile, windows, selection, catalogue, similarity, scratch)
    fitted = fit_mixture(model, sample_users(data.valid, config.mixture_users, profile.seed), config, helpers)
    return Fit(TrainedModel(model.cpu(), *fitted, {}), progress, windows, selection)


def train_model(
    profile: "Profile",
    windows: Windows,
    selection: EvalSplit,
    catalogue: Catalogue,
    similarity: SimilaritySpec | None,
    scratch: Path,
    epochs: int | None = None,
) -> tuple[SequenceModel, Progress]:
    """Make a model and train it.

    Args:
        profile: Its sections `sequence` and `compute` and its seed count.
        windows: What it is trained on.
        selection: Validation users who pick the epoch; nobody = the last one is kept.
        catalogue: The items' codes.
        similarity: From `similarity_spec`; None = attention is not reweighted.
        scratch: Where checkpoints are kept.
        epochs: How many to make of those that the schedule is made for; None = all.

    Returns:
        The model, in evaluation mode, where it was trained; and how training went.
    """
    config, seed = profile.sequence, profile.seed
    if profile.compute.threads:
        torch.set_num_threads(profile.compute.threads)
    with reproducible(seed):
        model = SequenceModel(config, catalogue, similarity)
    identity = identity_of(config, seed, catalogue.digest(), windows, selection, epochs)
    progress = train_on_devices(model, windows, selection, config, seed, profile.compute, scratch, identity, epochs)
    return model.eval(), progress


def fit_mixture(
    model: SequenceModel, valid: EvalSplit, config: SequenceConfig, helpers: Helpers
) -> tuple[Mixture, BehaviourPrior | None, ContentSimilarity | None]:
    """Fit the heads' weights, and then what helps beside them.

    Args:
        model: Trained, in evaluation mode.
        valid: Users to fit on; where there are none, heads weigh the same and nothing else has a say.
        config: Profile section `sequence`.
        helpers: What can have a say.
    """
    if not len(valid):
        return Mixture(even(model.heads)), None, None
    heads = fit_heads(model, valid, config)
    if not helpers:
        return Mixture(heads), None, None
    return fit_helpers(valid, scorer(model), heads, helpers, model.start.device, config.users_at_once(model.n_items))


def fit_heads(model: SequenceModel, valid: EvalSplit, config: SequenceConfig) -> dict[str, float]:
    """The heads' weights that rank validation best by themselves, the most even of equals."""
    if len(model.heads) == 1:
        return even(model.heads)
    grid = weight_grid(model.heads, config.mixture_steps)
    with torch.no_grad():
        qualities = ranking_quality(valid, scorer(model), grid, config.users_at_once(model.n_items))
    return grid[max(range(len(grid)), key=lambda index: (qualities[index][0], -index))]


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


def _statistics(model: SequenceModel, catalogue: Catalogue, windows: Windows, progress: Progress) -> Statistics:
    losses = [value for _, name, value in progress.curve if name == LOSS]
    bias = model.similarity
    return {
        "epochs_run": progress.epoch,
        "best_epoch": progress.best_epoch,
        "final_train_loss": losses[-1],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "nan_parameters": nan_parameters(model),
        "similarity_weight_norm": 0.0 if bias is None else float(bias.weight.detach().norm()),
        "similarity_sources": 0 if bias is None else len(bias.buckets.spec.sources),
        "trie_nodes": 0 if model.decoder is None else model.decoder.trie.n_nodes,
        "cold_items": int((~catalogue.warm).sum()),
        "train_windows": len(windows),
        "items": catalogue.n_items,
    }


def _mixture_statistics(trained: TrainedModel, valid: EvalSplit) -> Statistics:
    """What was fitted on validation, and what it comes to by full ranking of the users who picked the epoch, as the model will be used."""
    recommender, mixture = SequenceRecommender(trained), trained.mixture
    quality = {"valid_ndcg_at_10": 0.0, "valid_recall_at_10": 0.0, "valid_ndcg_at_10_unmasked": 0.0, "valid_ndcg_at_10_without_prior": 0.0}
    if len(valid):
        rankings = rank_split(recommender, valid)
        quality["valid_ndcg_at_10"] = float(expected_ndcg(rankings[True].ranks.above, rankings[True].ranks.tied, CUT_OFF).mean())
        quality["valid_recall_at_10"] = float(expected_recall(rankings[True].ranks.above, rankings[True].ranks.tied, CUT_OFF).mean())
        quality["valid_ndcg_at_10_unmasked"] = float(expected_ndcg(rankings[False].ranks.above, rankings[False].ranks.tied, CUT_OFF).mean())
        alone = recommender.without_prior() if recommender.has_helpers else recommender
        quality["valid_ndcg_at_10_without_prior"] = validation_metrics(alone, valid)["ndcg_at_10"]
    return {
        **quality,
        "mixture_dense": mixture.heads.get(DENSE, 0.0),
        "mixture_generative": mixture.heads.get(GENERATIVE, 0.0),
        "mixture_prior": mixture.prior.level,
        "mixture_prior_by_length": mixture.prior.slopes[0],
        "mixture_prior_by_support": mixture.prior.slopes[1],
        "mixture_cold_lift": mixture.prior.cold_lift,
        "mixture_content": mixture.content,
        "content_temperature": None if trained.content is None else trained.content.temperature,
        "mixture_repetition": mixture.repetition,
        "prior_smoothing": None if trained.prior is None else trained.prior.smoothing,
    }
