"""Where training computes, and the one way in which it asks torch for reproducible kernels. Seeds are the callers' own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bbqrec_core.errors import StageError


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


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed torch's own generator and demand deterministic kernels where there are any; both are put back afterwards."""
    with torch.random.fork_rng(), deterministic_kernels():
        torch.manual_seed(seed)
        yield


@contextmanager
def kernel_threads(threads: int) -> Iterator[None]:
    """So many threads in every kernel that begins inside a `with` block, also in threads that are started there."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
