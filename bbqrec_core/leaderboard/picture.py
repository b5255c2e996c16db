"""A leaderboard as one SVG file: per split a bar per model, seen items not masked, published results among ours."""

from collections.abc import Sequence
from textwrap import wrap

from markupsafe import Markup

from bbqrec_core.leaderboard.page import Chapter
from bbqrec_core.leaderboard.standings import most_seeds
from bbqrec_core.refitted import is_refitted
from bbqrec_core.report.charts import Bar, interval_bars, interval_bars_height
from bbqrec_core.report.svg import WIDE, element, text

HEADING = 34.0
"""Height of a heading of one line; each further one takes LINE more."""
LINE = 20.0
LETTERS_A_LINE = 76
MARGIN = 16.0
MOST_PUBLISHED = 8
"""Published results drawn per split, the best ones."""
STYLE = Markup(
    "svg{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'Liberation Sans',sans-serif}"
    ".paper{fill:#fff}.heading{font-size:15px;font-weight:650;fill:#1c1d20}.label,.value{font-size:12.5px;fill:#1c1d20}"
    ".strong-text{font-weight:700;fill:#0b5fb4}.axis,.tick{font-size:11.5px;fill:#5a5e66}.ours{fill:#0b5fb4}.neutral{fill:#a7a9ae}"
    ".grid{stroke:#e8e5df}.axis-line{stroke:#5a5e66}.whisker{stroke:#1c1d20;stroke-width:1.4}.halo{stroke:#fff;stroke-width:3.6}"
)


def picture(title: str, chapters: Sequence[Chapter]) -> str:
    """The whole file, one drawing below the other."""
    shapes, y = [], MARGIN
    for chapter in chapters:
        bars = _bars(chapter)
        drawn = interval_bars(bars, "NDCG@10, seen items not masked; * as published", f"{chapter.title}: NDCG@10 of {len(bars)} models")
        for line in wrap(chapter.title, LETTERS_A_LINE):
            shapes.append(text(MARGIN, y + 18, line, css="heading"))
            y += LINE
        y += HEADING - LINE
        shapes.append(element("g", drawn, transform=f"translate({MARGIN:g} {y:g})"))
        y += interval_bars_height(len(bars)) + MARGIN
    width = WIDE + 2 * MARGIN
    return str(
        element(
            "svg",
            element("style", STYLE),
            element("rect", width=width, height=y, css="paper"),
            *shapes,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {width:g} {y:g}",
            width=width,
            height=y,
            role="img",
            aria_label=title,
        )
    )


def _bars(chapter: Chapter) -> list[Bar]:
    bars = []
    most = most_seeds(chapter.standings)
    for standing in chapter.standings:
        if is_refitted(standing.model) or standing.seeds < most:  # no published model is; and one seed's luck is no mean
            continue
        value = standing.values[False, "ndcg"]
        bars.append(Bar(standing.model, value.mean, value.low, value.high, standing.ours))
    known = sorted((row for row in chapter.published if not row.masked and row.ndcg is not None), key=lambda row: -(row.ndcg or 0))
    bars += [Bar(f"{row.model}*", row.ndcg or 0.0, None, None, False) for row in known[:MOST_PUBLISHED]]
    return sorted(bars, key=lambda bar: -bar.value)
