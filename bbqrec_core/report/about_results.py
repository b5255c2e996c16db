"""Metrics beside baselines: tables of every split and masking, the headline chart, paired comparisons."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bbqrec_core.report import charts
from bbqrec_core.report.naming import OURS, data, decimals, is_ours, metric_name, p_value, signed
from bbqrec_core.report.reading import Inputs, Rows
from bbqrec_core.report.tables import Figure, Table
from bbqrec_core.report.verdict import HEADLINE, headline_rows

HINTS = {
    "ndcg": "hits among the first K, counting more the higher they are",
    "recall": "share of users whose target is among the first K",
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
    names = sorted(dict.fromkeys(row["metric"] for row in rows), key=_metric_order)
    values = {(row["model"], row["metric"]): row for row in rows}
    order = {row["model"]: -row["value"] for row in rows if row["metric"] == HEADLINE}
    models = sorted(dict.fromkeys(row["model"] for row in rows), key=lambda model: (order.get(model, 1.0), model))
    best = set()
    for place, name in enumerate(names):
        shown = [decimals(values[model, name]["value"]) if (model, name) in values else "" for model in models]
        if name.startswith(HIGHER_IS_BETTER) and len(models) > 1:
            top = decimals(max(values[model, name]["value"] for model in models if (model, name) in values))
            best |= {(place, column) for column, value in enumerate(shown, start=1) if value == top}
    split_name = {"test": "Test", "valid": "Validation"}.get(split, split)
    return Table(
        f"{split_name} split, seen items {'masked' if masked else 'not masked'}",
        ["", *models],
        [[_metric_cell(name), *(_cell(values.get((model, name))) for model in models)] for name in names],
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
    headline = [row for row in rows if _first(row, "metric") in (HEADLINE, None) and row.get("masked", True)]
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
        tables.append(Table(f"Paired comparisons, {metric_name(str(name or HEADLINE))}, test split", head, cells))
    return figure, tables


def _first(row: dict[str, Any], *keys: str) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _p(value: float | None) -> Markup | str:
    return "–" if value is None else data(value, p_value(value))
