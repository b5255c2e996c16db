"""Sets right what Prefect's database says of runs that nobody executes any more.

A killed flow run says Running for ever, holds its deployment's concurrency slot, and so cancels every later scheduled one. Marking it
Crashed through the API releases the slot at once (the lease alone would expire five minutes later). What is judged here:

- a flow run of a deployment lives if some process carries its ID in its environment;
- a flow run started by hand lives if the process named in its tag does; without such a tag nothing is known, and it is left alone;
- a flow run within another shares the outer one's fate, and so do task runs.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from tasks.services.processes import is_alive, is_local, living_flow_runs

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

PROCESS_TAG = "process:"
"""Prefix of the tag that names the process of a flow run started by hand; an `identity` follows."""
PAGE = 200

log = logging.getLogger(__name__)


def mark_orphans(client: "SyncPrefectClient", why: str, only: Collection[UUID] | None = None) -> set[UUID]:
    """Mark flow runs Crashed whose process is gone, with their task runs.

    Args:
        client: Connected to the server.
        why: Becomes the state's message.
        only: Leave all others alone; None = mark every one found.

    Returns:
        Every orphan found, marked or not: the watch marks what it finds twice.
    """
    from prefect.states import Crashed

    orphans = find_orphans(client)
    for run in orphans:
        if only is not None and run.id not in only:
            continue
        client.set_flow_run_state(run.id, Crashed(message=why))
        tasks = _crash_tasks(client, run.id, why)
        log.warning("Marked flow run %s (%s) Crashed, with %d task runs: %s", run.name, run.id, tasks, why)
    return {run.id for run in orphans}


def find_orphans(client: "SyncPrefectClient") -> list["FlowRun"]:
    """Flow runs that say Pending, Running or Cancelling although nobody executes them, outer ones first."""
    runs = _flow_runs_in(client, ("PENDING", "RUNNING", "CANCELLING"))
    living = living_flow_runs()
    orphans = []
    for run in runs:
        root = _root(client, run)
        if root.state is not None and root.state.is_final():
            orphans.append(run)  # the worker reported the outer run's end, and nobody the inner one's
        elif _is_orphan(root, living):
            orphans.append(run)
    return sorted(orphans, key=lambda run: (run.parent_task_run_id is not None, str(run.id)))


def _is_orphan(root: "FlowRun", living: Collection[str]) -> bool:
    if root.deployment_id is not None:
        return str(root.id) not in living
    owners = [tag.removeprefix(PROCESS_TAG) for tag in root.tags if tag.startswith(PROCESS_TAG)]
    return any(is_local(owner) and not is_alive(owner) for owner in owners)


def _root(client: "SyncPrefectClient", run: "FlowRun") -> "FlowRun":
    while run.parent_task_run_id is not None:
        outer = client.read_task_run(run.parent_task_run_id).flow_run_id
        if outer is None:
            break
        run = client.read_flow_run(outer)
    return run


def _crash_tasks(client: "SyncPrefectClient", flow_run: UUID, why: str) -> int:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.states import Crashed

    open_tasks = [
        task
        for task in client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])), limit=PAGE)
        if task.state is None or not task.state.is_final()
    ]
    for task in open_tasks:
        client.set_task_run_state(task.id, Crashed(message=why), force=True)
    return len(open_tasks)


def skip_missed(client: "SyncPrefectClient", now: datetime | None = None) -> int:
    """Cancel the scheduled runs that came due while no server was up, all but each deployment's latest. Returns how many.

    One run makes up for all: it reads what is there now. Runs that somebody asked for by hand stay.
    """
    from prefect.states import Cancelled

    now = now or datetime.now(UTC)
    due: dict[UUID, list[FlowRun]] = defaultdict(list)
    for run in _flow_runs_in(client, ("SCHEDULED",)):
        if run.auto_scheduled and run.deployment_id is not None and run.expected_start_time is not None and run.expected_start_time < now:
            due[run.deployment_id].append(run)
    missed = [run for runs in due.values() for run in _all_but_latest(runs)]
    for run in missed:
        client.set_flow_run_state(run.id, Cancelled(message="Came due while the servers were down; a later run makes up for it."))
    if missed:
        log.warning(
            "Cancelled %d scheduled runs that came due while the servers were down; the latest of each deployment runs now.", len(missed)
        )
    return len(missed)


def _all_but_latest(runs: Iterable["FlowRun"]) -> list["FlowRun"]:
    return sorted(runs, key=lambda run: (run.expected_start_time, str(run.id)))[:-1]


def _flow_runs_in(client: "SyncPrefectClient", types: tuple[str, ...]) -> list["FlowRun"]:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType

    chosen = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType(name) for name in types])))
    runs: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(flow_run_filter=chosen, limit=PAGE, offset=len(runs))
        runs += page
        if len(page) < PAGE:
            return runs
