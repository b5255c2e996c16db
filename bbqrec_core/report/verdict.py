"""The one sentence at the top: is the project's model better than the best baseline, and how sure is that.

The best baseline is the one with the highest NDCG@10 on the test split, seen items masked: the hardest opponent there is in this run.
The difference is taken user by user, its interval from a bootstrap over users.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bbqrec_core import schema
from bbqrec_core.errors import StageError
from bbqrec_core.evaluation.metrics import expected_ndcg
from bbqrec_core.evaluation.significance import bootstrap_intervals
from bbqrec_core.report.naming import OURS, decimals, is_ours, signed

HEADLINE = "ndcg_at_10"
CUT_OFF = 10


@dataclass(frozen=True)
class Verdict:
    """The outcome of the headline comparison.

    Attributes:
        outcome: Whether the interval of the difference lies above zero, below it, or around it; alone without any baseline.
        ours, best: Names; `best` is empty without any baseline.
        sentence: What it means, in one sentence.
        detail: The numbers behind it.
    """

    outcome: Literal["ahead", "behind", "undecided", "alone"]
    ours: str
    best: str
    sentence: str
    detail: str


@dataclass(frozen=True)
class Difference:
    """A mean difference per user, ours minus another, with its 95 % interval."""

    mean: float
    low: float
    high: float
    users: int


def find_ours(models: Sequence[str]) -> str:
    """The project's model among the names in a table.

    Raises:
        StageError: It is not there.
    """
    ours = [name for name in models if name == OURS] or [name for name in models if is_ours(name)]
    if not ours:
        raise StageError(
            f"metrics.parquet holds no model named {OURS}, only {', '.join(models) or 'none'}.", "Run the stage `evaluate` again."
        )
    return ours[0]


def find_best_baseline(metrics: list[dict[str, Any]]) -> str:
    """The baseline with the highest test NDCG@10, seen items masked; empty without any."""
    headline = {row["model"]: row["value"] for row in headline_rows(metrics) if not is_ours(row["model"])}
    return max(sorted(headline), key=headline.__getitem__, default="")


def headline_rows(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Test NDCG@10 of every model, seen items masked."""
    return [row for row in metrics if row["split"] == "test" and row["masked"] and row["metric"] == HEADLINE]


def paired_difference(ranks: pa.Table, ours: str, other: str, seed: int) -> Difference | None:
    """Difference in NDCG@10, user by user, seen items masked; None where the ranks lack one of the two."""
    values = []
    for model in (ours, other):
        rows = ranks.filter(pc.and_(pc.equal(ranks["model"], model), ranks["masked"])).sort_by(schema.USER_IDX)
        values.append((rows[schema.USER_IDX].to_numpy(), expected_ndcg(rows["above"].to_numpy(), rows["tied"].to_numpy(), CUT_OFF)))
    (our_users, our_gains), (other_users, other_gains) = values
    if len(our_users) == 0 or not np.array_equal(our_users, other_users):
        return None
    apart = our_gains - other_gains
    low, high = bootstrap_intervals(apart, seed)
    return Difference(float(apart.mean()), float(low[0]), float(high[0]), len(apart))


def judge(metrics: list[dict[str, Any]], ranks: pa.Table | None, seed: int) -> Verdict:
    """Compare the project's model with the best baseline.

    Args:
        metrics: Rows of metrics.parquet.
        ranks: ranks.parquet, for the paired difference.
        seed: Of the bootstrap.
    """
    headline = {row["model"]: row for row in headline_rows(metrics)}
    ours, best = find_ours(list(headline)), find_best_baseline(metrics)
    mine = headline[ours]["value"]
    if not best:
        return Verdict("alone", ours, "", "There is nothing to compare with: no baseline was evaluated.", f"NDCG@10 is {decimals(mine)}.")
    theirs = headline[best]["value"]
    numbers = f"NDCG@10 is {decimals(mine)} against {decimals(theirs)}"
    difference = None if ranks is None else paired_difference(ranks, ours, best, seed)
    if difference is None:
        side = "higher than" if mine > theirs else "lower than" if mine < theirs else "equal to"
        sentence = f"{ours} scored {side} the best baseline, {best}; how certain that is was not measured."
        return Verdict("undecided", ours, best, sentence, f"{numbers}.")
    detail = (
        f"{numbers}: a difference of {signed(difference.mean)}, 95 % interval {signed(difference.low)} to {signed(difference.high)}, "
        f"over {difference.users:,} test users, seen items masked, one training seed."
    )
    if difference.low > 0:
        return Verdict("ahead", ours, best, f"{ours} is ahead of the best baseline, {best}.", detail)
    if difference.high < 0:
        return Verdict("behind", ours, best, f"{ours} loses to the best baseline, {best}.", detail)
    lead = "ahead" if difference.mean > 0 else "behind" if difference.mean < 0 else "level"
    sentence = f"No clear difference between {ours} and the best baseline, {best}: {lead} on average, but the interval includes zero."
    return Verdict("undecided", ours, best, sentence, detail)
