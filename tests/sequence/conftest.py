"""Fixtures: see `sequence_artifacts`."""

from pathlib import Path

import pytest
from sequence_artifacts import ONE_POINT, make_artifacts, make_context

from bbqrec_core.baselines.config import KnnConfig
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.determinism import kernel_threads
from bbqrec_core.prior.tuning import tune_knn
from bbqrec_core.sequence import stage
from bbqrec_core.sequence.prior import BehaviourPrior


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_artifacts(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="session")
def trained(artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    context = make_context(tmp_path_factory.mktemp("trained"), artifacts, epochs=25)
    with kernel_threads(1):
        return context.out, stage.run(context)


@pytest.fixture(scope="session")
def data(artifacts: dict[str, Path]) -> SequenceDataset:
    return SequenceDataset.load(artifacts["ingest"], 8)


@pytest.fixture(scope="session")
def prior(data: SequenceDataset) -> BehaviourPrior:
    return BehaviourPrior(tune_knn(data, KnnConfig(**ONE_POINT), 8, 1)[0], 0.1)


@pytest.fixture(autouse=True)
def one_thread():
    with kernel_threads(1):
        yield
