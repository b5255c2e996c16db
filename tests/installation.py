"""A whole installation for tests: a home folder and two ports of its own, the real commands, and Prefect's API as anybody sees it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psutil
import pytest

from bbqrec_core.home import PROJECT
from tasks.services.processes import UP_VARIABLE, belonging_to, end, identity

BIN = Path(sys.executable).parent
TINY = "tests/tiny.yaml"
DEPLOYMENTS = Path(__file__).with_name("deployments.yaml")
BUSY_SECONDS = 90
"""For so long Prefect's server may answer that its database is busy, or nothing at all."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Ask again and again, and give the first answer that is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.5)
    return pytest.fail(f"After {seconds:.0f} s still not: {what}")


class Installation:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.prefect_port, self.mlflow_port = free_port(), free_port()
        self.log = home / "up.log"
        self.up: subprocess.Popen[bytes] | None = None
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_", "BBQREC_"))}
        self.environment = {
            **inherited,
            "BBQREC_HOME": str(home),
            "BBQREC_PREFECT_PORT": str(self.prefect_port),
            "BBQREC_MLFLOW_PORT": str(self.mlflow_port),
            "BBQREC_DEPLOYMENTS": str(DEPLOYMENTS),
            "BBQREC_WORKER_LIMIT": "2",
            "OMP_NUM_THREADS": "1",
        }

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.prefect_port}/api"

    def bbqrec(self, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "bbqrec"), *arguments]
        return subprocess.run(command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False)

    def prefect(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Prefect's own command, as from another shell."""
        environment = {**self.environment, "PREFECT_API_URL": self.api, "PREFECT_HOME": str(self.home / "prefect"), "COLUMNS": "200"}
        command = [str(BIN / "prefect"), *arguments]
        return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300, check=False)

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.up = subprocess.Popen(
                [str(BIN / "bbqrec"), "up"], cwd=PROJECT, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        name = identity(psutil.Process(self.up.pid))
        self.name = name

        def ready() -> bool:
            assert self.up is not None
            assert self.up.poll() is None, self.log.read_text()
            return "Ready." in self.log.read_text()

        wait_for(ready, 240, "servers ready")

    def processes(self) -> list[psutil.Process]:
        return belonging_to(self.name)

    def kill_everything(self) -> None:
        """Kill -9 of all there is: `up`, the servers, the worker, flow runs and their stages."""
        assert self.up is not None
        self.up.kill()
        self.up.wait()
        while processes := self.processes():
            for process in processes:
                try:
                    process.send_signal(signal.SIGKILL)
                except psutil.Error:
                    continue
            psutil.wait_procs(processes, timeout=5)

    def stop(self) -> int:
        assert self.up is not None
        self.up.send_signal(signal.SIGTERM)
        return self.up.wait(timeout=60)

    def clean_up(self) -> None:
        if self.up is not None and self.up.poll() is None:
            self.up.kill()
            self.up.wait()
            end(self.processes(), patience=1.0)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Prefect's API: POST with a body, GET without. Asks again while the server is too busy, as Prefect's own clients do."""
        token = self._answer(urllib.request.Request(f"{self.api}/csrf-token?client=tests"))["token"]
        data = None if body is None else json.dumps(body).encode()
        told = {"Content-Type": "application/json", "Prefect-Csrf-Client": "tests", "Prefect-Csrf-Token": token}
        return self._answer(urllib.request.Request(f"{self.api}{path}", data, told))

    def _answer(self, request: urllib.request.Request) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                with opener.open(request, timeout=30) as answer:
                    return json.loads(answer.read())
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise
            except urllib.error.HTTPError as error:
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                    raise
            time.sleep(1)

    def flow_runs(self, deployment: str | None = None, **filters: Any) -> list[dict[str, Any]]:
        body: dict[str, Any] = {"sort": "START_TIME_DESC", "flow_runs": filters}
        if deployment:
            body["deployments"] = {"name": {"any_": [deployment]}}
        return self.ask("/flow_runs/filter", body)

    def create_run(self, deployment: str, overrides: dict[str, Any]) -> str:
        """As Prefect's pages do it. Asked again, the server makes no second run."""
        found = self.ask(f"/deployments/name/retrain/{deployment}")
        told = {"parameters": {**found["parameters"], "overrides": overrides}, "idempotency_key": str(uuid.uuid4())}
        return self.ask(f"/deployments/{found['id']}/create_flow_run", told)["id"]

    def state(self, run: str) -> str:
        return self.ask(f"/flow_runs/{run}")["state"]["name"]


__all__ = ["BIN", "TINY", "UP_VARIABLE", "Installation", "free_port", "wait_for"]
