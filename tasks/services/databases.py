"""The databases of Prefect and MLflow in an empty home: made before `bbqrec up` starts its servers, while no run makes them too.

The first one to open such a database makes its tables, and whoever opens it meanwhile finds it half made. Runs hold a lock for that time;
the servers know of none. What makes the databases is a process of its own that holds the locks itself and ends with `bbqrec up`.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from bbqrec_core.errors import ServiceError
from bbqrec_core.home import PROJECT, home_folder
from tasks.lifeline import die_with_parent, tethered
from tasks.services.temporary import starting_lock
from tasks.tracking import connect, opening_lock, own_database

PREFECT, MLFLOW = "prefect", "mlflow"
ELSEWHERE = ("PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL")
"""Environment variables that name another database for Prefect. Its owner sees to it."""


def make_databases() -> None:
    """Make those of this home that are missing, and wait for whoever is making one.

    Raises:
        ServiceError: One cannot be made.
    """
    with starting_lock(), opening_lock():
        missing = [name for name, file in _files().items() if not file.exists()]
    if any(name in os.environ for name in ELSEWHERE):
        missing = [name for name in missing if name != PREFECT]
    if not missing:
        return
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}  # its server has the home's
    if PREFECT in missing:
        environment[ELSEWHERE[0]] = f"sqlite+aiosqlite:///{_files()[PREFECT]}"  # whatever a Prefect profile says
    command = [sys.executable, "-m", "tasks.services.databases", *missing]
    with tethered(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, cwd=PROJECT) as child:
        said = child.communicate()[1].strip().splitlines()
    if child.returncode:
        why = said[-1] if said else f"its process ended with status {child.returncode}"
        raise ServiceError(f"The databases in {home_folder()} cannot be made: {why}", "See `bbqrec doctor`.")


def _files() -> dict[str, Path]:
    return {PREFECT: Path(os.environ["PREFECT_HOME"]) / "prefect.db", MLFLOW: own_database()}


def main(*arguments: str) -> None:
    """The process that makes them: names of databases, and last the lifeline."""
    die_with_parent(int(arguments[-1]))
    try:
        if PREFECT in arguments:
            _make_prefect()
        if MLFLOW in arguments:
            connect()
    except Exception as error:
        sys.exit(str(error).splitlines()[0])


def _make_prefect() -> None:
    from prefect.server.database.dependencies import provide_database_interface

    with starting_lock():
        if not _files()[PREFECT].exists():
            asyncio.run(provide_database_interface().create_db())


if __name__ == "__main__":
    main(*sys.argv[1:])
