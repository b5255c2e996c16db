"""A Prefect server for the time of one run, where none is up. It listens on loopback, on a port of its own, and cannot outlive the run.

Prefect would start one itself, but that one is left behind when the run is killed, and a committed prefect.toml stands in its way.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from bbqrec_core.errors import ServiceError
from tasks.lifeline import die_with_parent, tethered
from tasks.services.addresses import HOST, is_healthy
from tasks.services.prefect_server import serve

SECONDS_TO_START = 120.0
SECONDS_TO_DELIVER = 5.0


@contextlib.contextmanager
def temporary_prefect_server(meanwhile: Callable[[], object] = lambda: None) -> Iterator[str]:
    """Start a server, point Prefect's client to it, and stop it at the end. Gives its API's address.

    Args:
        meanwhile: Called while the server comes up, such as slow imports; Prefect's client is pointed to it already.

    Raises:
        ServiceError: It does not come up.
    """
    with starting_lock() as starting, _server() as (server, address):
        before = os.environ.get("PREFECT_API_URL")
        os.environ["PREFECT_API_URL"] = address
        try:
            meanwhile()
            _wait(server, address)
            starting.release()
            yield address
        finally:
            _deliver()
            if before is None:
                del os.environ["PREFECT_API_URL"]
            else:
                os.environ["PREFECT_API_URL"] = before


@contextlib.contextmanager
def _server() -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The server's process and its API's address, on a port that was free a moment before."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    address = f"http://{HOST}:{port}/api"
    environment = {**os.environ, "PREFECT_API_URL": address, "PREFECT__SERVER_EPHEMERAL": "1"}
    command = [sys.executable, "-m", "tasks.services.temporary", str(port)]
    with tethered(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, env=environment) as server:
        yield server, address


def starting_lock() -> FileLock:
    """Held while a server comes up: the first one in a home makes its database, and no other may be doing so too."""
    folder = Path(os.environ["PREFECT_HOME"])
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "starting.lock")


def _wait(server: "subprocess.Popen[str]", address: str) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not is_healthy(address):
        if server.poll() is not None or time.monotonic() > deadline:
            raise ServiceError("Prefect's temporary server does not come up.", "See its messages above, and `bbqrec doctor`.")
        time.sleep(0.1)


def _deliver() -> None:
    """Let Prefect's clients in this process deliver what they still hold, while there is a server to take it."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=SECONDS_TO_DELIVER)
    EventsWorker.drain_all(timeout=SECONDS_TO_DELIVER)


def main(port: str, lifeline: str) -> None:
    """The server's process."""
    die_with_parent(int(lifeline))
    serve(int(port), log_level="error")


if __name__ == "__main__":
    main(*sys.argv[1:])
