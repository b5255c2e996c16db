"""The catalogue's semantic IDs as a prefix tree, in tensors.

Nodes are numbered breadth first in lexicographic order of their codes, so that the children of a node are consecutive numbers: the CSR
row `offsets[n]:offsets[n + 1]` IS the list of its children. Belongs here: what prefixes exist and which items lie below; no scores.
"""

import torch
from torch import nn

TABLE_CELLS = 1 << 25
"""A depth's legal codes are kept as one table, a byte per node and code, if it has no more cells than this: 32 MiB."""


class Trie(nn.Module):
    """A prefix tree over the IDs of some items. All tensors are buffers that can be rebuilt from the codes, so they are not saved.

    Attributes:
        levels: Codes in an ID.
        level_start: First node of each depth, levels + 2 numbers; depth 0 is the root (node 0), depth `levels` are the leaves.
        offsets: int64 [n_nodes + 1]; children of n are the nodes offsets[n] to offsets[n + 1] - 1.
        code: int64 [n_nodes]; the code on the edge that leads to a node (0 for the root).
        parent: int64 [n_nodes]; the root is its own.
        edges: parent * stride + code of every node but the root, ascending, int64 [n_nodes - 1].
        items_below: int64 [n_nodes].
        leaves_below: int64 [n_nodes].
        path: int64 [n_items, levels]; the nodes on the way to each item, -1 for items left out.
        widest: Most nodes of any depth.
        widest_open: Most nodes of any depth that more than one leaf lies below.
        leaf_offsets, leaf_items: CSR rows of item_idx, ascending, per leaf (numbered from its depth's first node).
    """

    offsets: torch.Tensor
    code: torch.Tensor
    edges: torch.Tensor
    parent: torch.Tensor
    items_below: torch.Tensor
    leaves_below: torch.Tensor
    path: torch.Tensor
    leaf_offsets: torch.Tensor
    leaf_items: torch.Tensor

    def __init__(self, codes: torch.Tensor, members: torch.Tensor | None = None) -> None:
        """Build the tree.

        Args:
            codes: int64 [n_items, levels], non-negative.
            members: Items to put in, bool [n_items]; all by default. At least one.
        """
        super().__init__()
        n_items, self.levels = codes.shape
        items = torch.arange(n_items) if members is None else members.nonzero()[:, 0]
        if len(items) == 0:
            raise ValueError("a trie needs at least one item")
        chosen = codes[items]
        self.level_start = [0, 1]
        node_codes, parents = [torch.zeros(1, dtype=torch.int64)], [torch.zeros(1, dtype=torch.int64)]
        below = torch.zeros(len(items), dtype=torch.int64)  # number of each item's node within its depth
        columns = []
        for level in range(self.levels):
            width = int(chosen[:, level].max()) + 1
            keys, number = torch.unique(below * width + chosen[:, level], return_inverse=True)
            node_codes.append(keys % width)
            parents.append(keys // width + self.level_start[level])
            columns.append(number + self.level_start[level + 1])
            self.level_start.append(self.level_start[level + 1] + len(keys))
            below = number
        n_nodes = self.level_start[-1]
        self._tables: dict[int, torch.Tensor] = {}
        self.stride = int(chosen.max()) + 1
        parent = torch.cat(parents)
        degree = torch.bincount(parent[1:], minlength=n_nodes)
        offsets = torch.ones(n_nodes + 1, dtype=torch.int64)
        offsets[1:] += degree.cumsum(0)
        path = torch.full((n_items, self.levels), -1, dtype=torch.int64)
        path[items] = torch.stack(columns, dim=1)
        items_below = torch.bincount(torch.stack(columns).flatten(), minlength=n_nodes)
        items_below[0] = len(items)
        leaves_below = torch.zeros(n_nodes, dtype=torch.int64)
        leaves_below[self.level_start[self.levels] :] = 1
        for depth in range(self.levels, 0, -1):
            nodes = slice(self.level_start[depth], self.level_start[depth + 1])
            leaves_below.index_add_(0, parent[nodes], leaves_below[nodes].clone())
        depths = [slice(*self.level_start[depth : depth + 2]) for depth in range(self.levels + 1)]
        self.widest = max(depth.stop - depth.start for depth in depths)
        self.widest_open = max(int((leaves_below[depth] > 1).sum()) for depth in depths)
        order = torch.argsort(below, stable=True)
        leaf_offsets = torch.zeros(n_nodes - self.level_start[self.levels] + 1, dtype=torch.int64)
        leaf_offsets[1:] = torch.bincount(below).cumsum(0)
        self.largest_leaf = int(leaf_offsets.diff().max())
        for name, tensor in {
            "offsets": offsets,
            "code": torch.cat(node_codes),
            "edges": parent[1:] * self.stride + torch.cat(node_codes)[1:],
            "parent": parent,
            "items_below": items_below,
            "leaves_below": leaves_below,
            "path": path,
            "leaf_offsets": leaf_offsets,
            "leaf_items": items[order],
        }.items():
            self.register_buffer(name, tensor, persistent=False)

    @property
    def n_nodes(self) -> int:
        """Nodes, root and leaves included."""
        return self.level_start[-1]

    def nodes_at(self, depth: int) -> torch.Tensor:
        """All nodes of a depth, int64."""
        return torch.arange(self.level_start[depth], self.level_start[depth + 1], device=self.code.device)

    def legal(self, nodes: torch.Tensor, depth: int, width: int) -> torch.Tensor:
        """Which codes may follow.

        Args:
            nodes: Nodes of one depth, int64, any shape.
            depth: Theirs, from 0 to levels - 1.
            width: Codes of the next level.

        Returns:
            bool [*nodes.shape, width].
        """
        first, number = self.level_start[depth], self.level_start[depth + 1] - self.level_start[depth]
        if number * width > TABLE_CELLS:
            return self._expand(nodes.flatten(), width).view(*nodes.shape, width)
        table = self._tables.get(depth)
        if table is None or table.shape[1] != width or table.device != nodes.device:
            table = self._tables[depth] = self._expand(self.nodes_at(depth), width)
        return table[nodes - first]

    def _expand(self, nodes: torch.Tensor, width: int) -> torch.Tensor:
        """`legal` from the CSR rows: int64 [n] to bool [n, width]."""
        start, degree = self.offsets[nodes], self.offsets[nodes + 1] - self.offsets[nodes]
        row = torch.repeat_interleave(torch.arange(len(nodes), device=nodes.device), degree)
        first = torch.repeat_interleave(start - (degree.cumsum(0) - degree), degree)
        mask = torch.zeros(len(nodes), width, dtype=torch.bool, device=nodes.device)
        mask[row, self.code[first + torch.arange(len(row), device=nodes.device)]] = True
        return mask

    def child(self, nodes: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """The child behind a code; meaningless where the code is not legal.

        Breadth-first order makes parent * codes + code ascend from node to node, so a child is found by binary search.

        Args:
            nodes: int64, any shape.
            codes: int64, the same shape.

        Returns:
            int64, the same shape; a node in any case.
        """
        return (torch.searchsorted(self.edges, nodes * self.stride + codes) + 1).clamp_max(self.n_nodes - 1)

    def expand_leaves(self, leaves: torch.Tensor) -> torch.Tensor:
        """The items of each leaf.

        Args:
            leaves: Nodes of the last depth, int64 [..., n].

        Returns:
            item_idx, int64 [..., n, largest_leaf], -1 where a leaf holds fewer.
        """
        local = leaves - self.level_start[self.levels]
        index = self.leaf_offsets[local][..., None] + torch.arange(self.largest_leaf, device=leaves.device)
        inside = index < self.leaf_offsets[local + 1][..., None]
        return torch.where(inside, self.leaf_items[index.clamp_max(len(self.leaf_items) - 1)], -1)
