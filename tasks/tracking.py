"""MLflow: one parent run for a pipeline, a child run for every stage that did something.

Everything goes through a client with explicit run IDs: MLflow's active run belongs to a thread, and Prefect's threads are many. A pipeline
whose stages all stood already leaves no run behind.
"""

import io
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import yaml
from filelock import FileLock
from pyarrow import csv

from bbqrec_core.errors import ServiceError
from bbqrec_core.home import home_folder
from bbqrec_core.profile import Profile, flatten
from bbqrec_core.store import Artifact
from tasks.gates.gate import GateResult
from tasks.plan import PlannedStage
from tasks.runner import STATISTICS
from tasks.services.addresses import is_healthy
from tasks.services.processes import identity, is_alive, is_local

if TYPE_CHECKING:
    from mlflow import MlflowClient

MAX_METRICS = 40
"""Headline metrics a run may have: thousands of keys hang MLflow's pages. Full tables are artifacts."""
PROCESS_TAG = "bbqrec.process"
PARTIAL_TAG = "bbqrec.partial"
"""On runs, data sets and model versions that rest on part of the data: files that were cut off."""
PLOTS = "plots"
TABLES = {"quantize": ("codebook_health", "usage"), "evaluate": ("metrics", "comparisons")}
"""By stage, tables that are attached as CSV, which MLflow's pages show."""
MAX_SOURCE = 1000
"""Characters of a data set's address; a category may have very many files."""
WAY_OUT = "Check MLFLOW_TRACKING_URI, or unset it to use the home folder's own; `bbqrec doctor` looks."

log = logging.getLogger(__name__)


def tracking_uri() -> str:
    """Where MLflow's data is: MLFLOW_TRACKING_URI, or the home folder's own SQLite file."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _own_uri()


def own_database() -> Path:
    """The home folder's own SQLite file, which need not be there yet; its folder is."""
    folder = home_folder() / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "mlflow.db"


def connect() -> "MlflowClient":
    """A client of tracking and registry.

    Raises:
        ServiceError: MLflow's server does not answer, or its database cannot be used.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for chatty in ("alembic", "mlflow"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    uri = require_reachable()
    import mlflow

    mlflow.set_tracking_uri(uri)
    try:
        with _one_at_a_time(uri):
            if uri == _own_uri():
                _make_own_database()
            client = mlflow.MlflowClient()
            client.search_experiments(max_results=1)
    except Exception as error:
        raise ServiceError(f"MLflow cannot be used at {uri}: {error}", WAY_OUT) from None
    return client


def _own_uri() -> str:
    return f"sqlite:///{own_database()}"


def _make_own_database() -> None:
    """Make the home's own database, if it is not there, beside its place: a kill leaves none rather than half. Hold `opening_lock`."""
    path = own_database()
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    unfinished = path.with_name(f"{path.name}.new")
    for leftover in path.parent.glob(f"{unfinished.name}*"):
        leftover.unlink()
    made = SqlAlchemyStore(f"sqlite:///{unfinished}", path.with_name("artifacts").as_uri())
    made.engine.dispose()
    unfinished.replace(path)


def _one_at_a_time(uri: str) -> AbstractContextManager[object]:
    """While an own database is opened, or an experiment looked for: the first creates what is missing, and no other may be doing so too."""
    return opening_lock() if uri.startswith("sqlite") else nullcontext()


def opening_lock() -> FileLock:
    """Held while the home's own database is opened."""
    return FileLock(own_database().with_name("opening.lock"))


def require_reachable() -> str:
    """Ask MLflow's server, where there is one, whether it is up; at once, and without importing MLflow. Returns its address.

    Raises:
        ServiceError: It does not answer.
    """
    uri = tracking_uri()
    if uri.startswith("http") and not is_healthy(uri):
        raise ServiceError(f"MLflow does not answer at {uri}.", WAY_OUT)
    return uri


