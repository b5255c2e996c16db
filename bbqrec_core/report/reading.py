"""Reads what the report shows from the artifacts' directories. Says nothing of how it is shown.

Only tables are read that the report needs, and of large ones only the columns or rows that it needs. An optional table that is not there
is None; a required one that is not there is an error.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bbqrec_core import schema
from bbqrec_core.errors import ArtifactError

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Inputs:
    """Directories of artifacts by stage name."""

    folders: Mapping[str, Path]

    def path(self, stage: str, name: str) -> Path | None:
        """A file of an artifact, if both are there."""
        folder = self.folders.get(stage)
        if folder is None or not (folder / name).is_file():
            return None
        return folder / name

    def table(self, stage: str, name: str, columns: list[str] | None = None, optional: Sequence[str] = ()) -> pa.Table | None:
        """A Parquet table, if it is there; of columns that are `optional` (artifacts may be older than they), those that are there."""
        path = self.path(stage, name)
        if path is None:
            return None
        if columns is not None and optional:
            there = pq.read_schema(path).names
            columns = [*columns, *(column for column in optional if column in there)]
        return pq.read_table(path, columns=columns)

    def rows(self, stage: str, name: str) -> Rows | None:
        """A small Parquet table as rows, if it is there."""
        table = self.table(stage, name)
        return None if table is None else table.to_pylist()

    def required(self, stage: str, name: str, columns: list[str] | None = None, optional: Sequence[str] = ()) -> pa.Table:
        """A Parquet table that the report cannot do without; see `table`.

        Raises:
            ArtifactError: It is not there.
        """
        table = self.table(stage, name, columns, optional)
        if table is None:
            raise ArtifactError(f"The report needs {name} of stage `{stage}`, which is not there.", f"Run the stage `{stage}` again.")
        return table

    def read_json(self, stage: str, name: str) -> Any:
        """A JSON file, or None.

        Raises:
            ArtifactError: It is no JSON.
        """
        path = self.path(stage, name)
        if path is None:
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ArtifactError(f"{name} of stage `{stage}` is no valid JSON: {error}.", f"Run the stage `{stage}` again.") from None

    def statistics(self, stage: str) -> dict[str, Any]:
        """A stage's one row of statistics; empty where there is none."""
        rows = self.rows(stage, "statistics.parquet")
        return rows[0] if rows else {}

    def items(self, wanted: set[int]) -> dict[int, dict[str, Any]]:
        """Some items of the catalogue by item_idx."""
        columns = [schema.ITEM_IDX, schema.ITEM_ID, "title", "brand", "image_file", "image_sha256"]
        table = self.required("ingest", "items.parquet", columns)
        chosen = table.filter(pc.is_in(table[schema.ITEM_IDX], value_set=pa.array(sorted(wanted), pa.int32())))
        return {row[schema.ITEM_IDX]: row for row in chosen.to_pylist()}

    def gates(self) -> dict[str, Rows]:
        """What each stage's gate said, one record per rule, by stage in the order of the inputs; without stages that have no result."""
        results = {}
        for name in self.folders:
            records = self.read_json(name, "result.json") if name.startswith("gate_") else None
            if records:
                results[name.removeprefix("gate_")] = records
        return results
