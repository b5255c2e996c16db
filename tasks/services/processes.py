"""Which processes are alive, which belong to one `bbqrec up`, and how they are ended.

Every process that `up` starts, and everything those start, inherits the variable `BBQREC_UP`. Process groups and parents do not tell as
much: flow runs and stages open sessions of their own, and a child whose parent was killed belongs to nobody.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

UP_VARIABLE = "BBQREC_UP"
"""Environment variable that names the `bbqrec up` a process belongs to."""
STARTED = 19
"""Place of the time of start in /proc/PID/stat, counted behind the name, which may hold blanks: field 22 of proc(5)."""
FLOW_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
"""Set by Prefect in the process of a flow run that a worker started."""


def identity(process: psutil.Process | None = None) -> str:
    """Name a process so that nobody takes a later one with the same number for it: host/pid/when it began."""
    process = process or psutil.Process()
    return f"{socket.gethostname()}/{process.pid}/{_beginning(process)}"


def _beginning(process: psutil.Process) -> str:
    """When a process began: where Linux tells, ticks since which boot; else the time of day, which moves when the clock is set."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b")")[2].split()
        return f"{boot}.{int(fields[STARTED])}"
    except (OSError, ValueError, IndexError):
        return f"{process.create_time():.2f}"


def is_alive(name: str) -> bool:
    """Whether the process of an `identity` of this machine still runs."""
    try:
        _, pid, began = name.rsplit("/", 2)
        process = psutil.Process(int(pid))
        same = began == _beginning(process) if "-" in began else abs(process.create_time() - float(began)) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return False


def is_local(name: str) -> bool:
    """Whether an `identity` is of this machine: of others nothing is known."""
    return name.startswith(f"{socket.gethostname()}/")


def living_flow_runs() -> set[str]:
    """IDs of the flow runs that a worker's process on this machine is executing."""
    return {environment[FLOW_RUN_VARIABLE] for _, environment in _environments() if FLOW_RUN_VARIABLE in environment}


def belonging_to(up: str) -> list[psutil.Process]:
    """Processes of one `bbqrec up`, this one aside."""
    return [process for process, environment in _environments() if environment.get(UP_VARIABLE) == up and process.pid != os.getpid()]


def left_behind(home: str) -> list[psutil.Process]:
    """Processes of an earlier `bbqrec up` on this home folder that was killed and could not stop them."""
    return [
        process
        for process, environment in _environments()
        if environment.get("BBQREC_HOME") == home
        and UP_VARIABLE in environment
        and is_local(environment[UP_VARIABLE])
        and not is_alive(environment[UP_VARIABLE])
        and process.pid != os.getpid()
    ]


def _environments() -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    for process in psutil.process_iter():
        try:
            yield process, process.environ()
        except (psutil.Error, OSError):  # somebody else's, or gone meanwhile
            continue


def end(processes: Iterable[psutil.Process], patience: float) -> None:
    """Ask processes to end, and kill those that have not after `patience` seconds."""
    asked = list(processes)
    for process in asked:
        _signal(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(asked, timeout=patience)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=2.0)


def end_tree(child: subprocess.Popen[bytes], patience: float) -> None:
    """End a child and all that descends from it."""
    try:
        family = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
    except psutil.Error:
        family = []
    end(family, patience)
    child.wait()


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)


def wait_until_gone(up: str, patience: float) -> list[psutil.Process]:
    """Wait for the processes of an `up` to end by themselves. Returns those that have not."""
    deadline = time.monotonic() + patience
    while (remaining := belonging_to(up)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return remaining
