"""What the data is and what became of every line of it; what the gates said; which encoders made the features."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from bbqrec_core import schema
from bbqrec_core.report import charts
from bbqrec_core.report.naming import count, date, quantity, readable, share, without_folder
from bbqrec_core.report.reading import Inputs
from bbqrec_core.report.tables import Fact, Figure, Table

MAX_COLUMNS = 30
"""Columns of a histogram."""


@dataclass(frozen=True)
class DataSection:
    """What the section on data shows."""

    facts: list[Fact]
    accounting: Figure | None
    equation: Markup
    rejects: Table | None
    core: Table | None
    lengths: Figure
    popularity: Figure


def build_data(inputs: Inputs) -> DataSection:
    """Prepare the section on data."""
    interactions = inputs.required("ingest", "interactions.parquet", [schema.USER_IDX, schema.TIMESTAMP])
    items = inputs.required("ingest", "items.parquet", ["train_count"])
    statistics = inputs.statistics("ingest")
    lengths = np.unique(interactions[schema.USER_IDX].to_numpy(), return_counts=True)[1]
    accounting, equation = _accounting(statistics, len(interactions))
    return DataSection(
        _facts(interactions, len(items), lengths, statistics),
        accounting,
        equation,
        _rejects(inputs),
        _core(inputs),
        _lengths(lengths),
        _popularity(items["train_count"].to_numpy()),
    )


def _facts(interactions: pa.Table, n_items: int, lengths: np.ndarray, statistics: dict[str, Any]) -> list[Fact]:
    times = interactions[schema.TIMESTAMP].drop_null().to_numpy()
    facts = [
        Fact(count(len(interactions)), "interactions"),
        Fact(count(len(lengths)), "users", f"median of {np.median(lengths):.0f} interactions" if len(lengths) else ""),
        Fact(count(n_items), "items"),
    ]
    if len(lengths) and n_items:
        facts.append(Fact(share(len(interactions) / (len(lengths) * n_items)), "of all user-item pairs seen"))
    if len(times):
        facts.append(Fact(f"{date(int(times.min()))} to {date(int(times.max()))}", "first and last interaction, UTC"))
    tied = statistics.get("tied_target_share")
    if tied is not None:
        facts.append(Fact(share(tied), "of last interactions tie in time", "their order is decided by a seeded hash"))
    return facts


def _accounting(statistics: dict[str, Any], kept: int) -> tuple[Figure | None, Markup]:
    read = statistics.get("lines_read")
    names = ("duplicates", "filtered", "lines_rejected")
    if read is None or any(statistics.get(name) is None for name in names):
        return None, Markup("")
    duplicates, filtered, rejected = (int(statistics[name]) for name in names)
    parts = [
        ("kept", kept, "kept"),
        ("filtered by the k-core", filtered, "filtered"),
        ("duplicates", duplicates, "duplicates"),
        ("rejected", rejected, "rejected"),
    ]
    plain = " + ".join(f"{count(number)} {name}" for name, number, _ in parts)
    sum_of = Markup(" + ").join(Markup('<span class="key {}"></span>{} {}').format(css, count(number), name) for name, number, css in parts)
    equation = Markup("{} lines read = {}").format(count(read), sum_of)
    apart = int(read) - kept - duplicates - filtered - rejected
    if apart:
        equation += f". Not accounted for: {count(apart)}"
    picture = charts.stacked_bar(parts, f"What became of {count(read)} lines read: {plain}.")
    return Figure(picture, "What became of every line of the review file"), equation


def _rejects(inputs: Inputs) -> Table | None:
    table = inputs.table("ingest", "rejects.parquet", ["file", "reason"])
    if table is None or len(table) == 0:
        return None
    pairs = Counter(zip((_place(file) for file in table["file"].to_pylist()), table["reason"].to_pylist(), strict=True))
    rows = [
        [reason or "no reason given", place, count(number)]
        for (place, reason), number in sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    return Table("Rejects by reason", ["Reason", "Where", "Rejects"], rows[:40], frozenset({1}))


def _place(file: str | None) -> str:
    """A reject's file; pictures, one file each, by their folder."""
    if not file:
        return "–"
    folder, _, name = without_folder(file).rpartition("/")
    return (
        f"{folder}/…"
        if folder and name.lower().endswith((".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"))
        else without_folder(file)
    )


def _core(inputs: Inputs) -> Table | None:
    rounds = inputs.rows("ingest", "kcore_rounds.parquet")
    if not rounds:
        return None
    names = ["before" if row["round"] == 0 else f"round {row['round']}" for row in rounds]
    rows = [[name, count(row["interactions"]), count(row["users"]), count(row["items"])] for name, row in zip(names, rounds, strict=True)]
    return Table("What each round of the k-core left", ["", "Interactions", "Users", "Items"], rows)


def _lengths(lengths: np.ndarray) -> Figure:
    counts = Counter(lengths.tolist())
    if not counts:
        counts = Counter({0: 0})
    low, high = min(counts), max(counts)
    # The tail of a long distribution shares the last column.
    last = high if high - low < MAX_COLUMNS else low + MAX_COLUMNS - 1
    columns = [(str(length), counts.get(length, 0)) for length in range(low, last + 1)]
    if last < high:
        columns[-1] = (f"{last}+", sum(number for length, number in counts.items() if length >= last))
    description = f"Histogram of interactions per user, from {low} to {high}."
    return Figure(charts.columns(columns, "interactions of a user", "users", description), "How long users' sequences are")


