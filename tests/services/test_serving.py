"""`mlflow models serve` on the registered champion answers requests, and refuses what does not fit."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from installation import BIN, Installation, free_port, wait_for

from bbqrec_core import schema
from bbqrec_core.home import PROJECT
from tasks.services.addresses import is_healthy
from tasks.services.processes import end

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tiny_home: Path) -> Iterator[str]:
    address = f"http://127.0.0.1:{free_port()}"
    environment = Installation(tiny_home).environment
    environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{tiny_home / 'mlflow' / 'mlflow.db'}", "PATH": f"{BIN}:{environment['PATH']}"}
    command = [BIN / "mlflow", "models", "serve", "-m", "models:/bbqrec-tiny@champion", "--env-manager", "local", "--workers", "1"]
    log = tiny_home / "serve.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", address.rsplit(":", 1)[1]],
            cwd=PROJECT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: is_healthy(address) or server.poll() is not None, 150, "the model server answers")
        assert server.poll() is None, log.read_text()
        yield address
    finally:
        end([psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)] if server.poll() is None else [], 3.0)


def _ask(address: str, body: dict) -> tuple[int, dict]:
    request = urllib.request.Request(f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_histories_are_answered_with_items_of_the_catalogue(served: str, tiny_home: Path) -> None:
    (items,) = (tiny_home / "artifacts" / "ingest").glob("*/items.parquet")
    catalogue = pq.read_table(items)[schema.ITEM_ID].to_pylist()
    body = {"dataframe_records": [{"history": catalogue[:3]}, {"history": ["never-heard-of"]}], "params": {"k": 4}}
    status, answer = _ask(served, body)
    assert status == 200, answer
    first, second = answer["predictions"]
    assert len(first["items"]) == len(set(first["items"])) == 4
    assert set(first["items"]) <= set(catalogue) - set(catalogue[:3])
    assert first["scores"] == sorted(first["scores"], reverse=True)
    assert (first["unknown"], second["unknown"]) == (0, 1)
    assert len(second["items"]) == 4


@pytest.mark.parametrize(
    "body", [{"dataframe_records": [{"history": "B001"}]}, {"dataframe_records": [{"history": ["B001"]}], "params": {"k": 0}}]
)
def test_a_request_that_does_not_fit_is_the_askers_error(served: str, body: dict) -> None:
    status, answer = _ask(served, body)
    assert status == 400, answer
