"""The databases that `bbqrec up` makes in an empty home before its servers start."""

import socket
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from installation import free_port

from bbqrec_core.errors import ServiceError
from tasks.services import launch
from tasks.services.addresses import HOST, MLFLOW_PORT_VARIABLE, PREFECT_PORT_VARIABLE
from tasks.services.databases import ELSEWHERE, make_databases


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*ELSEWHERE, "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BBQREC_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    return tmp_path


def tables(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@pytest.mark.slow
def test_both_are_whole_before_a_server_starts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFECT_PORT_VARIABLE, str(free_port()))
    monkeypatch.setenv(MLFLOW_PORT_VARIABLE, str(free_port()))
    found: list[set[str]] = []

    def look_instead_of_serving(_: Mapping[str, str]) -> int:
        found.extend(tables(home / name / f"{name}.db") for name in ("prefect", "mlflow"))
        return 0

    # Real servers would make the tables themselves, and hide that nobody had.
    monkeypatch.setattr(launch, "_manage", look_instead_of_serving)
    assert launch.run_servers() == 0
    assert {"flow_run", "deployment"} <= found[0]
    assert {"runs", "registered_models"} <= found[1]


@pytest.mark.parametrize("variable", [PREFECT_PORT_VARIABLE, MLFLOW_PORT_VARIABLE])
def test_a_taken_port_is_told_before_anything_is_made(home: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(PREFECT_PORT_VARIABLE, str(free_port()))
    monkeypatch.setenv(MLFLOW_PORT_VARIABLE, str(free_port()))
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        holder.listen()
        monkeypatch.setenv(variable, str(holder.getsockname()[1]))
        with pytest.raises(ServiceError, match="is taken"):
            launch.run_servers()
    assert not list(home.rglob("*.db"))


@pytest.mark.parametrize("variable", ELSEWHERE)
def test_another_database_is_left_to_its_owner(home: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    theirs = home / "theirs.db"
    monkeypatch.setenv(variable, f"sqlite+aiosqlite:///{theirs}")
    (home / "mlflow").mkdir(exist_ok=True)
    (home / "mlflow" / "mlflow.db").touch()
    make_databases()
    assert not theirs.exists() and not (home / "prefect" / "prefect.db").exists()


def test_what_cannot_be_made_is_told_with_its_reason(home: Path) -> None:
    (home / "prefect").mkdir(exist_ok=True)
    (home / "prefect" / "prefect.db").symlink_to(home / "nowhere" / "prefect.db")
    with pytest.raises(ServiceError, match="unable to open database file"):
        make_databases()
