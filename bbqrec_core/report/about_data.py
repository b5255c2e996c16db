"""What the data is that is left to learn from: how much, when, how long, how popular, how it is divided, what is known of its items.

What was read and what fell away is in `about_intake.py`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from bbqrec_core import schema
from bbqrec_core.report import data_charts
from bbqrec_core.report.about_intake import Intake, build_intake
from bbqrec_core.report.naming import count, date, share
from bbqrec_core.report.reading import Inputs
from bbqrec_core.report.tables import Fact, Figure, Table, keyed
from bbqrec_core.report.timeline import Timeline, count_over_time

MAX_COLUMNS = 30
"""Columns of a histogram."""
HELD_OUT = "held_out"
PARTS = {"train": "train", "valid": "validation", "test": "test"}
"""The split's parts, and what they are called for people."""
QUANTILES = {"Min": 0.0, "10 %": 0.1, "25 %": 0.25, "Median": 0.5, "75 %": 0.75, "90 %": 0.9, "99 %": 0.99, "Max": 1.0}


@dataclass(frozen=True)
class DataSection:
    """What the section on data shows."""

    facts: list[Fact]
    intake: Intake
    timeline: Figure | None
    lengths: Figure
    popularity: Figure
    quantiles: Table | None
    split: Table | None
    split_notes: list[str]
    known: Table | None


def build_data(inputs: Inputs) -> DataSection:
    """Prepare the section on data."""
    columns = [schema.USER_IDX, schema.ITEM_IDX, schema.TIMESTAMP]
    interactions = inputs.required("ingest", "interactions.parquet", columns, optional=["part"])
    items = inputs.required("ingest", "items.parquet", ["train_count"])
    statistics = inputs.statistics("ingest")
    lengths, per_item = (np.unique(interactions[column].to_numpy(), return_counts=True)[1] for column in (schema.USER_IDX, schema.ITEM_IDX))
    return DataSection(
        _facts(interactions, len(items), lengths, statistics),
        build_intake(inputs, len(interactions)),
        _timeline(interactions, statistics),
        _lengths(lengths),
        _popularity(items["train_count"].to_numpy()),
        _quantiles({"Interactions per user": lengths, "Interactions per item": per_item}),
        _split(interactions, statistics),
        _split_notes(statistics),
        _known(statistics, len(items)),
    )


def _facts(interactions: pa.Table, n_items: int, lengths: np.ndarray, statistics: dict[str, Any]) -> list[Fact]:
    facts = [
        Fact(count(len(interactions)), "interactions"),
        Fact(count(len(lengths)), "users", f"median of {count(_quantile(lengths, 0.5))} interactions" if len(lengths) else ""),
        Fact(count(n_items), "items"),
    ]
    if len(lengths) and n_items:
        facts.append(Fact(share(len(interactions) / (len(lengths) * n_items)), "of all user-item pairs seen"))
    if not _has_times(statistics):
        return [*facts, Fact("No times", "order stands in for time")]
    times = pc.min_max(interactions[schema.TIMESTAMP]).as_py()
    if times["min"] is not None:
        facts.append(Fact(f"{date(times['min'])} to {date(times['max'])}", "first and last interaction, UTC"))
    tied = statistics.get("tied_target_share")
    if tied is not None:
        facts.append(Fact(share(tied), "of test targets tie in time with another interaction", "their order is decided by a seeded hash"))
    return facts


def _has_times(statistics: dict[str, Any]) -> bool:
    """Whether timestamps are times, and not just places in a sequence."""
    return statistics.get("has_times") is not False


def over_time(interactions: pa.Table, statistics: dict[str, Any]) -> tuple[Timeline | None, list[str]]:
    """Count interactions over time.

    Args:
        interactions: Columns `timestamp` and `part`; without the latter (artifacts may be older than it) all are one part.
        statistics: Of the stage `ingest`.

    Returns:
        The counts, None where there are no times, and the parts that they are divided into.
    """
    if not _has_times(statistics):
        return None, []
    timed = interactions.filter(pc.is_valid(interactions[schema.TIMESTAMP]))
    names, parts = ["all"], np.zeros(len(timed), np.int64)
    if "part" in timed.column_names:
        names = list(PARTS)
        timed = timed.filter(pc.invert(pc.is_in(timed["part"], value_set=pa.array([HELD_OUT]))))
        parts = pc.fill_null(pc.index_in(timed["part"], value_set=pa.array(names)), 0).to_numpy()
    moments = {PARTS[part]: statistics.get(f"{part}_from") for part in ("valid", "test")}
    return count_over_time(timed[schema.TIMESTAMP].to_numpy(), parts, len(names), moments), names


