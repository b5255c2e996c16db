"""The smallest pipeline, run once, and the real servers beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from installation import Installation


@pytest.fixture(scope="session")
def servers(tiny_home: Path) -> Iterator[Installation]:
    """`bbqrec up` on that home, ready."""
    installation = Installation(tiny_home)
    try:
        installation.start()
        yield installation
    finally:
        installation.clean_up()