def _popularity(train_counts: np.ndarray) -> Figure:
    ordered = np.sort(train_counts)[::-1]
    total = max(int(ordered.sum()), 1)
    top = max(1, round(len(ordered) / 10))
    cold = int((ordered == 0).sum())
    note = f"The most popular tenth of the items has {share(int(ordered[:top].sum()) / total)} of the train interactions."
    if cold:
        note += f" {count(cold)} {'item does' if cold == 1 else 'items do'} not occur in train."
    return Figure(charts.popularity_curve(ordered.tolist(), f"Popularity curve. {note}"), "How popular items are", note)


@dataclass(frozen=True)
class GateSection:
    """What the section on gates shows."""

    summary: str
    failed: Table | None
    all_rules: Table


def build_gates(inputs: Inputs) -> GateSection | None:
    """Prepare the section on gates; None where no gate's result is given."""
    gates = inputs.gates()
    if not gates:
        return None
    records = [(stage, record) for stage, found in gates.items() for record in found]
    failed = [(stage, record) for stage, record in records if record.get("outcome") != "passed"]
    passed = len(records) - len(failed)
    summary = f"{passed} of {len(records)} rules passed."
    if failed:
        others = "The other is a warning: it does" if len(failed) == 1 else "The others are warnings: they do"
        summary += f" {others} not stop the pipeline, but whoever reads these numbers should know."
    head = ["Rule", "Stage", "Severity", "Statistic", "Observed", "Demanded", "Outcome"]
    rows = [
        [
            str(record.get("code", "")),
            stage,
            str(record.get("severity", "")),
            readable(str(record.get("column", ""))),
            quantity(record.get("observed"), str(record.get("column", ""))),
            _demand(record.get("low"), record.get("high"), str(record.get("column", ""))),
            str(record.get("outcome", "")),
        ]
        for stage, record in records
    ]
    words = frozenset({1, 2, 3, 6})
    warnings = [
        [*row[:1], *row[3:6], str(record.get("why", ""))]
        for row, (_, record) in zip(rows, records, strict=True)
        if record.get("outcome") != "passed"
    ]
    not_passed = Table(
        "Rules that did not pass", ["Rule", "Statistic", "Observed", "Demanded", "Why it matters"], warnings, frozenset({1, 4})
    )
    return GateSection(summary, not_passed if warnings else None, Table("All rules", head, rows, words))


def _demand(low: float | None, high: float | None, column: str) -> str:
    if low is not None and high is not None:
        return quantity(low, column) if low == high else f"{quantity(low, column)} to {quantity(high, column)}"
    return f"at least {quantity(low, column)}" if low is not None else f"at most {quantity(high, column)}"


@dataclass(frozen=True)
class EmbeddingSection:
    """What the section on embeddings shows."""

    encoders: Table
    demo: list[str]


def demo_modalities(inputs: Inputs) -> list[str]:
    """Modalities that a demo encoder embedded, in order."""
    return [modality for modality, facts in _encoders(inputs).items() if facts.get("is_demo_encoder")]


def demo_notice(modalities: list[str]) -> str:
    """What must be said wherever a demo encoder was used; empty where none was."""
    sentences = []
    if schema.IMAGE in modalities:
        sentences.append("Pictures were embedded by a demo encoder trained on synthetic pictures; no gain from images is claimed.")
    if schema.TEXT in modalities:
        sentences.append("Titles were embedded by a demo encoder trained on synthetic titles; no gain from text is claimed.")
    return " ".join(sentences)


def build_embeddings(inputs: Inputs) -> EmbeddingSection | None:
    """Prepare the section on embeddings; None where no encoder is described."""
    encoders = _encoders(inputs)
    if not encoders:
        return None
    n_items = len(inputs.required("ingest", "items.parquet", [schema.ITEM_IDX]))
    rows = []
    for modality, facts in encoders.items():
        masks = inputs.table("embed", f"{modality}_embedding.parquet", [f"has_{modality}"])
        present = None if masks is None else int(masks[f"has_{modality}"].to_numpy().sum())
        rows.append(
            [
                modality,
                _encoder_name(facts),
                quantity(facts.get("dimensions")),
                "–" if present is None else count(present),
                "–" if present is None else count(n_items - present),
                "–" if present is None or not n_items else share(present / n_items),
                str(facts.get("weights_sha256") or "–")[:12],
            ]
        )
    head = ["Modality", "Encoder", "Dimensions", "Items", "Masked", "Share", "Weights (SHA-256)"]
    return EmbeddingSection(Table("Encoders", head, rows, frozenset({1, 6})), demo_modalities(inputs))


def _encoder_name(facts: dict[str, Any]) -> str:
    name = without_folder(str(facts.get("name", "unknown")))
    return f"{name} (demo encoder)" if facts.get("is_demo_encoder") and "demo encoder" not in name else name


def _encoders(inputs: Inputs) -> dict[str, dict[str, Any]]:
    described = inputs.read_json("embed", "encoders.json") or {}
    return {modality: described[modality] for modality in schema.MODALITIES if isinstance(described.get(modality), dict)}


def all_statistics(inputs: Inputs) -> list[Table]:
    """Every statistic of every stage, as the gates saw them."""
    tables = []
    for stage in inputs.folders:
        statistics = inputs.statistics(stage)
        if statistics and not stage.startswith("gate"):
            rows = [[readable(name), quantity(value, name)] for name, value in statistics.items()]
            tables.append(Table(stage, ["Statistic", "Value"], rows))
    return tables
