"""Where nightly retraining starts from: the tokenizer and the IDs of an earlier artifact, or scratch.

Which earlier artifact is asked about, the pipeline's plan decides; whether it serves, this module does. Items are matched by their names
(item_id), since their numbers change with every ingest.

Nothing may come in from the future: what the earlier tokenizer was fitted on must not be held out today. As a shop's log grows, train grows
with it, and that cannot happen; where data was taken back, it can, and then codebooks start from scratch. Only for this check are pairs of
validation and test looked at: none of them can change an ID as long as no interaction has left the train part.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bbqrec_core import schema
from bbqrec_core.errors import ArtifactError
from bbqrec_core.quantization.config import PREVIOUS, PREVIOUS_INGEST, QuantizationConfig
from bbqrec_core.quantization.data import TrainingData
from bbqrec_core.quantization.tokenizers import registry
from bbqrec_core.quantization.tokenizers.interface import Earlier
from bbqrec_core.stage import StageContext

LEAST_KNOWN_SHARE = 0.5
"""Of the items that occur in train; with fewer there is little to keep stable, and codebooks that describe other items."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WarmStart:
    """What is known of an earlier run.

    Attributes:
        earlier: The IDs that items had, which churn is measured against; None where nothing is known.
        source: The earlier artifact's fingerprint; empty where there is none.
        refused: Why it is not gone on from; empty if it is, or where there is none.
    """

    earlier: Earlier | None = None
    source: str = ""
    refused: str = ""

    @property
    def usable(self) -> Earlier | None:
        """What training and assignment go on from."""
        return None if self.refused else self.earlier


def find_warm_start(context: StageContext, data: TrainingData) -> WarmStart:
    """Look at the earlier artifact that the stage was given, if any, and say in the log what becomes of it."""
    config = context.profile.quantization
    if PREVIOUS not in context.inputs:
        return WarmStart()
    folder, ingest, today = context.input(PREVIOUS), context.input(PREVIOUS_INGEST), context.input("ingest")
    earlier = None
    try:
        saved = registry.load(folder)
        earlier = Earlier(saved.tokenizer, saved.semantic_ids, _rows(today, ingest))
        refused = _why_not(earlier, data, config) or _what_leaks(ingest, today)
    except ArtifactError as damage:
        refused = damage.problem
    if refused or earlier is None:
        log.warning("Codebooks start from scratch, and IDs will move: the earlier ones (%s) do not serve. %s", folder.name, refused)
    else:
        log.info("Warm start from %s, which knows %d of %d items.", folder.name, earlier.known.sum(), data.n_items)
    return WarmStart(earlier, folder.name, refused)


def _rows(today: Path, earlier: Path) -> np.ndarray:
    """item_idx in the earlier catalogue of each of today's items, int64 [n_items]; -1 where it is not in it."""

    def names(ingest: Path) -> pa.Array:
        table = pq.read_table(ingest / "items.parquet", columns=[schema.ITEM_IDX, schema.ITEM_ID])
        return table.sort_by(schema.ITEM_IDX)[schema.ITEM_ID].combine_chunks()

    rows = pc.index_in(names(today), value_set=names(earlier))
    return rows.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def _why_not(earlier: Earlier, data: TrainingData, config: QuantizationConfig) -> str:
    """What of an earlier tokenizer does not fit today's settings and features; empty if all does."""
    tokenizer = earlier.tokenizer
    if config.warm_start.start == "scratch":
        return "The profile says so: `quantization.warm_start.start`."
    if config.tokenizer == "given":
        return "Published codes are taken as they come."
    before, now = (one.model_dump(exclude={"warm_start"}) for one in (tokenizer.config, config))
    changed = sorted(name for name in now if before[name] != now[name])
    if changed:
        return f"They were made with other settings of {', '.join(f'`quantization.{name}`' for name in changed)}."
    widths = {name: values.shape[1] for name, values in data.features.items()}
    if tokenizer.widths != widths:
        return f"They were made from features of {_described(tokenizer.widths)}, and now there are features of {_described(widths)}."
    code_sizes = {name: list(sizes) for name, sizes in data.code_sizes.items()}
    if config.tokenizer == "bbqrec" and tokenizer.published_code_sizes() != code_sizes:
        return "The published codes go up to other numbers now."
    known = float(earlier.known[data.fitted].mean())
    if known < LEAST_KNOWN_SHARE:
        return f"They know {known:.0%} of the items that occur in train, and {LEAST_KNOWN_SHARE:.0%} are asked for."
    return ""


def _described(widths: dict[str, int]) -> str:
    return " and ".join(f"{width} {name} dimensions" for name, width in widths.items()) or "no modality"


def _what_leaks(earlier: Path, today: Path) -> str:
    """Whether interactions that the earlier tokenizer was fitted on are held out today; empty if none is."""
    pair = [schema.USER_ID, schema.ITEM_ID]
    before, now = (pq.read_table(folder / "interactions.parquet", columns=[*pair, "part"]) for folder in (earlier, today))
    learned, still = (table.filter(pc.equal(table["part"], "train")).select(pair) for table in (before, now))
    held_out = now.filter(pc.not_equal(now["part"], "train")).select(pair)
    leaking: pa.Table = learned.join(still, pair, join_type="left anti").join(held_out, pair, join_type="left semi")
    if leaking.num_rows:
        return f"They were fitted on {leaking.num_rows} interactions that are held out now."
    return ""
