"""The worker's line in the Procfile: sets the house in order, applies the deployments, runs Prefect's worker and watches over its runs.

The one-off steps live here because a line that ends takes all others with it.

    python -m tasks.services.worker
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from bbqrec_core.errors import ServiceError
from bbqrec_core.home import PROJECT
from tasks.services.addresses import is_healthy, mlflow_ui, prefect_api, prefect_ui
from tasks.services.deploy import POOL, deploy, deployments_file, make_pool
from tasks.services.guard import stop_requested, supervise, worker_lock
from tasks.services.orphans import mark_orphans, skip_missed
from tasks.services.processes import UP_VARIABLE, is_alive

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

START_SECONDS = 180.0
WATCH_SECONDS = 20.0
FLOW_PATIENCE_SECONDS = 2.0
RETRY_PAUSES = (1.0, 3.0, 9.0)

T = TypeVar("T")

log = logging.getLogger("tasks.services.worker")  # by name: this module is the program


def main() -> int:
    """Run until told to end."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("tasks").setLevel(logging.INFO)
    stop = stop_requested()
    with worker_lock():
        if not _wait_for(prefect_api(), "Prefect", stop):
            return 0
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            _patiently(lambda: mark_orphans(client, "Its process was gone when the servers were started again."))
            _patiently(lambda: skip_missed(client))
            _patiently(lambda: make_pool(client))
            applied = _patiently(lambda: deploy(client, deployments_file()))
            log.info("Deployments of %s: %s", deployments_file(), "applied" if applied else "unchanged")
            if not _wait_for(mlflow_ui(), "MLflow", stop):
                return 0
            return _run_worker(client, stop)


def _wait_for(address: str, name: str, stop: threading.Event) -> bool:
    """Wait until a server answers; False when told to end meanwhile.

    Raises:
        ServiceError: It did not come up in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while not is_healthy(address):
        up = os.environ.get(UP_VARIABLE)
        if stop.wait(0.5) or (up is not None and not is_alive(up)):
            return False
        if time.monotonic() > deadline:
            raise ServiceError(f"{name} did not answer at {address} within {START_SECONDS:.0f} s.", "See its lines above.")
    return True


def _patiently(step: Callable[[], T]) -> T:
    """Take a step that can be repeated, again if need be: after downtime the server is busy with late runs, and SQLite may be locked."""
    for pause in RETRY_PAUSES:
        try:
            return step()
        except ServiceError:  # told in our own words: to wait would not help
            raise
        except Exception as error:
            log.info("Prefect's server is busy (%s); again in %.0f s", type(error).__name__, pause)
            time.sleep(pause)
    return step()


def _run_worker(client: "SyncPrefectClient", stop: threading.Event) -> int:
    limit = os.environ.get("BBQREC_WORKER_LIMIT") or "1"
    command = [_prefect(), "worker", "start", "--pool", POOL, "--type", "process", "--limit", limit, "--install-policy", "never"]
    child = subprocess.Popen(command, cwd=PROJECT, start_new_session=True)
    threading.Thread(target=_watch, args=(stop,), daemon=True, name="watch").start()
    log.info("Ready. Prefect: %s   MLflow: %s", prefect_ui(), mlflow_ui())
    elsewhere = "" if prefect_api() == "http://127.0.0.1:4200/api" else f"PREFECT_API_URL={prefect_api()} "
    log.info("From another shell, in %s: %s.venv/bin/prefect deployment run 'retrain/demo'", PROJECT, elsewhere)
    code = supervise(child, stop, patience=FLOW_PATIENCE_SECONDS)
    if stop.is_set():
        try:
            mark_orphans(client, "The servers were stopped while it ran.")
        except Exception as error:  # the server may be gone already: the next start does it
            log.info("Runs that were under way will be marked at the next start (%s).", type(error).__name__)
    return code


def _watch(stop: threading.Event) -> None:
    """Every now and then, mark runs whose process is gone. Found twice in a row: in between, Prefect's worker may report it itself."""
    from prefect.client.orchestration import get_client

    seen: set[UUID] = set()
    while not stop.wait(WATCH_SECONDS):
        try:
            with get_client(sync_client=True) as client:
                seen = mark_orphans(client, "Its process is gone.", only=seen)
        except Exception as error:  # a busy server; the watch goes on
            log.info("The watch over flow runs could not look: %s", error)


def _prefect() -> str:
    return str(Path(sys.executable).parent / "prefect")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServiceError as failure:
        print(f"{failure.problem}\n{failure.way_out}", flush=True)
        sys.exit(1)
