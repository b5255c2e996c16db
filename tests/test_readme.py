"""The README's own commands, executed as they stand there, in their order, in one installation; `make test` itself aside.

Only what belongs to a place is changed: the folder of raw files, and the ports, so that a running installation is not disturbed. And the
profiles are found in a folder where those of the same names are smaller: the commands are on trial here, not the models.
"""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from installation import Installation, free_port, wait_for

from bbqrec_core.home import PROJECT
from tasks.services.addresses import is_healthy

pytestmark = pytest.mark.slow

README = (PROJECT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line]
RAW = os.environ.get("BBQREC_RAW")
SEQUENCES = Path(RAW or "/nowhere").parent / "sequences"
SERVE = next(command for command in COMMANDS if "mlflow models serve" in command)
ASK = next(command for command in COMMANDS if command.startswith("curl"))
LONG_RUNNING = ["make up", SERVE]


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    one = Installation(tmp_path_factory.mktemp("readme"))
    del one.environment["BBQREC_DEPLOYMENTS"]  # the project's own
    one.environment["BBQREC_PROFILES"] = str(PROJECT / "tests" / "small_profiles")
    yield one
    one.clean_up()


def localised(command, installation, model_port=0):
    command = command.replace("/path/to/raw", RAW or "/path/to/raw").replace("/path/to/sequences", str(SEQUENCES))
    command = command.replace("127.0.0.1:5000", f"127.0.0.1:{installation.mlflow_port}").replace("5001", str(model_port))
    return command


def run(command, installation, **more):
    return subprocess.run(
        ["bash", "-c", command],
        cwd=PROJECT,
        env={**installation.environment, **more},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def in_the_shell(before_or_after_up):
    """Commands of the README that end by themselves, before or after `make up`, except `make test` and the request to the model."""
    place = COMMANDS.index("make up")
    part = COMMANDS[:place] if before_or_after_up == "before" else COMMANDS[place:]
    return [command for command in part if command not in (*LONG_RUNNING, "make test", ASK)]


def test_the_figures_are_those_of_the_leaderboard():
    board = (PROJECT / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    pairs = re.findall(r"(0\.\d{4}) / (0\.\d{4})", README)
    assert len(pairs) >= 12
    for ndcg, recall in pairs:
        assert f"| {ndcg} | {recall} |" in board, f"{ndcg} / {recall} is not there any more"


def test_the_two_commands_come_first():
    assert COMMANDS[:2] == ["make run", "make test"]


@pytest.mark.parametrize("command", in_the_shell("before"))
def test_command(command, installation):
    if "/path/to/raw" in command and not RAW:
        pytest.skip("BBQREC_RAW names no folder of raw files")
    if "/path/to/sequences" in command and not SEQUENCES.is_dir():
        pytest.skip("there are no published splits beside the folder that BBQREC_RAW names")
    result = run(localised(command, installation), installation)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "Traceback" not in result.stdout + result.stderr


def test_commands_beside_running_servers(installation):
    environment = {"PREFECT_API_URL": installation.api, "PREFECT_HOME": str(installation.home / "prefect")}
    log = installation.home / "up.log"
    with log.open("wb") as file:
        up = subprocess.Popen(
            ["make", "up"], cwd=PROJECT, env=installation.environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_for(lambda: "Ready." in log.read_text() or up.poll() is not None, 240, "servers ready")
        assert up.poll() is None, log.read_text()
        for command in in_the_shell("after"):
            result = run(localised(command, installation), installation, **environment)
            assert result.returncode == 0, command + result.stdout[-3000:] + result.stderr[-3000:]
        runs = wait_for(lambda: finished_runs(installation), 600, "both deployment runs over")
        assert {one["state"]["type"] for one in runs} == {"COMPLETED"}, [one["state"] for one in runs]
        serve_and_ask(installation)
    finally:
        os.killpg(up.pid, signal.SIGTERM)
        up.wait(timeout=90)


def finished_runs(installation):
    """The runs of `retrain/demo` started by hand, once both are in a final state."""
    runs = [run for run in installation.flow_runs("demo") if not run["auto_scheduled"]]
    final = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    return runs if len(runs) == 2 and all(run["state"]["type"] in final for run in runs) else None


def serve_and_ask(installation):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    log = Path(installation.home / "serve.log")
    with log.open("wb") as file:
        server = subprocess.Popen(
            ["bash", "-c", "exec env " + localised(SERVE, installation, port)],
            cwd=PROJECT,
            env=installation.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: is_healthy(address) or server.poll() is not None, 150, "the model server answers")
        assert server.poll() is None, log.read_text()
        answer = json.loads(run(localised(ASK, installation, port), installation).stdout)
        assert len(answer["predictions"][0]["items"]) == 5
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.parametrize("page", [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))], ids=lambda page: page.name)
def test_every_file_that_is_linked_exists(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            if anchor:
                headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}, link
