"""Applying a file of deployments to a real server."""

import os
import subprocess
import sys

import pytest
import yaml
from installation import PROJECT

from bbqrec_core.errors import ServiceError
from tasks.services import deploy

DEPLOY = """
import logging
import sys
from pathlib import Path
from cli import environment
environment.apply()
logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
from tasks.services.temporary import temporary_prefect_server
with temporary_prefect_server():
    from prefect.client.orchestration import get_client
    from tasks.services.deploy import deploy, make_pool
    with get_client(sync_client=True) as client:
        make_pool(client)
        for path in sys.argv[1:]:
            print("applied" if deploy(client, Path(path)) else "unchanged", path, flush=True)
"""


@pytest.mark.parametrize("text", ["", "deployments: [{", "deployments: [{entrypoint: x}]", "- a list"])
def test_a_file_that_holds_no_deployments_is_told(tmp_path, text):
    path = tmp_path / "prefect.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ServiceError, match="is no file of deployments: ") as caught:
        deploy._names(path)
    assert "as prefect.yaml has" in caught.value.way_out


def test_a_deployment_that_left_the_file_and_still_has_a_schedule_is_told(tmp_path):
    both = PROJECT / "tests" / "deployments.yaml"
    written = yaml.safe_load(both.read_text(encoding="utf-8"))
    written["deployments"] = [entry for entry in written["deployments"] if entry["name"] != "tiny"]
    fewer = tmp_path / "fewer.yaml"
    fewer.write_text(yaml.safe_dump(written), encoding="utf-8")
    wanted = {name: value for name, value in os.environ.items() if name not in ("PREFECT_HOME", "PREFECT_API_URL")}
    done = subprocess.run(
        [sys.executable, "-c", DEPLOY, str(both), str(both), str(fewer)],
        env=wanted | {"BBQREC_HOME": str(tmp_path / "home")},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "deployment" in line.lower() or "applied" in line or "unchanged" in line]
    assert [line.split()[0] for line in said if not line.startswith("Deployment")] == ["applied", "unchanged", "applied"]
    warned = [line for line in said if line.startswith("Deployment 'retrain/tiny' is not in ")]
    assert len(warned) == 1 and "prefect deployment delete 'retrain/tiny'" in warned[0] and "by_hand" not in done.stdout
