"""MLflow's database in the home folder, when several runs open it at once."""

import os
import sqlite3
import subprocess
import sys

import pytest

from tasks.tracking import connect, own_database


def test_the_first_runs_of_a_home_may_begin_at_once(tmp_path):
    """Each would create the tables: MLflow alone gives some of them an error about a table that is there already."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | {"BBQREC_HOME": str(tmp_path)}
    code = "from tasks.tracking import connect; print(len(connect().search_experiments()))"
    runs = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for run in runs:
        out, said = run.communicate(timeout=240)
        assert run.returncode == 0 and out.strip() == "1", said


def test_a_kill_while_the_database_is_made_leaves_none_or_a_whole_one(tmp_path, monkeypatch):
    """MLflow's migrations are committed one by one: a file half migrated can never be opened again."""
    from mlflow.store.tracking import sqlalchemy_store

    monkeypatch.setenv("BBQREC_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    real = sqlalchemy_store.SqlAlchemyStore

    def killed(uri, *arguments):
        with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
            database.execute("CREATE TABLE _alembic_tmp_params (key TEXT)")
        raise KeyboardInterrupt

    monkeypatch.setattr(sqlalchemy_store, "SqlAlchemyStore", killed)
    with pytest.raises(KeyboardInterrupt):
        connect()
    assert not own_database().exists()
    monkeypatch.setattr(sqlalchemy_store, "SqlAlchemyStore", real)
    assert len(connect().search_experiments()) == 1
    connect().create_registered_model("m")
    assert sorted(path.name for path in own_database().parent.iterdir() if "new" in path.name) == []
