"""A table as the templates print it."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

Cell = str | Markup


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: Says what it shows; the page prints it above.
        head: Names of the columns; the first names the rows.
        rows: Cells, the first of each row being its name.
        words: Columns (by place) that hold words rather than numbers; the first always does.
        marked: Columns (by place) of the project's own model.
        best: Cells (row, column) with the best value of their row.
        warned: Rows (by place) that a reader must not overlook.
    """

    caption: str
    head: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    words: frozenset[int] = frozenset()
    marked: frozenset[int] = frozenset()
    best: frozenset[tuple[int, int]] = frozenset()
    warned: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Figure:
    """A picture with its caption and, where it says more, a short note; the note may explain colours."""

    picture: Markup
    caption: str
    note: Cell = ""


@dataclass(frozen=True)
class Fact:
    """A headline number."""

    value: str
    name: str
    note: str = ""


def keyed(css: str, words: str) -> Markup:
    """Words with the colour of a chart's part before them."""
    return Markup('<span class="keyed"><span class="key {}"></span>{}</span>').format(css, words)
