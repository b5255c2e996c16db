"""Training curves of everything that trains, and what the attention learned of similarity."""

from collections.abc import Sequence
from dataclasses import dataclass

from bbqrec_core.baselines.config import TIGER
from bbqrec_core.refitted import is_refitted
from bbqrec_core.report import charts
from bbqrec_core.report.naming import MINUS, OURS, metric_name, readable, share
from bbqrec_core.report.reading import Inputs, Rows
from bbqrec_core.report.svg import Point
from bbqrec_core.report.tables import Figure, Table

SPLITS = ("train", "valid", "test")
VALIDATION = "ndcg_at_10"
BY_CHECKS = (TIGER,)
"""Baselines that are judged every so many training examples, not after each pass."""


@dataclass(frozen=True)
class Curve:
    """One line of a curve table.

    Attributes:
        model: Prefix of the name; empty for the stage's own.
        split: train or valid; empty where the name says neither.
        metric: What is measured.
        points: (epoch, value).
    """

    model: str
    split: str
    metric: str
    points: list[Point]


@dataclass(frozen=True)
class CurveGroup:
    """The curves of one stage."""

    title: str
    note: str
    figures: list[Figure]


@dataclass(frozen=True)
class TrainingSection:
    """What the section on training shows."""

    race: Figure | None
    groups: list[CurveGroup]


def read_curves(rows: Rows) -> list[Curve]:
    """Split a curve table into its lines, in order of appearance."""
    found: dict[str, list[Point]] = {}
    for row in rows:
        if row["value"] is not None and row["value"] == row["value"]:
            found.setdefault(row["name"], []).append((float(row["step"]), row["value"]))
    curves = []
    for name, points in found.items():
        parts = name.split("/")
        split = next((place for place, part in enumerate(parts) if part in SPLITS), None)
        model = "" if split is None else "/".join(parts[:split])
        metric = parts[-1] if split is None else "/".join(parts[split + 1 :])
        curves.append(Curve(model, "" if split is None else parts[split], metric, sorted(points)))
    return curves


def shown_name(kind: str, models: Sequence[str]) -> str:
    """The name under which the tables know a curve's model: `co_occurrence` as "co-occurrence kNN"; the kind itself where none fits."""
    fitting = [model for model in models if _letters(model).startswith(_letters(kind)) and not is_refitted(model)]
    return min(fitting, key=len, default=kind) if kind else OURS


def step_unit(model: str, curves: Sequence[Curve]) -> str:
    """What a step of a model's curves is: a check of what trains by a budget, a trial of what does not train, or an epoch."""
    if model in BY_CHECKS:
        return "check"
    return "epoch" if any(curve.model == model and curve.split != "valid" for curve in curves) else "trial"


def validation_race(own: Sequence[Curve], baselines: Sequence[Curve], models: Sequence[str]) -> dict[str, list[Point]]:
    """Validation NDCG@10 by epoch of everything that trains in epochs, by name, ours first."""
    running = [*own, *(curve for curve in baselines if step_unit(curve.model, baselines) == "epoch")]
    return {shown_name(curve.model, models): curve.points for curve in running if curve.split == "valid" and curve.metric == VALIDATION}


def build_training(inputs: Inputs, models: Sequence[str]) -> TrainingSection | None:
    """Prepare the section on training; None where nothing left a curve.

    Args:
        inputs: Artifacts.
        models: Names of the evaluated models.
    """
    curves = {
        stage: read_curves(inputs.rows(stage, "curve.parquet") or []) for stage in ("train", "refit", "prior", "baselines", "quantize")
    }
    if not any(curves.values()):
        return None
    groups = [
        CurveGroup("Sequence model", "", _panels(curves["train"], "ours", models)),
        CurveGroup(
            "Sequence model, refitted",
            "Train and validation together, as many epochs as validation picked.",
            _panels(curves["refit"], "ours", models),
        ),
        CurveGroup(
            "Prior",
            "Settings tried one after the other; the last are judged by all validation users.",
            _panels(curves["prior"], "other0", models),
        ),
        CurveGroup("Baselines", "", _panels(curves["baselines"], "other0", models)),
        CurveGroup("Quantizer", "Means over an epoch, which is a pass over the fitted items.", _panels(curves["quantize"], "ours", models)),
    ]
    return TrainingSection(_race(curves["train"], curves["baselines"], models), [group for group in groups if group.figures])


