"""How the codebooks are used, how healthy the codes are, what became of collisions."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bbqrec_core import schema
from bbqrec_core.quantization.health import prefix_groups
from bbqrec_core.report import charts, code_charts
from bbqrec_core.report.naming import count, quantity, readable, share
from bbqrec_core.report.reading import Inputs, Rows
from bbqrec_core.report.tables import Fact, Figure, Table

SOURCES = (schema.FUSED, *schema.MODALITIES)
BUCKETS = ((1, 1, "alone"), (2, 2, "2"), (3, 5, "3 to 5"), (6, 10, "6 to 10"), (11, None, "more than 10"))
"""Fewest and most items that share a prefix."""


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
    tree: Figure | None
    company: Table | None
    behaviour: Figure | None
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
    levels = _prefixes(inputs)
    return CodeSection(
        _facts(inputs.statistics("quantize")),
        [UsageRow(source, panels) for source, panels in usage.items()],
        _tree(levels),
        _company(levels),
        _behaviour(health),
        _whole_ids(health),
        _by_level(health),
    )


def prefix_sizes(codes: np.ndarray) -> list[list[int]]:
    """Items of each prefix, by level, in an order of the items in which prefixes stay together, the largest first among siblings.

    Args:
        codes: int64 [n, L].

    Returns:
        Per level the sizes of its prefixes; each list sums to n.
    """
    keys = []
    for level in range(1, codes.shape[1] + 1):
        group = prefix_groups(codes, level)
        keys += [-np.bincount(group)[group], codes[:, level - 1]]
    ordered = codes[np.lexsort(keys[::-1])] if keys else codes
    begins = np.logical_or.accumulate(ordered[1:] != ordered[:-1], axis=1)
    return [np.diff(np.concatenate([[0], np.flatnonzero(new) + 1, [len(ordered)]])).tolist() for new in begins.T]


def _prefixes(inputs: Inputs) -> list[list[int]]:
    ids = inputs.table("quantize", "semantic_ids.parquet", [schema.FUSED])
    if ids is None or not len(ids):
        return []
    return prefix_sizes(ids[schema.FUSED].combine_chunks().flatten().to_numpy().reshape(len(ids), -1).astype(np.int64))


def _tree(levels: list[list[int]]) -> Figure | None:
    if not levels:
        return None
    words = ", ".join(f"level {level}: {count(len(sizes))}" for level, sizes in enumerate(levels, start=1))
    return Figure(code_charts.prefix_tree(levels, f"Prefixes of the semantic IDs, as wide as they have items; {words}."), "Prefix tree", "")


def _company(levels: list[list[int]]) -> Table | None:
    """How many items share their prefix with how many."""
    rows = []
    for level, sizes in enumerate(levels, start=1):
        items = sum(sizes)
        held = [sum(size for size in sizes if low <= size and (high is None or size <= high)) for low, high, _ in BUCKETS]
        rows.append([f"level {level}", *(share(part / items) for part in held), count(max(sizes))])
    heads = ["", *(name if name == "alone" else f"{name} items" for _, _, name in BUCKETS), "largest"]
    return Table("Share of the items that share their prefix with so many, themselves included", heads, rows) if rows else None


def _behaviour(health: Rows) -> Figure | None:
    """behaviour-LCP with its interval."""
    value = {row["name"].removeprefix("behaviour_lcp_"): row["value"] for row in health if row["name"].startswith("behaviour_lcp_")}
    if not {"mean", "random", "difference", "difference_low", "difference_high", "pairs"} <= value.keys():
        return None
    bar = charts.Bar("bought by one user", value["difference"], value["difference_low"], value["difference_high"], ours=True)
    picture = charts.differences(
        [bar], "levels more in common than random pairs, 95 % interval over users", "Behaviour in common prefixes."
    )
    note = f"{value['mean']:.3f} levels in common, random pairs {value['random']:.3f}; {count(value['pairs'])} pairs"
    return Figure(picture, "Behaviour-LCP", note)


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
