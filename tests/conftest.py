"""What all tests share: a home folder of their own, and an environment without telemetry or servers, before anything heavy is imported."""

import os
import tempfile
from pathlib import Path

HOME = Path(tempfile.mkdtemp(prefix="bbqrec-tests-"))
os.environ["BBQREC_HOME"] = str(HOME)
os.environ["PREFECT_HOME"] = str(HOME / "prefect")
os.environ["PREFECT_API_URL"] = ""
os.environ.pop("MLFLOW_TRACKING_URI", None)

import pytest  # noqa: E402
from installation import TINY, Installation  # noqa: E402

from cli import environment  # noqa: E402

environment.apply()


LONG = ("flows/test_pipeline", "test_readme", "services/test_servers", "services/", "serving/", "cli/test_recommend", "scripts/")
"""Where whole pipelines and servers run. They start first, and the quick ones fill the gaps; a module stays on one worker."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long modules first."""

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        return next((place for place, long in enumerate(LONG) if path.startswith(long)), len(LONG))

    items.sort(key=place)


def pytest_unconfigure() -> None:
    import shutil

    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder in which the pipeline has run on `tests/tiny.yaml`."""
    home = tmp_path_factory.mktemp("home")
    result = Installation(home).bbqrec("run", TINY)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return home
