"""Where an installation keeps its whole state: one folder."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def home_folder() -> Path:
    """The folder of artifacts, scratch, MLflow's and Prefect's databases: BBQREC_HOME, or `.bbqrec` in the project."""
    return Path(os.environ.get("BBQREC_HOME") or PROJECT / ".bbqrec").expanduser().resolve()
