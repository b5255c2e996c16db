"""The loop that trainings of baselines share: learn, judge, keep the best, and go on where a crash left off."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bbqrec_core.checkpoints import LOSS, NDCG, Progress, copy_weights, read_checkpoint, write_checkpoint
from bbqrec_core.errors import StageError
from bbqrec_core.progress import track

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Course:
    """How long a training goes on, and how it is spoken of.

    Attributes:
        name: Of what is trained.
        section: Of the profile, that sets its learning rate.
        unit: What is judged after each: epochs or checks.
        steps: How many of them.
        patience: So many without a better value end it; None = nothing but their number does.
    """

    name: str
    section: str
    unit: str
    steps: int
    patience: int | None = None


def train_to_the_best(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    course: Course,
    learn: Callable[[int], float],
    judge: Callable[[int], float],
    seed: int,
    checkpoint: Path | None,
    key: str,
) -> Progress:
    """Learn and judge in turns; afterwards the model holds the weights that were judged best.

    Torch's generator is seeded by (seed, step) before each step: a run that was killed and resumed ends with the same weights.

    Args:
        model: Freshly initialised.
        optimizer: Of its parameters.
        course: How long.
        learn: Learns for a step, counted from 1, and returns its mean loss; it draws from torch's generator, or its own for the step.
        judge: NDCG@10 on validation after a step.
        seed: The profile's.
        checkpoint: File that is renewed after each step and resumed from; None = neither.
        key: What exactly is being trained; a checkpoint of anything else is ignored.

    Raises:
        StageError: The loss is no longer a finite number.
    """
    best, progress = copy_weights(model), Progress()
    found = None if checkpoint is None else read_checkpoint(checkpoint, key, next(model.parameters()).device)
    if found is not None:
        state, progress = found
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        best = state["best"]
        log.info("resuming %s after %d of %d %s", course.name, progress.epoch, course.steps, course.unit)
    for step in track(range(progress.epoch + 1, course.steps + 1), f"training {course.name}, {course.unit}", unit=course.unit):
        if course.patience is not None and progress.epoch - progress.best_epoch >= course.patience:
            break
        torch.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))
        loss = learn(step)
        if not math.isfinite(loss):
            raise StageError(
                f"The loss of {course.name} is {loss} after {step} of {course.steps} {course.unit}.",
                f"Lower {course.section}.learning_rate.",
            )
        value = judge(step)
        progress.epoch = step
        progress.curve += [(step, LOSS, loss), (step, NDCG, value)]
        if value > progress.best_ndcg:
            progress.best_epoch, progress.best_ndcg = step, value
            best = copy_weights(model)
        if checkpoint is not None:
            write_checkpoint(checkpoint, key, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "best": best}, progress)
    model.load_state_dict(best)
    return progress
