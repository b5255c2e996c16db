"""The training loop: steps, schedule, validation, early stopping, and resuming after a kill to the very same result.

All randomness of an epoch comes from (seed, epoch), so a checkpoint need not hold a generator's state: an epoch that is begun anew goes
exactly as it would have gone. Validation picks the epoch, where there is one.
"""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import Strategy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bbqrec_core.checkpoints import NDCG, Progress, copy_weights, read_checkpoint, write_checkpoint
from bbqrec_core.dataset import EvalSplit
from bbqrec_core.determinism import choose_device, reproducible
from bbqrec_core.errors import StageError
from bbqrec_core.progress import track
from bbqrec_core.sequence.config import SequenceConfig
from bbqrec_core.sequence.mixture import even, ranking_quality
from bbqrec_core.sequence.model import DENSE, GENERATIVE, SequenceModel
from bbqrec_core.sequence.windows import Windows

CHECKPOINT = "checkpoint.pt"
SEED_STRIDE = 7_368_787
"""Between the seeds of processes that train together, so that their dropout differs."""

log = logging.getLogger(__name__)


def make_fabric(device: str, precision: str, devices: int = 1, strategy: Strategy | None = None) -> Fabric:
    """Fabric on one device, or on several of one kind.

    Args:
        device: As in the profile: auto, cpu, cuda, cuda:N or mps.
        precision: 32-true or bf16-mixed.
        devices: How many; 1 with a device that is named by its number.
        strategy: How several work together.
    """
    accelerator, _, number = (str(choose_device(device)) if device == "auto" else device).partition(":")
    chosen = [int(number)] if number else devices
    return Fabric(accelerator=accelerator, devices=chosen, strategy=strategy or "auto", precision=precision)  # type: ignore[arg-type]


