"""Fixtures of the quantization tests; what they build is in `artificial_catalogue.py`."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from artificial_catalogue import Catalogue, make_catalogue, run_stage

from bbqrec_core.stage import Statistics


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return make_catalogue()


@pytest.fixture(scope="session")
def quantized(catalogue, tmp_path_factory) -> tuple[Path, Statistics]:
    """One run of the stage that many tests look at."""
    torch.set_num_threads(1)
    return run_stage(catalogue, tmp_path_factory.mktemp("quantized"))


@pytest.fixture
def changed(catalogue):
    """The catalogue with some fields replaced."""
    return lambda **fields: replace(catalogue, **fields)
