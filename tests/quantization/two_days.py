"""The artificial catalogue a day later: more interactions, a few new items, everything numbered anew; and the stage on both days."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from artificial_catalogue import Catalogue, make_profile

from bbqrec_core.dataset import load_semantic_ids
from bbqrec_core.quantization import stage
from bbqrec_core.quantization.config import PREVIOUS, PREVIOUS_INGEST
from bbqrec_core.stage import StageContext, Statistics

NEW_ITEMS = 6


def a_day_later(catalogue: Catalogue, seed: int = 5) -> Catalogue:
    """What was held out is train now; every tenth user bought a new item too, and nobody keeps a number."""
    rng = np.random.default_rng(seed)
    like = rng.integers(0, catalogue.n_items, NEW_ITEMS)
    near = {
        name: np.concatenate([values, values[like] + 0.2 * rng.normal(size=values[like].shape)])
        for name, values in (("text", catalogue.text), ("image", catalogue.image))
    }
    masks = {name: np.concatenate([values, values[like]]) for name, values in vars(catalogue).items() if name.startswith("has_")}
    near["image"][~masks["has_image"]] = 0.0
    n_items, users = catalogue.n_items + NEW_ITEMS, len(catalogue.train)
    train = [[*row, valid] for row, valid in zip(catalogue.train, catalogue.valid, strict=True)]
    for user in range(0, users, 10):
        train[user].append(catalogue.n_items + user // 10 % NEW_ITEMS)
    order, people = rng.permutation(n_items), rng.permutation(users)
    number = np.argsort(order)
    names = [f"A{index}" for index in range(n_items)]
    return Catalogue(
        **{name: values[order] for name, values in {**near, **masks}.items()},
        train=[number[train[user]].tolist() for user in people],
        valid=[int(number[catalogue.test[user]]) for user in people],
        test=number[rng.integers(0, catalogue.n_items, users)].tolist(),
        names=tuple(names[item] for item in order),
        users=tuple(f"U{user}" for user in people),
    )


def run_day(catalogue: Catalogue, folder: Path, before: Path | None = None, seed: int = 7, **fields) -> tuple[Path, Statistics]:
    """Run the stage below `folder`, from the folder of another day's run if there is one."""
    inputs = catalogue.write(folder)
    if before is not None:
        inputs |= {PREVIOUS: before / "out", PREVIOUS_INGEST: before / "ingest"}
    out = folder / "out"
    out.mkdir()
    return out, stage.run(StageContext(make_profile(seed, **fields), inputs, out, folder / "scratch"))


def ids_by_name(catalogue: Catalogue, out: Path) -> dict[str, tuple[int, ...]]:
    """Every item's semantic ID."""
    return {name: tuple(codes) for name, codes in zip(catalogue.item_ids, load_semantic_ids(out)["fused"][0].tolist(), strict=True)}


def held_out_before(catalogue: Catalogue) -> Catalogue:
    """The day before, but for one user whose test item was in train: what is held out today was learned from."""
    train = [list(row) for row in catalogue.train]
    train[3].append(catalogue.test[3])
    return replace(catalogue, train=train)
