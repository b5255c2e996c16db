"""DuckDB around the stage: what goes wrong is told as what it is."""

import errno

import pyarrow as pa
import pytest

from bbqrec_core.ingest.database import open_database


def test_a_full_disk_is_told_and_not_what_comes_of_it(tmp_path):
    columns = pa.schema([("number", pa.int64()), ("text", pa.string())])
    rows = pa.table({"number": range(400_000), "text": [f"text {number}" for number in range(400_000)]}, schema=columns)
    full = tmp_path / "full.parquet"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError) as caught, open_database(tmp_path, "500MB", 1) as database:
        database.insert("many", rows)
        database.write("many", columns, "number", full)
    assert caught.value.errno == errno.ENOSPC
