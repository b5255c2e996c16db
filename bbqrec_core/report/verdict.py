"""The one sentence at the top: is the project's model better than the best baseline, and how sure is that.

The best baseline is the one with the highest NDCG@10 on the test split, seen items masked: the hardest opponent there is in this run.
The difference and its interval are evaluation's own, taken user by user (`comparisons.parquet`); nothing is computed anew here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bbqrec_core.errors import StageError
from bbqrec_core.refitted import is_refitted
from bbqrec_core.report.naming import OURS, decimals, is_ours, p_value, signed
from bbqrec_core.report.reading import Rows

HEADLINE = "ndcg_at_10"


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


def find_ours(models: Sequence[str]) -> str:
    """The project's model among the names in a table.

    Raises:
        StageError: It is not there.
    """
    ours = [name for name in models if name == OURS] or [name for name in models if is_ours(name) and not is_refitted(name)]
    if not ours:
        raise StageError(
            f"metrics.parquet holds no model named {OURS}, only {', '.join(models) or 'none'}.", "Run the stage `evaluate` again."
        )
    return ours[0]


def find_best_baseline(metrics: Rows) -> str:
    """The baseline with the highest test NDCG@10, seen items masked; empty without any."""
    headline = {row["model"]: row["value"] for row in headline_rows(metrics) if not (is_ours(row["model"]) or is_refitted(row["model"]))}
    return max(sorted(headline), key=headline.__getitem__, default="")


def headline_rows(metrics: Rows) -> Rows:
    """Test NDCG@10 of every model, seen items masked."""
    return [row for row in metrics if row["split"] == "test" and row["masked"] and row["metric"] == HEADLINE]


def headline_comparisons(comparisons: Rows) -> Rows:
    """Comparisons by NDCG@10, seen items masked."""
    return [row for row in comparisons if row["metric"] == HEADLINE and row["masked"]]


def judge(metrics: Rows, comparisons: Rows) -> Verdict:
    """Compare the project's model with the best baseline.

    Args:
        metrics: Rows of metrics.parquet.
        comparisons: Rows of comparisons.parquet; without the one that is needed, no certainty is claimed.
    """
    headline = {row["model"]: row["value"] for row in headline_rows(metrics)}
    ours, best = find_ours(list(headline)), find_best_baseline(metrics)
    mine = headline[ours]
    if not best:
        return Verdict("alone", ours, "", "There is nothing to compare with: no baseline was evaluated.", f"NDCG@10 is {decimals(mine)}.")
    numbers = f"NDCG@10 is {decimals(mine)} against {decimals(headline[best])}"
    wanted = [row for row in headline_comparisons(comparisons) if row["model"] == ours and row["baseline"] == best]
    if not wanted:
        side = "higher than" if mine > headline[best] else "lower than" if mine < headline[best] else "the same as"
        sentence = f"{ours} scored {side} the best baseline, {best}; how certain that is was not measured."
        return Verdict("undecided", ours, best, sentence, f"{numbers}, test split, seen items masked.")
    [row] = wanted
    detail = (
        f"{numbers}: a difference of {signed(row['difference'])}, 95 % interval {signed(row['low'])} to {signed(row['high'])} "
        f"(Holm-corrected p {p_value(row['p_holm'])}), over {row['users']:,} test users, seen items masked, one training seed."
    )
    if row["low"] > 0:
        return Verdict("ahead", ours, best, f"{ours} is ahead of the best baseline, {best}.", detail)
    if row["high"] < 0:
        return Verdict("behind", ours, best, f"{ours} loses to the best baseline, {best}.", detail)
    lead = "ahead" if row["difference"] > 0 else "behind" if row["difference"] < 0 else "level"
    sentence = f"No clear difference between {ours} and the best baseline, {best}: {lead} on average, but the interval includes zero."
    return Verdict("undecided", ours, best, sentence, detail)
