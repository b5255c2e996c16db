"""Checks of the servers: up, down, half up, or somebody else's."""

import os
import socket

from bbqrec_core.errors import ServiceError
from bbqrec_core.home import home_folder
from tasks.doctor.finding import Finding
from tasks.services.addresses import HOST, MLFLOW_PORT_VARIABLE, PREFECT_PORT_VARIABLE, is_healthy, mlflow_ui, port, prefect_api
from tasks.services.launch import running
from tasks.services.processes import is_alive, left_behind

START = "Start them: .venv/bin/bbqrec up (or make up). `bbqrec run` needs none."


def check_servers() -> list[Finding]:
    """What `bbqrec up` runs, and servers that the environment names."""
    home = home_folder()
    state = running(home)
    up = state is not None and is_alive(state["up"])
    findings = []
    orphans = [] if up else left_behind(str(home))
    if orphans:
        named = ", ".join(f"{process.pid}" for process in orphans[:5])
        findings.append(Finding("Servers", "warning", f"left by a killed `bbqrec up`: processes {named}", "`bbqrec up` ends them first."))
    for name, variable, own, foreign in (
        ("Prefect", PREFECT_PORT_VARIABLE, "prefect", "PREFECT_API_URL"),
        ("MLflow", MLFLOW_PORT_VARIABLE, "mlflow", "MLFLOW_TRACKING_URI"),
    ):
        try:
            findings.append(_check(name, variable, state[own] if up and state else None, os.environ.get(foreign), foreign))
        except ServiceError as error:
            findings.append(Finding(name, "problem", error.problem, error.way_out))
    return findings


def _check(name: str, variable: str, own: str | None, foreign: str | None, foreign_variable: str) -> Finding:
    if foreign and foreign.startswith("http"):
        if is_healthy(foreign):
            return Finding(name, "ok", f"answers at {foreign} ({foreign_variable})")
        return Finding(name, "problem", f"{foreign} ({foreign_variable}) does not answer", f"Start it, or unset {foreign_variable}.")
    if own is not None:
        address = f"{own}/api" if name == "Prefect" else own
        if is_healthy(address, timeout=10.0):
            return Finding(name, "ok", f"up at {own}")
        return Finding(
            name, "warning", f"`bbqrec up` runs, but {own} does not answer (yet)", "Wait half a minute; then see what `up` says."
        )
    if is_healthy(prefect_api() if name == "Prefect" else mlflow_ui()):
        return Finding(name, "warning", f"another installation's answers on port {port(variable)}", f"For `up` here, set {variable}.")
    if _taken(port(variable)):
        return Finding(name, "warning", f"down, and port {port(variable)} is taken by another program", f"For `up`, set {variable}.")
    return Finding(name, "ok", "down", START)


def _taken(number: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, number)) == 0