def _race(own: Sequence[Curve], baselines: Sequence[Curve], models: Sequence[str]) -> Figure | None:
    race = validation_race(own, baselines, models)
    if len(race) < 2:
        return None
    others = [name for name in race if name != OURS]
    series = [charts.Series(name, race[name], "ours" if name == OURS else f"other{others.index(name) % 4}") for name in race]
    picture = charts.lines(series, "validation NDCG@10", "epoch", "Validation NDCG@10 by epoch of every model that trains.", wide=True)
    note = "An epoch is one pass over the train sequences; models differ in what an epoch costs."
    return Figure(picture, "Validation NDCG@10 while training", note)


def _panels(curves: Sequence[Curve], css: str, models: Sequence[str]) -> list[Figure]:
    """One panel per model and metric, with both splits where both are there."""
    panels: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        panels.setdefault((curve.model, curve.metric), []).append(curve)
    figures = []
    for (model, metric), lines in panels.items():
        what = metric_name(metric)
        caption = f"{shown_name(model, models)}: {what}" if model else what
        if len(lines) == 1 and lines[0].split:
            caption += f", {_split_name(lines[0].split)}"
        series = [charts.Series(line.split or what, line.points, css if place == 0 else "other1") for place, line in enumerate(lines)]
        first, last = lines[0].points[0][1], lines[0].points[-1][1]
        unit = step_unit(model, curves)
        description = f"{caption} by {unit}, from {first:.4g} to {last:.4g}."
        figures.append(Figure(charts.lines(series, "", unit, description, dots=unit == "trial"), caption))
    return figures


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _split_name(split: str) -> str:
    return {"train": "training", "valid": "validation"}.get(split, split)


@dataclass(frozen=True)
class SimilaritySection:
    """What the section on learned similarity weights shows."""

    figures: list[Figure]
    buckets: list[Table]
    all_zero: bool


def build_similarity(inputs: Inputs) -> SimilaritySection | None:
    """Prepare the section on similarity weights; None where attention is not reweighted."""
    rows = inputs.rows("train", "attention_bias.parquet")
    if not rows:
        return None
    largest = max(abs(row["weight"]) for row in rows)
    figures, legends = [], []
    for source in dict.fromkeys(row["source"] for row in rows):
        mine = [row for row in rows if row["source"] == source]
        labels = {row["bucket"]: str(row.get("label") or row["bucket"]) for row in mine}
        buckets = sorted(labels)
        weights = {(row["layer"], row["head"], row["bucket"]): row["weight"] for row in mine}
        heads = sorted({(row["layer"], row["head"]) for row in mine})
        grid: list[tuple[str, list[float | None]]] = [
            (f"layer {layer + 1}, head {head + 1}", [weights.get((layer, head, bucket)) for bucket in buckets]) for layer, head in heads
        ]
        names = [str(bucket + 1) for bucket in buckets]
        description = f"Learned weights of {source} similarity per layer, head and bucket; the largest is {largest:.4g}."
        picture = charts.weight_grid(grid, names, "bucket, from unlike to alike", largest, description)
        pairs = {row["bucket"]: row.get("train_share") for row in mine}
        rows_of_legend = [
            [name, labels[bucket].replace("-", MINUS), share(pairs[bucket])] for name, bucket in zip(names, buckets, strict=True)
        ]
        legends.append(
            Table(f"Buckets of {source} similarity", ["Bucket", "Similarity", "Share of train pairs"], rows_of_legend, frozenset({1}))
        )
        figures.append(Figure(picture, f"{readable(source)} similarity"))
    return SimilaritySection(figures, legends, largest == 0)
