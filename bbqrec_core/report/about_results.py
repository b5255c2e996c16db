"""Metrics beside baselines: tables of every split and masking, the headline chart, paired comparisons."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bbqrec_core.report import charts
from bbqrec_core.report.naming import OURS, data, decimals, is_ours, metric_name, p_value, signed
from bbqrec_core.report.reading import Inputs, Rows
from bbqrec_core.report.tables import Figure, Table
from bbqrec_core.report.verdict import headline_rows

HINTS = {
    "recall": "share of users whose target is among the first K",
    "ndcg": "the same, counting more the higher the target is",
    "mrr": "mean of 1 / the target's place",
    "coverage": "share of the catalogue that is recommended to anyone",
}
OTHER, RAW_P, HOLM_P = ("baseline", "other", "against", "model"), ("p", "p_value"), ("p_holm", "holm_p", "p_adjusted")
"""Columns of comparisons.parquet, by the names they may have."""
HIGHER_IS_BETTER = ("recall", "ndcg", "mrr", "hr", "coverage")


@dataclass(frozen=True)
class ResultsSection:
    """What the section on results shows."""

    chart: Figure
    primary: list[Table]
    others: list[Table]
    comparison: Figure | None
    comparisons: list[Table]


def build_results(inputs: Inputs, metrics: Rows) -> ResultsSection:
    """Prepare the section on results.

    Args:
        inputs: Artifacts.
        metrics: Rows of metrics.parquet.
    """
    bars = [charts.Bar(row["model"], row["value"], row["low"], row["high"], is_ours(row["model"])) for row in headline_rows(metrics)]
    bars.sort(key=lambda bar: (-bar.value, bar.name))
    best = bars[0]
    picture = charts.interval_bars(
        bars, "NDCG@10, test split, seen items masked", f"NDCG@10 by model with intervals. Best: {best.name}, {decimals(best.value)}."
    )
    chart = Figure(picture, "NDCG@10 on the test split, seen items masked", "Whiskers are 95 % bootstrap intervals over users.")
    tables = {(split, masked): _table(metrics, split, masked) for split in ("test", "valid") for masked in (True, False)}
    # Splits that nobody foresaw are shown too, never dropped.
    for row in metrics:
        tables.setdefault((row["split"], row["masked"]), _table(metrics, row["split"], row["masked"]))
    primary = [table for key, table in tables.items() if key == ("test", True) and table is not None]
    others = [table for key, table in tables.items() if key != ("test", True) and table is not None]
    comparison, comparisons = _comparisons(inputs)
    return ResultsSection(chart, primary, others, comparison, comparisons)


def _table(metrics: Rows, split: str, masked: bool) -> Table | None:
    rows = [row for row in metrics if row["split"] == split and row["masked"] == masked]
    if not rows:
        return None
    names = list(dict.fromkeys(row["metric"] for row in rows))
    values = {(row["model"], row["metric"]): row for row in rows}
    order = {row["model"]: -row["value"] for row in rows if row["metric"] == "ndcg_at_10"}
    models = sorted(dict.fromkeys(row["model"] for row in rows), key=lambda model: (order.get(model, 1.0), model))
    best = set()
    for column, name in enumerate(names, start=1):
        found = [values[model, name]["value"] for model in models if (model, name) in values]
        if name.startswith(HIGHER_IS_BETTER) and len(found) > 1:
            top = decimals(max(found))
            best |= {
                (place, column)
                for place, model in enumerate(models)
                if (model, name) in values and decimals(values[model, name]["value"]) == top
            }
    split_name = {"test": "Test", "valid": "Validation"}.get(split, split)
    return Table(
        f"{split_name} split, seen items {'masked' if masked else 'not masked'}",
        ["Model", *(metric_name(name) for name in names)],
        [[model, *(_cell(values.get((model, name))) for name in names)] for model in models],
        marked=frozenset(place for place, model in enumerate(models) if is_ours(model)),
        best=frozenset(best),
        hints={column: hint for column, name in enumerate(names, start=1) for start, hint in HINTS.items() if name.startswith(start)},
    )


def _cell(row: dict[str, Any] | None) -> Markup:
    if row is None or row["value"] is None:
        return Markup("–")
    value = data(row["value"], decimals(row["value"]))
    if row["low"] is None or row["high"] is None:
        return value
    interval = Markup("{}–{}").format(data(row["low"], decimals(row["low"])), data(row["high"], decimals(row["high"])))
    return Markup('{}<span class="interval">{}</span>').format(value, interval)


def _comparisons(inputs: Inputs) -> tuple[Figure | None, list[Table]]:
    """Paired comparisons, where evaluation made them: ours minus each other model, seen items masked."""
    rows = inputs.rows("evaluate", "comparisons.parquet")
    if not rows:
        return None, []
    names = dict.fromkeys(_first(row, "metric") for row in rows)
    headline = [row for row in rows if _first(row, "metric") in ("ndcg_at_10", None) and row.get("masked", True)]
    bars = [charts.Bar(str(_first(row, *OTHER)), row["difference"], row["low"], row["high"], True) for row in headline]
    figure = None
    if bars:
        picture = charts.differences(
            bars, f"{OURS} minus the other model, NDCG@10", "Differences in NDCG@10 with intervals; right of zero is better."
        )
        figure = Figure(
            picture,
            f"{OURS} against each other model",
            "Differences user by user; right of zero, ours is better. Whiskers are 95 % intervals.",
        )
    tables = []
    for name in names:
        mine = [row for row in rows if _first(row, "metric") == name]
        cells = [
            [
                str(_first(row, *OTHER)) + ("" if row.get("masked", True) else ", seen items not masked"),
                data(row["difference"], signed(row["difference"])),
                Markup("{} to {}").format(data(row["low"], signed(row["low"])), data(row["high"], signed(row["high"]))),
                *(_p(_first(row, *keys)) for keys in (RAW_P, HOLM_P)),
            ]
            for row in mine
        ]
        head = ["Against", "Difference", "95 % interval", "p", "p (Holm)"]
        tables.append(Table(f"Paired comparisons, {metric_name(str(name or 'ndcg_at_10'))}, test split", head, cells))
    return figure, tables


def _first(row: dict[str, Any], *keys: str) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _p(value: float | None) -> Markup | str:
    return "–" if value is None else data(value, p_value(value))
