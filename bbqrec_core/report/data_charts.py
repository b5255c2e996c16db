"""Charts of the section on data as inline SVG, drawn from plain numbers like those of `charts.py`; nothing is read or computed here."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bbqrec_core.report.charts import Series, spread
from bbqrec_core.report.naming import share
from bbqrec_core.report.svg import (
    WIDE,
    Scale,
    drawing,
    element,
    horizontal_grid,
    line,
    log_ticks,
    path_through,
    text,
    thin_out,
    tick_label,
)


@dataclass(frozen=True)
class Column:
    """A column of stacked counts.

    Attributes:
        name: Shown on hovering.
        tick: Written below it; may be empty.
        counts: From the bottom up.
    """

    name: str
    tick: str
    counts: Sequence[int]


@dataclass(frozen=True)
class Mark:
    """A line across columns: at `place` 2.5 it runs through the middle of the third."""

    name: str
    place: float


def stacked_bar(parts: Sequence[tuple[str, int, str]], description: str) -> Markup:
    """One bar divided into named parts: (name, count, css). Small parts are labelled below, by a legend of their own."""
    total = sum(count for _, count, _ in parts) or 1
    top, thick, x = 6.0, 30.0, 0.0
    shapes: list[Markup] = []
    for name, count, css in parts:
        width = WIDE * count / total
        if width > 0:
            tip = element("title", f"{name}: {count:,} ({share(count / total)})")
            shapes.append(element("rect", tip, x=x, y=top, width=max(width - 1, 0.75), height=thick, css=f"part {css}"))
            if width > 7.5 * (len(name) + len(f"{count:,}")) + 18:
                shapes.append(text(x + 9, top + 19.5, f"{name} {count:,}", css=f"on-{css}"))
        x += width
    return drawing(WIDE, top + thick + 4, description, *shapes, css="chart broad")


def columns(counts: Sequence[tuple[str, int]], x_title: str, y_title: str, description: str) -> Markup:
    """A histogram: one column per (label, count)."""
    every = max(1, -(-len(counts) // 22))
    drawn = [Column(label, "" if place % every else label, [count]) for place, (label, count) in enumerate(counts)]
    return stacked_columns(drawn, [("", "neutral")], x_title, y_title, description)


def stacked_columns(
    drawn: Sequence[Column],
    parts: Sequence[tuple[str, str]],
    x_title: str,
    y_title: str,
    description: str,
    marks: Sequence[Mark] = (),
) -> Markup:
    """Columns side by side without gaps, each of them divided into parts.

    Args:
        drawn: From left to right.
        parts: (name, css) of each count, from the bottom up.
        x_title: What a column is.
        y_title: What is counted.
        description: Read out instead of the picture.
        marks: Lines across, named at their upper end.
    """
    highest = max((sum(column.counts) for column in drawn), default=1) or 1
    left, right, top, bottom = max(52.0, 6.4 * len(tick_label(highest)) + 12), 8.0, 22.0 + 15.0 * len(marks), 42.0
    height = top + 156.0 + bottom
    across, up = Scale(0, max(len(drawn), 1), left, WIDE - right), Scale(0, highest, height - bottom, top)
    shapes = horizontal_grid(up, left, WIDE - right, whole=True)
    width = across(1) - across(0)
    gap = 1.0 if width > 5 else 0.25
    for place, column in enumerate(drawn):
        x, below, stack = across(place), 0, []
        for (_, css), count in zip(parts, column.counts, strict=True):
            if count:
                box = {"y": up(below + count), "height": up(below) - up(below + count)}
                stack.append(element("rect", x=x + gap, width=max(width - 2 * gap, 0.5), **box, css=css))
            below += count
        detail = ", ".join(f"{name} {count:,}" for (name, _), count in zip(parts, column.counts, strict=True) if name and count)
        tip = element("title", f"{column.name}: {below:,}" + (f" ({detail})" if detail and len(parts) > 1 else ""))
        touched = element("rect", x=x, y=top, width=width, height=height - bottom - top, css="touched")
        shapes.append(element("g", tip, *stack, touched))
        if column.tick:
            shapes.append(text(x + width / 2, height - bottom + 15, column.tick, css="tick", anchor="middle"))
    shapes.append(line((left, height - bottom), (WIDE - right, height - bottom), "axis-line"))
    shapes += _marks(marks, [across(mark.place) for mark in marks], height - bottom)
    shapes += [text(left, 11, y_title, css="axis"), text((left + WIDE - right) / 2, height - 6, x_title, css="axis", anchor="middle")]
    return drawing(WIDE, height, description, *shapes, css="chart broad")


def _marks(marks: Sequence[Mark], xs: Sequence[float], bottom: float) -> list[Markup]:
    """Lines from names, each in a row of its own, down to the axis; so ordered that no line runs through the name of another."""
    shapes: list[Markup] = []
    rightwards = sum(xs) < WIDE / 2 * len(xs)
    for place, (mark, x) in enumerate(zip(marks, xs, strict=True)):
        y = 26.0 + 15.0 * (place if rightwards else len(marks) - 1 - place)
        after = rightwards and x + 6.2 * len(mark.name) < WIDE
        shapes.append(line((x, y - 8), (x, bottom), "even"))
        shapes.append(text(x + (5 if after else -5), y, mark.name, css="tick ink-text", anchor="start" if after else "end"))
    return shapes


def popularity_curve(counts: Sequence[int], description: str) -> Markup:
    """Interactions by popularity rank, both axes logarithmic; items that never occur are not drawn.

    Args:
        counts: In descending order.
        description: Read out instead of the picture.
    """
    height, left, right, top, bottom = 220.0, 52.0, 14.0, 22.0, 42.0
    seen = [count for count in counts if count > 0]
    if not seen:
        return Markup("")
    across = Scale(1, max(len(seen), 2), left, WIDE - right, log=True)
    up = Scale(max(1, min(seen[-1], seen[0] / 2)), max(seen[0], 2), height - bottom, top, log=True)
    shapes = []
    for tick in [tick for decade in log_ticks(1, up.high) for tick in (decade, 2 * decade, 5 * decade) if up.low <= tick <= up.high]:
        shapes += [line((left, up(tick)), (WIDE - right, up(tick)), "grid"), text(left - 7, up(tick) + 4, tick_label(tick), "tick", "end")]
    for tick in _decades_and_end(across.high):
        shapes.append(text(across(tick), height - bottom + 15, tick_label(tick), "tick", "middle"))
    # One point wherever the count changes draws the same curve as one point per item.
    places = [
        place
        for place in range(len(seen))
        if place in (0, len(seen) - 1) or seen[place] != seen[place - 1] or seen[place] != seen[place + 1]
    ]
    points = thin_out([(across(place + 1), up(seen[place])) for place in places])
    shapes.append(element("path", d=path_through(points), css="line strong"))
    shapes += [
        text(left, 12, "interactions in train", css="axis"),
        text((left + WIDE - right) / 2, height - 6, "items, most popular first (both axes logarithmic)", css="axis", anchor="middle"),
    ]
    return drawing(WIDE, height, description, *shapes, css="chart broad")


def _decades_and_end(high: float) -> list[float]:
    """Powers of ten up to `high`, and `high` itself unless a power is too near."""
    ticks = log_ticks(1, high)
    return ticks if high / ticks[-1] < 2 else [*ticks, high]


def shares_left(series: Sequence[tuple[str, Sequence[float], str]], steps: Sequence[str], x_title: str, description: str) -> Markup:
    """What is left of several things, step by step, as shares of the beginning; by logarithm where little is left.

    Args:
        series: (name, one share per step, css).
        steps: Names of the steps.
        x_title: What a step is.
        description: Read out instead of the picture.
    """
    labels = [f"{name} {share(values[-1])}" for name, values, _ in series]
    width, height, left, right, top, bottom = 440.0, 230.0, 46.0, 6.6 * max(map(len, labels), default=0) + 16, 24.0, 40.0
    lowest = min(value for _, values, _ in series for value in values)
    steep = 0 < lowest < 0.1
    up = Scale(0.8 * lowest if steep else 0.0, 1.0, height - bottom, top, log=steep)
    across = Scale(0, max(len(steps) - 1, 1), left, width - right)
    shapes = []
    for tick in log_ticks(up.low, 1) if steep else (0.0, 0.25, 0.5, 0.75, 1.0):
        shapes += [
            line((left, up(tick)), (width - right, up(tick)), "grid"),
            text(left - 7, up(tick) + 4, f"{100 * tick:g}%", "tick", "end"),
        ]
    every = -(-len(steps) // 8)
    for place, name in enumerate(steps):
        if place % every == 0:
            shapes.append(text(across(place), height - bottom + 16, name, "tick", "middle" if place else "start"))
    ends: list[tuple[float, Series]] = []
    for (name, values, css), label in zip(series, labels, strict=True):
        points = [(across(place), up(value)) for place, value in enumerate(values)]
        shapes.append(element("path", d=path_through(points), css=f"line {css}"))
        shapes += [
            element("circle", element("title", f"{name}, {step}: {share(value)}"), cx=x, cy=y, r=3.0, css=f"dot {css}")
            for (x, y), value, step in zip(points, values, steps, strict=True)
        ]
        ends.append((points[-1][1], Series(label, list(enumerate(values)), css)))
    for y, entry in spread(ends, 14.0, top, height - bottom):
        shapes.append(text(width - right + 8, y + 4, entry.name, css=f"label text-{entry.css}"))
    shapes += [
        text(0, 11, "left, logarithmic" if steep else "left", css="axis"),
        text((left + width - right) / 2, height - 5, x_title, css="axis", anchor="middle"),
    ]
    return drawing(width, height, description, *shapes, css="chart panel")
