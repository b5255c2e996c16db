"""The report's charts as inline SVG. Each function draws one kind of chart from plain numbers; nothing is read or computed here.

One accent colour (`ours`) stands for the project's model, neutral greys for everything else. Hovering shows exact values. Charts that only
the section on data has are in `data_charts.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bbqrec_core.report.naming import MINUS, decimals, share, signed
from bbqrec_core.report.svg import (
    WIDE,
    Point,
    Scale,
    drawing,
    element,
    horizontal_grid,
    line,
    nice_ticks,
    number,
    path_through,
    text,
    thin_out,
    tick_label,
)

BAR, ABOVE, BELOW = 34.0, 8.0, 40.0
"""Heights in `interval_bars`: of a row, and of what stands above and below all rows."""


@dataclass(frozen=True)
class Series:
    """A line.

    Attributes:
        name: Shown at its end.
        points: (x, y) in order of x.
        css: `ours`, or `other0` to `other3`.
    """

    name: str
    points: Sequence[Point]
    css: str


@dataclass(frozen=True)
class Bar:
    """A value with its interval.

    Attributes:
        name: Shown at its left.
        value, low, high: The interval may be None.
        ours: Whether it is the project's model.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    ours: bool


def usage_panel(items: Sequence[int], ours: bool, description: str) -> Markup:
    """Items on each code of one level, most used first; the dashed line is where even use would be.

    Args:
        items: Items per code of the whole codebook, any order; unused codes are zeros.
        ours: Drawn in the accent colour.
        description: Read out instead of the picture.
    """
    width, height, left, right, top, bottom = 190.0, 104.0, 4.0, 4.0, 14.0, 20.0
    ordered = sorted(items, reverse=True)
    total = sum(ordered) or 1
    across = Scale(0, max(len(ordered), 1), left, width - right)
    up = Scale(0, max(ordered[:1], default=1) or 1, height - bottom, top)
    outline = [(left, up(0))]
    for place, count in enumerate(ordered):
        outline += [(across(place), up(count)), (across(place + 1), up(count))]
    outline.append((width - right, up(0)))
    even = total / max(len(ordered), 1)
    used = sum(1 for count in ordered if count)
    shapes = [
        element("path", d=path_through(outline) + "Z", css="area ours" if ours else "area"),
        line((left, up(even)), (width - right, up(even)), "even"),
        line((left, up(0)), (width - right, up(0)), "axis-line"),
        text(across(0) + 2, 10, f"{share(ordered[0] / total) if ordered else '–'} on the top code", css="tick"),
        text(left, height - 6, "1", css="tick"),
        text(width - right, height - 6, f"{len(ordered)} codes", css="tick", anchor="end"),
    ]
    if used < len(ordered):
        tip = element("title", f"{len(ordered) - used} of {len(ordered)} codes are not used")
        shapes.append(element("rect", tip, x=across(used), y=up(0) - 2, width=width - right - across(used), height=4.0, css="unused"))
    return drawing(width, height, description, *shapes, css="chart panel")


