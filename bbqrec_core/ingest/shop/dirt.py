"""What goes wrong with real dumps: duplicates, broken lines, debris in titles and prices, missing and damaged pictures.

Each kind is counted under the name by which the shop's statistics report it. Shares are of the order seen in the 2018 dump's small
categories. A kind is never rounded down to nothing while the shop is large enough to spare a victim, so that every demo meets it.
"""

import copy
import html
from collections import Counter

import numpy as np

from bbqrec_core.ingest.shop.writing import Row, line, review_time

BROKEN_REVIEW_SHARE = 0.003
EXACT_DUPLICATE_SHARE = 0.004
SECOND_REVIEW_SHARE = 0.006
"""The same customer on the same item again, some days later and with another opinion."""
DUPLICATE_METADATA_SHARE = 0.02
BROKEN_METADATA_SHARE = 0.003
NO_METADATA_SHARE = 0.003
MISSING_TITLE_SHARE = 0.01
SCRIPT_TITLE_SHARE = 0.01
HTML_TITLE_SHARE = 0.04
NO_BRAND_SHARE = 0.03
PRICE_MISSING_SHARE = 0.2
PRICE_RANGE_SHARE = 0.05
PRICE_DEBRIS_SHARE = 0.02
NO_IMAGE_SHARE = 0.05
DAMAGED_IMAGES = 2
LEAST_ITEMS_FOR_DAMAGED_IMAGES = 20
BROKEN_KINDS = ("broken_cut", "broken_no_object", "broken_no_item", "broken_encoding")
"""A line cut short, one that is no object, one without `asin`, one that is no UTF-8."""

SCRIPT_DEBRIS = (
    "var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();\nvar ue_csm = window;\n"
    "ue_csm.ue_hob = ue_csm.ue_hob || +new Date();"
)
PRICE_DEBRIS = ".a-box-inner{background-color:#fff}#alohaBuyBoxWidget .selected{background-color:#fffbf3;border-color:#e77600}"
HTML_PAGE = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>Not Found</body></html>\n"


def how_many(share: float, total: int) -> int:
    """How many of `total` a share is: rounded, but at least one where there are ten or more."""
    return max(round(share * total), 1 if total >= 10 else 0)


def soil_metadata(rows: list[Row], rng: np.random.Generator) -> tuple[list[bytes], Counter[str]]:
    """Turn clean metadata rows into the lines of a real file.

    Args:
        rows: One per item.
        rng: Decides who is hit.

    Returns:
        Lines, and counts: titles_missing, titles_with_script, titles_with_html, brands_missing, prices_missing, price_ranges, price_debris,
        items_without_metadata, duplicate_metadata_rows, broken_metadata_lines.
    """
    rows = copy.deepcopy(rows)
    counts: Counter[str] = Counter()
    _soil_titles(rows, counts, rng)
    _soil_prices(rows, counts, rng)
    for index in _victims(NO_BRAND_SHARE, len(rows), rng):
        rows[index]["brand"] = ""
        counts["brands_missing"] += 1
    absent = set(_victims(NO_METADATA_SHARE, len(rows), rng))
    counts["items_without_metadata"] = len(absent)
    lines = [line(row) for index, row in enumerate(rows) if index not in absent]
    repeated = [lines[index] for index in _victims(DUPLICATE_METADATA_SHARE, len(lines), rng)]
    counts["duplicate_metadata_rows"] = len(repeated)
    cut = [_cut(lines[index], rng) for index in _victims(BROKEN_METADATA_SHARE, len(lines), rng)]
    counts["broken_metadata_lines"] = len(cut)
    return _insert(lines, repeated + cut, rng), counts


def soil_reviews(rows: list[Row], rng: np.random.Generator) -> tuple[list[bytes], Counter[str]]:
    """Turn clean review rows into the lines of a real file.

    Args:
        rows: Distinct user-item pairs, in the file's order.
        rng: Decides who is hit.

    Returns:
        Lines, and counts: duplicate_review_lines, second_reviews, broken_review_lines and, of the last, each of BROKEN_KINDS. A broken
        line stands in the place of a good one, which is lost; it never hits a review that also occurs a second time.
    """
    counts: Counter[str] = Counter(dict.fromkeys(BROKEN_KINDS, 0))
    lines = [line(row) for row in rows]
    order = [int(index) for index in rng.permutation(len(rows))]
    repeats, seconds, broken = (how_many(share, len(rows)) for share in (EXACT_DUPLICATE_SHARE, SECOND_REVIEW_SHARE, BROKEN_REVIEW_SHARE))
    further = [lines[index] for index in order[:repeats]]
    further += [line(_second_review(rows[index], rng)) for index in order[repeats : repeats + seconds]]
    for number, index in enumerate(order[repeats + seconds : repeats + seconds + broken]):
        kind = BROKEN_KINDS[number % len(BROKEN_KINDS)]
        lines[index] = _break(kind, rows[index], lines[index], rng)
        counts[kind] += 1
    counts.update(duplicate_review_lines=repeats, second_reviews=seconds, broken_review_lines=broken)
    return _insert(lines, further, rng), counts


