"""The stage `ingest`: raw files in, verified tables and splits out.

Only the order of things belongs here.
"""

import logging
import os
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq

from bbqrec_core import schema
from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import IngestConfig
from bbqrec_core.ingest.database import Database, open_database
from bbqrec_core.ingest.dialects import Content
from bbqrec_core.ingest.images import ItemImage, find_images
from bbqrec_core.ingest.kcore import ROUNDS, Round, k_core
from bbqrec_core.ingest.parsing import ParsedFile, parse_file
from bbqrec_core.ingest.sources import SourceFiles, resolve_source
from bbqrec_core.stage import StageContext, Statistics

log = logging.getLogger(__name__)

_ITEM_IMAGES = pa.schema([("item_id", pa.string()), ("image_file", pa.string()), ("image_sha256", pa.string())])

_TABLES = (
    ("raw_interactions", schema.RAW_INTERACTIONS, "line"),
    ("raw_items", schema.RAW_ITEMS, "line"),
    ("rejects", schema.REJECTS, "file, line NULLS LAST, reason"),
    ("interactions", schema.INTERACTIONS, "user_idx, position"),
    ("items", schema.ITEMS, "item_idx"),
    ("train", schema.TRAIN_SEQUENCES, "user_idx"),
    ("valid", schema.EVAL_SEQUENCES, "user_idx"),
    ("test", schema.EVAL_SEQUENCES, "user_idx"),
)


def run(context: StageContext) -> Statistics:
    """Ingest the profile's source.

    Raises:
        SourceError: Files are missing, damaged, in no known dialect, mostly unusable, or hold too little.
    """
    profile = context.profile
    files = resolve_source(profile.source, context.inputs.get("shop"))
    threads = profile.compute.threads or _cores()
    with open_database(context.scratch, profile.ingest.memory_limit, profile.compute.threads) as database:
        return _ingest(context, database, files, threads)


def _ingest(context: StageContext, database: Database, files: SourceFiles, threads: int) -> Statistics:
    config, seed = context.profile.ingest, str(context.profile.seed)
    database.insert("rejects", schema.REJECTS.empty_table())
    reviews = _parse(database, files, "reviews", config, threads)
    metadata = _parse(database, files, "metadata", config, threads)
    database.make("raw_interactions", file=reviews.name)
    database.make("raw_items", file=metadata.name)
    database.make("deduplicated")
    rounds = k_core(database, config.k_user, config.k_item)
    _check_left(reviews, rounds, config)
    database.make("user_index", seed=seed)
    database.make("item_index", seed=seed)
    images = _find_images(database, files, config.max_image_pixels, threads)
    database.make("interactions", seed=seed)
    for table in ("items", "train", "valid", "test"):
        database.make(table)
    for table, columns, order in _TABLES:
        rows = database.write(table, columns, order, context.out / f"{table}.parquet")
        log.info("%s: %d rows", table, rows)
    pq.write_table(
        pa.Table.from_pylist([asdict(entry) for entry in rounds], ROUNDS), context.out / "kcore_rounds.parquet", compression="zstd"
    )
    return _statistics(database, reviews, metadata, rounds, images)


def _parse(database: Database, files: SourceFiles, content: Content, config: IngestConfig, workers: int) -> ParsedFile:
    path = files.reviews if content == "reviews" else files.metadata
    parsed = parse_file(database, path, files.name_of(path), content, keep_text=config.keep_reject_text, workers=workers)
    parsed.check_rejects(config.max_reject_share)
    return parsed


def _check_left(reviews: ParsedFile, rounds: list[Round], config: IngestConfig) -> None:
    if rounds[-1].interactions:
        return
    before = rounds[0]
    raise SourceError(
        f"Nothing of {reviews.path} is left after the k-core: of {before.interactions:,} interactions of {before.users:,} users with "
        f"{before.items:,} items, none belongs to a set in which every user has at least {config.k_user} and every item at least "
        f"{config.k_item} (reached in round {rounds[-1].round}).",
        "Lower ingest.k_user and ingest.k_item, or take a larger or denser category.",
    )


def _find_images(database: Database, files: SourceFiles, max_pixels: int, workers: int) -> list[ItemImage]:
    """Make the table `item_images` of usable pictures, and rejects of the others; returns all that were found."""
    found: list[ItemImage] = []
    if files.image_folder is not None:
        item_ids = [item_id for (item_id,) in database.rows("SELECT item_id FROM item_index ORDER BY item_id")]
        found = find_images(files.image_folder, item_ids, max_pixels, workers)
        folder = files.name_of(files.image_folder)
        rejects = [
            {"file": f"{folder}/{image.file}", "reason": f"image: {image.problem}", "sha256": image.sha256}
            for image in found
            if image.problem
        ]
        database.insert("rejects", pa.Table.from_pylist(rejects, schema.REJECTS))
    usable = [
        {"item_id": image.item_id, "image_file": image.file, "image_sha256": image.sha256} for image in found if image.problem is None
    ]
    database.insert("item_images", pa.Table.from_pylist(usable, _ITEM_IMAGES))
    return found


def _statistics(database: Database, reviews: ParsedFile, metadata: ParsedFile, rounds: list[Round], images: list[ItemImage]) -> Statistics:
    of_interactions, of_items = database.row("statistics_interactions"), database.row("statistics_items")
    # Each from a table of its own, so that the accounting can fail.
    [(kept,)] = database.rows("SELECT count(*) FROM raw_interactions")
    [(rejected,)] = database.rows("SELECT count(*) FROM rejects WHERE file = $file", file=reviews.name)
    [(metadata_rejected,)] = database.rows("SELECT count(*) FROM rejects WHERE file = $file", file=metadata.name)
    duplicates = kept - rounds[0].interactions
    filtered = rounds[0].interactions - rounds[-1].interactions
    of_metadata = database.row("statistics_metadata")
    return {
        "dialect": reviews.format.dialect.name if reviews.format else None,
        "metadata_dialect": metadata.format.dialect.name if metadata.format else None,
        "lines_read": reviews.lines,
        "lines_kept": kept,
        "lines_rejected": rejected,
        "reject_share": reviews.reject_share,
        "duplicates": duplicates,
        "filtered": filtered,
        "accounting_difference": reviews.lines - of_interactions["interactions"] - duplicates - filtered - rejected,
        **of_interactions,
        "kcore_rounds": len(rounds) - 1,
        "metadata_lines_read": metadata.lines,
        "metadata_rejected": metadata_rejected,
        "metadata_reject_share": metadata.reject_share,
        **of_metadata,
        "metadata_accounting_difference": metadata.lines
        - of_metadata["metadata_items"]
        - of_metadata["metadata_duplicates"]
        - metadata_rejected,
        **of_items,
        "images_unreadable": sum(image.problem is not None for image in images),
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