def _timeline(interactions: pa.Table, statistics: dict[str, Any]) -> Figure | None:
    timeline, names = over_time(interactions, statistics)
    if timeline is None:
        return None
    totals = np.sum([step.counts for step in timeline.steps], axis=0).tolist()
    fullest = max(timeline.steps, key=lambda step: sum(step.counts))
    description = (
        f"Interactions per {timeline.unit}, from {timeline.steps[0].name} to {timeline.steps[-1].name}, UTC. "
        f"Most are in {fullest.name}: {count(sum(fullest.counts))}."
    )
    shown = [(PARTS.get(name, name), name if name in PARTS else "neutral") for name in names]
    if len(names) > 1:
        description += " Of all, " + ", ".join(f"{count(total)} are {name}" for (name, _), total in zip(shown, totals, strict=True)) + "."
    for cut in timeline.cuts:
        description += f" {cut.name.capitalize()} begins {cut.date}."
    picture = data_charts.stacked_columns(
        [data_charts.Column(step.name, step.tick, step.counts) for step in timeline.steps],
        shown,
        f"{timeline.unit}, UTC" if timeline.unit.isalpha() else f"steps of {timeline.unit}, UTC",
        "interactions",
        description,
        [data_charts.Mark(f"{cut.name} from {cut.date}", cut.place) for cut in timeline.cuts],
    )
    legend = Markup(" ").join(keyed(css, f"{name} {count(total)}") for (name, css), total in zip(shown, totals, strict=True))
    return Figure(picture, "When interactions happened", legend if len(names) > 1 else "")


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
    return Figure(data_charts.columns(columns, "interactions of a user", "users", description), "How long users' sequences are")


def _popularity(train_counts: np.ndarray) -> Figure:
    ordered = np.sort(train_counts)[::-1]
    total = max(int(ordered.sum()), 1)
    top = max(1, round(len(ordered) / 10))
    cold = int((ordered == 0).sum())
    note = f"The most popular tenth of the items has {share(int(ordered[:top].sum()) / total)} of the train interactions."
    if cold:
        note += f" {count(cold)} {'item does' if cold == 1 else 'items do'} not occur in train."
    return Figure(data_charts.popularity_curve(ordered.tolist(), f"Popularity curve. {note}"), "How popular items are", note)


def _quantile(numbers: np.ndarray, at: float) -> int:
    """A quantile that is one of the numbers, as the statistics have it."""
    return int(np.quantile(numbers, at, method="inverted_cdf"))


def _quantiles(distributions: dict[str, np.ndarray]) -> Table | None:
    rows = [
        [name, *(count(_quantile(numbers, at)) for at in QUANTILES.values()), f"{numbers.mean():,.1f}"]
        for name, numbers in distributions.items()
        if len(numbers)
    ]
    return Table("Quantiles", ["", *QUANTILES, "Mean"], rows) if rows else None


def _split(interactions: pa.Table, statistics: dict[str, Any]) -> Table | None:
    if statistics.get("train_interactions") is None or "part" not in interactions.column_names:
        return None
    counted = {row["values"]: row["counts"] for row in pc.value_counts(interactions["part"]).to_pylist()}
    rows = [["Train", count(statistics["train_interactions"]), count(statistics.get("train_rows")), "–", "–"]]
    for name in ("valid", "test"):
        users, cold = statistics.get(f"{name}_rows"), statistics.get(f"cold_{name}")
        cold_share = share(cold / users) if users and cold is not None else "–"
        rows.append([PARTS[name].capitalize(), count(counted.get(name, 0)), count(users), count(cold), cold_share])
    if counted.get(HELD_OUT):
        rows.insert(1, ["Held out of train", count(counted[HELD_OUT]), "–", "–", "–"])
    return Table("Parts", ["", "Interactions", "Users", "Cold targets", "Share"], rows)


def _split_notes(statistics: dict[str, Any]) -> list[str]:
    """How the data was divided, and who falls through."""
    if statistics.get("train_interactions") is None:
        return []
    valid_from, test_from = statistics.get("valid_from"), statistics.get("test_from")
    notes = ["Leave-one-out: each user's last interaction is test, the one before it validation."]
    if valid_from is not None and test_from is not None:
        notes = [f"Divided in time, the same for all users: validation begins {date(valid_from)}, test {date(test_from)} (UTC)."]
    notes.append("A user's target is the first item of the part; it is cold if it is not in train at all.")
    only, without = statistics.get("users_train_only"), statistics.get("users_without_history")
    if only:
        notes.append(f"{_users(only)} nothing in test.")
    if without:
        notes.append(f"{_users(without)} interactions in test but none before it, and {_is_are(without)} not evaluated.")
    return notes


def _users(number: int) -> str:
    return f"{count(number)} {'user has' if number == 1 else 'users have'}"


def _is_are(number: int) -> str:
    return "is" if number == 1 else "are"


def _known(statistics: dict[str, Any], n_items: int) -> Table | None:
    """Shares of items of which something is known."""
    known: Sequence[tuple[str, str]] = (
        ("Title", "title_share"),
        ("Any text", "text_share"),
        ("Picture", "image_share"),
        ("Price", "price_share"),
    )
    rows = [
        [name, count(round(statistics[column] * n_items)), share(statistics[column])]
        for name, column in known
        if statistics.get(column) is not None
    ]
    return Table("What is known of items", ["", "Items", "Share"], rows) if rows else None
