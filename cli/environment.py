"""The environment that Prefect, MLflow and Great Expectations are started in. Applied before any of them is imported."""

import os

from bbqrec_core.home import PROJECT, home_folder
from tasks.services.addresses import HOST, is_healthy, prefect_api

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Telemetry off, everywhere; MLflow without chatter, and its server without its job processes."""


def apply() -> None:
    """Set what is not set already: one home for all state, no telemetry, results as JSON, the project's logs in Prefect's."""
    home = home_folder()
    defaults = {
        **QUIET,
        "BBQREC_HOME": str(home),
        "BBQREC_PROJECT": str(PROJECT),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "bbqrec_core,tasks,flows,serving",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    for name in ("NO_PROXY", "no_proxy"):  # no proxy stands between this machine and itself
        os.environ[name] = ",".join(dict.fromkeys([*filter(None, os.environ.get(name, "").split(",")), HOST, "localhost"]))


def running_prefect_server() -> str | None:
    """The Prefect server that is up, if one is; Prefect's client is then pointed to it."""
    address = os.environ.get("PREFECT_API_URL") or prefect_api()
    if not is_healthy(address):
        return None
    os.environ["PREFECT_API_URL"] = address
    return address
