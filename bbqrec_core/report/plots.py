"""The report's main charts as PNG files, for places that show pictures only, such as MLflow.

The page draws its own charts (`charts.py`), which follow the reader's colour scheme; these are for a white background. Both take their
numbers from the same functions. Figures are made without pyplot: no global state, no display.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bbqrec_core import schema
from bbqrec_core.refitted import ranking_key
from bbqrec_core.report.about_codes import items_per_code
from bbqrec_core.report.about_data import PARTS, over_time
from bbqrec_core.report.about_intake import core_rounds, shares_of_the_beginning
from bbqrec_core.report.about_training import Curve, read_curves, shown_name, validation_race
from bbqrec_core.report.naming import MINUS, OURS, decimals, is_ours, metric_name, share
from bbqrec_core.report.reading import Inputs, Rows
from bbqrec_core.report.timeline import Timeline
from bbqrec_core.report.verdict import headline_rows

ACCENT, NEUTRAL, STRONG, WARNING, GRID = "#0b5fb4", "#a7a9ae", "#6f737b", "#d9822b", "#e8e5df"
OTHERS = (STRONG, "#a86a14", "#8a5a83", "#3f7d6e")
SIGNED = LinearSegmentedColormap.from_list("signed", [WARNING, "#ffffff", "#5b9bd5"])
DPI = 120
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": STRONG,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": GRID,
}


def write_plots(inputs: Mapping[str, Path], folder: Path) -> list[Path]:
    """Write every plot that the inputs have the tables for. Same tables, same bytes.

    Args:
        inputs: Directories of artifacts by stage name; those that are missing, or lack a table, cost their plot only.
        folder: Made if it is not there.

    Returns:
        The files written: some of `metrics.png`, `interactions_over_time.png`, `k_core.png`, `codebook_usage.png`, `training_curves.png`,
        `quantizer_curves.png`, `attention.png`.
    """
    read = Inputs(inputs)
    metrics = read.rows("evaluate", "metrics.parquet") or []
    models = list(dict.fromkeys(row["model"] for row in metrics))
    curves = {stage: read_curves(read.rows(stage, "curve.parquet") or []) for stage in ("quantize", "train", "baselines")}
    with rc_context(STYLE):
        figures = {
            "metrics": metrics_figure(metrics),
            "interactions_over_time": _time_figure_of(read),
            "k_core": core_figure(*core_rounds(read)),
            "codebook_usage": usage_figure(read.rows("quantize", "usage.parquet") or []),
            "training_curves": training_figure(curves["train"], curves["baselines"], models),
            "quantizer_curves": panels_figure("Quantizer", curves["quantize"], ACCENT),
            "attention": attention_figure(read.rows("train", "attention_bias.parquet") or []),
        }
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name, figure in figures.items():
            if figure is not None:
                path = folder / f"{name}.png"
                figure.savefig(path, dpi=DPI, metadata={"Software": None})
                written.append(path)
    return written


def metrics_figure(metrics: Rows) -> Figure | None:
    """Test NDCG@10 of every model with its interval, seen items masked; None without any."""
    rows = sorted(headline_rows(metrics), key=lambda row: ranking_key(row["model"], row["value"]), reverse=True)  # the best on top
    if not rows:
        return None
    figure = Figure(figsize=(7.5, 1.3 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.barh(
        [row["model"] for row in rows], [row["value"] for row in rows], color=[ACCENT if is_ours(row["model"]) else NEUTRAL for row in rows]
    )
    for place, row in enumerate(rows):
        end = row["value"]
        if row["low"] is not None and row["high"] is not None:
            axes.plot([row["low"], row["high"]], [place, place], color="#1c1d20", linewidth=1.2, marker="|", markersize=7)
            end = max(end, row["high"])
        axes.annotate(decimals(row["value"]), (end, place), xytext=(6, 0), textcoords="offset points", va="center")
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.grid(axis="x")
    axes.set_xlabel("NDCG@10, test split, seen items masked; 95 % bootstrap intervals over users")
    return figure


def _time_figure_of(read: Inputs) -> Figure | None:
    interactions = read.table("ingest", "interactions.parquet", [schema.TIMESTAMP], optional=["part"])
    return None if interactions is None else time_figure(*over_time(interactions, read.statistics("ingest")))


def time_figure(timeline: Timeline | None, parts: Sequence[str]) -> Figure | None:
    """Interactions over time, stacked by part, with the moments between parts; None without times."""
    if timeline is None:
        return None
    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots()
    places, below = range(len(timeline.steps)), [0] * len(timeline.steps)
    for part, name in enumerate(parts):
        counts = [step.counts[part] for step in timeline.steps]
        axes.bar(places, counts, bottom=below, width=0.9, align="edge", color=(NEUTRAL, STRONG, ACCENT)[part], label=PARTS.get(name, name))
        below = [low + number for low, number in zip(below, counts, strict=True)]
    for cut, dashes in zip(timeline.cuts, ((3, 3), (1, 2)), strict=False):
        label = f"{cut.name} from {cut.date}"
        axes.axvline(cut.place, color="#1c1d20", linestyle=(0, dashes), linewidth=0.9, label=label)
    ticks = [place for place in places if timeline.steps[place].tick]
    axes.set_xticks([place + 0.45 for place in ticks], [timeline.steps[place].tick for place in ticks])
    axes.set_xlim(0, len(timeline.steps))
    axes.set_xlabel(f"{timeline.unit}, UTC")
    axes.set_ylabel("interactions")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.grid(axis="y")
    if len(parts) > 1:
        figure.legend(loc="outside upper right", ncols=len(parts) + len(timeline.cuts), frameon=False)
    return figure


def core_figure(rounds: Sequence[str], left: Mapping[str, list[int]]) -> Figure | None:
    """Interactions, users and items left by each round of the k-core, as shares of the beginning; None without any."""
    if not rounds:
        return None
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    shares = {name: shares_of_the_beginning(numbers) for name, numbers in left.items()}
    for (name, values), colour in zip(shares.items(), (OTHERS[0], OTHERS[1], OTHERS[3]), strict=True):
        axes.plot(range(len(values)), values, color=colour, marker="o", markersize=3.5, linewidth=1.6, label=f"{name} {share(values[-1])}")
    if 0 < min(value for values in shares.values() for value in values) < 0.1:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    every = -(-len(rounds) // 10)
    axes.set_xticks(range(0, len(rounds), every), rounds[::every])
    axes.set_xlabel("round of the k-core")
    axes.set_ylabel("left")
    axes.grid(axis="y")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def usage_figure(usage: Rows) -> Figure | None:
    """Items per code, most used first: a row of panels per source, a column per level; None without any."""
    counts = items_per_code(usage)
    if not counts:
        return None
    sources = list(dict.fromkeys(source for source, _ in counts))
    levels = sorted({level for _, level in counts})
    figure = Figure(figsize=(2.5 * len(levels) + 0.6, 1.75 * len(sources) + 0.4), layout="constrained")
    grid = figure.subplots(len(sources), len(levels), squeeze=False)
    for row, source in enumerate(sources):
        for column, level in enumerate(levels):
            axes, items = grid[row][column], sorted(counts.get((source, level), []), reverse=True)
            if not items:
                axes.set_axis_off()
                continue
            used, total = sum(1 for number in items if number), sum(items) or 1
            axes.fill_between(
                range(len(items) + 1), [*items, items[-1]], step="post", color=ACCENT if source == schema.FUSED else NEUTRAL, linewidth=0
            )
            axes.axhline(total / len(items), color="#1c1d20", linestyle=(0, (3, 3)), linewidth=0.9)
            if used < len(items):
                axes.plot([used, len(items)], [0, 0], color=WARNING, linewidth=3, solid_capstyle="butt", clip_on=False)
            axes.set_title(f"{source}, level {level}")
            axes.set_xlabel(f"{used} of {len(items)} codes used, {share(items[0] / total)} on the top one", fontsize=7.5)
            axes.set_xlim(0, len(items))
            axes.set_ylim(bottom=0)
    for row in range(len(sources)):
        grid[row][0].set_ylabel("items")
    return figure


def attention_figure(weights: Rows) -> Figure | None:
    """Learned weights of quantized similarity: a panel per source, a row per layer and head, a column per bucket; None without any."""
    if not weights:
        return None
    largest = max(abs(row["weight"]) for row in weights) or 1.0
    sources = list(dict.fromkeys(row["source"] for row in weights))
    heads = sorted({(row["layer"], row["head"]) for row in weights})
    figure = Figure(figsize=(4.4 * len(sources) + 0.8, 0.42 * len(heads) + 1.3), layout="constrained")
    for axes, source in zip(figure.subplots(1, len(sources), squeeze=False)[0], sources, strict=True):
        mine = [row for row in weights if row["source"] == source]
        labels = {row["bucket"]: str(row["label"]) for row in mine}
        grid = np.full((len(heads), len(labels)), np.nan)
        for row in mine:
            grid[heads.index((row["layer"], row["head"])), sorted(labels).index(row["bucket"])] = row["weight"]
        axes.imshow(grid, cmap=SIGNED, vmin=-largest, vmax=largest, aspect="auto")
        for (line, column), weight in np.ndenumerate(grid):
            if np.isfinite(weight):
                axes.annotate(f"{weight:+.2f}".replace("-", MINUS), (column, line), ha="center", va="center")
        axes.set_xticks(range(len(labels)), [labels[bucket] for bucket in sorted(labels)])
        axes.set_yticks(range(len(heads)), [f"layer {layer + 1}, head {head + 1}" for layer, head in heads])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(f"Added to attention, by {source} similarity")
    return figure


def training_figure(own: Sequence[Curve], baselines: Sequence[Curve], models: Sequence[str]) -> Figure | None:
    """Validation NDCG@10 of everything that trains, and each one's training loss; None without any."""
    race = validation_race(own, baselines, models)
    losses = {
        shown_name(curve.model, models): curve.points for curve in (*own, *baselines) if curve.split == "train" and curve.metric == "loss"
    }
    if not race and not losses:
        return None
    names = [*dict.fromkeys([*race, *losses])]
    others = [name for name in names if name != OURS]
    colours = {name: ACCENT if name == OURS else OTHERS[others.index(name) % len(OTHERS)] for name in names}
    figure = Figure(figsize=(10, 3.3), layout="constrained")
    for axes, title, lines in zip(figure.subplots(1, 2), ("Validation NDCG@10", "Training loss"), (race, losses), strict=True):
        for name, points in lines.items():
            axes.plot([x for x, _ in points], [y for _, y in points], color=colours[name], linewidth=2 if name == OURS else 1.4, label=name)
        _dress(axes, title)
        if lines:
            axes.legend(frameon=False)
    return figure


def panels_figure(title: str, curves: Sequence[Curve], colour: str) -> Figure | None:
    """A panel per curve; None without any."""
    if not curves:
        return None
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.1 * rows + 0.3), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, curve in zip(panels, curves, strict=False):
        axes.plot([x for x, _ in curve.points], [y for _, y in curve.points], color=colour, linewidth=1.6)
        _dress(axes, metric_name("/".join(part for part in (curve.model, curve.split, curve.metric) if part)))
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    return figure


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.grid(axis="y")