def lines(series: Sequence[Series], y_title: str, x_title: str, description: str, wide: bool = False, dots: bool = False) -> Markup:
    """Lines over steps, or dots where the steps have no order, each named at its end where there are several."""
    width, height = (WIDE, 240.0) if wide else (300.0, 156.0)
    labelled = len(series) > 1
    left, top, bottom = 46.0, 22.0 if y_title else 8.0, 36.0
    right = (max(len(entry.name) for entry in series) * 6.6 + 14) if labelled else 10.0
    xs = [x for entry in series for x, _ in entry.points]
    ys = [y for entry in series for _, y in entry.points]
    low, high = min(ys), max(ys)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    if 0 <= low < (high - low) * 0.6:  # near zero: start there
        low, margin_low = 0.0, 0.0
    else:
        margin_low = margin
    up = Scale(low - margin_low, high + margin, height - bottom, top)
    across = Scale(min(xs), max(xs), left, width - right)
    shapes = horizontal_grid(up, left, width - right, about=6 if wide else 5)
    for tick in nice_ticks(across.low, across.high, 8 if wide else 4):
        if tick == int(tick):
            shapes.append(text(across(tick), height - bottom + 15, tick_label(tick), "tick", "middle"))
    shapes.append(line((left, height - bottom), (width - right, height - bottom), "axis-line"))
    ends: list[tuple[float, Series]] = []
    for entry in sorted(series, key=lambda entry: entry.css == "ours"):  # ours last, on top
        points = [(across(x), up(y)) for x, y in entry.points]
        if len(points) == 1 or dots:
            shapes += [element("circle", cx=x, cy=y, r=2.2 if dots else 3.0, css=f"dot {entry.css}") for x, y in thin_out(points)]
        else:
            shapes.append(element("path", d=path_through(thin_out(points)), css=f"line {entry.css}"))
        ends.append((points[-1][1], entry))
    if labelled:
        for y, entry in spread(ends, 13.0, top, height - bottom):
            x = across(entry.points[-1][0])
            shapes.append(text(x + 6, y + 4, entry.name, css=f"label text-{entry.css}"))
    shapes += [text(left - 40, 12, y_title, css="axis"), text((left + width - right) / 2, height - 4, x_title, css="axis", anchor="middle")]
    return drawing(width, height, description, *shapes, css="chart broad" if wide else "chart panel")


def interval_bars_height(bars: int) -> float:
    """Height of what `interval_bars` draws."""
    return ABOVE + BAR * bars + BELOW


def interval_bars(bars: Sequence[Bar], x_title: str, description: str) -> Markup:
    """Horizontal bars with intervals as whiskers, values written at the right."""
    row, top, bottom = BAR, ABOVE, BELOW
    left = min(max((len(bar.name) for bar in bars), default=4) * 7.4 + 14, 300.0)
    right, height = 62.0, interval_bars_height(len(bars))
    high = max([bar.high if bar.high is not None else bar.value for bar in bars] + [bar.value for bar in bars], default=1.0) or 1.0
    across = Scale(0, high * 1.02, left, WIDE - right)
    shapes = _vertical_grid(across, top, height - bottom)
    for place, bar in enumerate(bars):
        y, css = top + row * place, "ours" if bar.ours else "neutral"
        interval = "" if bar.low is None or bar.high is None else f", 95 % interval {decimals(bar.low)} to {decimals(bar.high)}"
        tip = element("title", f"{bar.name}: {decimals(bar.value)}{interval}")
        shapes.append(element("rect", tip, x=left, y=y + 6, width=across(bar.value) - left, height=row - 12, css=css))
        if bar.low is not None and bar.high is not None:
            shapes += _whisker(across(bar.low), across(bar.high), y + row / 2)
        shapes.append(text(left - 9, y + row / 2 + 4, bar.name, "label strong-text" if bar.ours else "label", "end"))
        shapes.append(text(WIDE, y + row / 2 + 4, decimals(bar.value), "value strong-text" if bar.ours else "value", "end"))
    shapes += [line((left, top), (left, height - bottom), "axis-line")]
    shapes.append(text((left + WIDE - right) / 2, height - 5, x_title, css="axis", anchor="middle"))
    return drawing(WIDE, height, description, *shapes, css="chart broad")


def differences(bars: Sequence[Bar], x_title: str, description: str) -> Markup:
    """Differences as dots with intervals around a line at zero."""
    row, top, bottom = 32.0, 8.0, 40.0
    left = min(max((len(bar.name) for bar in bars), default=4) * 7.4 + 14, 230.0)
    right, height = 70.0, top + row * len(bars) + bottom
    ends = [value for bar in bars for value in (bar.value, bar.low, bar.high, 0.0) if value is not None]
    margin = (max(ends) - min(ends)) * 0.06 or 0.01
    across = Scale(min(ends) - margin, max(ends) + margin, left, WIDE - right)
    shapes = _vertical_grid(across, top, height - bottom, sign=True)
    shapes.append(line((across(0), top), (across(0), height - bottom), "zero"))
    for place, bar in enumerate(bars):
        y = top + row * (place + 0.5)
        if bar.low is not None and bar.high is not None:
            shapes += _whisker(across(bar.low), across(bar.high), y, css="whisker-ours")
        tip = element("title", f"{bar.name}: {signed(bar.value)}")
        shapes.append(element("circle", tip, cx=across(bar.value), cy=y, r=5.0, css="dot ours"))
        shapes.append(text(left - 9, y + 4, bar.name, "label", "end"))
        shapes.append(text(WIDE, y + 4, signed(bar.value), "value", "end"))
    shapes.append(text((left + WIDE - right) / 2, height - 5, x_title, css="axis", anchor="middle"))
    return drawing(WIDE, height, description, *shapes, css="chart broad")


