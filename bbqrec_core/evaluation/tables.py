"""The tables of an evaluation, made from rankings: metrics with intervals, ranks, paired comparisons, examples.

How rankings come about is `ranking.py`; which recommenders and splits there are, `stage.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bbqrec_core import schema
from bbqrec_core.dataset import EvalSplit, SequenceDataset
from bbqrec_core.evaluation.metrics import (
    coverage,
    expected_ndcg,
    expected_recall,
    mean_over_recommended,
    per_user_metrics,
    popularity_percentiles,
)
from bbqrec_core.evaluation.ranking import Ranking
from bbqrec_core.evaluation.significance import bootstrap_intervals, holm, paired_permutation_test
from bbqrec_core.refitted import is_refitted

HEADLINE_K = 10
HEADLINE = f"ndcg_at_{HEADLINE_K}"

Rankings = Mapping[str, Mapping[bool, Ranking]]
"""By model's name, then by "seen items masked?"."""


def metrics_table(
    split_name: str, split: EvalSplit, data: SequenceDataset, rankings: Rankings, ks: Sequence[int], seed: int, samples: int
) -> pa.Table:
    """All metrics of one split.

    Besides what `metrics.per_user_metrics` computes: `coverage_at_10`; `popularity_percentile_at_10`, the mean place of what is recommended
    in the order of popularity, 0.5 at random; `tied_score_share`, the users whose target shares its score with another item;
    `cold_targets`, the users whose target never occurs in train, and, if there are any, `cold_recall_at_10` and `cold_ndcg_at_10` of them,
    but not of refitted models, which may know such an item.

    Args:
        split_name: valid or test.
        split: Its users.
        data: Where popularity and cold items are taken from.
        rankings: Of every model.
        ks: Cut-offs.
        seed: Decides the bootstrap's resamples, which all rows share.
        samples: How many resamples.

    Returns:
        A table of schema METRICS.
    """
    percentiles = popularity_percentiles(data.train_counts)
    cold = data.train_counts[split.targets] == 0
    keys, everybody, cold_keys, cold_only = [], [], [], []
    plain: dict[tuple[str, bool], dict[str, float]] = {}
    for model, by_mask in rankings.items():
        for masked, ranking in by_mask.items():
            above, tied = ranking.ranks.above, ranking.ranks.tied
            values = per_user_metrics(above, tied, ks)
            values[f"popularity_percentile_at_{HEADLINE_K}"] = mean_over_recommended(ranking.top, percentiles)
            values["tied_score_share"] = (tied > 0).astype(np.float64)
            keys += [(model, masked, name) for name in values]
            everybody += list(values.values())
            cold_values = {"recall": expected_recall, "ndcg": expected_ndcg}
            if cold.any() and not is_refitted(model):
                cold_keys += [(model, masked, f"cold_{name}_at_{HEADLINE_K}") for name in cold_values]
                cold_only += [metric(above[cold], tied[cold], HEADLINE_K) for metric in cold_values.values()]
            plain[model, masked] = {f"coverage_at_{HEADLINE_K}": coverage(ranking.top, data.n_items), "cold_targets": float(cold.sum())}
    rows = []
    for group, columns in ((keys, everybody), (cold_keys, cold_only)):
        if group:
            stacked = np.stack(columns)
            low, high = bootstrap_intervals(stacked, seed, samples)
            for place, (model, masked, name) in enumerate(group):
                mean, known = stacked[place].mean(), stacked[place][np.isfinite(stacked[place])]
                if 0 < len(known) < len(stacked[place]):  # who has everything is recommended nothing
                    mean, (low[place],), (high[place],) = known.mean(), *bootstrap_intervals(known, seed, samples)
                rows.append(_metric(model, split_name, masked, name, float(mean), float(low[place]), float(high[place])))
    for (model, masked), values_of in plain.items():
        rows += [_metric(model, split_name, masked, name, value, None, None) for name, value in values_of.items()]
    order = {model: place for place, model in enumerate(rankings)}
    rows.sort(key=lambda row: (order[row["model"]], not row["masked"]))
    return pa.Table.from_pylist(rows, schema=schema.METRICS)


