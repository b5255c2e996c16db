"""The flow `leaderboard`: every split, seed and variant through the pipeline up to `evaluate`, then one page and one picture."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow

from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.errors import ArtifactError, ProfileError
from bbqrec_core.home import home_folder
from bbqrec_core.leaderboard.page import Chapter, page
from bbqrec_core.leaderboard.picture import picture
from bbqrec_core.leaderboard.published import Published, read_published
from bbqrec_core.leaderboard.spec import Leaderboard, Split, find_leaderboard, load_leaderboard
from bbqrec_core.leaderboard.standings import PerUser, Run, rank_models, read_ranks, with_stand_ins
from bbqrec_core.profile import load_profile, merge
from bbqrec_core.sequence.recommender import NAME, WITHOUT_PRIOR
from bbqrec_core.store import ArtifactStore
from bbqrec_core.writing import writing
from flows.parameters import Overrides
from flows.retrain import retrain
from tasks.plan import PlannedStage, make_plan
from tasks.stages import StageName

LAST: StageName = "evaluate"
FROM_SCRATCH = {"quantization": {"warm_start": {"start": "scratch"}}}


@flow(name="leaderboard")
def leaderboard(
    name: str = "research", out: str = "leaderboard.md", seeds: list[int] | None = None, profiles: list[str] | None = None
) -> Path:
    """Train and evaluate all that a leaderboard lists; what stands already is not made again, so a killed run goes on where it was.

    Args:
        name: A shipped leaderboard's name, or the path of a YAML file.
        out: File for the page; the picture goes beside it.
        seeds: Instead of those that the file names.
        profiles: Only the splits of these profiles.

    Returns:
        The page's path.

    Raises:
        ProfileError: The leaderboard, one of its profiles, or the file of published numbers is wrong.
    """
    path = find_leaderboard(name)
    spec = load_leaderboard(path, seeds or (), profiles or ())
    published = read_published(path.parent / spec.published) if spec.published else []
    _check(spec)
    chapters = [_chapter(spec, split, published) for split in spec.splits]
    target = Path(out)
    drawn = target.with_suffix(".svg")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        drawn.write_text(picture(spec.title, chapters), encoding="utf-8")
        target.write_text(page(spec.title, _command(name, seeds, profiles), chapters, drawn.name), encoding="utf-8")
    return target


def _command(name: str, seeds: list[int] | None, profiles: list[str] | None) -> str:
    told = [*(f"--seed {seed}" for seed in seeds or ()), *(f"--only {shlex.quote(profile)}" for profile in profiles or ())]
    return " ".join(["bbqrec leaderboard", shlex.quote(name), *told])


def _check(spec: Leaderboard) -> None:
    """Resolve every profile once, so that a misspelt field is told before hours of training, not after."""
    for split in spec.splits:
        for change in ({}, *(variant.set for variant in spec.variants)):
            load_profile(split.profile, merge(split.set, change))


def _chapter(spec: Leaderboard, split: Split, published: list[Published]) -> Chapter:
    seeds = spec.seeds_of(split)
    models: list[Mapping[str, PerUser]] = []
    variants: dict[str, list[PerUser]] = {}
    heads: dict[str, list[PerUser]] = {}
    made_from: set[Path] = set()
    for seed in seeds:
        change = _change(split, seed)
        whole = _evaluate(split, change, made_from)
        models.append(whole.models)
        heads.setdefault(WITHOUT_PRIOR, []).append(_heads(whole))
        for variant in spec.variants:
            if variant.name in {*whole.models, NAME, WITHOUT_PRIOR}:
                raise ProfileError(f"A variant is named '{variant.name}', as a model that is ranked anyway.", "Give it a name of its own.")
            changed = _evaluate(split, merge({**change, "refit": {"enabled": False}}, variant.set), made_from)
            variants.setdefault(variant.name, []).append(changed.models[NAME])
            heads.setdefault(variant.name, []).append(_heads(changed))
    if len(made_from) != 1:
        raise ArtifactError(
            f"The runs of '{split.title}' are not of the same data: its files changed meanwhile.",
            "Run it again while they stay as they are.",
        )
    runs: dict[str, list[PerUser]] = {}
    for of_a_seed in with_stand_ins(models):
        for model, measured in of_a_seed.items():
            runs.setdefault(model, []).append(measured)
    standings = rank_models(runs | variants, NAME, [*(model for model in runs if model.startswith(NAME)), *variants], seeds[0])
    alone = rank_models(heads, WITHOUT_PRIOR, [WITHOUT_PRIOR, *variants], seeds[0]) if variants else []
    data = SequenceDataset.load(made_from.pop(), 1)
    rows = [row for row in published if split.published and row.dataset == split.published]
    return Chapter(split.title, split.profile, seeds, len(data.test), data.n_items, standings, rows, split.note, alone)


def _change(split: Split, seed: int) -> dict[str, Any]:
    """What a seed changes: one data set, and one embedding of it, for all of them."""
    return {"seed": seed, "data_seed": load_profile(split.profile, split.set).data_seed}


def _heads(run: Run) -> PerUser:
    """Our model by itself: where nothing else has a say, it is that already."""
    return run.models.get(WITHOUT_PRIOR, run.models[NAME])


def _evaluate(split: Split, change: Mapping[str, object], made_from: set[Path]) -> Run:
    """Run the pipeline up to `evaluate`, and read what it says of every model; `made_from` gets the data's artifact."""
    overrides = merge(split.set, change)
    if _plan(split, overrides)["quantize"].origin.inputs:  # a registered model's IDs, which another seed or variant would not start from
        overrides = merge(overrides, FROM_SCRATCH)
    retrain(profile=split.profile, overrides=Overrides(**overrides), until=LAST)
    store, plan = ArtifactStore(home_folder()), _plan(split, overrides)
    ingest = store.require(plan["ingest"].ref).path
    made_from.add(ingest)
    return read_ranks(ingest, store.require(plan[LAST].ref).path)


def _plan(split: Split, overrides: Mapping[str, Any]) -> dict[str, PlannedStage]:
    return make_plan(load_profile(split.profile, overrides), ArtifactStore(home_folder()))
