"""How far a training is, and the file that it goes on from after a crash: whole or not there, and never of another training."""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

log = logging.getLogger(__name__)

LOSS = "train/loss"
NDCG = "valid/ndcg_at_10"


@dataclass
class Progress:
    """How far a training is; all that a checkpoint holds besides weights.

    Attributes:
        epoch: Epochs done; of TIGER, checks.
        best_epoch: The one whose weights are kept, counted from 1; 0 = none yet.
        best_ndcg: Its NDCG@10 on validation.
        curve: Rows of the CURVE table: (epoch, name, value).
    """

    epoch: int = 0
    best_epoch: int = 0
    best_ndcg: float = -1.0
    curve: list[tuple[int, str, float]] = field(default_factory=list)


def write_checkpoint(path: Path, key: str, state: dict[str, Any], progress: Progress) -> None:
    """Write a checkpoint beside the one before, then put it in its place: a kill leaves one of the two, whole.

    Args:
        path: Its file.
        key: What exactly is being trained.
        state: Tensors, and dictionaries, lists and numbers that hold them.
        progress: How far the training is.
    """
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save({**state, "key": key, "progress": vars(progress)}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_checkpoint(path: Path, key: str, device: torch.device | str) -> tuple[dict[str, Any], Progress] | None:
    """Read what `write_checkpoint` wrote.

    Returns:
        State, with tensors on `device`, and progress; None, and a word in the log, where there is no checkpoint, it cannot be read, or it
        is of another training.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        found, progress = state.pop("key"), Progress(**state.pop("progress"))
    except Exception as error:  # torch.load raises whatever a damaged file makes it meet; a checkpoint only saves time
        log.warning("the checkpoint %s cannot be read (%s): training starts anew", path, error)
        return None
    if found != key:
        log.info("the checkpoint %s is of another training: this one starts anew", path)
        return None
    progress.curve = [(int(epoch), str(name), float(value)) for epoch, name, value in progress.curve]
    return state, progress


def copy_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A model's weights and buffers, by name, that further steps do not move."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
