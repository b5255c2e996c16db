"""Beam search over the catalogue's trie, for catalogues too large to score whole. Batched; the only loop is the one over levels.

A prefix is closed for a user when every item below it has been seen; probabilities are not renormalised after masking, so scores equal
those of exact scoring, and a beam as wide as the catalogue gives exactly its ranking.
"""

import torch

from bbqrec_core.sequence.decoder import DepthDecoder
from bbqrec_core.sequence.trie import Trie

NONE = -1
"""Fills results where fewer items than asked for can be recommended."""


@torch.no_grad()
def beam_search(decoder: DepthDecoder, hidden: torch.Tensor, seen: torch.Tensor, width: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k items of highest generative score that a beam finds.

    Args:
        decoder: The head; its full trie is walked.
        hidden: float32 [batch, d].
        seen: Items never to be returned, item_idx, int64 [batch, any]; negative entries are ignored, repeated ones count once.
        width: Prefixes kept per level.
        k: Items to return.

    Returns:
        item_idx, int64 [batch, k], best first (ties: lower item_idx first), NONE where nothing is left; and scores, float32 [batch, k],
        minus infinity there.
    """
    trie = decoder.trie
    batch = len(hidden)
    rows = torch.arange(batch, device=hidden.device)[:, None]
    seen_rows, seen_items = _distinct_pairs(rows.expand_as(seen), seen, len(trie.path))
    nodes = torch.zeros(batch, 1, dtype=torch.int64, device=hidden.device)
    scores = hidden.new_zeros(batch, 1, dtype=torch.float32)
    states = decoder.start(hidden)[:, None]
    for level, count in enumerate(decoder.code_counts):
        legal = trie.legal(nodes, level, count)
        candidates = scores[..., None] + decoder.log_probs(states, legal, level)
        _close(candidates, torch.where(scores > float("-inf"), nodes, NONE), trie, seen_rows, trie.path[seen_items, level])
        kept = min(width, candidates[0].numel(), trie.level_start[level + 2] - trie.level_start[level + 1])
        scores, index = candidates.flatten(1).topk(kept, dim=1)
        alive = scores > float("-inf")
        came_from, codes = index // count, index % count
        # A dead slot points at the depth's first node, whose score stays minus infinity.
        nodes = torch.where(alive, trie.child(nodes.gather(1, came_from), codes), trie.level_start[level + 1])
        if level + 1 < decoder.levels:
            states = states.gather(1, came_from[..., None].expand(-1, -1, states.shape[-1]))
            states = decoder.step(states, codes, level)
    items = trie.expand_leaves(nodes)
    shared = (items >= 0).sum(-1, keepdim=True)
    item_scores = (scores[..., None] - shared.float().log()).expand(items.shape).flatten(1)
    items = items.flatten(1)
    keys = seen_rows * len(trie.path) + seen_items
    excluded = (items < 0) | torch.isin(rows * len(trie.path) + items, keys)
    return best(items, item_scores.masked_fill(excluded, float("-inf")), k)


def best(items: torch.Tensor, scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best of each row, best first, ties by lower item_idx; NONE and minus infinity where fewer are left.

    Args:
        items: int64 [batch, n].
        scores: float32 [batch, n]; minus infinity marks what must not be returned.
        k: How many.
    """
    if items.shape[1] < k:
        missing = k - items.shape[1]
        items = torch.nn.functional.pad(items, (0, missing), value=NONE)
        scores = torch.nn.functional.pad(scores, (0, missing), value=float("-inf"))
    items, order = items.sort(dim=1)
    scores, by_score = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    items, scores = items.gather(1, by_score)[:, :k], scores[:, :k]
    return torch.where(scores > float("-inf"), items, NONE), scores


def _distinct_pairs(rows: torch.Tensor, items: torch.Tensor, n_items: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Distinct (row, item) pairs with item >= 0, each int64 [n]."""
    keys = torch.unique((rows * n_items + items)[items >= 0])
    return keys // n_items, keys % n_items


def _close(candidates: torch.Tensor, nodes: torch.Tensor, trie: Trie, seen_rows: torch.Tensor, seen_nodes: torch.Tensor) -> None:
    """Put the scores of nodes below which a row's user has seen everything to minus infinity, in place.

    Args:
        candidates: Scores of the next codes, float32 [batch, width, codes].
        nodes: What they go on from, distinct within a row, int64 [batch, width]; NONE in slots that are dead.
        trie: The catalogue's.
        seen_rows: Row of each distinct seen item, int64 [n].
        seen_nodes: Its node of the next depth, int64 [n].
    """
    keys, counts = torch.unique(seen_rows * trie.n_nodes + seen_nodes, return_counts=True)
    full = keys[counts == trie.items_below[keys % trie.n_nodes]]
    rows, closed = full // trie.n_nodes, full % trie.n_nodes
    row = torch.arange(len(nodes), device=nodes.device)[:, None]
    beam, slot = torch.where(nodes >= 0, row * trie.n_nodes + nodes, NONE).flatten().sort()
    wanted = rows * trie.n_nodes + trie.parent[closed]
    place = torch.searchsorted(beam, wanted).clamp_max(len(beam) - 1)
    here = beam[place] == wanted
    candidates.view(len(beam), -1)[slot[place[here]], trie.code[closed[here]]] = float("-inf")
