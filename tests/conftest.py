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


LONG = {"flows/": "flows", "test_readme": "readme", "services/": "servers", "serving/": "servers", "cli/test_recommend": "servers"}
"""Where whole pipelines and servers run, and the worker's group that they share. They start first; the quick ones fill the gaps."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep each module on one worker, and what shares an installation together."""

    def group(item: pytest.Item) -> str:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        return next((name for place, name in LONG.items() if path.startswith(place)), path)

    order = list(dict.fromkeys(LONG.values()))
    items.sort(key=lambda item: order.index(group(item)) if group(item) in order else len(order))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


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
