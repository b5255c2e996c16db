"""Stage `embed`: frozen features of items, one table per modality, in item_idx order, with a mask and never a dropped row."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bbqrec_core import schema
from bbqrec_core.embedding import image as images
from bbqrec_core.embedding import text as texts
from bbqrec_core.embedding.batches import Shard, encode_in_shards
from bbqrec_core.embedding.codes import NAME as CODES
from bbqrec_core.embedding.codes import code_features, given_modalities
from bbqrec_core.embedding.devices import prepare_device
from bbqrec_core.embedding.statistics import VectorStatistics
from bbqrec_core.ingest.sources import image_folder
from bbqrec_core.stage import StageContext, Statistics

log = logging.getLogger(__name__)

ENCODERS_FILE = "encoders.json"


def run(context: StageContext) -> Statistics:
    """Embed every item.

    Reads `items.parquet` of `ingest` and the pictures of the source. Writes `<modality>_embedding.parquet` for each configured modality,
    and `encoders.json`. A modality that the profile leaves out has no file, dimensions 0 and share 0, unless the source gives codes for it.

    Returns:
        items; per modality <m>_dimensions, <m>_share, <m>_nan_rows, <m>_zero_rows, <m>_mean_norm, <m>_duplicate_share, <m>_encoder;
        nan_values and zero_vectors, their sums; images_unreadable (files that were there and could not be used); image_encoder_is_demo.
    """
    config, compute = context.profile.embedding, context.profile.compute
    device = prepare_device(compute)
    items = pq.read_table(context.input("ingest") / "items.parquet", schema=schema.ITEMS)
    statistics: Statistics = {"items": len(items)}
    about: dict[str, dict[str, str | int | bool]] = {}

    text_statistics = VectorStatistics(schema.TEXT)
    if config.text is not None:
        log.info("loading the text encoder %s", config.text.model)
        encoder = texts.TextEncoder(config.text, device)
        sentences = [texts.join_text(row, config.text.fields) for row in items.select(list(dict.fromkeys(config.text.fields))).to_pylist()]
        identity = f"text {encoder.weights_sha256} {config.text.max_tokens}"
        shards = encode_in_shards(
            sentences,
            texts.ROWS_PER_SHARD,
            identity,
            lambda a, b: encoder.encode(sentences[a:b]),
            context.scratch / "text",
            "texts to vectors",
        )
        _write(context.out, schema.TEXT, encoder.dimensions, shards, text_statistics)
        about[schema.TEXT] = _about(encoder.name, encoder.dimensions, encoder.weights_sha256, False)
    elif schema.TEXT in given_modalities(context.input("ingest")):
        about[schema.TEXT] = _write_codes(context, schema.TEXT, text_statistics)
    statistics |= text_statistics.row(str(about[schema.TEXT]["name"]) if schema.TEXT in about else None)

    image_statistics = VectorStatistics(schema.IMAGE)
    if config.image is not None:
        log.info("loading the image encoder %s", config.image.model)
        eye = images.ImageEncoder(config.image, device, compute.threads)
        paths = _image_paths(context, items)
        keys, digests = _image_keys(items), items["image_sha256"].to_pylist()
        identity = f"image {eye.weights_sha256} {config.image.max_pixels}"
        shards = encode_in_shards(
            keys,
            images.ROWS_PER_SHARD,
            identity,
            lambda a, b: eye.encode(paths[a:b], digests[a:b]),
            context.scratch / "image",
            "pictures to vectors",
        )
        _write(context.out, schema.IMAGE, eye.dimensions, shards, image_statistics)
        about[schema.IMAGE] = _about(eye.name, eye.dimensions, eye.weights_sha256, eye.is_demo)
        if eye.is_demo:
            log.info("pictures are seen by a demo encoder: no gain from images can be claimed on real data")
    elif schema.IMAGE in given_modalities(context.input("ingest")):
        about[schema.IMAGE] = _write_codes(context, schema.IMAGE, image_statistics)
    statistics |= image_statistics.row(str(about[schema.IMAGE]["name"]) if schema.IMAGE in about else None)
    statistics["nan_values"] = text_statistics.nan_rows + image_statistics.nan_rows
    statistics["zero_vectors"] = text_statistics.zero_rows + image_statistics.zero_rows
    statistics["images_unreadable"] = image_statistics.unreadable
    statistics["image_encoder_is_demo"] = bool(about.get(schema.IMAGE, {}).get("is_demo_encoder", False))

    (context.out / ENCODERS_FILE).write_text(json.dumps(about, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return statistics


def _write_codes(context: StageContext, modality: str, statistics: VectorStatistics) -> dict[str, str | int | bool]:
    shard = code_features(context.input("ingest"), modality)
    _write(context.out, modality, shard.vectors.shape[1], iter([shard]), statistics)
    log.info("%s: vectors from published codes", modality)
    return _about(CODES, shard.vectors.shape[1], "", False)


def _about(name: str, dimensions: int, weights_sha256: str, is_demo: bool) -> dict[str, str | int | bool]:
    return {"name": name, "dimensions": dimensions, "is_demo_encoder": is_demo, "weights_sha256": weights_sha256}


def _image_paths(context: StageContext, items: pa.Table) -> list[Path | None]:
    """A file per item, None where ingest found no readable picture."""
    folder = image_folder(context.profile.source, context.inputs.get("shop"))
    names = items["image_file"].to_pylist()
    if folder is None:
        log.warning("the source names no folder of pictures: every item goes without")
        return [None] * len(names)
    return [folder / name if name else None for name in names]


def _image_keys(items: pa.Table) -> list[str]:
    pairs = zip(items["image_file"].to_pylist(), items["image_sha256"].to_pylist(), strict=True)
    return [f"{name or ''} {digest or ''}" for name, digest in pairs]


def _write(out: Path, modality: str, dimensions: int, shards: Iterator[Shard], statistics: VectorStatistics) -> None:
    """Write a modality's table, a row group per shard."""
    table_schema = schema.embedding_schema(modality, dimensions)
    row = 0
    with pq.ParquetWriter(out / f"{modality}_embedding.parquet", table_schema) as writer:
        for shard in shards:
            statistics.add(shard)
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(shard.vectors.ravel(), pa.float16()), dimensions)
            index = pa.array(np.arange(row, row + len(shard), dtype=np.int32))
            writer.write_table(pa.table([index, vectors, pa.array(shard.present)], schema=table_schema))
            row += len(shard)
    statistics.dimensions = dimensions
