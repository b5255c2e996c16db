"""Stage `shop`: writes the synthetic shop as raw files in the Amazon 2018 format.

Order of work only: catalogue, behaviour, pictures, dirt, files. Every part draws from a random stream of its own, so that a change in
one leaves the others as they were.
"""

import logging
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bbqrec_core.ingest.shop import dirt, pictures, writing
from bbqrec_core.ingest.shop.behaviour import Review, make_reviews
from bbqrec_core.ingest.shop.catalogue import Catalogue, make_catalogue
from bbqrec_core.progress import track
from bbqrec_core.stage import StageContext, Statistics

log = logging.getLogger(__name__)

REVIEWS_FILE = "reviews.json.gz"
METADATA_FILE = "meta.json.gz"
IMAGES_FOLDER = "images"
TRUTH_FILE = "truth.parquet"


def run(context: StageContext) -> Statistics:
    """Make the shop.

    Reads the profile's `source.shop` and `seed`. Writes `reviews.json.gz`, `meta.json.gz`, `images/<asin>.jpg`, and `truth.parquet`: what
    each item really is, for tests and for looking at results; no other stage reads it.

    Returns:
        users, items, reviews (distinct user-item pairs before the dirt), review_lines, metadata_lines, images (files), and a count for
        each kind of dirt.
    """
    shop, seed = context.profile.source.shop, context.profile.data_seed
    catalogue = make_catalogue(shop.items, stream(seed, "catalogue"))
    log.info("catalogue: %d items of %d brands", len(catalogue.items), len(catalogue.brands))
    reviews = make_reviews(catalogue, shop.users, stream(seed, "behaviour"))
    log.info("behaviour: %d reviews by %d customers", len(reviews), shop.users)

    metadata = metadata_rows(catalogue, stream(seed, "metadata"))
    drawn = draw_all(catalogue, seed)
    files, picture_dirt = dirt.soil_pictures(drawn, metadata, stream(seed, "picture dirt"))
    metadata_lines, metadata_dirt = dirt.soil_metadata(metadata, stream(seed, "metadata dirt"))
    review_lines, review_dirt = dirt.soil_reviews(review_rows(reviews, catalogue, shop.users, seed), stream(seed, "review dirt"))

    folder = context.out / IMAGES_FOLDER
    folder.mkdir()
    for asin, content in files.items():
        (folder / f"{asin}.jpg").write_bytes(content)
    statistics: Statistics = {
        "users": len({review.user for review in reviews}),
        "items": len(catalogue.items),
        "reviews": len(reviews),
        "review_lines": writing.write_gzip(context.out / REVIEWS_FILE, review_lines),
        "metadata_lines": writing.write_gzip(context.out / METADATA_FILE, metadata_lines),
        "images": len(files),
    }
    pq.write_table(truth(catalogue), context.out / TRUTH_FILE)
    return statistics | dict(sorted((review_dirt | metadata_dirt | picture_dirt).items()))


def stream(seed: int, part: str) -> np.random.Generator:
    """The random stream of one part of the shop."""
    return np.random.default_rng([seed, zlib.crc32(part.encode())])


def draw_all(catalogue: Catalogue, seed: int) -> dict[str, bytes]:
    """Draw every item's picture: JPEG file per asin."""
    streams = stream(seed, "pictures").spawn(len(catalogue.items))
    work = track(zip(catalogue.items, streams, strict=True), "drawing pictures", total=len(catalogue.items))
    return {item.asin: pictures.draw(item, catalogue.brands[item.brand], rng) for item, rng in work}


def metadata_rows(catalogue: Catalogue, rng: np.random.Generator) -> list[writing.Row]:
    """Clean metadata rows in catalogue order."""
    shelves: dict[str, list[int]] = {}
    for index, item in enumerate(catalogue.items):
        shelves.setdefault(item.type.key, []).append(index)
    return [writing.metadata_row(index, catalogue, shelves, rng) for index in range(len(catalogue.items))]


def review_rows(reviews: list[Review], catalogue: Catalogue, n_users: int, seed: int) -> list[writing.Row]:
    """Clean review rows, grouped by item as in the dump, latest first within an item."""
    users = writing.user_ids(n_users, stream(seed, "users"))
    rng = stream(seed, "reviews")
    ordered = sorted(reviews, key=lambda review: (review.item, -review.written, review.user))
    return [writing.review_row(review, catalogue, users, rng) for review in ordered]


def truth(catalogue: Catalogue) -> pa.Table:
    """What each item really is."""
    items = catalogue.items
    return pa.table(
        {
            "item_id": [item.asin for item in items],
            "department": [item.type.department for item in items],
            "type": [item.type.key for item in items],
            "kind": [str(item.type.kind) for item in items],
            "goes_with": [list(item.type.goes_with) for item in items],
            "brand": [catalogue.brands[item.brand].name for item in items],
            "colour": [item.colour for item in items],
            "material": [item.material for item in items],
            "title": [item.title for item in items],
            "variant_of": [items[item.variant_of].asin if item.variant_of >= 0 else None for item in items],
            "launch_day": pa.array([item.launch_day for item in items], pa.int32()),
        }
    )
