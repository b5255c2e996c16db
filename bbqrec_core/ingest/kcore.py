"""The k-core: users and items with too few interactions are removed until all that are left have enough of each other."""

import logging
from dataclasses import dataclass

import pyarrow as pa

from bbqrec_core.ingest.database import Database

log = logging.getLogger(__name__)

ROUNDS = pa.schema([("round", pa.int32()), ("interactions", pa.int64()), ("users", pa.int64()), ("items", pa.int64())])
"""kcore_rounds.parquet: what was left after each round; round 0 is what it began with, in the last nobody has too few."""
KINDS = ("user", "item")


@dataclass(frozen=True)
class Round:
    """What is left after a round."""

    round: int
    interactions: int
    users: int
    items: int


def k_core(database: Database, table: str, k_user: int, k_item: int) -> list[Round]:
    """Make the table `kcore` from another, which is gone then.

    Each round judges users and items by the same counts. The end does not depend on that: the k-core is the largest set in which
    everyone has enough, and there is only one. Most rounds take next to nothing away. So they look only for what falls and take it off
    the counts; the interactions themselves are copied when half of them fell, and in the end.

    Args:
        database: Where the tables are.
        table: All interactions, with at least a `user_code` and an `item_code`.
        k_user: Least interactions of a user.
        k_item: Least interactions of an item.

    Returns:
        Round 0, the beginning, and every round after it; in the last everyone has enough, or nobody is left.
    """
    database.rename(table, "kcore")
    for kind in KINDS:
        database.make(f"{kind}_counts")
    rounds: list[Round] = []
    held = None
    while True:
        current, weak = _measure(database, len(rounds), k_user, k_item)
        rounds.append(current)
        log.info("k-core, round %d: %d interactions, %d users, %d items", *vars(current).values())
        held = held or current.interactions  # those in the table, the fallen too
        if current.interactions < (held / 2 if weak else held):
            database.rename("kcore", "kcore_before")
            database.make("kcore")
            held = current.interactions
        if not weak:
            break
        database.make("fallen", k_user=k_user, k_item=k_item)
        for kind in KINDS:
            database.rename(f"{kind}_counts", f"{kind}_counts_before")
            database.make(f"{kind}_counts", f"{kind}_counts_left")
    for table in ("kcore_before", "fallen", *(f"{kind}_counts{suffix}" for kind in KINDS for suffix in ("", "_before"))):
        database.drop(table)
    return rounds


def _measure(database: Database, number: int, k_user: int, k_item: int) -> tuple[Round, int]:
    """Add up what is left, and how many users and items have too few interactions."""
    counts = []
    for kind, least in zip(KINDS, (k_user, k_item), strict=True):
        counts += database.rows(
            f"SELECT count(*), coalesce(sum(interactions), 0), count(*) FILTER (WHERE interactions < $least) FROM {kind}_counts",
            least=least,
        )
    (users, interactions, weak_users), (items, _, weak_items) = counts
    return Round(number, int(interactions), users, items), weak_users + weak_items
