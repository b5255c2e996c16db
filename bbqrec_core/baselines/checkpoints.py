"""What trainings of baselines share: how far one is, a file to go on from after a crash, and a random state of its own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bbqrec_core.determinism import deterministic_kernels

log = logging.getLogger(__name__)

LOSS = "train/loss"
NDCG = "valid/ndcg_at_10"


@dataclass
class Progress:
    """How far training is.

    Attributes:
        epoch: Epochs done; of TIGER, checks.
        best_epoch: The one whose weights are kept; 0 = none yet.
        best_value: Its NDCG@10 on validation.
        curve: (epoch, name, value).
    """

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = -1.0
    curve: list[tuple[int, str, float]] = field(default_factory=list)


@contextmanager
def reproducible(device: str) -> Iterator[None]:
    """Deterministic kernels, and the caller's random state untouched."""
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices), deterministic_kernels():
        yield


def save_checkpoint(
    checkpoint: Path | None,
    key: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: dict[str, torch.Tensor],
    progress: Progress,
) -> None:
    """Renew a checkpoint, whole or not at all; `key` says what training it belongs to. Nothing is done where it is None."""
    if checkpoint is None:
        return
    state = {"key": key, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "best": best, "progress": vars(progress)}
    partial = checkpoint.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(checkpoint)


def load_checkpoint(
    checkpoint: Path | None, key: str, model: nn.Module, optimizer: torch.optim.Optimizer, best: dict[str, torch.Tensor]
) -> Progress:
    """Take up where a checkpoint of this very training left off; `best` is filled in place."""
    if checkpoint is None or not checkpoint.exists():
        return Progress()
    try:
        state: dict[str, Any] = torch.load(checkpoint, map_location=next(model.parameters()).device, weights_only=True)
    except Exception as error:  # torch.load raises whatever its readers do; a checkpoint only saves time
        log.warning("The checkpoint %s cannot be read (%s): training starts anew.", checkpoint.name, error)
        return Progress()
    if state.get("key") != key:
        log.info("The checkpoint %s belongs to other settings: training starts anew.", checkpoint.name)
        return Progress()
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    best.update(state["best"])
    progress = Progress(**state["progress"])
    progress.curve = [(int(step), str(name), float(value)) for step, name, value in progress.curve]
    log.info("Training goes on after step %d of its curve.", progress.epoch)
    return progress
