"""Fixtures: see `sequence_artifacts`."""

from pathlib import Path

import pytest
from sequence_artifacts import make_artifacts, make_context

from bbqrec_core.determinism import kernel_threads
from bbqrec_core.sequence import stage


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_artifacts(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="session")
def trained(artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    context = make_context(tmp_path_factory.mktemp("trained"), artifacts, epochs=25)
    with kernel_threads(1):
        return context.out, stage.run(context)


@pytest.fixture(autouse=True)
def one_thread():
    with kernel_threads(1):
        yield
