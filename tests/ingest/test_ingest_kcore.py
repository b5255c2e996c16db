"""The k-core against a naive implementation."""

import itertools
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbqrec_core.ingest.database import open_database
from bbqrec_core.ingest.kcore import k_core

PAIRS = st.sets(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=90)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with open_database(tmp_path_factory.mktemp("kcore"), "500MB", 1) as opened:
        yield opened


def naive(pairs: set[tuple[int, int]], k_user: int, k_item: int) -> set[tuple[int, int]]:
    """Remove one pair at a time, in any order."""
    pairs = set(pairs)
    while True:
        users, items = Counter(user for user, _ in pairs), Counter(item for _, item in pairs)
        weak = next((pair for pair in sorted(pairs) if users[pair[0]] < k_user or items[pair[1]] < k_item), None)
        if weak is None:
            return pairs
        pairs.discard(weak)


@settings(max_examples=25, deadline=None)
@given(pairs=PAIRS, k_user=st.integers(1, 6), k_item=st.integers(1, 6))
def test_equals_naive_removal(database, pairs, k_user, k_item):
    rows = [{"user_code": user, "item_code": item, "rating": 5.0, "timestamp": 0} for user, item in sorted(pairs)]
    database.drop("pairs")
    database.insert("pairs", pa.Table.from_pylist(rows))
    rounds = k_core(database, "pairs", k_user, k_item)
    left = set(database.rows("SELECT user_code, item_code FROM kcore"))
    assert left == naive(pairs, k_user, k_item)
    assert rounds[0].interactions == len(pairs) and rounds[-1].interactions == len(left)
    assert rounds[-1].users == len({user for user, _ in left}) and rounds[-1].items == len({item for _, item in left})
    assert all(before.interactions >= after.interactions for before, after in itertools.pairwise(rounds))