def train(
    model: SequenceModel,
    windows: Windows,
    valid: EvalSplit,
    config: SequenceConfig,
    seed: int,
    fabric: Fabric,
    scratch: Path,
    identity: str,
    after_epoch: Callable[[int], None] | None = None,
    epochs: int | None = None,
) -> Progress:
    """Train until patience or epochs run out; afterwards `model` holds the best epoch's weights, or their average if one is kept.

    Args:
        model: Freshly initialised.
        windows: Train sequences.
        valid: Validation users that pick the epoch; may be empty, then the last epoch is kept.
        config: Profile section `sequence`.
        seed: The profile's.
        fabric: Where and how precisely to compute. Processes of one fabric do this together, each with a model of its own.
        scratch: Where checkpoints are kept, one per epoch, each replacing the last.
        identity: What exactly is being trained; a checkpoint of anything else is ignored.
        after_epoch: Called with the number of epochs done, once their checkpoint is on disk.
        epochs: How many to make of those that the schedule is made for; None = all.

    Raises:
        StageError: There is nothing to train on, or the loss stopped being a number.
    """
    if len(windows) == 0:
        raise StageError("There is no train sequence.", "Lower `ingest.k_user` and `ingest.k_item`, or give more data.")
    optimizer = _optimizer(model, config)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.average_decay)) if config.average_decay else None
    wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
    judged = model if averaged is None else cast(SequenceModel, averaged.to(fabric.device).module)
    best, progress, last = copy_weights(judged), Progress(), config.epochs if epochs is None else epochs
    stateful: dict[str, torch.nn.Module | torch.optim.Optimizer] = {"model": model, "optimizer": optimizer}
    if averaged is not None:
        stateful["averaged"] = averaged
    restored = read_checkpoint(scratch / CHECKPOINT, identity, model.start.device)
    if restored is not None:
        state, progress = restored
        for name, part in stateful.items():
            part.load_state_dict(state[name])
        best = state["best"]
        log.info("resuming after epoch %d of %d", progress.epoch, last)
    epochs_done = cast(torch.Tensor, fabric.all_reduce(torch.tensor(float(progress.epoch), device=fabric.device), reduce_op="sum"))
    if epochs_done != progress.epoch * fabric.world_size:
        raise StageError(f"Processes that train together read different checkpoints from {scratch}.", "Delete that folder and run again.")
    steps = -(-len(windows) // config.batch_size)
    to_do: Iterable[int] = range(progress.epoch + 1, last + 1)
    for epoch in track(to_do, "training, epochs", unit="epoch") if fabric.is_global_zero else to_do:
        if epoch - 1 - progress.best_epoch >= config.patience and len(valid):
            log.info("no better validation NDCG@10 for %d epochs: stopping after epoch %d", config.patience, epoch - 1)
            break
        with reproducible(_epoch_seed(seed, epoch) + fabric.global_rank * SEED_STRIDE):
            losses, rate = _epoch(wrapped, wrapped_optimizer, averaged, fabric, windows, config, seed, epoch, steps)
        progress.epoch = epoch
        progress.curve.extend((epoch, f"train/{name}", value) for name, value in losses.items())
        quality = validate(judged, valid, config.users_at_once(model.n_items)) if len(valid) and fabric.is_global_zero else (0.0, 0.0)
        ndcg, recall = fabric.broadcast(quality)
        if len(valid):
            progress.curve.extend([(epoch, NDCG, ndcg), (epoch, "valid/recall_at_10", recall)])
        progress.curve.append((epoch, "lr", rate))
        log.debug("epoch %d: %s, valid NDCG@10 %.4f", epoch, losses, ndcg)
        if ndcg > progress.best_ndcg or not len(valid):
            progress.best_epoch, progress.best_ndcg = epoch, ndcg
            best = copy_weights(judged)
        if fabric.is_global_zero:
            state = {name: part.state_dict() for name, part in stateful.items()}
            write_checkpoint(scratch / CHECKPOINT, identity, {**state, "best": best}, progress)
            if after_epoch is not None:
                after_epoch(epoch)
    model.load_state_dict(best)
    return progress


def validate(model: SequenceModel, valid: EvalSplit, batch_size: int) -> tuple[float, float]:
    """NDCG@10 and Recall@10 of the heads' even mix, seen items masked."""
    model.eval()
    with torch.no_grad():
        return ranking_quality(valid, scorer(model), [even(model.heads)], batch_size)[0]


def scorer(model: SequenceModel) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
    """Histories, int64 [batch, any], to log-probabilities by head."""

    def score(histories: torch.Tensor) -> dict[str, torch.Tensor]:
        return model.log_probs(model.hidden(histories.to(model.start.device)))

    return score


def identity_of(config: SequenceConfig, seed: int, codes: str, windows: Windows, valid: EvalSplit, epochs: int | None = None) -> str:
    """SHA-256 of all that decides how training goes, codes given as their digest, epochs as to `train`."""
    about = [config.fingerprint_fields(), seed, codes, torch.__version__, epochs]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for array in (windows.items.numpy(), windows.from_start.numpy(), valid.histories, valid.targets, valid.seen_offsets, valid.seen_items):
        digest.update(str((array.shape, array.dtype.str)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def learning_rate(step: int, steps: int, config: SequenceConfig) -> float:
    """Linear warm-up, then a cosine to nothing.

    Args:
        step: From 0.
        steps: Of the whole training.
        config: Holds the peak rate and the warm-up's share.
    """
    warmup = max(1, round(steps * config.warmup_share))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _epoch(
    model: Any,
    optimizer: Any,
    averaged: AveragedModel | None,
    fabric: Fabric,
    windows: Windows,
    config: SequenceConfig,
    seed: int,
    epoch: int,
    steps: int,
) -> tuple[dict[str, float], float]:
    """One pass over the windows; mean losses and the last learning rate. `averaged` follows the weights after each step."""
    model.train()
    sums: dict[str, float] = {}
    rate = 0.0
    weights = {DENSE: config.dense_weight, GENERATIVE: config.generative_weight}
    for step, rows in enumerate(windows.epoch(config.batch_size, _epoch_seed(seed, epoch))):
        mine = rows[fabric.global_rank :: fabric.world_size]
        tokens, targets = windows.batch(mine if len(mine) else rows[:1])
        share = 1.0 if len(mine) == len(rows) else windows.targets_of(mine) / windows.targets_of(rows)  # of the batch's targets
        rate = learning_rate((epoch - 1) * steps + step, config.epochs * steps, config)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        losses = model(tokens.to(fabric.device), targets.to(fabric.device))
        loss = torch.stack([value * weights[name] for name, value in losses.items()]).sum()
        optimizer.zero_grad()
        fabric.backward(loss * (share * fabric.world_size))
        fabric.clip_gradients(model, optimizer, max_norm=config.clip_norm, error_if_nonfinite=False)
        optimizer.step()
        if averaged is not None:
            averaged.update_parameters(model.module)
        for name, value in {"loss": loss, **{f"loss_{name}": value for name, value in losses.items()}}.items():
            sums[name] = sums.get(name, 0.0) + value.item() * share * len(rows)
    if fabric.world_size > 1:
        total = cast(torch.Tensor, fabric.all_reduce(torch.tensor(list(sums.values()), device=fabric.device), reduce_op="sum"))
        sums = dict(zip(sums, total.tolist(), strict=True))
    if not math.isfinite(sums["loss"]):
        raise StageError(f"The training loss stopped being a number in epoch {epoch}.", "Lower `sequence.learning_rate`.")
    return {name: value / len(windows) for name, value in sums.items()}, rate


def _optimizer(model: SequenceModel, config: SequenceConfig) -> torch.optim.Optimizer:
    """AdamW; no decay on norms, biases and similarity weights, and an own rate for the latter."""
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    similarity: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if name.startswith("similarity."):
            similarity.append(parameter)
        else:
            (decayed if parameter.dim() > 1 else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay, "scale": 1.0},
        {"params": plain, "weight_decay": 0.0, "scale": 1.0},
        {"params": similarity, "weight_decay": 0.0, "scale": config.similarity.lr_scale},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.learning_rate, betas=(0.9, 0.98))


def _epoch_seed(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch
