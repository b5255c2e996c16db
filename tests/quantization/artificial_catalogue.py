"""A small artificial catalogue, written as the artifacts that stage `quantize` reads."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bbqrec_core import schema
from bbqrec_core.dataset import SequenceDataset, load_features
from bbqrec_core.ingest.config import SourceConfig
from bbqrec_core.profile import ComputeConfig, Profile
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.data import prepare
from bbqrec_core.quantization.stage import run
from bbqrec_core.quantization.training import Trainer
from bbqrec_core.stage import StageContext, Statistics

QUICK = {
    "codebook_sizes": [8, 8, 16],
    "dimensions": 16,
    "hidden": 32,
    "epochs": 6,
    "warmup_epochs": 4,
    "batch_size": 64,
    "learning_rate": 5e-3,
    "sequence_batch": 32,
    "revive_every": 2,
}


@dataclass(frozen=True)
class Catalogue:
    """Clustered features and sequences that follow the clusters; the last `cold` items never occur in train.

    Items and users have names of their own where `names` and `users` give them; else they are named after their numbers.
    """

    text: np.ndarray
    has_text: np.ndarray
    image: np.ndarray
    has_image: np.ndarray
    train: list[list[int]]
    valid: list[int]
    test: list[int]
    names: tuple[str, ...] = ()
    users: tuple[str, ...] = ()

    @property
    def n_items(self) -> int:
        return len(self.text)

    @property
    def item_ids(self) -> list[str]:
        return list(self.names) or [f"A{index}" for index in range(self.n_items)]

    def interactions(self) -> pa.Table:
        """What of `interactions.parquet` says who had what, and in which part."""
        users = list(self.users) or [f"U{number}" for number in range(len(self.train))]
        rows = []
        for user, train, valid, test in zip(users, self.train, self.valid, self.test, strict=True):
            parts = [*((item, "train") for item in train), (valid, "valid"), (test, "test")]
            rows += [{schema.USER_ID: user, schema.ITEM_ID: self.item_ids[item], "part": part} for item, part in parts]
        return pa.Table.from_pylist(rows, schema.INTERACTIONS)

    def write(self, folder: Path) -> dict[str, Path]:
        """Write the files of `ingest` and `embed` that matter here."""
        ingest, embed = folder / "ingest", folder / "embed"
        ingest.mkdir(parents=True)
        embed.mkdir()
        n, users = self.n_items, list(range(len(self.train)))
        counts = np.bincount([item for row in self.train for item in row], minlength=n)
        columns = {name: [None] * n for name in schema.ITEMS.names}
        columns |= {"item_idx": list(range(n)), "item_id": self.item_ids, "train_count": counts.tolist()}
        pq.write_table(pa.table(columns, schema=schema.ITEMS), ingest / "items.parquet")
        pq.write_table(pa.table({"user_idx": users, "history": self.train}, schema=schema.TRAIN_SEQUENCES), ingest / "train.parquet")
        pq.write_table(self.interactions(), ingest / "interactions.parquet")
        later = [[*row, target] for row, target in zip(self.train, self.valid, strict=True)]
        for name, histories, targets in (("valid", self.train, self.valid), ("test", later, self.test)):
            table = pa.table({"user_idx": users, "history": histories, "target": targets}, schema=schema.EVAL_SEQUENCES)
            pq.write_table(table, ingest / f"{name}.parquet")
        for name, values, has in (("text", self.text, self.has_text), ("image", self.image, self.has_image)):
            flat = pa.array(values.astype(np.float16).reshape(-1))
            kind = schema.embedding_schema(name, values.shape[1])
            arrays = [pa.array(np.arange(n, dtype=np.int32)), pa.FixedSizeListArray.from_arrays(flat, values.shape[1]), pa.array(has)]
            pq.write_table(pa.table(arrays, schema=kind), embed / f"{name}_embedding.parquet")
        return {"ingest": ingest, "embed": embed}


def make_catalogue(n_items: int = 120, n_users: int = 150, clusters: int = 10, cold: int = 5, seed: int = 0) -> Catalogue:
    rng = np.random.default_rng(seed)
    cluster = np.arange(n_items) % clusters
    text = rng.normal(size=(clusters, 24))[cluster] + 0.4 * rng.normal(size=(n_items, 24))
    image = rng.normal(size=(clusters, 12))[cluster] + 0.4 * rng.normal(size=(n_items, 12))
    has_image = rng.random(n_items) > 0.15
    image[~has_image] = 0.0
    warm = n_items - cold
    train, valid, test = [], [], []
    for _ in range(n_users):
        liked = rng.choice(clusters, 2, replace=False)
        pool = np.flatnonzero(np.isin(cluster[:warm], liked))
        picked = rng.choice(pool, min(len(pool), int(rng.integers(5, 12))), replace=False).tolist()
        train.append(picked[:-2])
        valid.append(picked[-2])
        test.append(picked[-1])
    missing = np.setdiff1d(np.arange(warm), [item for row in train for item in row])
    train[0] = train[0] + missing.tolist()
    return Catalogue(text, np.ones(n_items, dtype=bool), image, has_image, train, valid, test)


def make_profile(seed: int = 7, **fields) -> Profile:
    return Profile(
        name="test",
        seed=seed,
        source=SourceConfig(kind="synthetic"),
        quantization=QuantizationConfig(**{**QUICK, **fields}),
        compute=ComputeConfig(device="cpu", threads=1),
    )


def make_trainer(catalogue: Catalogue, folder: Path, **fields) -> Trainer:
    """Write the catalogue's artifacts under `folder` and set out to train on them."""
    paths, config = catalogue.write(folder), make_profile(**fields).quantization
    data = prepare(SequenceDataset.load(paths["ingest"], 20), load_features(paths["embed"]), config)
    return Trainer(data, config, 0, torch.device("cpu"))


def run_stage(catalogue: Catalogue, folder: Path, seed: int = 7, **fields) -> tuple[Path, Statistics]:
    """Write the catalogue's artifacts under `folder` and run the stage on them."""
    out = folder / "out"
    out.mkdir(parents=True)
    context = StageContext(make_profile(seed, **fields), catalogue.write(folder), out, folder / "scratch")
    return out, run(context)
