"""How the codebooks are used, how healthy the codes are, what became of collisions."""

from dataclasses import dataclass
from typing import Any

from bbqrec_core import schema
from bbqrec_core.report import charts
from bbqrec_core.report.naming import count, quantity, readable, share
from bbqrec_core.report.reading import Inputs, Rows
from bbqrec_core.report.tables import Fact, Figure, Table

SOURCES = (schema.FUSED, *schema.MODALITIES)


@dataclass(frozen=True)
class UsageRow:
    """One source's levels side by side."""

    source: str
    panels: list[Figure]


@dataclass(frozen=True)
class CodeSection:
    """What the section on codebooks shows."""

    facts: list[Fact]
    usage: list[UsageRow]
    whole: Table | None
    levels: list[Table]


def items_per_code(rows: Rows) -> dict[tuple[str, int], list[int]]:
    """Items on each code, by (source, level), in the order of sources, levels and codes; codes that the table leaves out are zeros."""
    counts: dict[tuple[str, int], dict[int, int]] = {}
    for row in rows:
        counts.setdefault((row["source"], row["level"]), {})[row["code"]] = row["items"]
    ordered = sorted(counts, key=lambda key: (_place(key[0]), key))
    return {key: [counts[key].get(code, 0) for code in range(max(counts[key]) + 1)] for key in ordered}


def build_codes(inputs: Inputs) -> CodeSection:
    """Prepare the section on codebooks."""
    usage: dict[str, list[Figure]] = {}
    for (source, level), items in items_per_code(inputs.rows("quantize", "usage.parquet") or []).items():
        used = sum(1 for number in items if number)
        words = f"{count(used)} of {count(len(items))} codes used"
        picture = charts.usage_panel(
            items, source == schema.FUSED, f"Items per code, most used first: source {source}, level {level}; {words}."
        )
        usage.setdefault(source, []).append(Figure(picture, f"Level {level}", words))
    health = inputs.rows("quantize", "codebook_health.parquet") or []
    return CodeSection(
        _facts(inputs.statistics("quantize")),
        [UsageRow(source, panels) for source, panels in usage.items()],
        _whole_ids(health),
        _by_level(health),
    )


def _facts(statistics: dict[str, Any]) -> list[Fact]:
    facts = []
    if statistics.get("distinct_ids") is not None:
        facts.append(Fact(count(statistics["distinct_ids"]), "distinct semantic IDs", f"for {count(statistics.get('items'))} items"))
    before, after = statistics.get("collision_share_before"), statistics.get("collision_share")
    if after is not None:
        note = "" if before is None else f"{share(before)} before repair"
        facts.append(Fact(share(after), "of items share their ID", note))
    if statistics.get("items_moved_by_repair") is not None:
        facts.append(Fact(count(statistics["items_moved_by_repair"]), "items moved by the repair"))
    if statistics.get("churn_share") is not None:
        facts.append(Fact(share(statistics["churn_share"]), "of known items have another ID than before", _start(statistics)))
    if statistics.get("codebook_sizes") is not None:
        facts.append(Fact(str(statistics["codebook_sizes"]).replace(",", " · "), "codes per level"))
    return facts


def _start(statistics: dict[str, Any]) -> str:
    """What training started from, and how many items had an ID."""
    why = statistics.get("warm_start_refused")
    return (
        f"{count(statistics.get('known_items'))} items had an ID; {f'trained from scratch: {why}' if why else 'training went on from it'}"
    )


def _whole_ids(health: Rows) -> Table | None:
    """Figures of whole IDs (level 0): one row per name, one column per source."""
    values = {(row["name"], row["source"]): row["value"] for row in health if row["level"] == 0}
    if not values:
        return None
    sources = [source for source in _sources(health) if any(key[1] == source for key in values)]
    names = list(dict.fromkeys(name for name, _ in values))
    rows = [[readable(name), *(quantity(values.get((name, source)), name) for source in sources)] for name in names]
    return Table("Health of whole IDs", ["", *sources], rows)


def _by_level(health: Rows) -> list[Table]:
    """Figures by level: a table per source, one row per name, one column per level."""
    tables = []
    for source in _sources(health):
        values = {(row["name"], row["level"]): row["value"] for row in health if row["source"] == source and row["level"] > 0}
        if not values:
            continue
        levels = sorted({level for _, level in values})
        names = list(dict.fromkeys(name for name, _ in values))
        rows = [[readable(name), *(quantity(values.get((name, level)), name) for level in levels)] for name in names]
        tables.append(Table(f"Health by level: {source}", ["", *(f"level {level}" for level in levels)], rows))
    return tables


def _sources(health: Rows) -> list[str]:
    return sorted({row["source"] for row in health}, key=lambda source: (_place(source), source))


def _place(source: str) -> int:
    return SOURCES.index(source) if source in SOURCES else len(SOURCES)
