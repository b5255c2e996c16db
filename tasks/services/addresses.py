"""Where the servers listen. Loopback only; ports from the environment, so that two installations can stand side by side."""

import os
import urllib.request

from bbqrec_core.errors import ServiceError

HOST = "127.0.0.1"
PREFECT_PORT_VARIABLE, MLFLOW_PORT_VARIABLE = "BBQREC_PREFECT_PORT", "BBQREC_MLFLOW_PORT"
DEFAULT_PORTS = {PREFECT_PORT_VARIABLE: 4200, MLFLOW_PORT_VARIABLE: 5000}


def port(variable: str) -> int:
    """A server's port, from its environment variable or the default.

    Raises:
        ServiceError: The variable holds no port.
    """
    text = os.environ.get(variable) or str(DEFAULT_PORTS[variable])
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ServiceError(f"{variable} is '{text}', which is no port.", f"Set it to a number from 1024 to 65535, such as {variable}=4201.")
    return int(text)


def prefect_ui() -> str:
    """Address of Prefect's pages."""
    return f"http://{HOST}:{port(PREFECT_PORT_VARIABLE)}"


def prefect_api() -> str:
    """Address of Prefect's API."""
    return f"{prefect_ui()}/api"


def mlflow_ui() -> str:
    """Address of MLflow's pages and API."""
    return f"http://{HOST}:{port(MLFLOW_PORT_VARIABLE)}"


def is_healthy(address: str, timeout: float = 2.0) -> bool:
    """Whether a server answers 200 at `<address>/health`. Asks directly: no proxy stands between this machine and itself."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{address.rstrip('/')}/health", timeout=timeout) as answer:
            return answer.status == 200
    except (OSError, ValueError):
        return False