def ranks_table(split: EvalSplit, rankings: Rankings) -> pa.Table:
    """Where every user's target landed, a table of schema RANKS."""
    parts = []
    for model, by_mask in rankings.items():
        for masked, ranking in by_mask.items():
            columns: list[Any] = [[model] * len(split), [masked] * len(split), split.users, ranking.ranks.above, ranking.ranks.tied]
            arrays = [pa.array(column, type=kind) for column, kind in zip(columns, schema.RANKS.types, strict=True)]
            parts.append(pa.Table.from_arrays(arrays, schema=schema.RANKS))
    return pa.concat_tables(parts)


def comparisons_table(ours: str, rankings: Rankings, seed: int, bootstrap_samples: int, permutation_samples: int) -> pa.Table:
    """Our model against every other, parts of itself included, by NDCG@10, seen items masked: one family of tests.

    Args:
        ours: Name of our model.
        rankings: Of the test split.
        seed: Decides resamples and sign patterns, the same for every baseline.
        bootstrap_samples: Resamples behind each interval.
        permutation_samples: Sign patterns behind each p.

    Returns:
        A table of schema COMPARISONS.
    """
    own = headline_per_user(rankings[ours][True])
    baselines = [name for name in rankings if name != ours]
    if not baselines:
        return schema.COMPARISONS.empty_table()
    differences = np.stack([own - headline_per_user(rankings[name][True]) for name in baselines])
    low, high = bootstrap_intervals(differences, seed, bootstrap_samples)
    p_values = np.array([paired_permutation_test(row, seed, permutation_samples) for row in differences])
    rows = [
        {
            "model": ours,
            "baseline": name,
            "metric": HEADLINE,
            "masked": True,
            "users": len(own),
            "difference": float(difference.mean()),
            "low": float(low[place]),
            "high": float(high[place]),
            "p": float(p_values[place]),
            "p_holm": float(corrected),
        }
        for place, (name, difference, corrected) in enumerate(zip(baselines, differences, holm(p_values), strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=schema.COMPARISONS)


def examples_table(split: EvalSplit, rankings: Rankings, models: Sequence[str], number: int, seed: int) -> pa.Table:
    """What some models recommend to a few users, who are drawn with a seed.

    Args:
        split: The users to draw from.
        rankings: Of this split.
        models: Whose recommendations to show.
        number: How many users.
        seed: Decides who.

    Returns:
        A table of schema EXAMPLES, users in the order of user_idx.
    """
    chosen = np.sort(np.random.default_rng(seed).choice(len(split), min(number, len(split)), replace=False))
    rows = []
    for row in chosen[np.argsort(split.users[chosen], kind="stable")]:
        for model in models:
            top = rankings[model][True].top[row, :HEADLINE_K]
            rows.append(
                {
                    schema.USER_IDX: int(split.users[row]),
                    schema.HISTORY: split.seen_items[split.seen_offsets[row] : split.seen_offsets[row + 1]].tolist(),
                    schema.TARGET: int(split.targets[row]),
                    "model": model,
                    "recommended": top[top >= 0].tolist(),
                }
            )
    return pa.Table.from_pylist(rows, schema=schema.EXAMPLES)


def headline_per_user(ranking: Ranking) -> np.ndarray:
    """NDCG@10 of each user, float64 [n]."""
    return expected_ndcg(ranking.ranks.above, ranking.ranks.tied, HEADLINE_K)


def best_baseline(baselines: Sequence[str], rankings: Rankings) -> str | None:
    """The baseline with the highest NDCG@10, seen items masked, the first of equals; None if there is none.

    On the test split itself: that makes it the hardest opponent there is, which never flatters our model.
    """
    values = {name: float(headline_per_user(rankings[name][True]).mean()) for name in baselines}
    return max(values, key=lambda name: values[name]) if values else None


def _metric(model: str, split: str, masked: bool, metric: str, value: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {"model": model, "split": split, "masked": masked, "metric": metric, "value": value, "low": low, "high": high}
