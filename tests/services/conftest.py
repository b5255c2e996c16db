"""The smallest pipeline, run once, and the real servers beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from installation import TINY, Installation


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder in which the pipeline has run on `tests/tiny.yaml`."""
    home = tmp_path_factory.mktemp("home")
    result = Installation(home).bbqrec("run", TINY)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return home


@pytest.fixture(scope="session")
def servers(tiny_home: Path) -> Iterator[Installation]:
    """`bbqrec up` on that home, ready."""
    installation = Installation(tiny_home)
    try:
        installation.start()
        yield installation
    finally:
        installation.clean_up()
