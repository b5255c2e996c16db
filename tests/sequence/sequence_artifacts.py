"""Artificial ingest and quantize artifacts, tiny and in the pipeline's own schemas, with a pattern worth learning."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from bbqrec_core import schema
from bbqrec_core.prior.stage import run as tune_prior
from bbqrec_core.profile import Profile, load_profile
from bbqrec_core.stage import StageContext

GROUPS, PER_GROUP, LEVELS = 6, 8, 3
N_ITEMS = GROUPS * PER_GROUP


def write_catalogue(folder: Path, rng: np.random.Generator, relabel: np.ndarray) -> None:
    """Codes and vectors: groups of items share their first code; every fifth item has no image, two items share an ID."""
    group = np.arange(N_ITEMS) // PER_GROUP
    member = np.arange(N_ITEMS) % PER_GROUP
    codes = np.stack([group, member // 3, member % 3], axis=1)
    codes[1] = codes[0]
    centres = rng.normal(size=(GROUPS, 8))
    vectors = {name: (centres[group] + 0.3 * rng.normal(size=(N_ITEMS, 8))).astype(np.float32) for name in ("fused", "text", "image")}
    absent = np.arange(N_ITEMS) % 5 == 4
    vectors["image"][absent] = 0
    back = np.argsort(relabel)
    rows = {name: list(codes[back].astype(np.int16)) for name in ("fused", "text")}
    rows["image"] = [None if absent[old] else codes[old].astype(np.int16) for old in back]
    folder.mkdir(parents=True)
    table = pa.table([np.arange(N_ITEMS, dtype=np.int32), *rows.values()], schema=schema.semantic_id_schema(LEVELS))
    # Arrow cannot read fixed-size lists with nulls back from Parquet: without its own schema they come as plain lists.
    pq.write_table(table, folder / "semantic_ids.parquet", store_schema=False)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(values[back])) for name, values in vectors.items()}
    save_file(tensors, folder / "quantized.safetensors")


def write_features(folder: Path, rng: np.random.Generator, relabel: np.ndarray) -> None:
    """Text features that know the item's group and a little more; every fifth item has none."""
    group = np.arange(N_ITEMS) // PER_GROUP
    values = rng.normal(size=(GROUPS, 8))[group] + 0.5 * rng.normal(size=(N_ITEMS, 8))
    present = np.arange(N_ITEMS) % 5 != 4
    values[~present] = 0
    back = np.argsort(relabel)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values[back].ravel().astype(np.float16)), 8)
    columns = [np.arange(N_ITEMS, dtype=np.int32), vectors, present[back]]
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns, schema=schema.embedding_schema("text", 8)), folder / "text_embedding.parquet")


def write_sequences(folder: Path, rng: np.random.Generator, relabel: np.ndarray, users: int, test_seed: int = 0) -> None:
    """Users walk through a group: item i is mostly followed by the next of its group. Item 47 never occurs in train."""
    histories = []
    for _ in range(users):
        length = int(rng.integers(4, 12)) if rng.random() < 0.95 else 7
        group, place = int(rng.integers(GROUPS)), int(rng.integers(PER_GROUP))
        seen: list[int] = []
        for _ in range(length):
            if rng.random() < 0.15 or len({group * PER_GROUP + p for p in range(PER_GROUP)} - set(seen)) == 0:
                group = int(rng.integers(GROUPS))
            while group * PER_GROUP + place in seen:
                place = (place + 1) % PER_GROUP
                if all(group * PER_GROUP + p in seen for p in range(PER_GROUP)):
                    group = (group + 1) % GROUPS
            item = group * PER_GROUP + place
            if item == N_ITEMS - 1:
                item = N_ITEMS - 2
            if item not in seen:
                seen.append(item)
            place = (place + 1) % PER_GROUP
        histories.append(relabel[np.array(seen)])
    histories = [history for history in histories if len(history) >= 3]
    index = np.arange(len(histories), dtype=np.int32)
    targets = np.array([history[-1] for history in histories], dtype=np.int32)
    if test_seed:
        targets = np.random.default_rng(test_seed).permutation(targets)
    folder.mkdir(parents=True)
    counts = np.bincount(np.concatenate([history[:-2] for history in histories]), minlength=N_ITEMS)
    blank = {field.name: pa.nulls(N_ITEMS, field.type) for field in schema.ITEMS}
    blank["item_idx"] = pa.array(np.arange(N_ITEMS, dtype=np.int32))
    blank["item_id"] = pa.array([f"item-{number}" for number in range(N_ITEMS)])
    blank["train_count"] = pa.array(counts.astype(np.int32))
    pq.write_table(pa.table(blank, schema=schema.ITEMS), folder / "items.parquet")
    pq.write_table(pa.table([index, [h[:-2] for h in histories]], schema=schema.TRAIN_SEQUENCES), folder / "train.parquet")
    valid = [index, [h[:-2] for h in histories], np.array([h[-2] for h in histories], dtype=np.int32)]
    pq.write_table(pa.table(valid, schema=schema.EVAL_SEQUENCES), folder / "valid.parquet")
    pq.write_table(pa.table([index, [h[:-1] for h in histories], targets], schema=schema.EVAL_SEQUENCES), folder / "test.parquet")
    rows = [
        {"user_idx": user, "item_idx": int(item), "position": place, "part": {-1: "test", -2: "valid"}.get(place - len(history), "train")}
        for user, (history, target) in enumerate(zip(histories, targets, strict=True))
        for place, item in enumerate([*history[:-1], target])
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema.INTERACTIONS), folder / "interactions.parquet")


def make_artifacts(root: Path, users: int = 150, seed: int = 5, relabel: np.ndarray | None = None, test_seed: int = 0) -> dict[str, Path]:
    relabel = np.arange(N_ITEMS) if relabel is None else relabel
    write_catalogue(root / "quantize", np.random.default_rng(seed), relabel)
    write_sequences(root / "ingest", np.random.default_rng(seed + 1), relabel, users, test_seed)
    write_features(root / "embed", np.random.default_rng(seed + 2), relabel)
    (root / "prior").mkdir()
    tune_prior(StageContext(make_profile(), {"ingest": root / "ingest"}, root / "prior", root))
    return {name: root / name for name in ("ingest", "embed", "quantize", "prior")}


ONE_POINT = {
    "window": [5],
    "distance_decay": [1.0],
    "backward": [0.5],
    "sharpness": [1.0],
    "shrinkage": [0.0],
    "popularity": [0.25],
    "neighbours": [20],
    "recency_decay": [0.5],
    "rarity": [0.25],
}
"""A kNN of which nothing is chosen."""
SMALL = {
    "dimensions": 16,
    "epochs": 3,
    "batch_size": 32,
    "layers": 2,
    "heads": 2,
    "max_history": 8,
    "learning_rate": 5e-3,
    "dropout": 0.3,
    "id_dropout": 0.2,
}


def make_profile(**sequence: object) -> Profile:
    quick = {"knn": {"trials": 5}, "max_history": 20}
    return load_profile(
        "demo", {"seed": 7, "sequence": {**SMALL, **sequence}, "baselines": quick, "compute": {"device": "cpu", "threads": 1}}
    )


def make_context(root: Path, inputs: dict[str, Path], name: str = "train", **sequence: object) -> StageContext:
    out, scratch = root / name, root / f"{name}-scratch"
    out.mkdir(parents=True)
    scratch.mkdir(exist_ok=True)
    return StageContext(make_profile(**sequence), inputs, out, scratch)
