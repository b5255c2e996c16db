"""Where encoders run, how they are loaded without chatter, and what a loaded encoder's weights are."""

import contextlib
import hashlib
import logging
from collections.abc import Iterator

import torch

from bbqrec_core.determinism import choose_device
from bbqrec_core.profile import ComputeConfig


def prepare_device(compute: ComputeConfig) -> torch.device:
    """Set the number of threads and resolve the device.

    Raises:
        StageError: A GPU is asked for and none is there.
    """
    if compute.threads:
        torch.set_num_threads(compute.threads)
    return choose_device(compute.device)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what libraries say while loading a model out of the log; warnings and errors stay.

    open_clip logs a dozen lines to the root logger, and transformers draws a progress bar of its own.
    """
    import transformers

    root, chatty = logging.getLogger(), logging.getLogger("sentence_transformers")
    level = chatty.level
    chatty.setLevel(logging.WARNING)
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()

    def serious(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING

    root.addFilter(serious)
    try:
        yield
    finally:
        root.removeFilter(serious)
        chatty.setLevel(level)
        if bars:
            transformers.utils.logging.enable_progress_bar()


def state_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over a model's weights: names, dtypes, shapes and bytes in the order of names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
