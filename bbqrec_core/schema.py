"""Column names and Arrow schemas of every table the pipeline writes: the single truth.

Tables are in one of three conditions: `raw_*` as read, one row per line used (`raw_items`: per item, its fields cleaned);
unprefixed after deduplication and k-core; derived (embeddings, semantic IDs, metrics) one row per item, user or measurement.
Items and users have two names: `item_id` / `user_id`, the shop's own strings, and `item_idx` / `user_idx`, consecutive numbers from a
seeded permutation, so that no numbering can leak what came first.
"""

import pyarrow as pa

USER_ID = "user_id"
ITEM_ID = "item_id"
USER_IDX = "user_idx"
ITEM_IDX = "item_idx"
TIMESTAMP = "timestamp"
RATING = "rating"
HISTORY = "history"
TARGET = "target"

TEXT = "text"
IMAGE = "image"
MODALITIES = (TEXT, IMAGE)
FUSED = "fused"


RAW_INTERACTIONS = pa.schema(
    [
        (USER_ID, pa.string()),
        (ITEM_ID, pa.string()),
        (RATING, pa.float32()),
        (TIMESTAMP, pa.int64()),  # seconds since 1970, UTC
        ("file", pa.string()),
        ("line", pa.int64()),  # 1-based; of published splits, whose lines hold many interactions, the number of the interaction
    ]
)
RAW_ITEMS = pa.schema(
    [
        (ITEM_ID, pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("description", pa.string()),
        ("price", pa.float64()),
        ("image_urls", pa.list_(pa.string())),
        ("image_path", pa.string()),  # relative to the folder of pictures, where the source names it
        ("file", pa.string()),
        ("line", pa.int64()),  # 1-based; of a file that is one JSON object, the number of the entry
    ]
)
CLEANING = pa.schema(
    [
        ("field", pa.string()),  # title, brand, categories, description or price
        ("rule", pa.string()),  # what was done or found, such as tags or debris; sql/cleaned_items.sql and ingest/text.py name them
        ("items", pa.int64()),  # rows of raw_items on which the rule acted
    ]
)
"""`cleaning.parquet`: what cleaning did to the metadata."""
REJECTS = pa.schema(
    [
        ("file", pa.string()),
        ("line", pa.int64()),  # 1-based, physical: where the record begins; null for what is no record (an image, the end of a cut file)
        ("byte", pa.int64()),  # where the record begins in the decompressed file; null where that says nothing
        ("reason", pa.string()),
        ("sha256", pa.string()),  # of the record's bytes; of a row of Parquet, which has none, as JSON
        ("text", pa.string()),  # only if the profile asks for it; of a record with several rejects once
    ]
)
FILES = pa.schema(
    [
        ("file", pa.string()),  # relative to the raw folder
        ("number", pa.int32()),  # in the order of reading
        ("content", pa.string()),  # interactions, items, item names (item2id), or codes (published semantic IDs)
        ("format", pa.string()),  # in words, such as "Amazon 2018 reviews, JSON"
        ("lines", pa.int64()),  # physical lines; records of CSV, rows of Parquet, entries of one JSON object, interactions of a split
        ("rejected", pa.int64()),
        ("folded", pa.int64()),  # interactions with a variant, counted for the item it belongs to
        ("damage", pa.string()),  # what is wrong with a file of which only the beginning was used
    ]
)
"""`files.parquet`: every file that was read, but for pictures."""
INTERACTIONS = pa.schema(
    [
        (USER_IDX, pa.int32()),
        (ITEM_IDX, pa.int32()),
        (USER_ID, pa.string()),
        (ITEM_ID, pa.string()),
        (RATING, pa.float32()),
        (TIMESTAMP, pa.int64()),
        ("position", pa.int32()),  # 0-based place in the user's sequence
        ("part", pa.string()),  # train, valid, test, or held_out: of train, and shown to nobody
    ]
)
ITEMS = pa.schema(
    [
        (ITEM_IDX, pa.int32()),  # row number: the table is sorted by it and has no gaps
        (ITEM_ID, pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("description", pa.string()),
        ("price", pa.float64()),
        ("image_file", pa.string()),  # relative to the source's image folder; null without a readable image
        ("image_sha256", pa.string()),
        ("train_count", pa.int32()),  # interactions in the train part
    ]
)
TRAIN_SEQUENCES = pa.schema([(USER_IDX, pa.int32()), (HISTORY, pa.list_(pa.int32()))])
"""A user's train items (item_idx) in time order; whole, or the latest if the profile's split sets a maximum. Training may truncate it
further, statistics of behaviour use all of it."""
EVAL_SEQUENCES = pa.schema([(USER_IDX, pa.int32()), (HISTORY, pa.list_(pa.int32())), (TARGET, pa.int32())])
"""What came before the target, in time order (all, or the latest as in train), and the target. `valid.parquet` and `test.parquet`."""
GIVEN_CODES = pa.schema([(ITEM_IDX, pa.int32()), (TEXT, pa.list_(pa.int16())), (IMAGE, pa.list_(pa.int16()))])
"""`given_codes.parquet`: published semantic IDs, one row per item in item_idx order, null where an item has none; of kind `sequences`."""


def embedding_schema(modality: str, dimensions: int) -> pa.Schema:
    """Schema of `<modality>_embedding.parquet`: one row per item in item_idx order; the vector is zeros where the mask is false."""
    return pa.schema([(ITEM_IDX, pa.int32()), ("embedding", pa.list_(pa.float16(), dimensions)), (f"has_{modality}", pa.bool_())])


def semantic_id_schema(levels: int) -> pa.Schema:
    """Schema of `semantic_ids.parquet`: one row per item in item_idx order; a modality's codes are null where the item lacks it."""
    codes = pa.list_(pa.int16(), levels)
    return pa.schema([(ITEM_IDX, pa.int32()), (FUSED, codes), (TEXT, codes), (IMAGE, codes)])


CURVE = pa.schema([("step", pa.int32()), ("name", pa.string()), ("value", pa.float64())])
"""Training curves, long: `step` is the epoch, `name` such as `train/loss` or `valid/ndcg_at_10`.

No clock times: they would differ between runs of the same fingerprint."""
HEALTH = pa.schema([("source", pa.string()), ("level", pa.int32()), ("name", pa.string()), ("value", pa.float64())])
"""Codebook health, long: `source` is fused, text or image; level 0 means the whole ID, levels count from 1."""
USAGE = pa.schema([("source", pa.string()), ("level", pa.int32()), ("code", pa.int32()), ("items", pa.int32())])
SIMILARITY_WEIGHTS = pa.schema(
    [
        ("layer", pa.int32()),
        ("head", pa.int32()),
        ("source", pa.string()),
        ("bucket", pa.int32()),
        ("label", pa.string()),  # what the bucket means: "prefix 2", "0.310 to 0.482", "same item"
        ("weight", pa.float64()),  # learned, added to the attention score
        ("train_share", pa.float64()),  # of pairs (position, earlier position) in train sequences
    ]
)
"""`attention_bias.parquet`: the learned similarity reweighting."""
METRICS = pa.schema(
    [
        ("model", pa.string()),
        ("split", pa.string()),  # valid or test
        ("masked", pa.bool_()),  # seen items masked?
        ("metric", pa.string()),  # recall_at_10, ndcg_at_10, mrr, coverage_at_10, ...
        ("value", pa.float64()),
        ("low", pa.float64()),  # bootstrap interval over users, 95 %; null where it makes no sense
        ("high", pa.float64()),
    ]
)
RANKS = pa.schema(
    [
        ("model", pa.string()),
        ("masked", pa.bool_()),
        (USER_IDX, pa.int32()),
        ("above", pa.int32()),  # items scored strictly above the target
        ("tied", pa.int32()),  # other items with exactly the target's score
    ]
)
"""Test ranks per user: what significance tests and other cut-offs are computed from."""
COMPARISONS = pa.schema(
    [
        ("model", pa.string()),
        ("baseline", pa.string()),
        ("metric", pa.string()),  # ndcg_at_10
        ("masked", pa.bool_()),
        ("users", pa.int32()),
        ("difference", pa.float64()),  # the model's mean minus the baseline's, over the same test users
        ("low", pa.float64()),  # bootstrap interval of the difference over users, 95 %
        ("high", pa.float64()),
        ("p", pa.float64()),  # paired permutation test, two-sided
        ("p_holm", pa.float64()),  # corrected for the number of baselines
    ]
)
"""Our model against each baseline on the test split."""
EXAMPLES = pa.schema(
    [
        (USER_IDX, pa.int32()),
        (HISTORY, pa.list_(pa.int32())),
        (TARGET, pa.int32()),
        ("model", pa.string()),
        ("recommended", pa.list_(pa.int32())),  # best first, seen items masked
    ]
)
