"""The way of exact scoring through the trie: every prefix that leaves a choice, depth by depth, in slabs that a processor's cache can hold.

Belongs here: which prefixes are taken together and where what comes out of them belongs; scores are the decoder's.
"""

from dataclasses import dataclass

import torch

from bbqrec_core.sequence.trie import Trie


@dataclass(frozen=True)
class Slab:
    """Some open prefixes of one depth with about as many children each, s of them with at most c.

    A prefix is open if more than one leaf lies below. Open prefixes of a depth are numbered slab after slab; so are those that are
    kept, which have open children of their own.

    Attributes:
        places: Numbers of the prefixes.
        above: Number of each one's parent among the kept ones of the depth above, int64 [s]; of the root 0.
        codes: Code that leads to each, int64 [s].
        next_codes: Codes of the children, int64 [s, c].
        missing: Where there is no child, bool [s, c].
        leaves: Leaves that children lead to for certain, int64 [n], numbered from the first leaf.
        leaf_cells: Whose children those are, cells of [s, c], int64 [n].
        opens: Numbers of the open children at the next depth, int64 [m].
        open_cells: Whose children those are, int64 [m].
        kept: Which of the s prefixes are kept, int64 [k].
    """

    places: slice
    above: torch.Tensor
    codes: torch.Tensor
    next_codes: torch.Tensor
    missing: torch.Tensor
    leaves: torch.Tensor
    leaf_cells: torch.Tensor
    opens: torch.Tensor
    open_cells: torch.Tensor
    kept: torch.Tensor


class Walk:
    """Slabs by depth.

    Attributes:
        slabs: For each depth from the root's on.
        open_counts: Open prefixes of each depth; the root always counts as one.
        device: Where the slabs are.
    """

    def __init__(self, trie: Trie, vectors: int, rows: int) -> None:
        """Plan the way.

        Args:
            trie: Which.
            vectors: How many a slab may hold: the widened states of its prefixes, two vectors for each row, and one for each child.
            rows: How many are to be scored at a time.
        """
        self.device = trie.code.device
        facts = _Facts(trie)
        powers = 2 ** torch.arange(32, device=self.device)
        groups = []
        for depth in range(trie.levels):
            nodes = trie.nodes_at(depth)
            nodes = nodes[facts.open[nodes]]
            width = torch.searchsorted(powers, facts.degree[nodes])  # log2, rounded up: a slab's products are at most half padding
            width, order = width.sort(stable=True)
            nodes = nodes[order]
            facts.number(nodes)
            counts = torch.unique_consecutive(width, return_counts=True)[1].tolist()
            groups.append([slab for group in nodes.split(counts) for slab in self._cut(group, facts.degree, vectors, rows)])
        self.open_counts = [sum(map(len, group)) for group in groups] + [0]
        self.slabs = [[_slab(trie, facts, nodes) for nodes in group] for group in groups]

    @staticmethod
    def _cut(nodes: torch.Tensor, degree: torch.Tensor, vectors: int, rows: int) -> tuple[torch.Tensor, ...]:
        """Prefixes with about as many children each, in parts that are no larger than a slab may be."""
        return nodes.split(max(1, vectors // max(2 * rows, int(degree[nodes].max()))))


class _Facts:
    """What has to be known of a trie's nodes, [n_nodes] each.

    Attributes:
        degree: Children.
        open: Is there a choice below? The root is always taken for open.
        keeps: Is a child open?
        first_leaf: The first leaf below.
        place: Number among the open prefixes of its depth.
        row: Number among those kept.
    """

    def __init__(self, trie: Trie) -> None:
        self.degree = trie.offsets.diff()
        self.open = trie.leaves_below > 1
        self.open[0] = True
        self.keeps = torch.zeros_like(self.open)
        self.keeps[trie.parent[1:][self.open[1:]]] = True
        self.first_leaf = torch.arange(trie.n_nodes, device=trie.code.device)
        for depth in reversed(range(trie.levels)):
            nodes = trie.nodes_at(depth)
            self.first_leaf[nodes] = self.first_leaf[trie.offsets[nodes]]
        self.place = torch.zeros_like(self.first_leaf)
        self.row = torch.zeros_like(self.first_leaf)

    def number(self, nodes: torch.Tensor) -> None:
        """Number a depth's open nodes in this order."""
        for numbers, numbered in ((self.place, nodes), (self.row, nodes[self.keeps[nodes]])):
            numbers[numbered] = torch.arange(len(numbered), device=nodes.device)


def _slab(trie: Trie, facts: _Facts, nodes: torch.Tensor) -> Slab:
    column = torch.arange(int(facts.degree[nodes].max()), device=nodes.device)
    missing = column >= facts.degree[nodes][:, None]
    children = torch.where(missing, 0, trie.offsets[nodes][:, None] + column)
    flat, opens = children.flatten(), facts.open[children]
    open_cells = (opens & ~missing).flatten().nonzero()[:, 0]
    leaf_cells = (~opens & ~missing).flatten().nonzero()[:, 0]
    start = int(facts.place[nodes[0]])
    return Slab(
        places=slice(start, start + len(nodes)),
        above=facts.row[trie.parent[nodes]],
        codes=trie.code[nodes],
        next_codes=trie.code[children],
        missing=missing,
        leaves=facts.first_leaf[flat[leaf_cells]] - trie.level_start[trie.levels],
        leaf_cells=leaf_cells,
        opens=facts.place[flat[open_cells]],
        open_cells=open_cells,
        kept=facts.keeps[nodes].nonzero()[:, 0],
    )
