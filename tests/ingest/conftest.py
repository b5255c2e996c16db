"""What tests of ingest share."""

from collections.abc import Iterator

import pytest
from shop_tables import Reading

from bbqrec_core.ingest.database import open_database


@pytest.fixture(scope="module")
def table_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The database that tables are read into, one for all tests of a module: opening it takes longer than most of them."""
    with open_database(tmp_path_factory.mktemp("database"), "1GB", 1) as Reading.database:
        yield
    del Reading.database
