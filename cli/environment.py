"""The environment that Prefect, MLflow and Great Expectations are started in. Applied before any of them is imported."""

import http.client
import json
import os
import urllib.error
import urllib.request
from pathlib import Path

from bbqrec_core.errors import ServiceError
from bbqrec_core.home import PROJECT, home_folder
from tasks.services.addresses import HOST

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
NO_ORIGIN = "none"
"""What no browser calls an origin: pages of others get no answer from Prefect's API, and its own are of its origin and need no leave."""
SECONDS_TO_ANSWER = 5.0
FOLDERS = ("BBQREC_HOME", "BBQREC_RAW", "BBQREC_PROFILES", "BBQREC_DEPLOYMENTS")
"""Variables that name a folder or a file, perhaps from where a command is given."""
LOCKED = (401, 403)
"""Answers of a server that wants to know who asks: Prefect's client has the key, we need none."""


def apply() -> None:
    """Set what is not set already: one home for all state, no telemetry, results as JSON, the project's logs in Prefect's."""
    home = home_folder()
    for name in FOLDERS:  # programs that are started elsewhere must mean the same place
        if value := os.environ.get(name):
            os.environ[name] = str(Path(value).expanduser().resolve())
    defaults = {
        **QUIET,
        "BBQREC_HOME": str(home),
        "BBQREC_PROJECT": str(PROJECT),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "bbqrec_core,tasks,flows,serving",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": NO_ORIGIN,
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    for name in ("NO_PROXY", "no_proxy"):  # no proxy stands between this machine and itself
        os.environ[name] = ",".join(dict.fromkeys([*filter(None, os.environ.get(name, "").split(",")), HOST, "localhost"]))


def running_prefect_server() -> str | None:
    """The Prefect server to use, if one is up; Prefect's client is then pointed to it.

    It is the one that PREFECT_API_URL names, whosever it is, or else that of this home's own `bbqrec up`. What else may listen on Prefect's
    port, such as the servers of another home, is left alone.

    Raises:
        ServiceError: PREFECT_API_URL names a server that does not answer, or no Prefect server.
    """
    chosen = os.environ.get("PREFECT_API_URL")
    if chosen:
        trouble = _trouble(chosen)
        if trouble:
            raise ServiceError(
                f"PREFECT_API_URL is {chosen}, and {trouble}.",
                "Start that server or correct the address, which ends in /api; or unset it: a run then brings a server of its own.",
            )
        return chosen
    own = _own_server()
    if own is None or _trouble(own):
        return None
    os.environ["PREFECT_API_URL"] = own
    return own


def _own_server() -> str | None:
    """The API's address of this home's `bbqrec up`, if that is running."""
    from tasks.services.launch import running
    from tasks.services.processes import is_alive

    said = running(home_folder())
    return f"{said['prefect']}/api" if said and is_alive(str(said.get("up"))) and said.get("prefect") else None


def _trouble(address: str) -> str:
    """Why an address cannot be used as Prefect's API; an empty string when it can."""
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/admin/version", timeout=SECONDS_TO_ANSWER) as answer:
            version = json.loads(answer.read(1000))
    except urllib.error.HTTPError as error:
        return "" if error.code in LOCKED else f"what answers there is no Prefect API (status {error.code})"
    except (OSError, http.client.HTTPException) as error:
        return f"nothing answers there ({getattr(error, 'reason', None) or error})"
    except ValueError as error:
        return f"that is no address, or what answers there is no Prefect API ({error})"
    return "" if isinstance(version, str) else "what answers there is no Prefect API"
