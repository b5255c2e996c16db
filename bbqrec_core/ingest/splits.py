"""Divides the k-core into train, validation and test, and writes nothing: the tables are made by sql/.

Leave-one-out takes each user's last interactions, as papers do. A temporal split takes everything from a moment on, the same for all users,
as in production; what other users do after that moment then cannot leak into training.
"""

import logging
from datetime import UTC, datetime

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import SplitConfig
from bbqrec_core.ingest.database import Database

log = logging.getLogger(__name__)


def split(database: Database, config: SplitConfig, seed: str, has_times: bool) -> dict[str, int | None]:
    """Make the tables `interactions`, `ties`, `items`, `sequences`, `train`, `valid` and `test` from `kcore`, `user_index`, `item_index`.

    Args:
        database: Where the tables are.
        config: The kind of split.
        seed: Breaks ties.
        has_times: Whether timestamps are times, and not just places in a sequence.

    Returns:
        `valid_from` and `test_from`, seconds since 1970, UTC; None for leave-one-out.

    Raises:
        SourceError: A temporal split of data without times, or one that leaves a part empty; or items are held out, and train has no other.
    """
    moments: dict[str, int | None] = {"valid_from": None, "test_from": None}
    if config.kind == "temporal":
        if not has_times:
            raise SourceError(
                "A temporal split needs times, and this source has none: order stands in for time.", "Set ingest.split.kind: leave_one_out."
            )
        moments = {name: _moment(database, getattr(config, name)) for name in moments}
        log.info("validation begins at %s, test at %s", *(_date(moment) for moment in moments.values()))
    database.make("ties")
    database.make("ordered", seed=seed)
    if config.kind == "temporal":
        database.make("interactions", "interactions_temporal", valid_from=moments["valid_from"], test_from=moments["test_from"])
        _check_parts(database, moments)
    else:
        database.make("interactions", "interactions_leave_one_out")
    database.drop("ordered")
    if config.held_out_items:
        _hold_out(database, config.held_out_items)
    database.make("items")
    database.make("sequences")
    for table in ("train", "valid", "test"):
        database.make(table, max_history=config.max_history)
    return moments


def _moment(database: Database, given: float | str) -> int:
    if isinstance(given, str):
        return int(datetime.fromisoformat(given).replace(tzinfo=UTC).timestamp())
    [(moment,)] = database.rows("SELECT quantile_disc(timestamp, $share) FROM kcore", share=given)
    return int(moment)


def _check_parts(database: Database, moments: dict[str, int | None]) -> None:
    found = _count_parts(database)
    empty = [part for part in ("train", "valid", "test") if not found.get(part)]
    if empty:
        [(first, last)] = database.rows("SELECT min(timestamp), max(timestamp) FROM interactions")
        raise SourceError(
            f"The temporal split leaves nothing for {' and '.join(empty)}: validation begins at {_date(moments['valid_from'])}, test at "
            f"{_date(moments['test_from'])}, and interactions run from {_date(first)} to {_date(last)}.",
            "Choose other ingest.split.valid_from and test_from.",
        )


def _hold_out(database: Database, share: float) -> None:
    database.make("interactions", "interactions_held_out", share=share)
    found = _count_parts(database)
    held_out = found.get("held_out", 0)
    log.info("%d interactions of train are held out", held_out)
    if held_out and not found.get("train"):
        raise SourceError(
            f"ingest.split.held_out_items, {share}, leaves nothing for train: all its {held_out:,} interactions are of the items drawn.",
            "Lower it.",
        )


def _count_parts(database: Database) -> dict[str, int]:
    """Interactions by part; a part without any is not among them."""
    return dict(database.rows("SELECT part, count(*) FROM interactions GROUP BY part"))


def _date(moment: int | None) -> str:
    return "-" if moment is None else f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"
