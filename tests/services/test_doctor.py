"""What `bbqrec doctor` finds, on homes that have it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from installation import Installation

from bbqrec_core.store import MANIFEST, ArtifactRef, ArtifactStore
from tasks.doctor.machine import check_packages, read_lock
from tasks.doctor.state import check_databases, check_home, check_profiles, check_store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("BBQREC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BBQREC_RAW", raising=False)
    yield tmp_path / "home"


def _artifact(home: Path) -> Path:
    store = ArtifactStore(home)
    ref = ArtifactRef(stage="embed", fingerprint="0123456789")
    with store.locked(ref), store.drafting(ref) as draft:
        (draft.out / "data.json").write_text(json.dumps(list(range(100))))
        return store.commit(draft, {}).path


def test_a_damaged_artifact_is_named_with_the_way_out(home: Path) -> None:
    path = _artifact(home)
    assert [finding.level for finding in check_store()] == ["ok"]
    (path / "data.json").write_text("[]")
    (finding,) = [finding for finding in check_store() if finding.level == "problem"]
    assert "embed/0123456789" in finding.found
    assert "data.json" in finding.found
    assert finding.way_out
    (path / MANIFEST).unlink()
    assert any(MANIFEST in finding.found for finding in check_store() if finding.level == "problem")


def test_the_draft_of_a_killed_run_is_told_and_that_of_a_living_one_is_not(home: Path) -> None:
    store = ArtifactStore(home)
    ref = ArtifactRef(stage="train", fingerprint="abcdef")
    with store.locked(ref), store.drafting(ref):
        assert all(finding.about != "Drafts" for finding in check_store())
    (home / "artifacts" / "train" / ".abcdef.draft").mkdir(parents=True)
    (finding,) = [finding for finding in check_store() if finding.about == "Drafts"]
    assert finding.level == "warning"
    assert "train/.abcdef.draft" in finding.found


def _mlflow_database(home: Path, location: str) -> Path:
    path = home / "mlflow" / "mlflow.db"
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE experiments (experiment_id INTEGER, artifact_location TEXT)")
        connection.executemany("INSERT INTO experiments VALUES (?, ?)", [(0, "/anywhere/mlruns/0"), (1, location)])
    return path


def test_a_home_that_was_moved_is_a_problem(home: Path) -> None:
    _mlflow_database(home, "file:///somewhere/else/mlflow/artifacts/1")
    finding = check_home()
    assert finding.level == "problem"
    assert "/somewhere/else" in finding.found


def test_a_home_in_its_place_is_fine(home: Path) -> None:
    _mlflow_database(home, (home / "mlflow" / "artifacts" / "1").as_uri())
    assert check_home().level == "ok"
    assert [finding.level for finding in check_databases()] == ["ok"]


def test_a_damaged_database_is_a_problem(home: Path) -> None:
    path = _mlflow_database(home, home.as_uri())
    path.write_bytes(b"SQLite format 3\0" + b"rubbish" * 1000)
    (finding,) = check_databases()
    assert finding.level == "problem"
    assert str(path) in finding.found


def test_packages_that_differ_from_the_lock_are_named(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("prefect==0.0.1 \\\n    --hash=sha256:00\nnot-for-here==1.0 ; sys_platform == 'nowhere' \\\n    --hash=sha256:00\n")
    assert read_lock(lock) == {"prefect": "0.0.1"}
    finding = check_packages(lock)
    assert finding.level == "problem"
    assert "prefect" in finding.found
    assert "not-for-here" not in finding.found


def test_the_environment_agrees_with_the_lock() -> None:
    assert check_packages().level == "ok"


def test_missing_raw_files_are_a_warning_and_a_wrong_folder_a_problem(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = {finding.about: finding.level for finding in check_profiles()}
    assert levels["Profile demo"] == "ok"
    assert levels["Profile gift_cards"] == "warning"
    monkeypatch.setenv("BBQREC_RAW", "/no/such/folder")
    assert any(finding.about == "BBQREC_RAW" and finding.level == "problem" for finding in check_profiles())


def test_the_command_fails_when_there_is_a_problem(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "home")
    (_artifact(installation.home) / "data.json").unlink()
    examined = installation.bbqrec("doctor")
    assert examined.returncode == 1
    assert "1 problem(s)" in examined.stdout, examined.stdout
    assert "Traceback" not in examined.stdout + examined.stderr
    (installation.home / "artifacts" / "embed" / "0123456789").rename(tmp_path / "away")
    assert installation.bbqrec("doctor").returncode == 0
