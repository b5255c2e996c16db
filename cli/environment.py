"""The environment that Prefect, MLflow and Great Expectations are started in. Applied before any of them is imported."""

import os

from bbqrec_core.home import PROJECT, home_folder
from tasks.services.addresses import HOST, is_healthy, prefect_api

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Telemetry off, everywhere; and MLflow's server without its job processes."""


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
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    for name in ("NO_PROXY", "no_proxy"):  # no proxy stands between this machine and itself
        os.environ[name] = ",".join(dict.fromkeys([*filter(None, os.environ.get(name, "").split(",")), HOST, "localhost"]))


def choose_prefect_server() -> str | None:
    """Use the Prefect server that is up, or else force an ephemeral one.

    Returns:
        The server's address, or None for an ephemeral one.
    """
    address = os.environ.get("PREFECT_API_URL", prefect_api())
    if address and is_healthy(address):
        os.environ["PREFECT_API_URL"] = address
        return address
    os.environ["PREFECT_API_URL"] = ""  # empty, not unset: otherwise prefect.toml's address would be tried
    return None
