"""What decides whether an item keeps its semantic ID: following its old path, who may stay on it, and how churn is counted."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bbqrec_core.quantization.behaviour import turned_onto
from bbqrec_core.quantization.catalogue import _may_stay, churn
from bbqrec_core.quantization.collisions import Codebooks
from bbqrec_core.quantization.tokenizers.interface import PlainCodebooks
from bbqrec_core.quantization.tokenizers.rqvae_per_modality import SeparateCodebooks

SIZES = (4, 5, 6)


def codebooks(seed, kind=Codebooks, dimensions=3):
    rng = np.random.default_rng(seed)
    return kind(tuple(rng.normal(size=(size, dimensions)) for size in SIZES), 0.7, 0.5)


def items(seed, n=40, dimensions=3):
    rng = np.random.default_rng(seed + 100)
    paths = np.stack([rng.integers(0, size, n) for size in SIZES], 1)
    return rng.normal(size=(n, dimensions)), rng.normal(size=(n, dimensions)), paths


def one_by_one(books, start, behaviour, path, tolerance):
    """The rule for one item, in plain words."""
    codes, residual, on_path = [], start, True
    for level, book in enumerate(books.levels):
        if level == len(books.levels) - 1:
            costs = books.last_costs(start[None], behaviour[None], np.array([codes]))[0]
        else:
            costs = ((residual - book) ** 2).sum(1)
        on_path = on_path and costs[path[level]] <= (1 + tolerance) * costs.min() + 1e-12
        codes.append(int(path[level]) if on_path else int(costs.argmin()))
        residual = residual - book[codes[-1]]
    return codes


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), tolerance=st.sampled_from([0.0, 0.1, 0.5, 2.0]), kind=st.sampled_from([Codebooks, PlainCodebooks]))
def test_an_item_leaves_its_path_where_that_does_not_fit_any_more(seed, tolerance, kind):
    books = codebooks(seed, kind)
    starts, behaviour, paths = items(seed)
    expected = [one_by_one(books, *item, tolerance) for item in zip(starts, behaviour, paths, strict=True)]
    np.testing.assert_array_equal(books.follow(starts, behaviour, paths, tolerance), expected)


def test_no_tolerance_is_the_nearest_code_and_much_is_the_old_path():
    books = codebooks(1)
    starts, behaviour, paths = items(1)
    anywhere = books.follow(starts, behaviour, np.zeros_like(paths), 0.0)
    np.testing.assert_array_equal(books.follow(starts, behaviour, anywhere, 0.0), anywhere)
    np.testing.assert_array_equal(books.follow(starts, behaviour, paths, 1e9), paths)
    kept = [(books.follow(starts, behaviour, paths, tolerance) == paths).all(1).sum() for tolerance in (0.0, 0.5, 1.0, 5.0, 1e9)]
    assert kept == sorted(kept) and kept[0] < kept[-1] == len(paths)


def test_with_separate_codebooks_each_item_follows_in_its_own():
    stacks = (codebooks(2, PlainCodebooks), codebooks(3, PlainCodebooks))
    starts, behaviour, paths = items(2)
    chosen = np.arange(len(paths)) % 2
    together = SeparateCodebooks(stacks[0].levels, stacks=stacks).follow(np.c_[starts, chosen], behaviour, paths, 0.3)
    for number, stack in enumerate(stacks):
        rows = chosen == number
        np.testing.assert_array_equal(together[rows], stack.follow(starts[rows], behaviour[rows], paths[rows], 0.3))


def test_of_several_on_one_path_the_first_stays_and_its_identical_listings_if_they_may():
    paths = np.array([[1, 1], [1, 1], [1, 1], [2, 2], [3, 3], [3, 3]])
    wished = np.where(np.arange(6)[:, None] == 3, 0, paths)
    hashes = np.array([7, 7, 8, 9, -1, -1])
    assert _may_stay(wished, paths, hashes, False).tolist() == [True, False, False, False, True, False]
    assert _may_stay(wished, paths, hashes, True).tolist() == [True, True, False, False, True, False]


def test_churn_counts_prefixes():
    before = np.array([[1, 2, 3], [1, 2, 3], [1, 2, 3], [4, 5, 6]])
    after = np.array([[1, 2, 3], [1, 2, 0], [1, 0, 3], [0, 5, 6]])
    assert churn(before, after) == [0.25, 0.5, 0.75]
    assert np.isnan(churn(before[:0], after[:0])).all()


def test_turning_finds_a_rotation_and_keeps_distances():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(30, 5, generator=generator)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q
    both = torch.arange(30) < 20
    targets = torch.where(both[:, None], vectors @ rotation, torch.randn(30, 5, generator=generator))
    turned = turned_onto(vectors, targets, both)
    torch.testing.assert_close(turned, vectors @ rotation, atol=1e-5, rtol=0)
    noisy = turned_onto(vectors, targets + 0.5 * torch.randn(30, 5, generator=generator), both)
    torch.testing.assert_close(noisy @ noisy.T, vectors @ vectors.T, atol=1e-4, rtol=0)
    assert torch.equal(turned_onto(vectors, targets, torch.zeros(30, dtype=torch.bool)), vectors)
