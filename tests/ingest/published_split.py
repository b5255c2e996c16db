"""A published split for the tests of ingest, in every way it may be written, and what the stage makes of it."""

import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import zstandard
from ingest_raw import context

from bbqrec_core.ingest.stage import run
from bbqrec_core.profile import load_profile

PACK = {"plain": lambda data: data, "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor(write_checksum=True).compress}
SPLIT = {"0": [0, 1, 2, 1], "1": [3, 0], "2": [2], "7": [1, 2, 3]}
EXPECTED = {user: [str(item) for item in items] for user, items in SPLIT.items()}


def as_text(split: dict[str, list[Any]]) -> bytes:
    return "".join(f"{user} {' '.join(map(str, items))}\n" for user, items in split.items()).encode()


def as_lines(split: dict[str, list[Any]], user: str = "user", items: str = "items") -> bytes:
    return "".join(json.dumps({items: listed, user: name}) + "\n" for name, listed in split.items()).encode()


WRITTEN = {
    "one JSON object": json.dumps(SPLIT).encode(),
    "one JSON object, indented": json.dumps(SPLIT, indent=4).encode(),
    "JSON lines": as_lines(SPLIT),
    "text lines": as_text(SPLIT),
}


class Split:
    """A split on disk, and what the stage makes of it."""

    def __init__(self, folder: Path, data: bytes | str, **files: bytes | str) -> None:
        self.folder = folder
        (folder / "raw").mkdir(parents=True)
        self.config: dict[str, Any] = {"sequences": "sequences"}
        for name, content in {"sequences": data, **files}.items():
            (folder / "raw" / name).write_bytes(content.encode() if isinstance(content, str) else content)
            self.config[name] = name

    def ingest(self, *, seed: int = 1, ingest: dict[str, Any] | None = None, **config: Any) -> "Split":
        profile = self.folder / "split.yaml"
        source = {"kind": "sequences", "raw": str(self.folder / "raw"), "sequences": self.config | config}
        options = {"k_user": 1, "k_item": 1, "deduplicate": False, **(ingest or {})}
        profile.write_text(json.dumps({"source": source, "ingest": options, "seed": seed, "compute": {"threads": 1}}))
        stage = context(self.folder, load_profile(str(profile)))
        self.statistics = run(stage)
        self.out = stage.out
        return self

    def read(self, table: str) -> list[dict[str, Any]]:
        return pq.read_table(self.out / f"{table}.parquet").to_pylist()

    @property
    def sequences(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for row in self.read("interactions"):
            found[row["user_id"]].append(row["item_id"])
        return dict(found)

    @property
    def rejects(self) -> list[tuple[int | None, str]]:
        return [(row["line"], row["reason"]) for row in self.read("rejects")]
