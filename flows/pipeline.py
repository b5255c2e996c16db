"""What the flows share: one pipeline at a time, and the one way a stage is run in it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from bbqrec_core.home import home_folder
from bbqrec_core.profile import Profile
from bbqrec_core.store import ArtifactRef, ArtifactStore
from flows.parameters import resolve
from tasks.plan import PlannedStage, make_plan
from tasks.register import RUN_VARIABLE, registration_holds
from tasks.runner import StageOutcome, run_stage
from tasks.tracking import PipelineTracking, StageTracking

log = logging.getLogger(__name__)


@dataclass
class Pipeline:
    """A profile on its way through the stages.

    Attributes:
        profile: Validated, overrides merged.
        store: Where artifacts are.
        plan: Every stage with the artifacts it reads and writes.
        tracking: Its MLflow runs.
        outcomes: What became of the stages so far, by name.
    """

    profile: Profile
    store: ArtifactStore
    plan: dict[str, PlannedStage]
    tracking: PipelineTracking
    outcomes: dict[str, StageOutcome] = field(default_factory=dict)


_current: ContextVar[Pipeline | None] = ContextVar("pipeline", default=None)


@contextmanager
def pipeline(profile: str, overrides: BaseModel | None) -> Iterator[Pipeline]:
    """Give the pipeline that is under way, or begin one: a stage's flow run by itself is a pipeline of one stage.

    Raises:
        BBQRecError: The profile is wrong, or its source files are missing.
    """
    running = _current.get()
    if running is not None:
        yield running
        return
    loaded = resolve(profile, overrides)
    store = ArtifactStore(home_folder())
    with store.at_work():
        begun = Pipeline(loaded, store, make_plan(loaded, store), PipelineTracking(loaded))
        token = _current.set(begun)
        try:
            yield begun
        except BaseException as error:
            begun.tracking.close("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        else:
            begun.tracking.close()
        finally:
            _current.reset(token)


def stage_flow(name: str, profile: str, overrides: BaseModel | None) -> ArtifactRef:
    """The body of every stage's flow."""
    with pipeline(profile, overrides) as current:
        current.outcomes[name] = _stage(name)
        return current.outcomes[name].artifact.ref


@task(name="stage", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def _stage(name: str) -> StageOutcome:
    """Run a stage of the current pipeline, follow it in MLflow, and say what became of it."""
    current = _current.get()
    assert current is not None
    planned = current.plan[name]
    place = f"[{list(current.plan).index(name) + 1}/{len(current.plan)}] {name}"
    with current.tracking.stage(planned) as tracking:
        outcome = run_stage(
            planned,
            current.profile,
            current.store,
            begin=lambda: _begin(place, tracking),
            made=tracking.made,
            still_holds=registration_holds if name == "register" else None,
        )
        if not outcome.cached or tracking.found(outcome.artifact):
            tracking.judged(outcome.gate)
    told = planned.stage.headline.format(**outcome.statistics)
    warnings = f", {len(outcome.gate.warnings)} warning(s)" if outcome.gate.warnings else ""
    how = "cached, nothing to do" if outcome.cached else f"made in {outcome.seconds:.1f} s"
    log.info("%s: %s; gate passed%s; %s", place, how, warnings, told)
    for warning in outcome.gate.warnings:
        log.warning("gate of %s: %s", name, warning)
    return outcome


def _begin(place: str, tracking: StageTracking) -> dict[str, str]:
    """Called when a stage has to work: opens its MLflow run and gives its process what it needs to know."""
    log.info("%s: working", place)
    return {RUN_VARIABLE: tracking.open()}
