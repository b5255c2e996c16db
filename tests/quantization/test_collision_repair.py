"""Minimal assignment and collision repair."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbqrec_core.errors import StageError
from bbqrec_core.quantization.collisions import Codebooks, collides, collision_share, repair
from bbqrec_core.quantization.hungarian import minimal_assignment


def random_case(seed, sizes, n, same=False, d=3):
    rng = np.random.default_rng(seed)
    books = Codebooks(tuple(rng.normal(size=(size, d)) for size in sizes), residual_scale=0.7, behaviour_weight=0.5)
    starts = np.repeat(rng.normal(size=(1, d)), n, axis=0) if same else rng.normal(size=(n, d)) * 0.3
    behaviour = rng.normal(size=(n, d))
    codes = np.zeros((n, len(sizes)), dtype=np.int64)
    residual = starts
    for level, book in enumerate(books.levels[:-1]):
        codes[:, level] = ((residual[:, None] - book) ** 2).sum(2).argmin(1)
        residual = residual - book[codes[:, level]]
    codes[:, -1] = books.last_costs(starts, behaviour, codes[:, :-1]).argmin(1)
    return codes, starts, behaviour, books


sizes_strategy = st.lists(st.integers(2, 4), min_size=3, max_size=4)


@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_assignment_is_as_cheap_as_the_best_permutation(rows, more, seed):
    cost = np.random.default_rng(seed).integers(0, 6, (rows, rows + more)).astype(float)  # integers: many ties
    chosen = minimal_assignment(cost)
    assert len(set(chosen.tolist())) == rows
    best = min(cost[range(rows), list(columns)].sum() for columns in itertools.permutations(range(rows + more), rows))
    assert cost[range(rows), chosen].sum() == pytest.approx(best)


def test_assignment_refuses_more_rows_than_columns():
    with pytest.raises(ValueError, match="3 rows"):
        minimal_assignment(np.zeros((3, 2)))


@given(sizes_strategy, st.integers(0, 10_000), st.floats(0, 1), st.booleans())
@settings(max_examples=80, deadline=None)
def test_every_item_gets_an_id_of_its_own_whenever_there_are_enough(sizes, seed, fill, same):
    n = max(1, round(fill * int(np.prod(sizes))))
    codes, starts, behaviour, books = random_case(seed, sizes, n, same)
    repaired = repair(codes, starts, behaviour, books)
    assert collision_share(repaired.codes) == 0
    assert (repaired.codes >= 0).all() and (repaired.codes < np.array(sizes)).all()
    own_prefix = (repaired.codes[:, :-1] == codes[:, :-1]).all(1)
    np.testing.assert_array_equal(own_prefix, ~repaired.moved_prefix)
    # A prefix keeps as many of its items as it has codes for.
    for prefix in np.unique(codes[:, :-1], axis=0):
        inside = (codes[:, :-1] == prefix).all(1)
        assert (inside & own_prefix).sum() == min(inside.sum(), sizes[-1])
    # Where nobody collided, nobody moved.
    ids, counts = np.unique(codes, axis=0, return_counts=True)
    for prefix in np.unique(codes[:, :-1], axis=0):
        if counts[(ids[:, :-1] == prefix).all(1)].max() == 1:
            inside = (codes[:, :-1] == prefix).all(1)
            np.testing.assert_array_equal(repaired.codes[inside], codes[inside])


def existing_ids(seed, sizes, share, fill):
    """IDs that a share of the places is taken by, and how many new items fill so much of the rest."""
    capacity = int(np.prod(sizes))
    existing = round(share * (capacity - 1))
    everything = np.array(list(itertools.product(*map(range, sizes))))
    return everything[np.random.default_rng(seed).permutation(capacity)[:existing]], max(1, round(fill * (capacity - existing)))


@given(sizes_strategy, st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_new_items_take_only_what_existing_ones_left(sizes, seed, existing_share, fill):
    occupied, n = existing_ids(seed, sizes, existing_share, fill)
    codes, starts, behaviour, books = random_case(seed, sizes, n)
    before = occupied.copy()
    repaired = repair(codes, starts, behaviour, books, occupied)
    np.testing.assert_array_equal(occupied, before)
    assert collision_share(np.concatenate([occupied, repaired.codes])) == 0


@given(sizes_strategy, st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_repair_of_those_that_collide_is_repair_of_all(sizes, seed, existing_share, fill):
    occupied, n = existing_ids(seed, sizes, existing_share, fill)
    codes, starts, behaviour, books = random_case(seed, sizes, n)
    colliding = collides(codes, sizes, occupied)
    settled = np.concatenate([occupied, codes[~colliding]])
    assert collision_share(settled) == 0
    some = codes.copy()
    some[colliding] = repair(codes[colliding], starts[colliding], behaviour[colliding], books, settled).codes
    np.testing.assert_array_equal(some, repair(codes, starts, behaviour, books, occupied).codes)


def test_repair_within_a_prefix_costs_the_least_possible():
    codes, starts, behaviour, books = random_case(3, [2, 2, 5], 4, same=True)
    codes[:] = codes[0]
    cost = books.last_costs(starts, behaviour, codes[:, :-1])
    best = min(cost[range(4), list(columns)].sum() for columns in itertools.permutations(range(5), 4))
    repaired = repair(codes, starts, behaviour, books)
    assert cost[range(4), repaired.codes[:, -1]].sum() == pytest.approx(best)


def test_overflow_goes_to_the_nearest_prefix_with_room():
    codes, starts, behaviour, books = random_case(5, [3, 3, 2], 5, same=True)
    repaired = repair(codes, starts, behaviour, books)
    sums = {prefix: books.levels[0][prefix[0]] + books.levels[1][prefix[1]] for prefix in itertools.product(range(3), range(3))}
    by_distance = sorted(sums, key=lambda prefix: ((starts[0] - sums[prefix]) ** 2).sum())
    # The first two stay where greedy coding put them; then two and one in the nearest of the remaining prefixes.
    remaining = [prefix for prefix in by_distance if prefix != tuple(codes[0, :2])]
    used = [tuple(row) for row in repaired.codes[:, :2]]
    assert used.count(tuple(codes[0, :2])) == 2
    assert used.count(remaining[0]) == 2
    assert used.count(remaining[1]) == 1


def test_more_items_than_ids_is_an_error_that_names_both():
    codes, starts, behaviour, books = random_case(0, [2, 2, 2], 9)
    with pytest.raises(StageError, match=r"9 items .* give 8"):
        repair(codes, starts, behaviour, books)


def test_nearest_prefixes_yields_each_once():
    _, starts, _, books = random_case(1, [3, 4, 2, 5], 1)
    prefixes = [tuple(prefix) for prefix in books.nearest_prefixes(starts[0])]
    assert sorted(prefixes) == sorted(itertools.product(range(3), range(4), range(2)))


def test_collision_share_counts_all_that_share():
    assert collision_share(np.array([[0, 1], [0, 1], [0, 1], [1, 1]])) == 0.75
    assert collision_share(np.empty((0, 2))) == 0.0
