"""The generative head: a small depth decoder that spells an item's semantic ID, code by code, along the catalogue's trie.

p(c_l | h, c_<l) is a softmax over the LEGAL next codes, in training too, so that p is a distribution over the catalogue's IDs and no
probability leaks to IDs that no item has. score(i) = sum over levels of log p, less log(n) where n items share the ID: a distribution
over items.
Method: s_0 = W h, s_l = s_{l-1} + MLP_l(LN(s_{l-1}), E_l[c_l]), logits_l = LN(s_{l-1}) O_l + b_l.
"""

import torch
from torch import nn
from torch.nn import functional as F

from bbqrec_core.sequence.trie import Trie
from bbqrec_core.sequence.walk import Slab, Walk

WORKING_FLOATS = 32_000_000
"""How many numbers exact scoring holds at a time at most, about."""
SLAB_FLOATS = 250_000
"""Numbers in a slab's widest tensor on a CPU, about: 1 MB, which stays in the cache from one step to the next."""
MAX_ROWS = 64
"""Rows scored at a time; more make exact scoring no faster."""


class DepthDecoder(nn.Module):
    """Gives log-probabilities of codes, of given items, or of all items.

    Args:
        dimensions: Width of the hidden states.
        code_counts: Codes per level.
        trie: All items; what search and scoring walk.
        train_trie: The items that occur in train; what training walks, so that items without behaviour are neither targets nor negatives.
        dropout: In the states.
    """

    def __init__(self, dimensions: int, code_counts: list[int], trie: Trie, train_trie: Trie, dropout: float) -> None:
        super().__init__()
        self.code_counts = code_counts
        self.trie = trie
        self.train_trie = train_trie
        levels = len(code_counts)
        self.enter = nn.Linear(dimensions, dimensions)
        self.prefix = nn.ModuleList(nn.Embedding(count, 2 * dimensions) for count in code_counts[:-1])
        self.norm = nn.ModuleList(nn.LayerNorm(dimensions) for _ in range(levels - 1))
        self.widen = nn.ModuleList(nn.Linear(dimensions, 2 * dimensions) for _ in range(levels - 1))
        self.narrow = nn.ModuleList(nn.Linear(2 * dimensions, dimensions) for _ in range(levels - 1))
        self.out_norm = nn.ModuleList(nn.LayerNorm(dimensions) for _ in range(levels))
        self.out = nn.ModuleList(nn.Linear(dimensions, count) for count in code_counts)
        self.dropout = nn.Dropout(dropout)
        self._walks: dict[int, Walk] = {}

    @property
    def levels(self) -> int:
        """Codes in an ID."""
        return len(self.code_counts)

    def start(self, hidden: torch.Tensor) -> torch.Tensor:
        """State at the root: float32 [..., d] to [..., d]."""
        return self.dropout(self.enter(hidden))

    def step(self, states: torch.Tensor, codes: torch.Tensor, level: int) -> torch.Tensor:
        """State after the code of a level (from 0) was chosen.

        Args:
            states: float32 [..., d].
            codes: int64, a shape that `states` without its last axis broadcasts with.
            level: Of the codes.
        """
        return self._join(states, self.widen[level](self.norm[level](states)), codes, level)

    def _join(self, states: torch.Tensor, widened: torch.Tensor, codes: torch.Tensor, level: int) -> torch.Tensor:
        return states + self.dropout(self.narrow[level](F.gelu(widened + self.prefix[level](codes))))

    def log_probs(self, states: torch.Tensor, legal: torch.Tensor, level: int) -> torch.Tensor:
        """Log-probabilities of the next code.

        Args:
            states: float32 [..., d].
            legal: bool [..., codes of the level]; at least one true per row.
            level: Of the next code, from 0.

        Returns:
            float32 [..., codes of the level]; minus infinity where not legal.
        """
        logits = self.out[level](self.out_norm[level](states)).float()
        return logits.masked_fill(~legal, float("-inf")).log_softmax(-1)

    def loss(self, hidden: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Mean negative log-probability of the items' IDs among those of the train items.

        Args:
            hidden: float32 [n, d].
            items: Targets, item_idx, int64 [n]; all occur in train.
        """
        return -self._path(self.train_trie, hidden, items).mean()

    def score_items(self, hidden: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of given items.

        Args:
            hidden: float32 [batch, d].
            items: item_idx, int64 [batch, candidates].

        Returns:
            float32 [batch, candidates]. Memory is bounded by taking rows in turns.
        """
        floats = max(1, items.shape[1] * (self.enter.out_features + 2 * max(self.code_counts)))  # of one row, at the widest
        rows = max(1, WORKING_FLOATS // floats)
        return torch.cat([self._score_items(*part) for part in zip(hidden.split(rows), items.split(rows), strict=True)])

    def _score_items(self, hidden: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        batch, candidates = items.shape
        wide = hidden[:, None].expand(batch, candidates, hidden.shape[-1]).reshape(batch * candidates, -1)
        ids = self._path(self.trie, wide, items.flatten()).view(batch, candidates)
        return ids - self._sharing()[self.trie.path[items, -1] - self.trie.level_start[self.levels]]

    def _path(self, trie: Trie, hidden: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of the items' IDs: float32 [n, d] and int64 [n] to float32 [n]."""
        path = trie.path[items]
        codes = trie.code[path]
        states = self.start(hidden)
        total = hidden.new_zeros(len(items), dtype=torch.float32)
        nodes = torch.zeros_like(items)
        for level in range(self.levels):
            if level:
                states = self.step(states, codes[:, level - 1], level - 1)
            legal = trie.legal(nodes, level, self.code_counts[level])
            total = total + self.log_probs(states, legal, level).gather(1, codes[:, level : level + 1])[:, 0]
            nodes = path[:, level]
        return total

    def _sharing(self) -> torch.Tensor:
        """Log of how many items share each leaf, float32 [n_leaves]."""
        return self.trie.leaf_offsets.diff().float().log()

    @torch.no_grad()
    def score_all(self, hidden: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of every item of the catalogue, exactly: float32 [batch, d] to float32 [batch, n_items].

        Prefixes with a single leaf below are certain and cost nothing. Memory is bounded by taking rows in turns.
        """
        trie = self.trie
        if not len(hidden):
            return hidden.new_zeros(0, len(trie.path))
        most = WORKING_FLOATS // (3 * hidden.shape[-1] * trie.widest_open + 2 * trie.widest)
        rows = max(1, min(MAX_ROWS, most, len(hidden)))
        walk = self._walk_for(rows)
        return torch.cat([self._score_all(part, walk) for part in hidden.split(rows)])

    def _walk_for(self, rows: int) -> Walk:
        """The way through the trie for so many rows or up to twice as many, planned once."""
        device, rows = self.trie.code.device, 1 << (rows.bit_length() - 1)
        if (walk := self._walks.get(rows)) is None or walk.device != device:
            floats = SLAB_FLOATS if device.type == "cpu" else WORKING_FLOATS
            walk = self._walks[rows] = Walk(self.trie, floats // self.enter.out_features, rows)
        return walk

    def _score_all(self, hidden: torch.Tensor, walk: Walk) -> torch.Tensor:
        """Prefixes come first and rows second in every tensor here, so that what is gathered or set lies in one piece."""
        leaves = hidden.new_empty(len(self.trie.leaf_offsets) - 1, len(hidden), dtype=torch.float32)
        totals = hidden.new_zeros(1, len(hidden), dtype=torch.float32)
        above = widened = self.start(hidden)[None]
        for level in range(self.levels):
            children = totals.new_empty(walk.open_counts[level + 1], len(hidden))
            kept = []
            for slab in walk.slabs[level]:
                states = self._below(above, widened, slab, level - 1) if level else above
                logits = self._child_logits(states, slab, level)
                scores = logits.log_softmax(-1).add_(totals[slab.places, :, None]).transpose(1, 2).flatten(0, 1)
                leaves.index_copy_(0, slab.leaves, scores.index_select(0, slab.leaf_cells))
                children.index_copy_(0, slab.opens, scores.index_select(0, slab.open_cells))
                kept.append(states.index_select(0, slab.kept))
            if not len(children):  # every ID is told apart from here on
                break
            totals, above = children, torch.cat(kept)
            widened = self.widen[level](self.norm[level](above))
        leaves -= self._sharing()[:, None]
        return leaves.index_select(0, self.trie.path[:, -1] - self.trie.level_start[self.levels]).t()

    def _below(self, above: torch.Tensor, widened: torch.Tensor, slab: Slab, level: int) -> torch.Tensor:
        """States of a slab's prefixes from those of the kept ones above them and what the level widens these to: float32 [s, batch, d].

        What `_join` does, in place and without dropout: a tenth of exact scoring.
        """
        inner = widened.index_select(0, slab.above).add_(self.prefix[level](slab.codes)[:, None])
        return self.narrow[level](F.gelu(inner)).add_(above.index_select(0, slab.above))

    def _child_logits(self, states: torch.Tensor, slab: Slab, level: int) -> torch.Tensor:
        """Logits of each prefix's children: [s, batch, d] to float32 [s, batch, c], minus infinity where there is no child."""
        layer = self.out[level]
        assert isinstance(layer, nn.Linear)
        bias = layer.bias[slab.next_codes].masked_fill(slab.missing, float("-inf"))
        return torch.baddbmm(bias[:, None], self.out_norm[level](states), layer.weight[slab.next_codes].transpose(1, 2)).float()
