"""IDs of the whole catalogue: those that stay from before, then the fitted items, then the cold ones around them."""

import numpy as np

from bbqrec_core.quantization.assign import Assignment, EncodedCatalogue, assign_ids
from bbqrec_core.quantization.data import TrainingData, listing_hashes
from bbqrec_core.quantization.tokenizers.interface import Earlier, Tokenizer


def assign_catalogue(
    tokenizer: Tokenizer, data: TrainingData, earlier: Earlier | None = None
) -> tuple[EncodedCatalogue, Assignment, np.ndarray]:
    """Give every item an ID: fitted items first, then the cold ones around them, as any new item later.

    After a warm start an item keeps the ID it had while that fits it (`Codebooks.follow`, within `warm_start.tolerance`), and nobody
    moves it; the others are placed around those that stay, along as much of their old path as fits.

    Returns:
        Encoding and assignment in item_idx order, and the listing hashes, int64 [n_items].
    """
    items = np.arange(data.n_items)
    encoded = tokenizer.encode(data.features, data.present, items, data.n_items)
    hashes = listing_hashes(data.features, data.present, data.n_items)
    if not tokenizer.repairs:
        nothing = np.zeros(data.n_items, dtype=bool)
        return encoded, Assignment(encoded.wished, encoded.modality_codes, nothing, _sharing(encoded.wished)), hashes
    codebooks, share = tokenizer.codebooks(), tokenizer.config.share_identical
    fused, wished = np.zeros_like(encoded.wished), encoded.wished.copy()
    moved, shares, placed = (np.zeros(data.n_items, dtype=bool) for _ in range(3))
    if earlier is not None:
        known = np.flatnonzero(earlier.known)
        paths = earlier.ids[known]
        wished[known] = codebooks.follow(encoded.starts[known], encoded.behaviour[known], paths, tokenizer.config.warm_start.tolerance)
        placed[known[_may_stay(wished[known], paths, hashes[known], share)]] = True
        fused[placed] = wished[placed]
    for group in (data.fitted, data.cold):
        group, existing = group[~placed[group]], np.flatnonzero(placed)
        part = EncodedCatalogue(wished[group], {}, encoded.starts[group], encoded.behaviour[group], {}, {})
        assigned = assign_ids(codebooks, part, part.vectors, hashes[group], fused[existing], hashes[existing], share)
        fused[group], moved[group], shares[group] = assigned.fused, assigned.moved, assigned.shares
        placed[group] = True
    if share:  # the one that was there first shares too
        shares = _sharing(fused)
    return encoded, Assignment(fused, encoded.modality_codes, moved, shares), hashes


def _may_stay(wished: np.ndarray, paths: np.ndarray, hashes: np.ndarray, share_identical: bool) -> np.ndarray:
    """Which items stay on their paths, bool [n]: those that wish to, and of several on one path the first and its identical listings.

    An ID can have had several holders where identical listings may share, and need not be identical any more.
    """
    stays = (wished == paths).all(1)
    rows = np.flatnonzero(stays)
    _, first, inverse = np.unique(paths[rows], axis=0, return_index=True, return_inverse=True)
    holder = rows[first][inverse.reshape(-1)]
    alike = share_identical & (hashes[holder] == hashes[rows]) & (hashes[rows] >= 0)
    stays[rows] = (holder == rows) | alike
    return stays


def _sharing(codes: np.ndarray) -> np.ndarray:
    """Which rows are also another's, bool [n]."""
    _, inverse, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    return counts[inverse.reshape(-1)] > 1


def churn(before: np.ndarray, after: np.ndarray) -> list[float]:
    """Share of items whose first l codes are others than they were, for l = 1..L; the last is the share whose ID moved.

    Args:
        before: int64 [n, L].
        after: The same items' now.

    Returns:
        Nothing but NaN for no items.

    >>> churn(np.array([[1, 2], [3, 4]]), np.array([[1, 5], [3, 4]]))
    [0.0, 0.5]
    """
    if not len(before):
        return [float("nan")] * before.shape[1]
    return np.logical_or.accumulate(before != after, axis=1).mean(0).tolist()
