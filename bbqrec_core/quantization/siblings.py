"""Siblings: items that share every code but the last, told apart by what sets them off from one another.

Near-copies have nearly the same last residual, and nearest codes would give them the same last code. What the fused chain's last level
quantizes is therefore

    r_{L-1} - m_p   in place of   r_{L-1},   m_p = mean of r_{L-1} over the fitted items of prefix p, where there are several,

before it is normalised: two siblings point in opposite directions, however near they lie. An item alone under its prefix keeps r_{L-1}
(m_p = 0), and so does who comes there later: nobody's code moves for a new item.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class Siblings(nn.Module):
    """The means m_p of the prefixes of fitted items.

    Args:
        sizes: K_1..K_L.
        dimensions: d.

    Attributes:
        keys: Prefixes as numbers, ascending, int64 [p].
        means: float32 [p, d].
    """

    keys: torch.Tensor
    means: torch.Tensor

    def __init__(self, sizes: Sequence[int], dimensions: int) -> None:
        super().__init__()
        self.radix = [math.prod(sizes[level + 1 : -1]) for level in range(len(sizes) - 1)]
        self.register_buffer("keys", torch.empty(0, dtype=torch.int64))
        self.register_buffer("means", torch.empty(0, dimensions))

    def number(self, prefix: torch.Tensor) -> torch.Tensor:
        """Prefixes, int64 [n, L - 1], as numbers, int64 [n]."""
        return sum((prefix[:, level] * factor for level, factor in enumerate(self.radix)), torch.zeros_like(prefix[:, 0]))

    @torch.no_grad()
    def fit(self, prefix: torch.Tensor, residual: torch.Tensor, keep: bool = False) -> None:
        """Take the means from fitted items.

        Args:
            prefix: Their codes of levels 1..L-1, int64 [n, L - 1].
            residual: r_{L-1}, float32 [n, d].
            keep: Leave the means that are there, so that IDs which rest on them stay; only prefixes that are new get one.
        """
        keys, group, count = self.number(prefix).unique(return_inverse=True, return_counts=True)
        means = torch.zeros(len(keys), residual.shape[1], dtype=torch.float64, device=residual.device)
        means = (means.index_add_(0, group, residual.double()) / count[:, None]).to(residual.dtype)
        means[count == 1] = 0.0
        if keep:
            new = ~torch.isin(keys, self.keys)
            keys, means = torch.cat([self.keys, keys[new]]), torch.cat([self.means, means[new]])
        order = keys.argsort()
        self.keys, self.means = keys[order], means[order]

    def centre(self, prefix: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """r_{L-1} - m_p, float32 [n, d]; r_{L-1} under a prefix that no fitted item has."""
        if not len(self.keys):
            return residual
        numbers = self.number(prefix)
        place = torch.searchsorted(self.keys, numbers).clamp_max_(len(self.keys) - 1)
        unknown = self.keys.index_select(0, place) != numbers
        return residual - F.embedding(place, self.means).masked_fill_(unknown[:, None], 0.0)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Take as many prefixes as the state has: their number is part of what was fitted."""
        for name in ("keys", "means"):
            given = state_dict.get(prefix + name)
            if given is not None:
                setattr(self, name, torch.empty_like(given, device=self.means.device))
        super()._load_from_state_dict(state_dict, prefix, *arguments)
