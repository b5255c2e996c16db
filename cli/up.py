"""`bbqrec up`: Prefect, MLflow and a worker, until Ctrl-C."""

import typer

from cli.console import out


def up() -> None:
    """Start Prefect's server, MLflow and a worker on loopback, and apply the deployments. Ctrl-C stops everything.

    BBQREC_PREFECT_PORT (4200) and BBQREC_MLFLOW_PORT (5000) choose the ports, BBQREC_HOME the state.
    """
    from bbqrec_core.home import home_folder
    from tasks.services.launch import run_servers

    out.print(f"Starting Prefect, MLflow and a worker on loopback (about half a minute). State: {home_folder()}", soft_wrap=True)
    out.print("Ctrl-C stops them; runs under way are then marked Crashed, and what they finished stays.")
    code = run_servers()
    out.print("Stopped." if code == 0 else "A server ended by itself, so all were stopped: see its lines above.")
    raise typer.Exit(code)