def weight_grid(
    rows: Sequence[tuple[str, Sequence[float | None]]], x_labels: Sequence[str], x_title: str, largest: float, description: str
) -> Markup:
    """A grid of signed weights: blue above zero, orange below, the paler the nearer to zero.

    Args:
        rows: (name, one weight per column).
        x_labels: Names of the columns.
        x_title: What the columns are.
        largest: The absolute weight that is drawn fully.
        description: Read out instead of the picture.
    """
    left, cell_width, cell, top, bottom = 108.0, 46.0, 26.0, 4.0, 36.0
    width, height = left + cell_width * len(x_labels) + 2, top + cell * len(rows) + bottom
    shapes = []
    for place, (name, weights) in enumerate(rows):
        y = top + cell * place
        shapes.append(text(left - 9, y + cell / 2 + 4, name, "label", "end"))
        for column, weight in enumerate(weights):
            if weight is None:
                continue
            strength = min(abs(weight) / largest, 1.0) if largest else 0.0
            box = {"x": left + cell_width * column + 1, "y": y + 1, "width": cell_width - 2, "height": cell - 2}
            shapes.append(element("rect", **box, css="cell"))
            shapes.append(element("rect", **box, css="plus" if weight >= 0 else "minus", fill_opacity=number(0.75 * strength)))
            shapes.append(text(box["x"] + box["width"] / 2, y + cell / 2 + 4, _short(weight), "tick ink-text", "middle"))
    for column, label in enumerate(x_labels):
        shapes.append(text(left + cell_width * (column + 0.5), height - bottom + 15, label, "tick", "middle"))
    shapes.append(text(left + cell_width * len(x_labels) / 2, height - 5, x_title, "axis", "middle"))
    return drawing(width, height, description, *shapes)


def _short(weight: float) -> str:
    return "0" if abs(weight) < 0.005 else f"{weight:+.2f}".replace("-", MINUS)


def _vertical_grid(across: Scale, top: float, bottom: float, sign: bool = False) -> list[Markup]:
    shapes = []
    for tick in nice_ticks(across.low, across.high, 5):
        label = tick_label(tick).replace("-", MINUS)
        shapes += [
            line((across(tick), top), (across(tick), bottom), "grid"),
            text(across(tick), bottom + 15, f"+{label}" if sign and tick > 0 else label, "tick", "middle"),
        ]
    return shapes


def _whisker(low: float, high: float, y: float, css: str = "whisker") -> list[Markup]:
    """An interval, with a halo so that it shows on any bar."""
    path = f"M{number(low)} {number(y)}H{number(high)}M{number(low)} {number(y - 4)}v8M{number(high)} {number(y - 4)}v8"
    return [element("path", d=path, css=layer) for layer in ("halo", css)]


def spread(ends: list[tuple[float, Series]], apart: float, top: float, bottom: float) -> list[tuple[float, Series]]:
    """Move labels apart so that none covers another, in the order of their lines."""
    placed: list[tuple[float, Series]] = []
    for y, entry in sorted(ends, key=lambda end: (end[0], end[1].name)):
        placed.append((max(y, placed[-1][0] + apart) if placed else max(y, top), entry))
    over = placed[-1][0] - bottom if placed else 0.0
    return [(y - over, entry) for y, entry in placed] if over > 0 else placed