class PipelineTracking:
    """The MLflow side of one pipeline run. The parent run is opened by the first stage that does something."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._client: MlflowClient | None = None
        self._parent: str | None = None

    @contextmanager
    def stage(self, planned: PlannedStage) -> Iterator["StageTracking"]:
        """Follow one stage. Its child run is opened when the stage starts to work, and closed with what became of it."""
        tracking = StageTracking(self, planned)
        try:
            yield tracking
        except BaseException as error:
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            tracking.close(status, str(error))
            raise
        tracking.close("FINISHED")

    def close(self, status: str = "FINISHED") -> None:
        """End the parent run."""
        if self._client is not None and self._parent is not None:
            self._client.set_terminated(self._parent, status)

    def client(self) -> "MlflowClient":
        """The client, connected on first use."""
        if self._client is None:
            self._client = connect()
        return self._client

    def open_parent(self) -> str:
        """The parent run, created on first use; runs that died in earlier pipelines are marked KILLED then."""
        if self._parent is None:
            experiment = self._experiment()
            mark_abandoned_runs(self.client(), experiment)
            profile = self._profile
            self._parent = self._create_run(experiment, f"{profile.name} pipeline", {"mlflow.note.content": profile.description})
            with _written(yaml.safe_dump(profile.model_dump(mode="json"), sort_keys=False), "profile.yaml") as path:
                self.client().log_artifact(self._parent, str(path))
            _log_batch(self.client(), self._parent, params={"profile": profile.name, "seed": profile.seed})
        return self._parent

    def open_child(self, planned: PlannedStage) -> str:
        """A child run for a stage."""
        parent = self.open_parent()
        tags = {"mlflow.parentRunId": parent, "bbqrec.stage": planned.stage.name, "bbqrec.fingerprint": planned.ref.fingerprint}
        tags |= {f"bbqrec.input.{name}": ref.fingerprint for name, ref in planned.inputs.items()}
        return self._create_run(self._experiment(), planned.stage.name, tags)

    def headline(self, metrics: dict[str, float], tags: dict[str, str]) -> None:
        """Put numbers and tags on the parent run, if there is one."""
        if self._parent is not None:
            _log_batch(self.client(), self._parent, metrics=metrics, tags=tags)

    def artifacts(self, *paths: Path) -> None:
        """Attach files and folders to the parent run, if there is one."""
        if self._parent is None:
            return
        for path in paths:
            if path.is_dir():
                self.client().log_artifacts(self._parent, str(path), path.name)
            else:
                self.client().log_artifact(self._parent, str(path))

    def _experiment(self) -> str:
        client, uri = self.client(), tracking_uri()
        with _one_at_a_time(uri):
            found = client.get_experiment_by_name(self._profile.experiment)
            if found is not None:
                if found.lifecycle_stage != "active":  # deleted in MLflow's pages, which only hides it
                    log.warning("The experiment %s was deleted in MLflow: it is restored, with its runs.", found.name)
                    client.restore_experiment(found.experiment_id)
                return found.experiment_id
            location = (home_folder() / "mlflow" / "artifacts").as_uri() if uri.startswith("sqlite") else None
            return client.create_experiment(self._profile.experiment, artifact_location=location)

    def _create_run(self, experiment: str, name: str, tags: dict[str, str]) -> str:
        return self.client().create_run(experiment, run_name=name, tags={PROCESS_TAG: identity(), **tags}).info.run_id


class StageTracking:
    """The MLflow side of one stage."""

    def __init__(self, pipeline: PipelineTracking, planned: PlannedStage) -> None:
        self._pipeline = pipeline
        self._planned = planned
        self._untold = own_database().with_name("untold") / f"{planned.stage.name}-{planned.ref.fingerprint}"
        self.run: str | None = None

    def open(self) -> str:
        """Open the child run."""
        if self.run is None:
            self.run = self._pipeline.open_child(self._planned)
        return self.run

    def found(self, artifact: Artifact) -> bool:
        """Note on the parent run, if there is one, that the stage's artifact stood already.

        Returns:
            Whether a run was made for it all the same, because the one that made it could not tell MLflow of it.
        """
        if self._is_left_untold():
            self.made(artifact)
            return True
        self._pipeline.headline({}, {f"bbqrec.cached.{self._planned.stage.name}": self._planned.ref.fingerprint})
        return False

    def made(self, artifact: Artifact) -> None:
        """Log what a stage made, before its gate judges: parameters, statistics, curves, fingerprints. What is cut is caught up on."""
        self._untold.parent.mkdir(parents=True, exist_ok=True)
        self._untold.write_text(identity(), encoding="utf-8")
        self._log(artifact)

    def _is_left_untold(self) -> bool:
        """Whether whoever made the artifact could not say so, and is not about to."""
        try:
            owner = self._untold.read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return owner == identity() or (is_local(owner) and not is_alive(owner))

    def _log(self, artifact: Artifact) -> None:
        run, client, manifest = self.open(), self._pipeline.client(), artifact.manifest
        statistics = manifest["statistics"]
        numbers = {name: float(value) for name, value in statistics.items() if isinstance(value, int | float)}
        tags = {name: value for name, value in statistics.items() if isinstance(value, str)}
        curves = _log_curves(client, run, artifact.path)
        headline = dict(list({"seconds": manifest["seconds"], **numbers}.items())[: MAX_METRICS - curves])
        _log_batch(client, run, headline, dict(flatten(manifest["profile"])), tags)
        for name in ("manifest.json", STATISTICS):  # whole, where a run's metrics are cut at MAX_METRICS
            client.log_artifact(run, str(artifact.path / name))
        for name in TABLES.get(self._planned.stage.name, ()):
            with _written(_as_csv(artifact.path / f"{name}.parquet"), f"{name}.csv") as path:
                client.log_artifact(run, str(path))
        if self._planned.stage.name == "ingest":
            self._log_dataset(client, artifact)
        if statistics.get("partial"):
            client.set_tag(run, PARTIAL_TAG, "true")

    def judged(self, gate: GateResult) -> None:
        """Log what the gate said of a stage that was made."""
        failed = {record["code"]: record["outcome"] for record in gate.records if record["outcome"] != "passed"}
        _log_batch(self._pipeline.client(), self.open(), tags={"bbqrec.gate": json.dumps(failed) if failed else "passed"})
        self._untold.unlink(missing_ok=True)

    def close(self, status: str, note: str = "") -> None:
        """End the child run, if one was opened."""
        if self.run is None:
            return
        client = self._pipeline.client()
        if note:
            client.set_tag(self.run, "mlflow.note.content", note)
        client.set_terminated(self.run, status)

    def _log_dataset(self, client: "MlflowClient", artifact: Artifact) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = self._pipeline._profile
        files = pq.read_table(artifact.path / "files.parquet", columns=["file"])["file"].to_pylist()
        sizes = json.dumps({name: artifact.manifest["statistics"].get(name) for name in ("interactions", "users", "items")})
        dataset = Dataset(
            name=profile.name,
            digest=artifact.ref.fingerprint,
            source_type="local",
            source=json.dumps({"uri": f"{profile.source.kind}:{', '.join(files) or 'shop'}"[:MAX_SOURCE]}),
            profile=sizes,
        )
        tags = [InputTag("mlflow.data.context", "training")]
        if artifact.manifest["statistics"].get("partial"):
            tags.append(InputTag(PARTIAL_TAG, "true"))
        for run in (self.open(), self._pipeline.open_parent()):
            client.log_inputs(run, [DatasetInput(dataset, tags)])


def mark_abandoned_runs(client: "MlflowClient", experiment: str) -> int:
    """Mark as KILLED the runs that say RUNNING although the process that owned them is gone. Returns how many."""
    marked = 0
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'", max_results=1000):
        owner = run.data.tags.get(PROCESS_TAG)
        if owner and is_local(owner) and not is_alive(owner):
            client.set_terminated(run.info.run_id, "KILLED")
            marked += 1
    return marked


def _log_batch(
    client: "MlflowClient",
    run: str,
    metrics: dict[str, float] | None = None,
    params: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
) -> None:
    """Log in one call: each costs 50 ms and more on SQLite."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    client.log_batch(
        run,
        metrics=[Metric(name, value, now, 0) for name, value in (metrics or {}).items()],
        params=[Param(name, str(value)) for name, value in (params or {}).items()],
        tags=[RunTag(name, value) for name, value in (tags or {}).items()],
    )


def _log_curves(client: "MlflowClient", run: str, artifact: Path) -> int:
    """Log a training stage's curves, as metrics by epoch. Returns how many."""
    path = artifact / "curve.parquet"
    if not path.exists():
        return 0
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [Metric(row["name"], row["value"], now, row["step"]) for row in pq.read_table(path).to_pylist()]
    for start in range(0, len(points), 1000):  # MLflow's limit for one call
        client.log_batch(run, metrics=points[start : start + 1000])
    return len({point.key for point in points})


def _as_csv(table: Path) -> str:
    text = io.BytesIO()
    csv.write_csv(pq.read_table(table), text)
    return text.getvalue().decode("utf-8")


@contextmanager
def _written(text: str, name: str) -> Iterator[Path]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text(text, encoding="utf-8")
        yield path
