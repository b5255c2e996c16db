"""Where training computes, and the one way in which it asks torch for reproducible kernels. Seeds are the callers' own."""

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from bbqrec_core.errors import StageError


class _Block:
    """A `kernel_threads` that is open, and the number of threads to put back."""

    before: int


_BLOCKS: list[_Block] = []
_LOCK = threading.Lock()


@contextmanager
def deterministic_kernels() -> Iterator[None]:
    """Demand deterministic kernels where there are any, and put torch's setting back afterwards."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with a workspace of its own
    before, warn_only = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


def deterministic_on(device: torch.device) -> AbstractContextManager[None]:
    """Deterministic kernels on a GPU, where sums into the same place come in any order otherwise; a CPU's are so anyway."""
    return nullcontext() if device.type == "cpu" else deterministic_kernels()


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed torch's own generator and demand deterministic kernels where there are any; both are put back afterwards."""
    with torch.random.fork_rng(), deterministic_kernels():
        torch.manual_seed(seed)
        yield


@contextmanager
def kernel_threads(threads: int) -> Iterator[None]:
    """So many threads in every kernel that begins inside a `with` block, also in threads that are started there.

    Torch has one such setting for all. Blocks of several threads may overlap: when the last is left it is what it was before the first.
    """
    block = _Block()
    with _LOCK:
        block.before = torch.get_num_threads()
        _BLOCKS.append(block)
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        with _LOCK:
            place = _BLOCKS.index(block)
            if block is _BLOCKS[-1]:
                torch.set_num_threads(block.before)
            else:  # one that began later is still open: it puts back what was before both
                _BLOCKS[place + 1].before = block.before
            del _BLOCKS[place]


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Deterministic kernels and a fixed number of threads, for the time of a `with` block."""
    with kernel_threads(threads or os.cpu_count() or 1), deterministic_kernels():
        yield


def choose_device(name: str) -> torch.device:
    """The profile's device; `auto` is a CUDA GPU when there is one.

    Raises:
        StageError: A GPU is asked for and none is there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    missing = (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise StageError(f"compute.device is {name}, and this machine has none.", "Set compute.device to auto or cpu.")
    return device
