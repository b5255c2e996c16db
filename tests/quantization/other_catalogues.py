"""The artificial catalogue with less behind it: nothing but behaviour, or published codes in place of features."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from artificial_catalogue import Catalogue

from bbqrec_core import schema
from bbqrec_core.embedding.codes import NAME, code_features

PUBLISHED_LEVELS = 2


@dataclass(frozen=True)
class BehaviourAlone(Catalogue):
    """No modality at all: stage `embed` writes no table, and says so."""

    def write(self, folder: Path) -> dict[str, Path]:
        paths = super().write(folder)
        for modality in schema.MODALITIES:
            (paths["embed"] / f"{modality}_embedding.parquet").unlink()
        (paths["embed"] / "encoders.json").write_text("{}\n")
        return paths


@dataclass(frozen=True)
class PublishedCodes(Catalogue):
    """Modalities in `published` are known by codes alone: the cluster first, then a finer one. The rest have features."""

    published: tuple[str, ...] = schema.MODALITIES

    def codes(self, modality: str) -> list[list[int] | None]:
        items = np.arange(self.n_items)
        shift = schema.MODALITIES.index(modality)
        rows = np.stack([(items % 10 + shift) % 10, items // 10 % (3 + shift)], 1).tolist()
        has = self.has_text if modality == schema.TEXT else self.has_image
        return [row if there else None for row, there in zip(rows, has, strict=True)]

    def write(self, folder: Path) -> dict[str, Path]:
        paths = super().write(folder)
        columns = {name: self.codes(name) if name in self.published else [None] * self.n_items for name in schema.MODALITIES}
        table = pa.table({"item_idx": list(range(self.n_items)), **columns}, schema=schema.GIVEN_CODES)
        pq.write_table(table, paths["ingest"] / "given_codes.parquet")
        encoders = {name: {"name": "an encoder", "dimensions": 4, "is_demo_encoder": False} for name in schema.MODALITIES}
        for name in self.published:
            shard = code_features(paths["ingest"], name)
            dimensions = shard.vectors.shape[1]
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(shard.vectors.ravel()), dimensions)
            arrays = [pa.array(np.arange(self.n_items, dtype=np.int32)), vectors, pa.array(shard.present)]
            written = pa.table(arrays, schema=schema.embedding_schema(name, dimensions))
            pq.write_table(written, paths["embed"] / f"{name}_embedding.parquet")
            encoders[name] = {"name": NAME, "dimensions": dimensions, "is_demo_encoder": False}
        (paths["embed"] / "encoders.json").write_text(json.dumps(encoders))
        return paths


def behaviour_alone(catalogue: Catalogue) -> BehaviourAlone:
    return BehaviourAlone(**vars(catalogue))


def published_codes(catalogue: Catalogue, published: tuple[str, ...] = schema.MODALITIES) -> PublishedCodes:
    return PublishedCodes(**vars(catalogue), published=published)
