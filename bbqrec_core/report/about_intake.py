"""What was read, what became of every line of it, and what cleaning did to what is known of items."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bbqrec_core.report import data_charts
from bbqrec_core.report.naming import count, readable, share, without_folder
from bbqrec_core.report.reading import Inputs
from bbqrec_core.report.tables import Cell, Figure, Table, keyed

FEW_FILES = 20
"""More are folded away."""
MOST_FILES = 300
"""More are not listed."""
MANY_ROUNDS = 12
"""More are folded away."""
PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Files:
    """The files that were read.

    Attributes:
        shown: At once: all of them if they are few, else those of which only a part was used.
        folded: All of them, if they are many.
        summary: Says what is folded.
    """

    shown: Table | None
    folded: Table | None
    summary: str


@dataclass(frozen=True)
class Core:
    """The k-core's rounds."""

    picture: Figure
    table: Table
    is_long: bool


@dataclass(frozen=True)
class Intake:
    """What the report shows of reading.

    Attributes:
        partial: What a reader must know of a file that was not read to its end; empty if all were.
        files: None where they were not recorded.
        accounting: A bar of what became of the lines.
        equation: The same as a sum.
        rejects: By reason; None without any.
        core: None where its rounds were not recorded.
        cleaning: What was done to items; None where that was not recorded, or nothing was.
    """

    partial: str
    files: Files | None
    accounting: Figure | None
    equation: Markup
    rejects: Table | None
    core: Core | None
    cleaning: Table | None


def build_intake(inputs: Inputs, kept: int) -> Intake:
    """Prepare what is shown of reading.

    Args:
        inputs: The artifacts.
        kept: Interactions that are left.
    """
    statistics = inputs.statistics("ingest")
    accounting, equation = _accounting(statistics, kept)
    return Intake(
        partial_notice(statistics),
        _files(inputs),
        accounting,
        equation,
        _rejects(inputs),
        _core(inputs),
        _cleaning(inputs, statistics.get("metadata_items")),
    )


def partial_notice(statistics: dict[str, Any]) -> str:
    """What must be said beside any number of a partial data set; empty for a whole one."""
    if not statistics.get("partial"):
        return ""
    return f"{statistics.get('damage') or 'A file was not read to its end'}. Everything in this report is said of that part alone."


def _files(inputs: Inputs) -> Files | None:
    rows = inputs.rows("ingest", "files.parquet")
    if not rows:
        return None
    damaged = [row for row in rows if row["damage"]]
    if len(rows) <= FEW_FILES:
        return Files(_file_table("Files", rows), None, "")
    summary = f"{count(len(rows))} files read" + (f", {count(len(damaged))} of them only in part" if damaged else "")
    shown = _file_table("Files of which only a part was used", damaged) if damaged else None
    return Files(shown, _file_table(summary, rows), summary)


def _file_table(caption: str, rows: list[dict[str, Any]]) -> Table:
    listed = rows[:MOST_FILES]
    with_folded = any(row["folded"] for row in rows)
    with_damage = any(row["damage"] for row in rows)
    head = ["File", "Holds", "Format", "Lines", "Rejected", *["Variants folded"] * with_folded, *["Damage"] * with_damage]
    cells = [
        [
            without_folder(row["file"] or "–"),
            row["content"] or "–",
            row["format"] or "–",
            count(row["lines"]),
            count(row["rejected"]),
            *[count(row["folded"])] * with_folded,
            *[_damage(row)] * with_damage,
        ]
        for row in listed
    ]
    if len(rows) > len(listed):
        cells.append([f"and {count(len(rows) - len(listed))} more", *[""] * (len(head) - 1)])
    words = frozenset({1, 2, len(head) - 1} if with_damage else {1, 2})
    return Table(caption, head, cells, words, warned=frozenset(place for place, row in enumerate(listed) if row["damage"]))


def _damage(row: dict[str, Any]) -> str | Markup:
    """A file's damage; its name, which the row says already, is left out."""
    if not row["damage"]:
        return "none"
    what = row["damage"].removeprefix(f"{row['file']} ")
    return Markup("<strong>Partial.</strong> {}").format(what[:1].upper() + what[1:])


