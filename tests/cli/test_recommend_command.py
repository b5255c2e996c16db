"""Asking a registered model from the command line, and what the registry says of it."""

import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from installation import TINY, Installation

from bbqrec_core.home import PROJECT
from tasks.summary import _standing

pytestmark = pytest.mark.slow
ITEM = re.compile(r"^ +\d+ (\S+)  (\S.*)$", re.MULTILINE)


@pytest.fixture
def installation(tiny_home: Path) -> Installation:
    return Installation(tiny_home)


@pytest.fixture
def without_raw_files(tmp_path: Path) -> str:
    """A profile of real data whose model is registered and whose raw files are gone."""
    path = tmp_path / "gone.yaml"
    path.write_text("extends: gift_cards\nsource: {raw: /no/such/folder}\ntracking: {model_name: bbqrec-tiny}\n")
    return str(path)


def recommended(installation: Installation, *arguments: str) -> list[tuple[str, str]]:
    result = installation.bbqrec("recommend", *arguments, timeout=120)
    assert result.returncode == 0, result.stderr
    return ITEM.findall(result.stdout)


def test_a_history_needs_no_raw_files_and_gets_titles(installation: Installation, without_raw_files: str) -> None:
    found = recommended(installation, without_raw_files, "--history", "[/x],nothing", "-k", "4")
    assert len(found) == 4 and all(title and title != "(no title)" for _, title in found[:1])
    assert found == recommended(installation, TINY, "--history", "", "-k", "4")  # of unknown items nothing is known


def test_known_users_are_those_of_the_data_that_the_model_has_learned_from(installation: Installation, without_raw_files: str) -> None:
    assert recommended(installation, without_raw_files) == recommended(installation, TINY)


def test_known_users_need_the_raw_files_once_that_data_is_gone(installation: Installation, without_raw_files: str, tmp_path: Path) -> None:
    shutil.copytree(installation.home / "mlflow", tmp_path / "mlflow")
    result = Installation(tmp_path).bbqrec("recommend", without_raw_files, timeout=120)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "/no/such/folder" in result.stderr and "--history" in result.stderr


def test_everybody_goes_to_a_file_and_nothing_else_stays(installation: Installation, tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    result = installation.bbqrec("recommend", TINY, "--all", str(path), "-k", "3", timeout=120)
    assert result.returncode == 0, result.stderr
    table = pq.read_table(path)
    assert table.num_rows > 10 and {len(items) for items in table["items"].to_pylist()} == {3}
    assert [entry.name for entry in tmp_path.iterdir()] == ["all.parquet"]


def test_an_alias_that_nothing_has_is_told_with_those_there_are(installation: Installation) -> None:
    result = installation.bbqrec("recommend", TINY, "--alias", "nobody[/x]", timeout=120)
    assert result.returncode == 1 and "is nobody[/x]" in result.stderr and "champion (version" in result.stderr


def test_a_model_whose_files_are_gone_is_told(installation: Installation, tmp_path: Path) -> None:
    mlflow = tmp_path / "mlflow"
    mlflow.mkdir()
    shutil.copy(installation.home / "mlflow" / "mlflow.db", mlflow)
    database = (mlflow / "mlflow.db").read_bytes()
    old, new = str(installation.home).encode(), str(installation.home).encode()[:-1] + b"!"  # same length: a folder that is not there
    (mlflow / "mlflow.db").write_bytes(database.replace(old, new))
    elsewhere = Installation(tmp_path)
    result = elsewhere.bbqrec("recommend", TINY, "--history", "x", timeout=120)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "is registered but cannot be loaded" in result.stderr


def test_the_alias_told_is_the_one_the_registry_has_now(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    (tmp_path / "mlflow").mkdir()
    shutil.copy(installation.home / "mlflow" / "mlflow.db", tmp_path / "mlflow")
    monkeypatch.setenv("BBQREC_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
    first = int(client.get_registered_model("bbqrec-tiny").aliases["champion"])
    assert _standing("bbqrec-tiny", first) == ("champion", None)
    second = int(client.create_model_version("bbqrec-tiny", str(PROJECT)).version)
    assert _standing("bbqrec-tiny", second) == ("", first)
    client.set_registered_model_alias("bbqrec-tiny", "champion", str(second))
    client.set_registered_model_alias("bbqrec-tiny", "previous", str(first))
    assert _standing("bbqrec-tiny", first) == ("previous", second)
    assert _standing("bbqrec-tiny", second) == ("champion", None)


@pytest.mark.parametrize(
    ("place", "reason"), [("/dev/full", "No space left"), ("/nonexistent/report.html", "No such file"), ("itself", "same file")]
)
def test_a_place_that_cannot_take_the_report_is_named(installation: Installation, place: str, reason: str) -> None:
    report = installation.bbqrec("report", TINY).stdout.strip()
    place = report if place == "itself" else place
    result = installation.bbqrec("report", TINY, "--copy-to", place)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert f"{place}" in result.stderr and reason in result.stderr
    assert Path(report).stat().st_size > 10_000
