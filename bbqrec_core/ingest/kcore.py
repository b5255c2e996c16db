"""The k-core: users and items with too few interactions are removed until all that are left have enough of each other."""

import logging
from dataclasses import dataclass

import pyarrow as pa

from bbqrec_core.ingest.database import Database

log = logging.getLogger(__name__)

ROUNDS = pa.schema([("round", pa.int32()), ("interactions", pa.int64()), ("users", pa.int64()), ("items", pa.int64())])
"""kcore_rounds.parquet: what was left after each round; round 0 is what it began with, the last changed nothing."""


@dataclass(frozen=True)
class Round:
    """What is left after a round."""

    round: int
    interactions: int
    users: int
    items: int


def k_core(database: Database, k_user: int, k_item: int) -> list[Round]:
    """Make the table `kcore` from `deduplicated`.

    Each round judges users and items by the same counts. The end does not depend on that: the k-core is the largest set in which
    everyone has enough, and there is only one.

    Args:
        database: Where the tables are.
        k_user: Least interactions of a user.
        k_item: Least interactions of an item.

    Returns:
        Round 0, the beginning, and every round after it.
    """
    database.drop("kcore")
    database.rename("deduplicated", "kcore")
    rounds = [_measure(database, 0)]
    while True:
        database.rename("kcore", "kcore_before")
        database.make("kcore", k_user=k_user, k_item=k_item)
        rounds.append(_measure(database, len(rounds)))
        log.info("k-core, round %d: %d interactions, %d users, %d items", *vars(rounds[-1]).values())
        if rounds[-1].interactions in (0, rounds[-2].interactions):
            database.drop("kcore_before")
            return rounds


def _measure(database: Database, number: int) -> Round:
    [(interactions, users, items)] = database.rows("SELECT count(*), count(DISTINCT user_id), count(DISTINCT item_id) FROM kcore")
    return Round(number, interactions, users, items)
