"""Metrics beside baselines: tables of every split and masking, the headline chart, paired comparisons."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bbqrec_core.refitted import NOTE, is_refitted, ranking_key
from bbqrec_core.report import charts
from bbqrec_core.report.naming import OURS, count, data, decimals, is_ours, metric_name, p_value, signed
from bbqrec_core.report.reading import Rows
from bbqrec_core.report.tables import Figure, Table
from bbqrec_core.report.verdict import HEADLINE, headline_comparisons, headline_rows

HINTS = {
    "ndcg": "hits among the first K, counting more the higher they are",
    "recall": "share of users whose target is among the first K",
    "mrr": "mean of 1 / the target's place",
    "coverage": "share of the catalogue that is recommended to anyone",
    "popularity_percentile": "mean place of what is recommended in the order of popularity: 1 the most popular, 0.5 at random",
    "cold_ndcg": "NDCG of users whose target never occurs in train",
    "cold_recall": "Recall of users whose target never occurs in train",
    "cold_targets": "users whose target never occurs in train",
    "tied_score_share": "users whose target shares its score with another item",
}
HIGHER_IS_BETTER = ("recall", "ndcg", "mrr", "coverage", "cold_ndcg", "cold_recall")


@dataclass(frozen=True)
class ResultsSection:
    """What the section on results shows."""

    chart: Figure
    primary: list[Table]
    others: list[Table]
    comparison: Figure | None
    comparisons: list[Table]


def build_results(metrics: Rows, comparisons: Rows) -> ResultsSection:
    """Prepare the section on results.

    Args:
        metrics: Rows of metrics.parquet.
        comparisons: Rows of comparisons.parquet, which may be none.
    """
    bars = [charts.Bar(row["model"], row["value"], row["low"], row["high"], is_ours(row["model"])) for row in headline_rows(metrics)]
    bars.sort(key=lambda bar: ranking_key(bar.name, bar.value))
    best = bars[0]
    picture = charts.interval_bars(
        bars, "NDCG@10, test split, seen items masked", f"NDCG@10 by model with intervals. Best: {best.name}, {decimals(best.value)}."
    )
    note = "Whiskers are 95 % bootstrap intervals over users."
    if any(is_refitted(bar.name) for bar in bars):
        note += f" {NOTE}"
    chart = Figure(picture, "NDCG@10 on the test split, seen items masked", note)
    # The foreseen ones in this order, then whatever else there is: nothing is dropped.
    keys = dict.fromkeys(
        [("test", True), ("test", False), ("valid", True), ("valid", False), *((row["split"], row["masked"]) for row in metrics)]
    )
    tables = {key: _table(metrics, *key) for key in keys}
    primary = [table for key, table in tables.items() if key == ("test", True) and table is not None]
    others = [table for key, table in tables.items() if key != ("test", True) and table is not None]
    return ResultsSection(chart, primary, others, *_comparisons(comparisons))


def _table(metrics: Rows, split: str, masked: bool) -> Table | None:
    rows = [row for row in metrics if row["split"] == split and row["masked"] == masked]
    if not rows:
        return None
    names = sorted(dict.fromkeys(row["metric"] for row in rows), key=_metric_order)
    values = {(row["model"], row["metric"]): row for row in rows}
    headline = {row["model"]: row["value"] for row in rows if row["metric"] == HEADLINE}
    models = sorted(dict.fromkeys(row["model"] for row in rows), key=lambda model: ranking_key(model, headline.get(model, -1.0)))
    best = set()
    for place, name in enumerate(names):
        rivals = [model for model in models if (model, name) in values and not is_refitted(model)]
        if name.startswith(HIGHER_IS_BETTER) and len(rivals) > 1:
            top = decimals(max(values[model, name]["value"] for model in rivals))
            best |= {(place, models.index(model) + 1) for model in rivals if decimals(values[model, name]["value"]) == top}
    split_name = {"test": "Test", "valid": "Validation"}.get(split, split)
    return Table(
        f"{split_name} split, seen items {'masked' if masked else 'not masked'}",
        ["", *models],
        [[_metric_cell(name), *(_cell(values.get((model, name)), name) for model in models)] for name in names],
        marked=frozenset(column for column, model in enumerate(models, start=1) if is_ours(model)),
        best=frozenset(best),
    )


def _metric_order(name: str) -> tuple[int, int, str]:
    """Families in the order of HINTS, cut-offs ascending within; whatever else there is comes last, by name."""
    family, _, cut_off = name.partition("_at_")
    families = list(HINTS)
    return (families.index(family) if family in families else len(families), int(cut_off) if cut_off.isdigit() else 0, name)


def _metric_cell(name: str) -> Markup:
    hint = HINTS.get(name.partition("_at_")[0], "")
    return Markup('<span title="{}">{}</span>').format(hint, metric_name(name)) if hint else Markup("{}").format(metric_name(name))


def _cell(row: dict[str, Any] | None, name: str) -> Markup:
    if row is None or row["value"] is None:
        return Markup("–")
    value = data(row["value"], count(row["value"]) if name.endswith("_targets") else decimals(row["value"]))
    if row["low"] is None or row["high"] is None:
        return value
    interval = Markup("{}–{}").format(data(row["low"], decimals(row["low"])), data(row["high"], decimals(row["high"])))
    return Markup('{}<span class="interval">{}</span>').format(value, interval)


def _comparisons(comparisons: Rows) -> tuple[Figure | None, list[Table]]:
    """Paired comparisons, where evaluation made them: ours minus each baseline."""
    figure = None
    comparisons = sorted(comparisons, key=lambda row: (row["difference"], row["baseline"]))  # the hardest opponent first
    bars = [charts.Bar(row["baseline"], row["difference"], row["low"], row["high"], True) for row in headline_comparisons(comparisons)]
    if bars:
        picture = charts.differences(bars, f"NDCG@10 of {OURS} minus the baseline's", "Differences in NDCG@10 with intervals.")
        note = "Differences user by user: right of zero ours is better. Whiskers are 95 % bootstrap intervals over users."
        figure = Figure(picture, f"{OURS} against each baseline", note)
    tables = []
    for metric, masked in dict.fromkeys((row["metric"], row["masked"]) for row in comparisons):
        rows = [
            [
                row["baseline"],
                data(row["difference"], signed(row["difference"])),
                Markup("{} to {}").format(data(row["low"], signed(row["low"])), data(row["high"], signed(row["high"]))),
                data(row["p"], p_value(row["p"])),
                data(row["p_holm"], p_value(row["p_holm"])),
                count(row["users"]),
            ]
            for row in comparisons
            if (row["metric"], row["masked"]) == (metric, masked)
        ]
        caption = f"{OURS} minus each baseline, {metric_name(metric)}, test split, seen items {'masked' if masked else 'not masked'}"
        tables.append(Table(caption, ["Against", "Difference", "95 % interval", "p", "p (Holm)", "Users"], rows))
    return figure, tables