def _accounting(statistics: dict[str, Any], kept: int) -> tuple[Figure | None, Markup]:
    read = statistics.get("lines_read")
    names = ("duplicates", "filtered", "lines_rejected")
    if read is None or any(statistics.get(name) is None for name in names):
        return None, Markup("")
    duplicates, filtered, rejected = (int(statistics[name]) for name in names)
    rated = int(statistics.get("filtered_by_rating") or 0)
    parts = [
        ("kept", kept, "kept"),
        *([("rated too low", rated, "rated")] if rated else []),
        ("filtered by the k-core", filtered - rated, "filtered"),
        ("duplicates", duplicates, "duplicates"),
        ("rejected", rejected, "rejected"),
    ]
    plain = " + ".join(f"{count(number)} {name}" for name, number, _ in parts)
    sum_of = Markup(" + ").join(keyed(css, f"{count(number)} {name}") for name, number, css in parts)
    equation = Markup("{} lines read = {}").format(count(read), sum_of)
    apart = int(read) - kept - duplicates - filtered - rejected
    if apart:
        equation += f". Not accounted for: {count(apart)}"
    picture = data_charts.stacked_bar(parts, f"What became of {count(read)} lines read: {plain}.")
    return Figure(picture, "What became of every line of interactions"), equation


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
    return f"{folder}/…" if folder and name.lower().endswith(PICTURES) else without_folder(file)


def core_rounds(inputs: Inputs) -> tuple[list[str], dict[str, list[int]]]:
    """The k-core's rounds: their names, and what each left of interactions, users and items; both empty where they were not recorded."""
    rows = inputs.rows("ingest", "kcore_rounds.parquet") or []
    left = {name: [int(row[name]) for row in rows] for name in ("interactions", "users", "items")} if rows else {}
    return ["before" if row["round"] == 0 else str(row["round"]) for row in rows], left


def shares_of_the_beginning(numbers: list[int]) -> list[float]:
    """Each number as a share of the first; of nothing, all is left."""
    return [number / numbers[0] if numbers[0] else 1.0 for number in numbers]


def _core(inputs: Inputs) -> Core | None:
    names, left = core_rounds(inputs)
    if not names:
        return None
    shares = {name: shares_of_the_beginning(numbers) for name, numbers in left.items()}
    description = f"Shares left by {len(names) - 1} rounds of the k-core: " + ", ".join(
        f"{name} {share(values[-1])}" for name, values in shares.items()
    )
    colours = ("other0", "other1", "other3")
    picture = data_charts.shares_left(
        [(name, values, css) for (name, values), css in zip(shares.items(), colours, strict=True)], names, "round", f"{description}."
    )
    rows = [
        [name if name == "before" else f"round {name}", *(count(numbers[place]) for numbers in left.values())]
        for place, name in enumerate(names)
    ]
    table = Table("Left after each round", ["", "Interactions", "Users", "Items"], rows)
    return Core(Figure(picture, "What each round of the k-core left"), table, len(names) > MANY_ROUNDS)


FIELDS = ("title", "brand", "categories", "description", "price")
RULES = {
    "tags": "HTML tags removed",
    "blocks": "Scripts, style sheets and comments removed",
    "entities": "HTML entities decoded",
    "control": "Control characters removed",
    "whitespace": "White space made single",
    "script": "Code of a page instead of text: left out",
    "prefix": "Words before the name removed, such as “by” or “Visit the … Store”",
    "suffix": "Words behind the name removed, such as “(Author)” or “Format: …”",
    "placeholder": "A placeholder such as “Unknown”: left out",
    "debris": "Debris of a page: left out",
    "repeats": "Repeated steps of the path removed",
    "number": "Read as a number",
    "range": "A range, not one price: left out",
    "currency": "In another currency: left out",
    "empty": "None given",
}
"""What the rules of cleaning are called for people."""


def _cleaning(inputs: Inputs, metadata_items: int | None) -> Table | None:
    rows = [row for row in inputs.rows("ingest", "cleaning.parquet") or [] if row["items"]]
    if not rows:
        return None
    rows.sort(key=lambda row: (_order(row["field"]), -row["items"], str(row["rule"])))
    cells: list[list[Cell]] = []
    named = ""
    for row in rows:
        field = readable(row["field"] or "–")
        shown: Cell = field if field != named else Markup('<span class="again">{}</span>').format(field)
        cells.append([shown, RULES.get(row["rule"]) or readable(row["rule"] or "–"), count(row["items"])])
        if metadata_items:
            cells[-1].append(share(min(1.0, row["items"] / metadata_items)))
        named = field
    head = ["Field", "What was done or found", "Items", *["Share"] * bool(metadata_items)]
    return Table("What cleaning did to the metadata", head, cells, frozenset({1}))


def _order(field: str | None) -> tuple[int, str]:
    return (FIELDS.index(field), "") if field in FIELDS else (len(FIELDS), str(field))
