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

EDGE_COST = 32
"""About how many logits of a matrix product cost as much as one that is gathered and multiplied by itself (a CPU; widths of 64)."""
WORKING_FLOATS = 4_000_000
"""About how many numbers exact scoring holds at a time."""


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
            float32 [batch, candidates].
        """
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
        per_row = self.trie.widest_open * 4 * hidden.shape[-1] + self.trie.widest * 4
        rows = max(1, WORKING_FLOATS // per_row)
        return (
            torch.cat([self._score_all(part) for part in hidden.split(rows)]) if len(hidden) else hidden.new_zeros(0, len(self.trie.path))
        )

    def _score_all(self, hidden: torch.Tensor) -> torch.Tensor:
        trie = self.trie
        totals = [hidden.new_zeros(len(hidden), 1, dtype=torch.float32)]
        open_nodes = trie.nodes_at(0)
        states = self.start(hidden)[:, None]
        for level in range(self.levels):
            # `states` belong to `open_nodes`, the prefixes of this depth that have more than one leaf below.
            children = trie.nodes_at(level + 1)
            parents = trie.parent[children]
            total = totals[level][:, parents - trie.level_start[level]]
            slot = torch.full((trie.n_nodes,), -1, dtype=torch.int64, device=hidden.device)
            slot[open_nodes] = torch.arange(len(open_nodes), device=hidden.device)
            undecided = slot[parents] >= 0
            branches, above = children[undecided], slot[parents[undecided]]
            if len(branches):
                logits = self._edge_logits(states, above, trie.code[branches], level)
                total[:, undecided] += _grouped_log_softmax(logits, above, len(open_nodes))
            totals.append(total)
            if level + 1 < self.levels:
                keep = trie.leaves_below[branches] > 1
                open_nodes, above = branches[keep], above[keep]
                widened = self.widen[level](self.norm[level](states))
                states = self._join(states[:, above], widened[:, above], trie.code[open_nodes], level)
        leaves = totals[-1] - self._sharing()
        return leaves[:, trie.path[:, -1] - trie.level_start[self.levels]]

    def _edge_logits(self, states: torch.Tensor, above: torch.Tensor, codes: torch.Tensor, level: int) -> torch.Tensor:
        """Logits of single edges: [batch, parents, d], parent slot and code per edge, to float32 [batch, edges]."""
        layer = self.out[level]
        assert isinstance(layer, nn.Linear)
        normed = self.out_norm[level](states)
        if len(codes) * EDGE_COST >= normed.shape[1] * self.code_counts[level]:  # enough codes are legal: one product for all
            return layer(normed)[:, above, codes].float()
        return ((normed[:, above] * layer.weight[codes]).sum(-1) + layer.bias[codes]).float()


def _grouped_log_softmax(logits: torch.Tensor, group: torch.Tensor, groups: int) -> torch.Tensor:
    """Log-softmax within groups of columns: float32 [batch, n] and int64 [n]."""
    index = group.expand_as(logits)
    largest = logits.new_full((len(logits), groups), float("-inf")).scatter_reduce(1, index, logits, "amax")
    shifted = logits - largest[:, group]
    sums = logits.new_zeros(len(logits), groups).scatter_add(1, index, shifted.exp())
    return shifted - sums.log()[:, group]
