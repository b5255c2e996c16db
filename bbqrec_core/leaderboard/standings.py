"""From evaluate artifacts to standings: per model and user the mean over seeds, beside our model's.

Users are matched by the shop's own names, so that runs need not number them alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bbqrec_core import schema
from bbqrec_core.baselines.with_prior import AND_CONTENT
from bbqrec_core.errors import ArtifactError
from bbqrec_core.evaluation.metrics import expected_ndcg, expected_recall
from bbqrec_core.evaluation.significance import bootstrap_intervals, compare_with
from bbqrec_core.refitted import is_refitted, ranking_key

CUT_OFF = 10
METRICS = {"ndcg": expected_ndcg, "recall": expected_recall}

PerUser = dict[tuple[bool, str], np.ndarray]
"""By masking and metric a value per test user, in the order of their names."""


@dataclass(frozen=True)
class Value:
    """A mean over users and seeds.

    Attributes:
        mean: Of the seeds' means.
        low, high: 95 % bootstrap interval over users, of their means over seeds.
        between_seeds: Standard deviation of the seeds' means; None with a single seed.
    """

    mean: float
    low: float
    high: float
    between_seeds: float | None


@dataclass(frozen=True)
class Standing:
    """A model's place.

    Attributes:
        model: Its name.
        ours: Whether it is our model, with something changed perhaps.
        values: By masking and metric ("ndcg", "recall").
        difference: Its NDCG@10 with seen items masked, less our model's; None for ours itself and for what learned from validation too.
        p: Of that difference, a paired permutation test, after Holm's correction over all models that are ranked together.
        seeds: How many runs stand behind it.
    """

    model: str
    ours: bool
    values: Mapping[tuple[bool, str], Value]
    difference: float | None
    p: float | None
    seeds: int


def most_seeds(standings: Sequence[Standing]) -> int:
    """Seeds behind the models that every seed has; 0 where there is no model."""
    return max((standing.seeds for standing in standings), default=0)


@dataclass(frozen=True)
class Run:
    """What one run measured.

    Attributes:
        users: Names of the test users, in order.
        models: Every model's metrics per user.
    """

    users: tuple[str, ...]
    models: Mapping[str, PerUser]


def read_ranks(ingest: Path, evaluate: Path) -> Run:
    """Every model's metrics per test user.

    Args:
        ingest: The artifact that `evaluate` was made from.
        evaluate: An evaluate artifact.

    Raises:
        ArtifactError: The two do not belong together.
    """
    names = pq.read_table(ingest / "interactions.parquet", columns=[schema.USER_IDX, schema.USER_ID])
    names = names.group_by(schema.USER_IDX).aggregate([(schema.USER_ID, "min")])
    name_of = dict(zip(names[schema.USER_IDX].to_pylist(), names[f"{schema.USER_ID}_min"].to_pylist(), strict=True))
    ranks = pq.read_table(evaluate / "ranks.parquet")
    found: dict[str, PerUser] = {}
    ranked: set[tuple[str, ...]] = set()
    for model in pc.unique(ranks["model"]).to_pylist():
        for masked in (True, False):
            rows = ranks.filter((pc.field("model") == model) & (pc.field("masked") == masked))
            try:
                users = np.array([name_of[user] for user in rows[schema.USER_IDX].to_pylist()], dtype=object)
            except KeyError as error:
                raise ArtifactError(f"{ingest} has no user {error}, whom {evaluate} ranked for.", "Run `evaluate` again.") from None
            order = np.argsort(users, kind="stable")
            ranked.add(tuple(users[order]))
            above, tied = (rows[name].to_numpy()[order] for name in ("above", "tied"))
            for metric, compute in METRICS.items():
                found.setdefault(model, {})[masked, metric] = compute(above, tied, CUT_OFF)
    if len(ranked) != 1:
        raise ArtifactError(f"{evaluate} ranked models for different users.", "Run `evaluate` again.")
    return Run(ranked.pop(), found)


def with_stand_ins(seeds: Sequence[Mapping[str, PerUser]]) -> list[dict[str, PerUser]]:
    """Every seed's models; where a fit gave content similarity no say, the model that was offered it is the one without."""
    offered = {model for models in seeds for model in models if model.endswith(AND_CONTENT)}
    alike = {model: model.removesuffix(AND_CONTENT) for model in offered}
    return [{**{model: models[same] for model, same in alike.items() if same in models}, **models} for models in seeds]


def rank_models(runs: Mapping[str, Sequence[PerUser]], ours: str, own: Sequence[str], seed: int) -> list[Standing]:
    """Set all models beside ours.

    Args:
        runs: By model one entry per seed, all of the same users; a model that not every seed has is not compared.
        ours: Our model's name.
        own: Names of those that are our model with something changed.
        seed: Of resamples and permutations.

    Returns:
        The best NDCG@10 first, seen items masked; after them what learned from validation too.

    Raises:
        ArtifactError: Runs differ in how many users were ranked for.
    """
    counts = {len(run[True, "ndcg"]) for entries in runs.values() for run in entries}
    if len(counts) != 1:
        raise ArtifactError(f"The runs ranked for different numbers of users: {sorted(counts)}.", "Leave the profile alone between runs.")
    means = {model: {key: np.mean([run[key] for run in entries], axis=0) for key in entries[0]} for model, entries in runs.items()}
    rivals = {
        model: values[True, "ndcg"] for model, values in means.items() if not is_refitted(model) and len(runs[model]) == len(runs[ours])
    }
    compared = compare_with(ours, rivals, seed)
    standings = []
    for model, entries in runs.items():
        keys = list(means[model])
        low, high = bootstrap_intervals(np.stack([means[model][key] for key in keys]), seed)
        values = {
            key: Value(
                float(means[model][key].mean()),
                float(low[place]),
                float(high[place]),
                float(np.std([run[key].mean() for run in entries], ddof=1)) if len(entries) > 1 else None,
            )
            for place, key in enumerate(keys)
        }
        difference, p = compared.get(model, (None, None))
        standings.append(Standing(model, model == ours or model in own, values, difference, p, len(entries)))
    return sorted(standings, key=lambda standing: ranking_key(standing.model, standing.values[True, "ndcg"].mean))
