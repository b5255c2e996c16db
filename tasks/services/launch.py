"""Starts what the Procfile names, all of it or nothing, and leaves no process behind. What the single lines do is in their own files."""

import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from bbqrec_core.errors import ServiceError
from bbqrec_core.home import PROJECT, home_folder
from tasks.services.addresses import (
    DEFAULT_PORTS,
    HOST,
    MLFLOW_PORT_VARIABLE,
    PREFECT_PORT_VARIABLE,
    mlflow_ui,
    port,
    prefect_api,
    prefect_ui,
)
from tasks.services.processes import UP_VARIABLE, end, identity, left_behind, wait_until_gone

KILL_SECONDS = 15
"""What honcho gives its processes to end before it kills them."""
STATE = "up.json"


def run_servers() -> int:
    """Start Prefect, MLflow and the worker, and stay until they end.

    Raises:
        ServiceError: They are up already, or a port is taken.

    Returns:
        The exit code: 0 when told to end.
    """
    from tasks.services.databases import make_databases  # tracking is slow to import, and others only ask what runs

    home = home_folder()
    with _only_one(home) as state:
        end(left_behind(str(home)), patience=5.0)
        for variable, name in ((PREFECT_PORT_VARIABLE, "Prefect"), (MLFLOW_PORT_VARIABLE, "MLflow")):
            _require_free(port(variable), variable, name)
        make_databases()
        (home / "mlflow" / "artifacts").mkdir(parents=True, exist_ok=True)
        environment = _environment(home)
        state.write_text(json.dumps({"up": environment[UP_VARIABLE], "prefect": prefect_ui(), "mlflow": mlflow_ui()}), encoding="utf-8")
        try:
            return _manage(environment)
        finally:
            end(wait_until_gone(environment[UP_VARIABLE], 1.0), patience=3.0)
            state.unlink(missing_ok=True)


@contextmanager
def _only_one(home: Path) -> Iterator[Path]:
    """Hold the home's lock; the kernel frees it when this process ends, however it ends."""
    folder = home / "services"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "up.lock").acquire(timeout=0):
            yield folder / STATE
    except Timeout:
        at = running(home)
        where = f": Prefect {at['prefect']}, MLflow {at['mlflow']}, process {at['up'].split('/')[-2]}" if at else ""
        raise ServiceError(
            f"The servers of {home} are up already{where}.",
            "Stop them with Ctrl-C in their shell. For a second installation, set BBQREC_HOME and both ports: "
            + " ".join(f"{variable}={number + 1}" for variable, number in DEFAULT_PORTS.items()),
        ) from None


def running(home: Path) -> dict[str, Any] | None:
    """What `up` said of itself (`up`, `prefect`, `mlflow`), if it runs or was killed."""
    try:
        return json.loads((home / "services" / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _require_free(number: int, variable: str, name: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, number))
        except OSError as error:
            raise ServiceError(
                f"Port {number}, which {name} is to have, is taken{_holder(number)} ({error.strerror}).",
                f"Stop that process, or choose another port: {variable}={number + 1} .venv/bin/bbqrec up",
            ) from None


def _holder(number: int) -> str:
    try:
        listening = [entry for entry in psutil.net_connections("tcp") if entry.status == psutil.CONN_LISTEN and entry.laddr]
        pids = {entry.pid for entry in listening if entry.pid and getattr(entry.laddr, "port", None) == number}
        named = [f"{psutil.Process(pid).name()}, process {pid}" for pid in pids]
    except psutil.Error:  # some systems tell only the administrator
        return ""
    return f" by {named[0]}" if named else ""


def _environment(home: Path) -> dict[str, str]:
    """What the servers and all they start see."""
    programs = str(Path(sys.executable).parent)
    return {
        **os.environ,
        UP_VARIABLE: identity(),
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        "BBQREC_HOME": str(home),
        "BBQREC_PROJECT": str(PROJECT),
        PREFECT_PORT_VARIABLE: str(port(PREFECT_PORT_VARIABLE)),
        MLFLOW_PORT_VARIABLE: str(port(MLFLOW_PORT_VARIABLE)),
        "PREFECT_API_URL": prefect_api(),
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port(PREFECT_PORT_VARIABLE)),
    }


def _manage(environment: Mapping[str, str]) -> int:
    import honcho.manager
    from honcho.environ import parse_procfile
    from honcho.printer import Printer

    honcho.manager.KILL_WAIT = KILL_SECONDS
    manager = honcho.manager.Manager(Printer(sys.stdout))
    lines = parse_procfile((PROJECT / "Procfile").read_text(encoding="utf-8")).processes
    for name, line in lines.items():
        command = line.replace("exec python ", f"exec {shlex.quote(sys.executable)} ", 1)
        manager.add_process(name, command, env=dict(environment), cwd=str(PROJECT))
    manager.loop()
    return 0 if manager.returncode in (130, 143) else int(manager.returncode or 0)
