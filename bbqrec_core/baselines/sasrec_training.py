"""Training SASRec: cross-entropy over the whole catalogue at every position, the best epoch on validation kept, resumable after a crash.

With codes, which may speak for an item that nobody has bought yet, the catalogue is what train has, as for our own model.
"""

import hashlib
import logging
import math
from pathlib import Path

import numpy as np
import torch

from bbqrec_core.baselines.config import SasrecConfig
from bbqrec_core.baselines.sasrec import Sasrec, SasrecModel
from bbqrec_core.baselines.training_loop import Course, train_to_the_best
from bbqrec_core.checkpoints import Progress
from bbqrec_core.dataset import PADDING, SequenceDataset
from bbqrec_core.determinism import reproducible
from bbqrec_core.errors import StageError
from bbqrec_core.evaluation.ranking import sample_users, validation_metrics
from bbqrec_core.full_softmax import full_softmax_loss
from bbqrec_core.sequence.similarity import SimilarityBuckets

log = logging.getLogger(__name__)


def training_windows(offsets: np.ndarray, items: np.ndarray, width: int) -> np.ndarray:
    """Cut sequences into pieces of at most `width` inputs, so that every item but a user's first is foretold exactly once.

    Pieces are cut from the end of a sequence and share one item: the last of the earlier is the first input of the later.

    Args:
        offsets: int64 [n + 1].
        items: item_idx, int64.
        width: Inputs of a piece.

    Returns:
        int64 [pieces, width + 1], oldest first, padded on the RIGHT with PADDING. Sequences of one item give none.
    """
    lengths = np.diff(offsets)
    pieces = -(-np.maximum(lengths - 1, 0) // width)
    sequence = np.repeat(np.arange(len(lengths)), pieces)
    from_end = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    ends = offsets[1:][sequence] - from_end * width
    starts = np.maximum(ends - width - 1, offsets[:-1][sequence])
    index = starts[:, None] + np.arange(width + 1)
    inside = index < ends[:, None]
    windows = np.full(index.shape, PADDING, dtype=np.int64)
    windows[inside] = items[index[inside]]
    return windows


def train_sasrec(
    data: SequenceDataset,
    config: SasrecConfig,
    max_history: int,
    seed: int,
    device: str = "cpu",
    checkpoint: Path | None = None,
    codes: torch.Tensor | None = None,
    buckets: SimilarityBuckets | None = None,
) -> tuple[Sasrec, Progress]:
    """Train until validation stops improving, or the epochs are used up.

    Args:
        data: Train sequences, and the validation split that picks the epoch.
        config: Section `baselines.sasrec`.
        max_history: Items of a history that the model looks at.
        seed: Decides initial weights, batches and dropout.
        device: Where to train.
        checkpoint: File that is renewed after each epoch and resumed from; None = neither.
        codes: The items' codes, from `code_rows`; None = items are known by themselves alone.
        buckets: Of item similarity, by which attention is reweighted; None = it is not.

    Raises:
        StageError: No user has two train items, or the loss is no longer a finite number.
    """
    windows = torch.from_numpy(training_windows(data.train_offsets, data.train_items, max_history))
    if not len(windows):
        raise StageError("No user has two items in train, so SASRec has nothing to learn from.", "Switch it off: baselines.sasrec.enabled.")
    judges = sample_users(data.valid, config.selection_users, seed)
    counts = torch.from_numpy(data.train_counts)
    with reproducible(seed):
        scale = (config.dimensions, config.heads, config.layers, config.dropout)
        warm = None if codes is None else counts > 0
        model = SasrecModel(data.n_items, max_history, *scale, codes=codes, buckets=buckets, warm=warm).to(device)
        optimizer = _optimizer(model, config)
        told = hashlib.sha256(windows.numpy().tobytes() + (b"" if codes is None else codes.numpy().tobytes()))
        for tensor in () if buckets is None else buckets.state_dict().values():
            told.update(tensor.cpu().numpy().tobytes())
        key = f"{config.model_dump_json()} {max_history} {seed} {device} {torch.__version__} {told.hexdigest()}"
        progress = train_to_the_best(
            model,
            optimizer,
            Course(Sasrec(model, counts).name, "baselines.sasrec", "epochs", config.epochs, config.patience),
            lambda epoch: _train_epoch(model, optimizer, windows, config, epoch),
            lambda epoch: validation_metrics(Sasrec(model, counts), judges)["ndcg_at_10"],
            seed,
            checkpoint,
            key,
        )
    recommender = Sasrec(model, counts)
    log.info(
        "%s: best after epoch %d of %d, validation NDCG@10 %.4f", recommender.name, progress.best_epoch, progress.epoch, progress.best_ndcg
    )
    return recommender, progress


def _optimizer(model: SasrecModel, config: SasrecConfig) -> torch.optim.Optimizer:
    """AdamW; the similarity weights, if there are any, at a rate of their own and without decay, as in our own model."""
    similarity = [] if model.similarity is None else [model.similarity.weight]
    others = [parameter for name, parameter in model.named_parameters() if not name.startswith("similarity.")]
    groups = [
        {"params": others, "weight_decay": config.weight_decay, "scale": 1.0},
        {"params": similarity, "weight_decay": 0.0, "scale": config.similarity.lr_scale},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.learning_rate)


def _train_epoch(model: SasrecModel, optimizer: torch.optim.Optimizer, windows: torch.Tensor, config: SasrecConfig, epoch: int) -> float:
    """One pass over all windows; returns the mean loss per foretold item."""
    model.train()
    device = model.item.weight.device
    batches = torch.randperm(len(windows)).split(config.batch_size)
    total, number = torch.zeros((), device=device), 0
    for step, chosen in enumerate(batches):
        share = ((epoch - 1) * len(batches) + step + 1) / (config.epochs * len(batches))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule(share, config.warmup_share) * group["scale"]
        batch = windows[chosen].to(device)
        batch = batch[:, : int((batch != PADDING).sum(1).max())]
        targets = batch[:, 1:]
        real = targets != PADDING
        vectors, rows = model.vectors(), targets[real]
        if model.warm is not None:
            vectors, rows = vectors[model.warm], (model.warm.cumsum(0) - 1)[rows]
        loss = full_softmax_loss(model(batch[:, :-1])[real], vectors, rows)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        foretold = int(real.sum())
        total += loss.detach() * foretold
        number += foretold
    return float(total) / number


def schedule(share: float, warmup: float) -> float:
    """Factor of the learning rate: a straight rise to 1, then a cosine down to 0.

    Args:
        share: Of all steps done, this one included, in (0, 1].
        warmup: Share of steps in which it rises.
    """
    if share < warmup:
        return share / warmup
    return 0.5 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup)))
