"""`bbqrec up` for real: servers, worker, deployments, a schedule, a crash, and the end of it all. In this order, on one installation."""

import json
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from installation import Installation, wait_for

from bbqrec_core.home import PROJECT
from tasks.stages import STAGES

pytestmark = pytest.mark.slow

NEVER_ENDING = {"sequence": {"epochs": 1_000_000, "patience": 1_000_000}}
MISSED = 3


def test_everything_listens_on_loopback_only(servers: Installation) -> None:
    listening = [
        connection.laddr
        for process in servers.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {servers.prefect_port, servers.mlflow_port} <= {address.port for address in listening}
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("origin", ["https://shop.example", "null"])
def test_a_page_of_another_origin_cannot_speak_to_prefect(servers: Installation, origin: str) -> None:
    told = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    asked = [
        urllib.request.Request(f"{servers.api}/deployments/filter", headers=told, method="OPTIONS"),
        urllib.request.Request(f"{servers.api}/deployments/filter", b"{}", {"Origin": origin}),
    ]
    for request, status in zip(asked, (400, 403), strict=True):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert refused.value.code == status
    with urllib.request.urlopen(urllib.request.Request(f"{servers.api}/csrf-token?client=page", headers={"Origin": origin})) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] is None, "the page cannot read its token"


