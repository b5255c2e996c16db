"""Co-occurrence, PPMI and the vectors behaviour starts from, against naive computations."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bbqrec_core.quantization import behaviour
from bbqrec_core.quantization.behaviour import Cooccurrence, behaviour_vectors, cooccurrence, shifted_ppmi

sequences = st.lists(st.lists(st.integers(0, 6), max_size=8), max_size=6)


def ragged(rows):
    return np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64), np.array(
        [item for row in rows for item in row], dtype=np.int64
    )


def dense(matrix: Cooccurrence) -> np.ndarray:
    full = np.zeros((matrix.n_items, matrix.n_items))
    full[matrix.rows, matrix.columns] = matrix.counts
    return full


@given(sequences, st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_cooccurrence_counts_pairs_within_the_window(rows, window):
    expected = np.zeros((7, 7))
    for row in rows:
        for i, first in enumerate(row):
            for j, second in enumerate(row):
                if 0 < abs(i - j) <= window and first != second:
                    expected[first, second] += 1
    np.testing.assert_array_equal(dense(cooccurrence(*ragged(rows), 7, window)), expected)


def test_ppmi_by_hand():
    counts = np.array([[0, 4, 1], [4, 0, 0], [1, 0, 0.0]])
    rows, columns = np.nonzero(counts)
    result = dense(shifted_ppmi(Cooccurrence(rows, columns, counts[rows, columns], 3), 1.5))
    expected = np.zeros((3, 3))
    for i, j in zip(rows, columns, strict=True):
        expected[i, j] = max(math.log(counts[i, j] * 10 / (counts[i].sum() * counts[j].sum())) - math.log(1.5), 0)
    np.testing.assert_allclose(result, expected)


def planted(n=300, groups=6):
    rng = np.random.default_rng(0)
    rows = [(rng.integers(n // groups, size=8) * groups + group).tolist() for group in range(groups) for _ in range(60)]
    return shifted_ppmi(cooccurrence(*ragged(rows), n, 5), 1.0)


def test_vectors_reproduce_the_truncated_svd():
    matrix = planted()
    vectors, has = behaviour_vectors(matrix, 12, torch.Generator().manual_seed(0))
    _, singular, right = np.linalg.svd(dense(matrix))
    expected = right[:12].T * np.sqrt(singular[:12])
    gram = expected @ expected.T
    gram *= 12 * has.sum().item() / np.trace(gram)
    # Vectors are unique up to sign; compare absolute columns, and the scale.
    np.testing.assert_allclose(
        np.abs(vectors.numpy()), np.abs(expected) * math.sqrt(12 * has.sum().item() / (expected**2).sum()), atol=2e-3
    )
    np.testing.assert_allclose((vectors @ vectors.T).numpy(), gram, atol=2e-2)


def test_the_sparse_way_finds_the_same_space_as_the_exact_one(monkeypatch):
    matrix = planted()
    exact, _ = behaviour_vectors(matrix, 6, torch.Generator().manual_seed(0))
    monkeypatch.setattr(behaviour, "DENSE_LIMIT", 10)
    sparse, _ = behaviour_vectors(matrix, 6, torch.Generator().manual_seed(0))
    again, _ = behaviour_vectors(matrix, 6, torch.Generator().manual_seed(0))
    assert torch.equal(sparse, again)
    torch.testing.assert_close(sparse @ sparse.T, exact @ exact.T, atol=0.05, rtol=0.02)


def test_vectors_tell_planted_groups_apart():
    vectors, has = behaviour_vectors(planted(), 12, torch.Generator().manual_seed(0))
    cosine = torch.nn.functional.normalize(vectors[has], dim=1)
    cosine = cosine @ cosine.T
    group = torch.arange(300)[has] % 6
    same = group[:, None] == group
    assert cosine[same].mean() > 0.3 > 0.05 > cosine[~same].mean()


def test_items_without_neighbours_have_no_vector():
    vectors, has = behaviour_vectors(shifted_ppmi(cooccurrence(*ragged([[0, 1, 2], [4]]), 6, 5), 1.0), 4, torch.Generator())
    assert has.tolist() == [True, True, True, False, False, False]
    assert not vectors[3:].any()
    vectors, has = behaviour_vectors(shifted_ppmi(cooccurrence(*ragged([[0], [1]]), 3, 5), 1.0), 4, torch.Generator())
    assert not has.any() and not vectors.any()
