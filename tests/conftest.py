"""What all tests share: a home folder of their own, and an environment without telemetry or servers, before anything heavy is imported."""

import os
import tempfile
from pathlib import Path

HOME = Path(tempfile.mkdtemp(prefix="bbqrec-tests-"))
os.environ["BBQREC_HOME"] = str(HOME)
os.environ["PREFECT_HOME"] = str(HOME / "prefect")
os.environ["PREFECT_API_URL"] = ""
os.environ.pop("MLFLOW_TRACKING_URI", None)

from cli import environment  # noqa: E402

environment.apply()


def pytest_unconfigure() -> None:
    import shutil

    shutil.rmtree(HOME, ignore_errors=True)
