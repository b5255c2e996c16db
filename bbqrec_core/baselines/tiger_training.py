"""Training TIGER on as many examples as the profile grants it, the best check on validation kept.

An example is a train interaction, but a user's first, with the history before it. TIGER's own recipe, some 200 passes over all of them,
is for a GPU. What a stated number comes to is told by its curve. Public re-implementations are followed in the rest: AdamW, a constant
learning rate, the gradient's norm clipped at 1.
"""

import hashlib
import logging
from pathlib import Path

import numpy as np
import torch

from bbqrec_core.baselines.config import TigerConfig
from bbqrec_core.baselines.tiger import Tiger, TigerModel
from bbqrec_core.baselines.training_loop import Course, train_to_the_best
from bbqrec_core.checkpoints import Progress
from bbqrec_core.dataset import PADDING, SequenceDataset
from bbqrec_core.determinism import reproducible
from bbqrec_core.errors import StageError
from bbqrec_core.evaluation.ranking import sample_users, validation_metrics

log = logging.getLogger(__name__)

CLIP_NORM = 1.0
SORTED_BATCHES = 32
"""Of so many batches at once the examples are sorted by length, so that a batch is little padding."""


def training_examples(data: SequenceDataset, max_history: int) -> tuple[np.ndarray, np.ndarray]:
    """Every train interaction but a user's first, with what came before it.

    Returns:
        Histories, int64 [n, max_history], padded on the left; and targets, int64 [n].
    """
    lengths = np.diff(data.train_offsets)
    place = np.arange(len(data.train_items)) - np.repeat(data.train_offsets[:-1], lengths)
    at = np.flatnonzero(place > 0)
    back = np.arange(max_history, 0, -1)
    inside = back <= place[at][:, None]
    index = np.where(inside, at[:, None] - back, 0)
    return np.where(inside, data.train_items[index], PADDING), data.train_items[at]


def batches_of_like_length(lengths: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """A pass over all rows in random order, in batches of rows that are alike in length.

    Args:
        lengths: int64 [n].
        size: Of a batch; the last of each stretch of `SORTED_BATCHES` may be smaller.
        rng: Decides the order.

    Returns:
        Rows, each in one batch.
    """
    order = rng.permutation(len(lengths))
    batches = []
    for low in range(0, len(order), size * SORTED_BATCHES):
        stretch = order[low : low + size * SORTED_BATCHES]
        stretch = stretch[np.argsort(lengths[stretch], kind="stable")]
        batches += [stretch[start : start + size] for start in range(0, len(stretch), size)]
    return [batches[place] for place in rng.permutation(len(batches))]


def training_step(model: TigerModel, optimizer: torch.optim.Optimizer, histories: torch.Tensor, targets: torch.Tensor) -> float:
    """One step on some examples, histories int64 [batch, length] and targets int64 [batch]; returns the loss."""
    device = model.tokens.device
    loss = model.loss(histories.to(device), targets.to(device))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
    optimizer.step()
    return float(loss.detach())


def train_tiger(
    data: SequenceDataset,
    ids: torch.Tensor,
    config: TigerConfig,
    max_history: int,
    seed: int,
    device: str = "cpu",
    checkpoint: Path | None = None,
) -> tuple[Tiger, Progress]:
    """Train on as many examples as the section says, and judge `checks` times on the way.

    Args:
        data: Train sequences, and the validation split that picks the check.
        ids: Semantic IDs, int64 [n_items, levels].
        config: Section `baselines.tiger`.
        max_history: Items of a history that the model looks at.
        seed: Decides initial weights, batches and dropout.
        device: Where to train.
        checkpoint: File that is renewed after each check and resumed from; None = neither.

    Returns:
        The recommender, and its progress, in which an epoch is a check.

    Raises:
        StageError: No user has two train items, or the loss is no longer a finite number.
    """
    histories, targets = (torch.from_numpy(part) for part in training_examples(data, max_history))
    if not len(targets):
        raise StageError("No user has two items in train, so TIGER has nothing to learn from.", "Switch it off: baselines.tiger.enabled.")
    lengths = (histories != PADDING).sum(1).numpy()
    judges, counts = sample_users(data.valid, config.selection_users, seed), torch.from_numpy(data.train_counts)
    with reproducible(seed):
        model = TigerModel(ids).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
        told = hashlib.sha256(b"".join(part.numpy().tobytes() for part in (ids, histories, targets))).hexdigest()
        key = f"{config.model_dump_json()} {max_history} {seed} {device} {torch.__version__} {told}"

        def learn(check: int) -> float:
            first, last = (config.examples * done // config.checks for done in (check - 1, check))
            return _train(model, optimizer, histories, targets, lengths, config.batch_size, first, last, seed)

        def judge(check: int) -> float:
            value = validation_metrics(Tiger(model, counts, max_history, config.beams), judges)["ndcg_at_10"]
            log.info("TIGER after %s examples: validation NDCG@10 %.4f", f"{config.examples * check // config.checks:,}", value)
            return value

        course = Course("TIGER", "baselines.tiger", "checks", config.checks)
        progress = train_to_the_best(model, optimizer, course, learn, judge, seed, checkpoint, key)
    return Tiger(model, counts, max_history, config.beams), progress


def _train(
    model: TigerModel,
    optimizer: torch.optim.Optimizer,
    histories: torch.Tensor,
    targets: torch.Tensor,
    lengths: np.ndarray,
    size: int,
    first: int,
    last: int,
    seed: int,
) -> float:
    """Learn from the examples that come as number `first` to `last` in an endless sequence of passes; returns the mean loss of a step.

    A batch belongs to the stretch that it begins in.
    """
    model.train()
    total, steps = 0.0, 0
    passes, done = divmod(first, len(targets))
    at = first - done
    while at < last:
        for rows in batches_of_like_length(lengths, size, np.random.default_rng(np.random.SeedSequence([seed, passes]))):
            if first <= at < last:
                total += training_step(model, optimizer, histories[rows][:, -int(lengths[rows].max()) :], targets[rows])
                steps += 1
            at += len(rows)
        passes += 1
    return total / steps
