"""Clean rows of the synthetic shop in the Amazon 2018 format: review and metadata dictionaries, and how a line is written.

What goes wrong with them is `dirt.py`'s. The 2018 dump's habits that are no fault, such as `reviewTime` without leading zeros, lists
with one entry, or prices as "$12.34", belong here.
"""

import datetime
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bbqrec_core.ingest.shop.behaviour import Review
from bbqrec_core.ingest.shop.catalogue import FIRST_DAY, Catalogue
from bbqrec_core.ingest.shop.taxonomy import Kind

Row = dict[str, Any]
IMAGE_HOST = "https://images.shop.invalid/images/I"
"""A host that cannot exist (RFC 2606): the pictures lie beside the metadata."""
_FIRST_NAMES = (
    "Ada",
    "Ben",
    "Chloe",
    "Dario",
    "Elif",
    "Femi",
    "Greta",
    "Hugo",
    "Ines",
    "Jun",
    "Kofi",
    "Lena",
    "Milo",
    "Nora",
    "Omar",
    "Pia",
)
_LETTERS = np.array(list("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
_SUMMARIES = {
    5: ("Five Stars", "Love it", "Exactly what I wanted", "Great {noun}"),
    4: ("Four Stars", "Good {noun}", "Pretty good for the price"),
    3: ("Three Stars", "It's okay", "Decent but not great"),
    2: ("Two Stars", "Disappointed", "Not as described"),
    1: ("One Star", "Broke after a week", "Do not buy this {noun}"),
}
_TEXTS = {
    5: (
        "Works perfectly. Would buy again.",
        "My second {noun} from this maker and I am just as happy.",
        "Arrived early, and the {colour} looks great.",
    ),
    4: ("Does what it should. The {material} could be thicker.", "Good {noun}, a little pricey."),
    3: ("It does the job, nothing more.", "The {colour} is not quite as pictured."),
    2: ("Feels cheap. I expected better {material}.", "Had to return the first one."),
    1: ("Fell apart within days.", "Waste of money. Avoid."),
}


def user_ids(n_users: int, rng: np.random.Generator) -> list[str]:
    """Unique reviewer IDs that look like Amazon's."""
    ids: dict[str, None] = {}
    while len(ids) < n_users:
        ids["A" + "".join(rng.choice(_LETTERS, size=13))] = None
    return list(ids)


def review_time(seconds: int) -> str:
    """A day as the dump writes it: "06 17, 2018"."""
    when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{when.month:02d} {when.day}, {when.year}"


def review_row(review: Review, catalogue: Catalogue, users: list[str], rng: np.random.Generator) -> Row:
    """One review as the dump writes it."""
    item = catalogue.items[review.item]
    words = {"noun": item.type.nouns[0].lower(), "colour": item.colour.lower(), "material": item.material.lower()}
    seconds = (FIRST_DAY + review.written) * 86_400
    row: Row = {
        "overall": float(review.rating),
        "verified": bool(rng.random() < 0.93),
        "reviewTime": review_time(seconds),
        "reviewerID": users[review.user],
        "asin": item.asin,
        "reviewerName": f"{_FIRST_NAMES[review.user % len(_FIRST_NAMES)]} {chr(65 + review.user % 26)}.",
        "reviewText": str(rng.choice(_TEXTS[review.rating])).format(**words),
        "summary": str(rng.choice(_SUMMARIES[review.rating])).format(**words),
        "unixReviewTime": seconds,
    }
    if rng.random() < 0.3:
        row["style"] = {"Color:": f" {item.colour}"}
    if rng.random() < 0.08:
        row["vote"] = str(int(rng.geometric(0.25)) + 1)
    return row


def metadata_row(index: int, catalogue: Catalogue, shelves: dict[str, list[int]], rng: np.random.Generator) -> Row:
    """One item as the dump writes it.

    Args:
        index: Which item.
        catalogue: All of them.
        shelves: Item indices per type key, to choose related items from. They are a seller's idea of what goes together and hold
            nothing of the reviews.
        rng: Source of randomness.
    """
    item = catalogue.items[index]
    row = item.type
    companions = [i for key in row.goes_with for i in shelves.get(key, [])]
    rivals = [i for i in shelves[row.key] if i != index]
    file = f"{IMAGE_HOST}/{item.look % 10**9:09d}L"
    return {
        "category": [row.department, row.shelf, row.nouns[0] + ("s" if row.kind == Kind.MAIN else "")],
        "tech1": "",
        "description": [item.description] if item.description else [],
        "fit": "",
        "title": item.title,
        "also_buy": _some(companions, catalogue, rng),
        "tech2": "",
        "brand": catalogue.brands[item.brand].name,
        "feature": [f"Made of {item.material.lower()}", f"Colour: {item.colour.lower()}"] if rng.random() < 0.7 else [],
        "rank": f"{int(rng.integers(1_000, 400_000)):,} in {row.department} (",
        "also_view": _some(rivals, catalogue, rng),
        "details": {"Shipping Weight:": f"{rng.uniform(0.1, 9):.1f} pounds", "ASIN: ": item.asin},
        "main_cat": row.department,
        "similar_item": "",
        "date": "",
        "price": f"${item.price:,.2f}",
        "asin": item.asin,
        "imageURL": [f"{file}._SX38_SY50_CR,0,0,38,50_.jpg"],
        "imageURLHighRes": [f"{file}.jpg"],
    }


def line(row: Row) -> bytes:
    """A row as a JSON line, its end included."""
    return json.dumps(row, ensure_ascii=True).encode() + b"\n"


def write_gzip(path: Path, lines: Iterable[bytes]) -> int:
    """Write lines to a gzip file whose bytes depend on nothing but them.

    Returns:
        Number of lines.
    """
    count = 0
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed:
        for count, content in enumerate(lines, start=1):  # noqa: B007
            packed.write(content)
    return count


def _some(indices: list[int], catalogue: Catalogue, rng: np.random.Generator) -> list[str]:
    if not indices:
        return []
    wanted = min(len(indices), int(rng.integers(0, 9)))
    return [catalogue.items[int(i)].asin for i in rng.permutation(indices)[:wanted]]
