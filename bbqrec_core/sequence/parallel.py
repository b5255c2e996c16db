"""Training on several devices of one machine: a process each, which the stage starts and which end with it.

Every process holds the whole model and takes every n-th row of each batch. A process's loss counts as much as it has targets, so that the
averaged gradient is that of the whole batch on one device; the dropout's draws are other ones.
"""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.accelerators import CUDAAccelerator
from lightning_fabric.strategies import DDPStrategy

from bbqrec_core.checkpoints import Progress, read_checkpoint
from bbqrec_core.dataset import EvalSplit
from bbqrec_core.determinism import choose_device
from bbqrec_core.errors import BBQRecError, StageError
from bbqrec_core.sequence.config import SequenceConfig
from bbqrec_core.sequence.model import SequenceModel
from bbqrec_core.sequence.train import CHECKPOINT, make_fabric, train
from bbqrec_core.sequence.windows import Windows

if TYPE_CHECKING:  # reading profiles needs YAML, which a bare PyTorch box need not have
    from bbqrec_core.profile import ComputeConfig


def train_on_devices(
    model: SequenceModel,
    windows: Windows,
    valid: EvalSplit,
    config: SequenceConfig,
    seed: int,
    compute: "ComputeConfig",
    scratch: Path,
    identity: str,
    epochs: int | None = None,
) -> Progress:
    """Train on as many devices as the profile says.

    Args:
        model: Freshly initialised, on the CPU; afterwards it holds, and lies, as `train` leaves it.
        windows: Train sequences.
        valid: Validation users that pick the epoch.
        config: Profile section `sequence`.
        seed: The profile's.
        compute: Profile section `compute`.
        scratch: Where checkpoints are kept.
        identity: What exactly is being trained.
        epochs: How many to make of those that the schedule is made for; None = all.

    Raises:
        StageError: As `train`, or there are fewer GPUs than the profile asks for.
    """
    choose_device(compute.device)  # one that is not there is told in our words
    if compute.devices == 1:
        fabric = make_fabric(compute.device, config.precision)
        return train(model, windows, valid, config, seed, fabric, scratch, identity, epochs=epochs)
    _enough_gpus(compute)
    strategy = DDPStrategy(start_method="spawn", forward_sync_buffers=False)
    fabric = make_fabric(compute.device, config.precision, compute.devices, strategy)
    with _log_of_children() as records:
        # As part of the function, since Fabric looks into arguments and takes no frozen dataclass.
        threads = max(1, torch.get_num_threads() // compute.devices)
        error = fabric.launch(partial(_work, records, threads, model, (windows, valid, config, seed), (scratch, identity), epochs))
    if error is not None:
        raise error
    # Not by the pipe from the processes, which is too narrow for weights: the last checkpoint holds all that training came to.
    found = read_checkpoint(scratch / CHECKPOINT, identity, "cpu")
    if found is None:
        raise StageError(f"The checkpoint of the processes that trained together is gone from {scratch}.", "Run again.")
    state, progress = found
    model.load_state_dict(state["best"])
    if isinstance(fabric.accelerator, CUDAAccelerator):
        model.to("cuda")  # where `train` on one device leaves it
    return progress


def _enough_gpus(compute: "ComputeConfig") -> None:
    if compute.device != "cpu" and torch.cuda.is_available() and torch.cuda.device_count() < compute.devices:
        raise StageError(
            f"The profile asks for {compute.devices} GPUs, and this machine has {torch.cuda.device_count()}.", "Lower `compute.devices`."
        )


def _work(
    records: Any,
    threads: int,
    model: SequenceModel,
    task: tuple[Windows, EvalSplit, SequenceConfig, int],
    kept: tuple[Path, str],
    epochs: int | None,
    fabric: Fabric,
) -> BBQRecError | None:
    """What each process does; the first one's error, if any, goes back."""
    torch.set_num_threads(threads)
    if fabric.is_global_zero:
        logging.getLogger().setLevel(logging.INFO)
        logging.getLogger().addHandler(QueueHandler(records))
    try:
        train(copy.deepcopy(model), *task, fabric, *kept, epochs=epochs)  # what came lies in memory that the processes share
    except BBQRecError as error:
        return error
    return None


@contextmanager
def _log_of_children() -> Iterator[Any]:
    """A queue whose log records are handled here, as if they were this process's own."""
    records = torch.multiprocessing.get_context("spawn").Queue()
    listener = QueueListener(records, _Relay())
    listener.start()
    try:
        yield records
    finally:
        listener.stop()


class _Relay(logging.Handler):
    """Hands a record to the logger that it names, if that one wants it."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
