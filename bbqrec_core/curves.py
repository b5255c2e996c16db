"""Writing `curve.parquet`: what was measured while something was trained or tuned."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bbqrec_core import schema


def write_curve(folder: Path, rows: Sequence[tuple[int, str, float]]) -> None:
    """Write rows of (step, name, value), in their order; there may be none."""
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    pq.write_table(pa.table(columns, schema=schema.CURVE), folder / "curve.parquet")