def soil_pictures(pictures: dict[str, bytes], rows: list[Row], rng: np.random.Generator) -> tuple[dict[str, bytes], Counter[str]]:
    """Lose some pictures and damage others.

    Args:
        pictures: JPEG file per asin. Not changed.
        rows: Metadata rows; those whose picture is lost lose its addresses, in place.
        rng: Decides who is hit.

    Returns:
        The files that are left, and counts: images_missing, images_damaged.
    """
    counts: Counter[str] = Counter(images_damaged=0)
    order = [str(asin) for asin in rng.permutation(sorted(pictures))]
    lost = order[: how_many(NO_IMAGE_SHARE, len(order))]
    left = {asin: content for asin, content in pictures.items() if asin not in lost}
    counts["images_missing"] = len(lost)
    for row in rows:
        if row["asin"] in lost:
            row["imageURL"], row["imageURLHighRes"] = [], []
    if len(order) >= LEAST_ITEMS_FOR_DAMAGED_IMAGES:
        first, second = order[-DAMAGED_IMAGES:]
        left[first] = pictures[first][: len(pictures[first]) // 3]  # a download cut off
        left[second] = HTML_PAGE  # an error page saved under the picture's name
        counts["images_damaged"] = DAMAGED_IMAGES
    return left, counts


def _soil_titles(rows: list[Row], counts: Counter[str], rng: np.random.Generator) -> None:
    order = rng.permutation(len(rows))
    missing, script, markup = (how_many(share, len(rows)) for share in (MISSING_TITLE_SHARE, SCRIPT_TITLE_SHARE, HTML_TITLE_SHARE))
    for index in order[:missing]:
        rows[index]["title"] = ""
    for index in order[missing : missing + script]:
        rows[index]["title"] = SCRIPT_DEBRIS
    for index in order[missing + script : missing + script + markup]:
        title = html.escape(rows[index]["title"])
        rows[index]["title"] = (
            f'<span id="productTitle" class="a-size-large">{title}</span>'
            if rng.random() < 0.5
            else f"{title} &amp; More &quot;New&quot;<br />"
        )
    counts.update(titles_missing=missing, titles_with_script=script, titles_with_html=markup)


def _soil_prices(rows: list[Row], counts: Counter[str], rng: np.random.Generator) -> None:
    order = rng.permutation(len(rows))
    missing, ranges, debris = (how_many(share, len(rows)) for share in (PRICE_MISSING_SHARE, PRICE_RANGE_SHARE, PRICE_DEBRIS_SHARE))
    for index in order[:missing]:
        rows[index]["price"] = ""
    for index in order[missing : missing + ranges]:
        price = float(rows[index]["price"].removeprefix("$").replace(",", ""))
        rows[index]["price"] = f"${0.8 * price:,.2f} - ${1.5 * price:,.2f}"
    for index in order[missing + ranges : missing + ranges + debris]:
        rows[index]["price"] = PRICE_DEBRIS
    counts.update(prices_missing=missing, price_ranges=ranges, price_debris=debris)


def _second_review(row: Row, rng: np.random.Generator) -> Row:
    days = int(rng.geometric(0.02))
    seconds = row["unixReviewTime"] + days * 86_400
    return row | {
        "overall": float(rng.integers(1, 6)),
        "reviewTime": review_time(seconds),
        "summary": "Update",
        "reviewText": "Changed my mind after using it for a while.",
        "unixReviewTime": seconds,
    }


def _break(kind: str, row: Row, content: bytes, rng: np.random.Generator) -> bytes:
    if kind == "broken_cut":
        return _cut(content, rng)
    if kind == "broken_no_object":
        return b"null\n"
    if kind == "broken_no_item":
        return line({key: value for key, value in row.items() if key != "asin"})
    return content.replace(b'"reviewText": "', b'"reviewText": "\xff\xfe', 1)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(5, len(content) - 5))] + b"\n"


def _victims(share: float, total: int, rng: np.random.Generator) -> list[int]:
    return [int(index) for index in rng.permutation(total)[: how_many(share, total)]]


def _insert(lines: list[bytes], further: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """Put further lines at random places."""
    keys = np.concatenate([np.arange(len(lines)), rng.uniform(0, len(lines), len(further))])
    every = lines + further
    return [every[index] for index in np.argsort(keys, kind="stable")]
