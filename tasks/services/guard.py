"""Runs one server and ends with it, or ends it: on SIGTERM, or when the `bbqrec up` that it belongs to is gone, however that ended.

    python -m tasks.services.guard [--after-worker] COMMAND ...

Without it, a killed `up` would leave servers behind that hold the ports.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from bbqrec_core.home import home_folder
from tasks.services.processes import UP_VARIABLE, end_tree, is_alive

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 4.0
WORKER_SECONDS = 8.0
"""How long a server waits for the worker to report the end of its flow runs."""


def worker_lock() -> FileLock:
    """Held by the worker while it lives; the kernel frees it, however the worker ends."""
    folder = home_folder() / "services"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "worker.lock")


def stop_requested() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def supervise(
    child: subprocess.Popen[bytes], stop: threading.Event, before_end: Callable[[], None] = lambda: None, patience: float = PATIENCE_SECONDS
) -> int:
    """Wait until a child ends, `stop` is set, or this process's `up` is gone; then end what is left of the child.

    Returns:
        The child's exit code; 0 when it was told to end.
    """
    up = os.environ.get(UP_VARIABLE)
    while child.poll() is None:
        if stop.wait(POLL_SECONDS) or (up is not None and not is_alive(up)):
            before_end()
            end_tree(child, patience)
            return 0
    end_tree(child, patience)
    return child.returncode


def _wait_for_worker() -> None:
    try:
        with worker_lock().acquire(timeout=WORKER_SECONDS):
            pass
    except Timeout:
        pass


def main(arguments: list[str]) -> int:
    """Run the command in `arguments`."""
    after_worker = arguments[0] == "--after-worker"
    command = arguments[1:] if after_worker else arguments
    stop = stop_requested()
    beside_python = Path(sys.executable).parent / command[0]
    command[0] = str(beside_python) if beside_python.exists() else command[0]
    child = subprocess.Popen(command, start_new_session=True)
    return supervise(child, stop, _wait_for_worker if after_worker else lambda: None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
