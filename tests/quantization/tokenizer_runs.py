"""The stage run with each of the other tokenizers on the artificial catalogue, and what they need beside it: published codes."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from artificial_catalogue import make_profile

from bbqrec_core import schema
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.quantization import stage
from bbqrec_core.quantization.data import load_item_features, prepare
from bbqrec_core.stage import StageContext

LEARNED = ["rqvae", "residual_kmeans", "rqvae_per_modality", "letter"]
ALL = [*LEARNED, "given"]
SMALL = {"epochs": 3, "warmup_epochs": 1, "rqvae": {"dimensions": 8, "hidden": [32]}, "letter": {"clusters": 3, "diversity_weight": 0.1}}
LEVELS = 3


def publish(ingest, catalogue, without=(), collide=True):
    """Published codes, the text ones colliding in pairs; items in `without` have none."""
    rng = np.random.default_rng(4)
    n = catalogue.n_items
    text = rng.integers(0, [5, 6, 7], (n, LEVELS))
    image = rng.integers(0, [5, 9, 7], (n, LEVELS))
    if collide:
        text[1::2] = text[::2]
    rows = [
        {
            "item_idx": item,
            "text": None if item in without else text[item].tolist(),
            "image": image[item].tolist() if catalogue.has_image[item] else None,
        }
        for item in range(n)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema.GIVEN_CODES), ingest / "given_codes.parquet")
    return text, image


def run_tokenizer(catalogue, folder, tokenizer, seed=7, published=True, without=(), **fields):
    inputs = catalogue.write(folder)
    if published:
        publish(inputs["ingest"], catalogue, without)
    out = folder / "out"
    out.mkdir()
    profile = make_profile(seed, **{**SMALL, "tokenizer": tokenizer, **fields})
    return out, stage.run(StageContext(profile, inputs, out, folder / "scratch"))


def training_data(catalogue, folder, **fields):
    paths, config = catalogue.write(folder), make_profile(**{**SMALL, **fields}).quantization
    dataset = SequenceDataset.load(paths["ingest"], 20)
    return prepare(dataset, load_item_features(paths["embed"], paths["ingest"]), config), config


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
