"""A leaderboard as Markdown: per split a table of our own runs, and one that holds published numbers too."""

from collections.abc import Sequence
from dataclasses import dataclass

from bbqrec_core.baselines.with_prior import AND_CONTENT
from bbqrec_core.leaderboard.published import Published
from bbqrec_core.leaderboard.standings import Standing, Value, most_seeds
from bbqrec_core.refitted import NOTE, is_refitted

UNKNOWN = "-"
REPETITION = (
    "Without prior, BBQRec still knows what repetition is worth, as every model with a prior does. SASRec and the kNN by themselves do "
    "not, and lose by it where seen items are not masked."
)

CONTENT = f'Where, by validation, content similarity was not to have a say, what is named "...{AND_CONTENT}" is the model without it.'


@dataclass(frozen=True)
class Chapter:
    """A split's results.

    Attributes:
        title: What it is called.
        profile: The profile that reads it.
        seeds: Of the runs.
        users, items: How many users are ranked for, how many items are ranked.
        standings: Of our own runs, the best first.
        published: Rows of the same split.
        note: What a reader of the tables should know; empty = nothing.
        heads: Where there are variants: what they are worth without prior and content similarity.
    """

    title: str
    profile: str
    seeds: Sequence[int]
    users: int
    items: int
    standings: Sequence[Standing]
    published: Sequence[Published]
    note: str = ""
    heads: Sequence[Standing] = ()


def page(title: str, command: str, chapters: Sequence[Chapter], picture: str) -> str:
    """The whole page.

    Args:
        title: Its heading.
        command: What makes it.
        chapters: One per split.
        picture: File name of the picture beside the page.
    """
    offered = any(standing.model.endswith(AND_CONTENT) for chapter in chapters for standing in chapter.standings)
    content = f" {CONTENT}" if offered else ""
    parts = [
        f"# {title}",
        "",
        f"Made by `{command}`; do not edit. The whole catalogue is ranked for every test user; ties count by expectation. Means over seeds "
        "are shown, ± their standard deviation; brackets hold 95 % bootstrap intervals over users. Differences are to BBQRec in NDCG@10 "
        "with seen items masked, p is of a paired permutation test over users after Holm's correction over the models of a table. "
        f"{NOTE} {REPETITION}{content}",
        "",
        f"![NDCG@10 by split]({picture})",
    ]
    for chapter in chapters:
        seeds = f"seed{'s' if len(chapter.seeds) > 1 else ''} {', '.join(map(str, chapter.seeds))}"
        facts = f"Profile `{chapter.profile}`, {seeds}: {chapter.users:,} test users, {chapter.items:,} items."
        parts += ["", f"## {chapter.title}", "", f"{facts} {chapter.note}".rstrip(), ""]
        parts += own_table(chapter.standings)
        if chapter.heads:
            parts += ["", "The heads alone, each without prior and content similarity; differences are to BBQRec's:", ""]
            parts += own_table(chapter.heads)
        if chapter.published:
            parts += ["", "Seen items not masked, as most papers have it, beside published results of the same split:", ""]
            parts += published_table(chapter.standings, [row for row in chapter.published if not row.masked])
            if masked := [row for row in chapter.published if row.masked]:
                parts += ["", "Published with seen items masked:", ""]
                parts += published_table([], masked)
    return "\n".join(parts) + "\n"


def own_table(standings: Sequence[Standing]) -> list[str]:
    """Our own runs, seen items masked."""
    most = most_seeds(standings)
    lines = [
        "| model, seen items masked | NDCG@10 | Recall@10 | difference | p |",
        "| --- | --- | --- | --- | --- |",
    ]
    for standing in standings:
        difference = UNKNOWN if standing.difference is None else f"{standing.difference + 0.0:+.4f}"
        p = UNKNOWN if standing.p is None else f"{standing.p:.4f}"
        cells = [_name(standing, most), _value(standing.values[True, "ndcg"]), _value(standing.values[True, "recall"]), difference, p]
        lines.append(_row(cells))
    return lines


def published_table(standings: Sequence[Standing], published: Sequence[Published]) -> list[str]:
    """Our own runs, seen items not masked, among published rows; the best NDCG@10 first, rows without one last."""
    most = most_seeds(standings)
    rows = [
        (
            standing.values[False, "ndcg"].mean,
            [_name(standing, most), *(f"{standing.values[False, key].mean:.4f}" for key in ("ndcg", "recall")), "ours"],
        )
        for standing in standings
        if not is_refitted(standing.model)  # as no published model is
    ]
    rows += [
        (row.ndcg if row.ndcg is not None else -1.0, [_escape(row.model), _number(row.ndcg), _number(row.recall), _escape(row.source)])
        for row in published
    ]
    rows.sort(key=lambda row: -row[0])
    return ["| model | NDCG@10 | Recall@10 | source |", "| --- | --- | --- | --- |", *(_row(cells) for _, cells in rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _name(standing: Standing, most: int) -> str:
    """The model, and of how many seeds it is where not all of them have it."""
    seeds = "" if standing.seeds == most else f", {standing.seeds} of {most} seeds"
    return f"**{_escape(standing.model)}**{seeds}" if standing.ours else f"{_escape(standing.model)}{seeds}"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4f}"


def _value(value: Value) -> str:
    spread = "" if value.between_seeds is None else f" ± {value.between_seeds:.4f}"
    return f"{value.mean:.4f}{spread} [{value.low:.4f}, {value.high:.4f}]"
