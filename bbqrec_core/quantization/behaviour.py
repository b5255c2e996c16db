"""What the train part says about items: co-occurrence, its shifted PPMI, and the vectors that z starts from.

Only train sequences come in here. Nothing here learns by gradient.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch

DENSE_LIMIT = 2048
"""Up to so many items the PPMI matrix is decomposed exactly, as a dense matrix of at most 32 MB."""
POWER_ITERATIONS = 6
OVERSAMPLING = 16


@dataclass(frozen=True)
class Cooccurrence:
    """A sparse symmetric count matrix without diagonal.

    Attributes:
        rows, columns: item_idx, int64 [nonzero], sorted by (row, column).
        counts: float64 [nonzero].
        n_items: Both sides of the matrix.
    """

    rows: np.ndarray
    columns: np.ndarray
    counts: np.ndarray
    n_items: int


def cooccurrence(offsets: np.ndarray, items: np.ndarray, n_items: int, window: int) -> Cooccurrence:
    """Count how often two items stand at most `window` places apart in a train sequence.

    Args:
        offsets: int64 [n_sequences + 1].
        items: item_idx, int64, all sequences one after another.
        n_items: Catalogue size.
        window: Largest distance that counts.
    """
    sequence = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    longest = int(np.diff(offsets).max(initial=0))
    keys: np.ndarray = np.empty(0, dtype=np.int64)
    counts: np.ndarray = np.empty(0, dtype=np.float64)
    for distance in range(1, min(window, longest - 1) + 1):
        first, second = items[:-distance], items[distance:]
        together = (sequence[:-distance] == sequence[distance:]) & (first != second)
        first, second = first[together], second[together]
        found, number = np.unique(np.concatenate([first * n_items + second, second * n_items + first]), return_counts=True)
        merged, inverse = np.unique(np.concatenate([keys, found]), return_inverse=True)
        counts = np.bincount(inverse, weights=np.concatenate([counts, number]), minlength=len(merged))
        keys = merged
    return Cooccurrence(keys // n_items, keys % n_items, counts, n_items)


def shifted_ppmi(together: Cooccurrence, shift: float) -> Cooccurrence:
    """Shifted positive pointwise mutual information.

    SPPMI_ij = max(log(n_ij * n / (n_i * n_j)) - log k, 0), with n_i the sum of row i and n the sum of all
    (Levy and Goldberg, Neural Word Embedding as Implicit Matrix Factorization, 2014, eq. 12).

    Returns:
        The same shape with `counts` holding SPPMI; entries that are zero are left out.
    """
    totals = np.bincount(together.rows, weights=together.counts, minlength=together.n_items)
    values = np.log(together.counts * totals.sum() / (totals[together.rows] * totals[together.columns])) - np.log(shift)
    keep = values > 0
    return Cooccurrence(together.rows[keep], together.columns[keep], values[keep], together.n_items)


def behaviour_vectors(matrix: Cooccurrence, dimensions: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Item vectors U * sqrt(S) of the truncated SVD of a symmetric matrix.

    Exact up to `DENSE_LIMIT` items, by randomised subspace iteration on the sparse matrix beyond (Halko, Martinsson and Tropp 2011,
    algorithms 4.4 and 5.3). Always on the CPU, in float64; signs are fixed so that each column's largest entry is positive.

    Args:
        matrix: Symmetric, sparse.
        dimensions: Columns wanted; where the catalogue has fewer items, the rest are zeros.
        generator: Seeds the random start.

    Returns:
        vectors float32 [n_items, dimensions], scaled to a root mean square of 1 over the items that have behaviour, and has_behaviour
        bool [n_items]: whether the item has any neighbour at all. The vector of an item without is zero.
    """
    n = matrix.n_items
    rank = min(dimensions, n)
    has = torch.zeros(n, dtype=torch.bool)
    has[torch.from_numpy(matrix.rows)] = True
    vectors = torch.zeros(n, dimensions, dtype=torch.float64)
    if len(matrix.rows):
        indices = torch.from_numpy(np.stack([matrix.rows, matrix.columns]))
        sparse = torch.sparse_coo_tensor(indices, torch.from_numpy(matrix.counts), (n, n), is_coalesced=True, check_invariants=False)
        if n <= DENSE_LIMIT:
            values, basis = torch.linalg.eigh(sparse.to_dense())
        else:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
                compressed = sparse.to_sparse_csr()
            width = min(rank + OVERSAMPLING, n)
            frame = torch.linalg.qr(compressed @ torch.randn(n, width, generator=generator, dtype=torch.float64)).Q
            for _ in range(POWER_ITERATIONS):
                frame = torch.linalg.qr(compressed @ frame).Q
            small = frame.T @ (compressed @ frame)
            values, rotation = torch.linalg.eigh((small + small.T) / 2)
            basis = frame @ rotation
        # The singular values of a symmetric matrix are the magnitudes of its eigenvalues.
        order = torch.argsort(values.abs(), descending=True, stable=True)[:rank]
        top = basis[:, order]
        top = top * top.gather(0, top.abs().argmax(0, keepdim=True)).sign()
        vectors[:, : len(order)] = top * values[order].abs().sqrt()
    vectors[~has] = 0.0
    scale = vectors[has].square().mean().sqrt() if has.any() else torch.tensor(1.0)
    if scale > 0:
        vectors /= scale
    return vectors.float(), has & (vectors.abs().sum(1) > 0)


def turned_onto(vectors: torch.Tensor, targets: torch.Tensor, both: torch.Tensor) -> torch.Tensor:
    """Turn item vectors so that they lie as near as can be to others that the items had: orthogonal Procrustes (Schönemann 1966).

    An SVD tells vectors only up to a rotation, so today's and yesterday's cannot be compared as they come:

        R = argmin_{R'R = I} sum_i ||v_i R - t_i||^2 = U W',   U S W' = SVD(sum_i v_i' t_i),   i over `both`

    Args:
        vectors: v, float32 [n, d].
        targets: t, float32 [n, d].
        both: bool [n], the items that have both. Without any, nothing is turned.

    Returns:
        float32 [n, d]; distances among the vectors stay what they were.
    """
    if not both.any():
        return vectors
    left, _, right = torch.linalg.svd(vectors[both].double().T @ targets[both].double())
    return (vectors.double() @ (left @ right)).float()
