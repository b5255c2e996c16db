"""The stage `ingest`: raw files in, verified tables and splits out.

Only the order of things belongs here.
"""

import logging
import os
from collections import Counter
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq

from bbqrec_core import schema
from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.accounting import account, rated_below
from bbqrec_core.ingest.amazon import read_amazon
from bbqrec_core.ingest.config import IngestConfig
from bbqrec_core.ingest.database import Database, open_database
from bbqrec_core.ingest.images import ItemImage, find_images
from bbqrec_core.ingest.intake import REJECTS, Books, reasons
from bbqrec_core.ingest.kcore import ROUNDS, Round, k_core
from bbqrec_core.ingest.sequences import read_sequences
from bbqrec_core.ingest.sources import SourceFiles, resolve_source
from bbqrec_core.ingest.splits import split
from bbqrec_core.ingest.tables import read_tables
from bbqrec_core.stage import StageContext, Statistics

log = logging.getLogger(__name__)

_ITEM_IMAGES = pa.schema([("item_id", pa.string()), ("image_file", pa.string()), ("image_sha256", pa.string())])

_TABLES = (
    ("raw_items", schema.RAW_ITEMS, "file, line"),
    ("cleaning", schema.CLEANING, "field, rule"),
    ("rejects", schema.REJECTS, "file, line NULLS LAST, byte, reason"),
    ("interactions", schema.INTERACTIONS, "user_idx, position"),
    ("items", schema.ITEMS, "item_idx"),
    ("train", schema.TRAIN_SEQUENCES, "user_idx"),
    ("valid", schema.EVAL_SEQUENCES, "user_idx"),
    ("test", schema.EVAL_SEQUENCES, "user_idx"),
)


def run(context: StageContext) -> Statistics:
    """Ingest the profile's source.

    Raises:
        SourceError: Files are missing, damaged, in no known format, or hold too little.
    """
    profile = context.profile
    files = resolve_source(profile.source, context.inputs.get("shop"))
    with open_database(context.scratch, profile.ingest.memory_limit, profile.compute.threads) as database:
        return _ingest(context, database, files)


def _ingest(context: StageContext, database: Database, files: SourceFiles) -> Statistics:
    profile, config, seed = context.profile, context.profile.ingest, str(context.profile.data_seed)
    workers = profile.compute.threads or _cores()
    books = _read(context, database, files, workers)
    has_times = profile.source.kind != "sequences"
    database.make("raw_interactions", view=True)
    kept = database.write("raw_interactions", schema.RAW_INTERACTIONS, "number, line", context.out / "raw_interactions.parquet")
    database.make("cleaned_items")
    database.make("cleaning")
    database.make("raw_items")
    database.drop("cleaned_items")
    database.make("user_codes")
    database.make("item_codes")
    database.make("coded_interactions", min_rating=config.min_rating)
    below = rated_below(database, config)
    database.drop("raw_interactions", view=True)
    database.drop("read_interactions")  # the largest table, and no longer needed
    if config.deduplicate:
        database.make("repeated")
        database.make("deduplicated")
        database.drop("coded_interactions")
    rounds = k_core(database, "deduplicated" if config.deduplicate else "coded_interactions", config.k_user, config.k_item)
    _check_left(books, rounds, config)
    database.make("user_index", seed=seed)
    database.make("item_index", seed=seed)
    images = _find_images(database, files, config.max_image_pixels, workers)
    moments = split(database, config.split, seed, has_times)

    for table, columns, order in _TABLES:
        rows = database.write(table, columns, order, context.out / f"{table}.parquet")
        log.info("%s: %d rows", table, rows)
    if database.has("read_codes"):
        database.make("given_codes")
        database.write("given_codes", schema.GIVEN_CODES, "item_idx", context.out / "given_codes.parquet")
    pq.write_table(books.table(), context.out / "files.parquet", compression="zstd")
    pq.write_table(
        pa.Table.from_pylist([asdict(entry) for entry in rounds], ROUNDS), context.out / "kcore_rounds.parquet", compression="zstd"
    )
    statistics = account(database, books, rounds, kept, below, config.deduplicate)
    statistics |= {"has_times": has_times, **moments, "images_unreadable": sum(image.problem is not None for image in images)}
    if not has_times:
        statistics |= {"first_timestamp": None, "last_timestamp": None, "ends_before_1990": 0, "days": 0.0}
    return statistics


def _read(context: StageContext, database: Database, files: SourceFiles, workers: int) -> Books:
    """Read every file, whatever its kind, into `read_interactions`, `read_items`, `rejects`, and list them in `files`."""
    books, config = Books(database), context.profile.ingest
    if context.profile.source.kind == "tables":
        read_tables(books, files, context.profile.source.tables, config, workers)
    elif context.profile.source.kind == "sequences":
        read_sequences(books, files, context.profile.source.sequences, config, workers)
    else:
        read_amazon(books, files, config, workers)
    database.insert("files", books.table())
    return books


def _check_left(books: Books, rounds: list[Round], config: IngestConfig) -> None:
    if rounds[-1].interactions:
        return
    before, intakes = rounds[0], books.of("interactions")
    names = ", ".join(str(intake.path) for intake in intakes[:3]) + (" and others" if len(intakes) > 3 else "")
    unusable = sum((intake.rejected for intake in intakes), start=Counter[str]())
    fell = sum(intake.lines for intake in intakes) - before.interactions
    rejected = f" {unusable.total():,} lines could not be used: {reasons(unusable)}." if unusable else ""
    rated = f" Rated below ingest.min_rating, {config.min_rating}, were the others." if config.min_rating is not None else ""
    raise SourceError(
        f"Nothing of {names} is left after the k-core: of {before.interactions:,} interactions of {before.users:,} users with "
        f"{before.items:,} items, none belongs to a set in which every user has at least {config.k_user} and every item at least "
        f"{config.k_item} (reached in round {rounds[-1].round}).{rejected}{rated}",
        "Look at what fell away before the k-core first."
        if fell > before.interactions
        else "Lower ingest.k_user and ingest.k_item, or take a larger or denser category.",
    )


def _find_images(database: Database, files: SourceFiles, max_pixels: int, workers: int) -> list[ItemImage]:
    """Make the table `item_images` of usable pictures, and rejects of the others; returns all that were found."""
    found: list[ItemImage] = []
    if files.image_folder is not None:
        pairs = database.rows("SELECT item_id, image_path FROM item_index LEFT JOIN raw_items USING (item_id) ORDER BY item_id")
        found = find_images(files.image_folder, pairs, max_pixels, workers)
        folder = files.name_of(files.image_folder)
        rejects = [
            {"file": f"{folder}/{image.file}", "reason": f"image: {image.problem}", "sha256": image.sha256}
            for image in found
            if image.problem
        ]
        database.insert("rejects", pa.Table.from_pylist(rejects, REJECTS))
    usable = [
        {"item_id": image.item_id, "image_file": image.file, "image_sha256": image.sha256} for image in found if image.problem is None
    ]
    database.insert("item_images", pa.Table.from_pylist(usable, _ITEM_IMAGES))
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
