"""Applies the deployments of a file to the server, when they or the form of their parameters have changed.

Applying takes seconds, deletes the runs that are scheduled already, and undoes what was set in Prefect's pages, such as a paused schedule:
so a start that finds everything as it was leaves it alone.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from bbqrec_core.digests import fingerprint, sha256_of_file
from bbqrec_core.errors import ServiceError
from bbqrec_core.home import PROJECT, home_folder

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

POOL = "bbqrec"

log = logging.getLogger(__name__)


def make_pool(client: "SyncPrefectClient") -> None:
    """Create the work pool that the deployments name, unless it is there."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound

    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", description="Processes on this machine, started by `bbqrec up`."))


def deployments_file() -> Path:
    """The file to apply: BBQREC_DEPLOYMENTS, or the project's prefect.yaml."""
    return Path(os.environ.get("BBQREC_DEPLOYMENTS") or PROJECT / "prefect.yaml").resolve()


def deploy(client: "SyncPrefectClient", path: Path) -> bool:
    """Apply a file of deployments, unless the server has it.

    Raises:
        ServiceError: The file cannot be read, or Prefect refuses it.

    Returns:
        Whether anything was applied.
    """
    memory = home_folder() / "services" / "deployed"
    digest, names = _digest(path), _names(path)
    for name in sorted(_scheduled(client) - names):
        way_out = f".venv/bin/prefect deployment delete 'retrain/{name}'"
        log.warning("Deployment 'retrain/%s' is not in %s any more and keeps its schedule. To remove it: %s", name, path, way_out)
    if _remembered(memory) == digest and names <= _present(client):
        return False
    command = [str(Path(sys.executable).parent / "prefect"), "--no-prompt", "deploy", "--all", "--prefect-file", str(path)]
    # Where it is set, Prefect would write the project's folder on this machine into the deployment.
    environment = {name: value for name, value in os.environ.items() if name != "BBQREC_PROJECT"}
    result = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ServiceError(
            f"The deployments of {path} cannot be applied:\n{result.stdout}\n{result.stderr}", "Correct the file, then start again."
        )
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(digest, encoding="utf-8")
    return True


def _digest(path: Path) -> str:
    """Of the deployments and of all that the parameters' form is made from."""
    try:
        files = [path, *_form_sources()]
        return fingerprint({"files": [sha256_of_file(file) for file in files], "prefect": version("prefect")})
    except OSError as error:
        raise ServiceError(f"The deployments cannot be read: {error}.", "Check BBQREC_DEPLOYMENTS, or unset it.") from None


def _form_sources() -> Iterator[Path]:
    yield from sorted((PROJECT / "bbqrec_core").rglob("*config.py"))
    yield PROJECT / "bbqrec_core" / "profile.py"
    yield from sorted((PROJECT / "flows").glob("*.py"))


def _remembered(memory: Path) -> str | None:
    try:
        return memory.read_text(encoding="utf-8")
    except OSError:
        return None


def _names(path: Path) -> set[str]:
    try:
        return {entry["name"] for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]}
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        problem = f"{path} is no file of deployments: {error or type(error).__name__}."
        raise ServiceError(problem, "It has a list `deployments`, each with a `name`, as prefect.yaml has.") from None


def _scheduled(client: "SyncPrefectClient") -> set[str]:
    """Names of the flow `retrain`'s deployments that the server starts by itself."""
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    found = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=["retrain"])), limit=200)
    return {deployment.name for deployment in found if any(schedule.active for schedule in deployment.schedules)}


def _present(client: "SyncPrefectClient") -> set[str]:
    return {deployment.name for deployment in client.read_deployments(limit=200)}
