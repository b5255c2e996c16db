"""Which Prefect server a run uses: the one that was asked for, or this home's own, and never somebody else's."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from installation import free_port

from bbqrec_core.errors import ServiceError
from cli.environment import running_prefect_server
from tasks.services.processes import identity
from tasks.services.temporary import temporary_prefect_server

DEAD = f"{identity().split('/')[0]}/999999999/1.00"


@contextmanager
def answering(status: int, body: str) -> Iterator[int]:
    """Something on a port that says the same to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BBQREC_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "")
    return tmp_path


def record(home: Path, port: int, up: str) -> None:
    """What `bbqrec up` leaves in its home."""
    (home / "services").mkdir(exist_ok=True)
    (home / "services" / "up.json").write_text(json.dumps({"up": up, "prefect": f"http://127.0.0.1:{port}", "mlflow": ""}))


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    before = os.environ["PREFECT_HOME"]
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    try:
        with temporary_prefect_server() as address:
            yield int(address.removesuffix("/api").rpartition(":")[2])
    finally:
        os.environ["PREFECT_HOME"] = before


def test_the_servers_of_another_home_are_left_alone(home: Path, real_server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BBQREC_PREFECT_PORT", str(real_server))
    assert running_prefect_server() is None


def test_this_homes_own_server_is_used_wherever_it_listens(home: Path, real_server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BBQREC_PREFECT_PORT", str(free_port()))
    record(home, real_server, identity())
    assert running_prefect_server() == os.environ["PREFECT_API_URL"] == f"http://127.0.0.1:{real_server}/api"


def test_what_a_killed_up_left_behind_is_not_taken_for_a_server(home: Path, real_server: int) -> None:
    record(home, real_server, DEAD)
    assert running_prefect_server() is None


def test_an_up_that_is_still_starting_is_not_waited_for(home: Path) -> None:
    record(home, free_port(), identity())
    assert running_prefect_server() is None


def test_the_server_asked_for_is_used_whosever_it_is(home: Path, real_server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://127.0.0.1:{real_server}/api"
    monkeypatch.setenv("PREFECT_API_URL", address)
    record(home, free_port(), identity())
    assert running_prefect_server() == address


def test_a_server_that_wants_a_key_is_left_to_prefects_client(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(401, "") as port:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
        assert running_prefect_server() == f"http://127.0.0.1:{port}/api"


@pytest.mark.parametrize(("status", "body"), [(200, "OK"), (200, "{}"), (404, "")])
def test_what_is_not_prefect_is_refused_where_it_was_asked_for(home: Path, monkeypatch: pytest.MonkeyPatch, status: int, body: str) -> None:
    with answering(status, body) as port:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
        with pytest.raises(ServiceError, match="no Prefect API"):
            running_prefect_server()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/api", "nonsense", "http://no.such.host.invalid/api"])
def test_a_server_asked_for_that_does_not_answer_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("PREFECT_API_URL", address)
    with pytest.raises(ServiceError, match="PREFECT_API_URL is"):
        running_prefect_server()


BEGIN = """
from cli import environment
environment.apply()
from tasks.services.temporary import temporary_prefect_server
with temporary_prefect_server() as address:
    print(address)
"""


UP = """
from cli import environment
environment.apply()
from tasks.services.databases import make_databases
make_databases()
"""
TRACK = """
from cli import environment
environment.apply()
from tasks.tracking import connect
connect()
"""


def test_runs_and_up_that_begin_at_once_in_an_empty_home_do_not_meet(tmp_path: Path) -> None:
    """The first makes a database; without waiting for it the others find it half made."""
    wanted = {name: value for name, value in os.environ.items() if name != "PREFECT_HOME"} | {"BBQREC_HOME": str(tmp_path)}
    begun = [
        subprocess.Popen([sys.executable, "-c", code], env=wanted, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for code in (BEGIN, BEGIN, UP, TRACK)
    ]
    told = [process.communicate(timeout=240) for process in begun]
    assert [process.returncode for process in begun] == [0, 0, 0, 0], told
    assert told[0][0] and told[1][0] and told[0][0] != told[1][0]
    assert (tmp_path / "prefect" / "prefect.db").exists() and (tmp_path / "mlflow" / "mlflow.db").exists()


def test_a_port_that_is_none_is_no_matter_to_what_needs_no_server(home: Path) -> None:
    environment = {**os.environ, "BBQREC_HOME": str(home), "BBQREC_PREFECT_PORT": "many"}
    listed = subprocess.run([sys.executable, "-m", "cli.main", "profiles"], env=environment, capture_output=True, text=True, check=False)
    assert listed.returncode == 0 and "demo" in listed.stdout