@pytest.mark.parametrize("path", ["csrf-token?client=page", "health"])
def test_a_page_whose_name_is_made_to_stand_for_this_machine_cannot_either(servers: Installation, path: str) -> None:
    told = {"Host": f"shop.example:{servers.prefect_port}"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{servers.api}/{path}", headers=told), timeout=30)
    assert refused.value.code == 400
    by_name = urllib.request.Request(f"http://localhost:{servers.prefect_port}/api/{path}")
    with urllib.request.urlopen(by_name, timeout=30) as answer:
        assert answer.status == 200


def test_mlflow_answers_to_this_machines_names_alone(servers: Installation) -> None:
    for name, status in (("10.shop.example", 403), ("shop.example", 403), ("localhost", 200), ("127.0.0.1", 200)):
        told = {"Host": f"{name}:{servers.mlflow_port}", "Content-Type": "application/json"}
        asked = urllib.request.Request(
            f"http://127.0.0.1:{servers.mlflow_port}/api/2.0/mlflow/experiments/search?max_results=1", headers=told
        )
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                assert answer.status == status, name
        except urllib.error.HTTPError as error:
            assert error.code == status, name


def test_a_wrong_override_is_refused_before_a_run_exists(servers: Installation) -> None:
    refused = servers.prefect("deployment", "run", "retrain/by_hand", "-p", 'overrides={"sequence": {"epochz": 2}}')
    assert refused.returncode != 0
    assert "epochz" in refused.stdout + refused.stderr
    for value in (0, "many"):
        with pytest.raises(urllib.error.HTTPError, match="409"):
            servers.create_run("by_hand", {"sequence": {"epochs": value}})
    assert servers.flow_runs("by_hand") == []


def test_a_deployment_knows_nothing_of_the_machine_that_made_it(servers: Installation) -> None:
    deployment = servers.ask("/deployments/name/retrain/tiny")
    assert str(PROJECT) not in json.dumps(deployment["pull_steps"])
    assert deployment["enforce_parameter_schema"]


def test_a_deployment_run_with_an_override_completes(servers: Installation) -> None:
    answer = servers.prefect("deployment", "run", "retrain/by_hand", "-p", 'overrides={"report": {"example_users": 3}}', "--watch")
    assert answer.returncode == 0, answer.stdout + servers.log.read_text()[-6000:]
    (run,) = servers.flow_runs("by_hand")
    assert run["state"]["type"] == "COMPLETED"
    stages = servers.flow_runs(parent_flow_run_id={"any_": [run["id"]]})
    assert len(stages) == len(STAGES)
    assert {stage["state"]["type"] for stage in stages} == {"COMPLETED"}


def test_a_run_created_by_cron_completes(servers: Installation) -> None:
    def completed() -> list[dict]:
        return [run for run in servers.flow_runs("tiny", state={"type": {"any_": ["COMPLETED"]}}) if run["auto_scheduled"]]

    wait_for(completed, 150, "a scheduled run completed")


def test_a_second_up_is_refused_and_says_where_the_first_is(servers: Installation) -> None:
    second = servers.bbqrec("up")
    assert second.returncode == 1
    assert "are up already" in second.stderr
    assert str(servers.prefect_port) in second.stderr
    assert "Traceback" not in second.stderr


def test_doctor_sees_the_servers(servers: Installation) -> None:
    examined = servers.bbqrec("doctor")
    assert f"up at http://127.0.0.1:{servers.prefect_port}" in examined.stdout, examined.stdout + examined.stderr
    assert f"up at http://127.0.0.1:{servers.mlflow_port}" in examined.stdout
    assert examined.returncode == 0, examined.stdout


def test_after_a_crash_the_orphan_is_marked_and_the_next_cron_run_completes(servers: Installation) -> None:
    orphan = _run_in_the_middle_of_training(servers)
    servers.kill_everything()
    missed = _let_schedules_lapse(servers)
    restarted = datetime.now(UTC)
    servers.start()

    assert servers.state(orphan) == "Crashed"
    assert {run["state"]["name"] for run in servers.flow_runs(parent_flow_run_id={"any_": [orphan]})} == {"Completed", "Crashed"}
    tasks = servers.ask("/task_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [orphan]}}})
    assert {task["state"]["type"] for task in tasks} == {"COMPLETED", "CRASHED"}
    assert sorted(servers.state(run) for run in missed)[: MISSED - 1] == ["Cancelled"] * (MISSED - 1)

    def completed() -> list[dict]:
        runs = servers.flow_runs("tiny", state={"type": {"any_": ["COMPLETED"]}}, start_time={"after_": restarted.isoformat()})
        return [run for run in runs if run["auto_scheduled"]]

    wait_for(completed, 150, "a scheduled run completed after the crash")


def _run_in_the_middle_of_training(servers: Installation) -> str:
    """Start a run that holds the deployment's only slot. A scheduled one may hold it first: then ours is cancelled, and tried again."""

    def held() -> str | None:
        run = servers.create_run("tiny", NEVER_ENDING)
        wait_for(lambda: servers.state(run) in ("Running", "Cancelled"), 60, "the run started")
        return run if servers.state(run) == "Running" else None

    run = wait_for(held, 120, "the deployment's slot")
    wait_for(
        lambda: servers.ask("/task_runs/filter", {"task_runs": {"name": {"any_": ["train"]}, "state": {"type": {"any_": ["RUNNING"]}}}}),
        90,
        "training",
    )
    return run


def _let_schedules_lapse(servers: Installation) -> list[str]:
    """Make scheduled runs come due hours ago, as after a night of downtime."""
    with closing(sqlite3.connect(servers.home / "prefect" / "prefect.db")) as connection, connection:
        runs = [
            run
            for (run,) in connection.execute("SELECT id FROM flow_run WHERE auto_scheduled AND state_type = 'SCHEDULED' LIMIT ?", (MISSED,))
        ]
        assert len(runs) == MISSED
        for hours, run in enumerate(runs, start=1):
            due = (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S.%f")
            connection.execute("UPDATE flow_run SET expected_start_time = ?, next_scheduled_start_time = ? WHERE id = ?", (due, due, run))
        return [f"{run[:8]}-{run[8:12]}-{run[12:16]}-{run[16:20]}-{run[20:]}" if "-" not in run else run for run in runs]


def test_told_to_stop_it_leaves_no_process(servers: Installation) -> None:
    assert servers.stop() == 0
    assert servers.processes() == []
