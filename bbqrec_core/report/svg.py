"""A few SVG primitives: elements, scales, ticks and paths.

Nothing here knows what is drawn; charts are in `charts.py`. Colours are CSS classes, so that one drawing serves light and dark pages.
All text is escaped by markupsafe.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Point = tuple[float, float]
WIDE = 660.0
"""Width of a drawing that fills the page's column."""


def element(name: str, *children: object, **attributes: object) -> Markup:
    """An element; `css` becomes `class`, underscores in names become hyphens, numbers are rounded, None is left out."""
    written = Markup("").join(
        Markup(' {}="{}"').format("class" if key == "css" else key.replace("_", "-"), number(value) if isinstance(value, float) else value)
        for key, value in attributes.items()
        if value is not None
    )
    tag = Markup(name)
    if not children:
        return Markup("<{}{}/>").format(tag, written)
    return Markup("<{}{}>{}</{}>").format(tag, written, Markup("").join(escape(child) for child in children), tag)


def drawing(width: float, height: float, description: str, *children: object, css: str = "chart") -> Markup:
    """A whole drawing, read out as one picture with `description`."""
    box = f"0 0 {number(width)} {number(height)}"
    return element("svg", *children, css=css, viewBox=box, width=float(width), height=float(height), role="img", aria_label=description)


def text(x: float, y: float, content: object, css: str = "label", anchor: str = "start", **attributes: object) -> Markup:
    """A line of text."""
    return element("text", content, x=float(x), y=float(y), css=css, text_anchor=None if anchor == "start" else anchor, **attributes)


def line(start: Point, end: Point, css: str) -> Markup:
    """A straight line."""
    return element("line", x1=float(start[0]), y1=float(start[1]), x2=float(end[0]), y2=float(end[1]), css=css)


def number(value: float) -> str:
    """A coordinate with at most two decimals."""
    rounded = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if rounded in ("-0", "") else rounded


def path_through(points: Iterable[Point]) -> str:
    """Path data of a polyline."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


@dataclass(frozen=True)
class Scale:
    """Maps values to coordinates, linearly or by logarithm.

    Attributes:
        low, high: The values at `start` and `end`.
        start, end: Coordinates.
        log: By logarithm; `low` must be positive then.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The coordinate of a value."""
        low, high, at = (math.log(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return self.start if high == low else self.start + (at - low) / (high - low) * (self.end - self.start)


def nice_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round values between `low` and `high`, inclusive: multiples of 1, 2, 2.5 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between `low` and `high`, inclusive."""
    return [10.0**power for power in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]


def tick_label(value: float) -> str:
    """A tick's text: thousands separated, no needless zeros."""
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.6f}".rstrip("0").rstrip(".") if abs(value) >= 0.0001 else f"{value:.0e}"


def thin_out(points: Sequence[Point], most: int = 300) -> list[Point]:
    """At most about `most` points, first and last among them."""
    if len(points) <= most:
        return list(points)
    every = math.ceil(len(points) / most)
    kept = list(points[::every])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def horizontal_grid(up: Scale, left: float, right: float, about: int = 4, whole: bool = False) -> list[Markup]:
    """Lines at round values, or at whole ones only, which are written at their left."""
    shapes = []
    for tick in nice_ticks(up.low, up.high, about):
        if whole and tick != int(tick):
            continue
        shapes += [line((left, up(tick)), (right, up(tick)), "grid"), text(left - 7, up(tick) + 4, tick_label(tick), "tick", "end")]
    return shapes
