"""Makes one stage's artifact unless it stands already, and passes it through its gate."""

import logging
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bbqrec_core import __version__
from bbqrec_core.errors import SourceError
from bbqrec_core.profile import Profile
from bbqrec_core.stage import StageContext, Statistics
from bbqrec_core.store import Artifact, ArtifactStore
from tasks.gates.gate import GateResult, gate_ref, pass_gate, require_passed
from tasks.plan import PlannedStage, outside_of
from tasks.process import StageJob, run_stage_in_process

STATISTICS = "statistics.parquet"
PACKAGES = ("torch", "duckdb", "pyarrow", "polars", "sentence-transformers", "open_clip_torch", "mlflow", "prefect", "great-expectations")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageOutcome:
    """What became of a stage in this run.

    Attributes:
        artifact: The stage's output, verified.
        gate: Its gate's judgement, passed.
        cached: Whether it stood already.
        seconds: How long it took to make, whenever that was.
    """

    artifact: Artifact
    gate: GateResult
    cached: bool
    seconds: float

    @property
    def statistics(self) -> Statistics:
        """The stage's one row of statistics."""
        return self.artifact.manifest["statistics"]


def run_stage(
    planned: PlannedStage,
    profile: Profile,
    store: ArtifactStore,
    begin: Callable[[], Mapping[str, str]] = dict,
    made: Callable[[Artifact], None] | None = None,
    still_holds: Callable[[Artifact], bool] | None = None,
) -> StageOutcome:
    """Run a stage on the outputs of earlier ones, or find its output in the store.

    Args:
        planned: The stage with its inputs and output named.
        profile: The profile it was planned for.
        store: Where artifacts are.
        begin: Called when the stage has to work; gives environment variables for its process.
        made: Called with what the stage made, before its gate judges it.
        still_holds: Asked about an artifact found in the store, where it also claims something about the world outside.

    Raises:
        BBQRecError: An input is missing or did not pass its gate, the stage failed, or its output did not pass.
    """
    with store.locked(planned.ref):
        found = store.lookup(planned.ref)
        if found is not None and (still_holds is None or still_holds(found)):
            return StageOutcome(found, pass_gate(found, profile.gates, store), cached=True, seconds=found.manifest["seconds"])
        artifact = _make(planned, profile, store, begin())
    if made is not None:
        made(artifact)
    return StageOutcome(artifact, pass_gate(artifact, profile.gates, store), cached=False, seconds=artifact.manifest["seconds"])


def _make(planned: PlannedStage, profile: Profile, store: ArtifactStore, environment: Mapping[str, str]) -> Artifact:
    inputs = {name: require_passed(ref, profile.gates, store).path for name, ref in planned.inputs.items()}
    if planned.stage.name == "report":  # it also shows what the gates said
        inputs |= {f"gate_{name}": store.path(gate_ref(ref, profile.gates)) for name, ref in planned.inputs.items()}
    inputs |= {name: store.require(ref).path for name, ref in planned.origin.inputs.items()}  # it passed its gate when it was registered
    if planned.origin.note:
        log.warning("%s It starts from scratch, and IDs will move.", planned.origin.note)
    with store.drafting(planned.ref) as draft:
        start = time.monotonic()
        context = StageContext(profile=profile, inputs=inputs, out=draft.out, scratch=draft.scratch)
        own = {name: os.environ.get(name, value) for name, value in planned.stage.environment.items()}
        statistics = run_stage_in_process(StageJob(planned.stage.entry, context, {**own, **_threads(profile), **environment}))
        _require_unchanged(planned, profile, store)
        seconds = round(time.monotonic() - start, 2)
        pq.write_table(pa.Table.from_pylist([statistics]), draft.out / STATISTICS)
        return store.commit(draft, {**planned.identity, **_versions(), "statistics": statistics, "seconds": seconds})


def _require_unchanged(planned: PlannedStage, profile: Profile, store: ArtifactStore) -> None:
    """What lies outside the store must be what it was when the output was named; digests of files that were not touched are remembered."""
    before = planned.identity.get("outside", {}).get("files")
    if before is None:
        return
    now = outside_of(planned.stage, profile, store)["files"]
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed:
        raise SourceError(
            f"Files changed while `{planned.stage.name}` was at work: {', '.join(changed)}. What it made of them was thrown away.",
            "Run again when they are complete. Whoever writes them does best to write beside them and rename at the end.",
        )


def _threads(profile: Profile) -> dict[str, str]:
    threads = profile.compute.threads or os.cpu_count() or 1
    return {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}


def _versions() -> dict[str, Any]:
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a box without the orchestration
            continue
    return {"code_version": __version__, "python": platform.python_version(), "packages": packages}
