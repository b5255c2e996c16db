"""Charts of the section on codebooks as inline SVG, from plain numbers as those of `charts.py`; nothing is read or computed here."""

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from bbqrec_core.report.svg import WIDE, drawing, element, line, number, text

ROW, LEFT, RIGHT, TOP, BOTTOM = 30.0, 58.0, 104.0, 6.0, 24.0
GAP, NARROWEST = 0.6, 1.2
"""Between blocks; and how wide a block is at least: prefixes of few items share one without gaps, coloured as most of its items are."""


def prefix_tree(levels: Sequence[Sequence[int]], description: str) -> Markup:
    """The tree of prefixes: a row per level, in it a block per prefix as wide as it has items, below the block of its parent.

    Args:
        levels: Items of each prefix of so many codes, in one order of the items at every level.
        description: Read out instead of the picture.
    """
    items = sum(levels[0]) if levels else 0
    height = TOP + ROW * len(levels) + BOTTOM
    unit = (WIDE - LEFT - RIGHT) / max(items, 1)
    shapes = []
    for place, sizes in enumerate(levels):
        y = TOP + ROW * place
        boxes: dict[str, list[str]] = {"area ours": [], "area": []}
        for begin, size, prefixes, shared in _blocks(sizes, unit):
            width = max(size * unit - GAP, GAP) if prefixes == 1 else size * unit
            boxes["area ours" if shared else "area"].append(
                f"M{number(LEFT + begin * unit)} {number(y + 2)}h{number(width)}v{number(ROW - 4)}h{number(-width)}z"
            )
        shapes.append(text(LEFT - 9, y + ROW / 2 + 4, f"level {place + 1}", "label", "end"))
        shapes += [element("path", d="".join(drawn), css=css) for css, drawn in boxes.items() if drawn]
        words = "prefix" if len(sizes) == 1 else "prefixes"
        shapes.append(text(WIDE, y + ROW / 2 + 4, f"{len(sizes):,} {words}", "value", "end"))
    shapes.append(line((LEFT, height - BOTTOM), (WIDE - RIGHT, height - BOTTOM), "axis-line"))
    shapes.append(text((LEFT + WIDE - RIGHT) / 2, height - 5, f"{items:,} items", css="axis", anchor="middle"))
    return drawing(WIDE, height, description, *shapes, css="chart broad")


def _blocks(sizes: Sequence[int], unit: float) -> Iterator[tuple[int, int, int, bool]]:
    """(first item, items, prefixes, whether most items share theirs) of what is drawn: narrow neighbours as one block."""
    begin = width = prefixes = shared = 0
    for size in sizes:
        if width and size * unit >= NARROWEST:
            yield begin, width, prefixes, 2 * shared > width
            begin, width, prefixes, shared = begin + width, 0, 0, 0
        width, prefixes, shared = width + size, prefixes + 1, shared + (size if size > 1 else 0)
        if width * unit >= NARROWEST:
            yield begin, width, prefixes, 2 * shared > width
            begin, width, prefixes, shared = begin + width, 0, 0, 0
    if width:
        yield begin, width, prefixes, 2 * shared > width
