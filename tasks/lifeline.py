"""A child process that cannot outlive its parent, however the parent ends, and takes its own children along.

The child holds one end of a pipe whose other end only the parent has. When the parent dies the pipe closes, and the child kills its
process group. It needs no signal, no polling, and works for `kill -9`.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any


@contextlib.contextmanager
def tethered(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a command that ends with this block, or with this process.

    Args:
        command: The program must call `die_with_parent` with the number that is appended here as last argument.
        options: For `subprocess.Popen`.
    """
    child_end, parent_end = os.pipe()
    try:
        child = subprocess.Popen([*command, str(child_end)], pass_fds=(child_end,), start_new_session=True, text=True, **options)
        os.close(child_end)
        try:
            yield child
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    finally:
        os.close(parent_end)


def die_with_parent(lifeline: int) -> None:
    """Called first thing in the child: kill its whole process group once the parent is gone."""

    def watch() -> None:
        os.read(lifeline, 1)  # returns only when the parent's end closes
        time.sleep(1.0)  # a parent that ends in good order kills us itself
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="lifeline").start()
