"""MLflow's database in the home folder, when several runs open it at once; and what runs tell it, when it cannot listen."""

import json
import os
import sqlite3
import subprocess
import sys

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bbqrec_core.profile import load_profile
from bbqrec_core.store import Artifact, ArtifactRef
from tasks import tracking
from tasks.gates.gate import GateResult
from tasks.plan import PlannedStage
from tasks.runner import STATISTICS
from tasks.services.processes import identity
from tasks.stages import BY_NAME
from tasks.tracking import PipelineTracking, connect, own_database

PROFILE = load_profile("demo")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BBQREC_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_an_experiment_that_was_deleted_is_restored(home, caplog):
    first = PipelineTracking(PROFILE)
    run = first.open_parent()
    first.close()
    experiment = first.client().get_run(run).info.experiment_id
    first.client().delete_experiment(experiment)
    second = PipelineTracking(PROFILE)
    assert second.client().get_run(second.open_parent()).info.experiment_id == experiment
    assert "restored" in caplog.text


@pytest.mark.parametrize("cut", ["_log_curves", "_log_batch"])
def test_what_could_not_be_told_is_told_by_the_next_run(home, monkeypatch, cut):
    ref = ArtifactRef(stage="prior", fingerprint="f1")
    manifest = {"statistics": {"trials": 7}, "seconds": 1.5, "profile": {"seed": 3}}
    (home / "prior").mkdir()
    (home / "prior" / "manifest.json").write_text(json.dumps(manifest))
    pq.write_table(pa.Table.from_pylist([manifest["statistics"]]), home / "prior" / STATISTICS)
    planned, artifact = PlannedStage(BY_NAME["prior"], ref, {}, {}), Artifact(ref, home / "prior", manifest)

    def unplugged(*_, **__):
        raise ConnectionError("unplugged")

    gate = GateResult(ref, [], cached=False)
    with monkeypatch.context() as patched, pytest.raises(ConnectionError):
        pipeline = PipelineTracking(PROFILE)
        pipeline.open_parent()
        with pipeline.stage(planned) as stage:
            patched.setattr(tracking, cut, unplugged)
            stage.made(artifact)
            stage.judged(gate)
    [marker] = (home / "mlflow" / "untold").iterdir()
    of_this_process = marker.read_text()
    marker.write_text(identity(psutil.Process(1)))
    with PipelineTracking(PROFILE).stage(planned) as stage:
        assert not stage.found(artifact), "another process is about to tell it"
    marker.write_text(of_this_process)
    for expected in (True, False):
        pipeline = PipelineTracking(PROFILE)
        with pipeline.stage(planned) as stage:
            assert stage.found(artifact) is expected
            assert (stage.run is not None) is expected
            if expected:
                stage.judged(gate)
        if stage.run:
            run = pipeline.client().get_run(stage.run)
            assert run.info.status == "FINISHED" and run.data.params == {"seed": "3"} and run.data.tags["bbqrec.gate"] == "passed"
            assert run.data.metrics == {"seconds": 1.5, "trials": 7.0}


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
