"""Seeded k-means with k-means++ seeding: how every codebook starts.

Starting codebooks from the first batch, or from few points, is why public codebooks collapse on a few codes.
"""

from collections.abc import Iterator

import torch

JITTER = 1e-3
"""Codes beyond the number of distinct points lie so far from one, relative to the points' root mean square."""
CHUNK = 1024
"""Points whose distances are computed at once: few enough for 256 distances each to stay in a core's cache beside other work."""


class Centres:
    """Centres made ready to be searched for the nearest of many points.

    Args:
        centres: float [k, d]; copied in part, so that later changes do not reach the search.
    """

    @torch.no_grad()
    def __init__(self, centres: torch.Tensor) -> None:
        self.norms, self.factors = centres.square().sum(1), -2 * centres.T

    def nearest(self, points: torch.Tensor) -> torch.Tensor:
        """The nearest centre of each point, float [n, d]: int64 [n]; ties go to the lowest index."""
        return torch.cat([index for index, _ in self._search(points)])

    def nearest_with_distance(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, and the squared distance, [n], at least 0."""
        found = [(index, relative.gather(1, index[:, None])[:, 0]) for index, relative in self._search(points)]
        index, relative = (torch.cat(parts) for parts in zip(*found, strict=True))
        return index, (points.square().sum(1) + relative).clamp_min(0)

    @torch.no_grad()
    def _search(self, points: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Chunk by chunk the nearest centres, and ||c||^2 - 2 x.c of all, the part of the squared distance that differs between them.

        All chunks' distances are written into the same room: what is wanted of them must be taken before the next chunk.

        On the CPU numpy looks for the least: torch's own search is not vectorised and takes nearly as long as the product.
        """
        room = points.new_empty(min(CHUNK, len(points)), len(self.norms))
        for part in points.split(CHUNK) if len(points) else [points]:
            relative = torch.addmm(self.norms, part, self.factors, out=room[: len(part)])
            yield torch.from_numpy(relative.numpy().argmin(1)) if relative.device.type == "cpu" else relative.argmin(1), relative


def nearest_index(points: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """The nearest centre of each point, int64 [n]; ties go to the lowest index.

    Args:
        points: float [n, d].
        centres: float [k, d].
    """
    return Centres(centres).nearest(points)


def nearest(points: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest centre of each point, and the squared distance; ties go to the lowest index.

    Args:
        points: float [n, d].
        centres: float [k, d].

    Returns:
        index int64 [n] and squared distance [n], at least 0.
    """
    return Centres(centres).nearest_with_distance(points)


def kmeans_plus_plus(points: torch.Tensor, k: int, generator: torch.Generator) -> torch.Tensor:
    """Choose k starting centres, each with probability proportional to its squared distance to those chosen.

    Arthur and Vassilvitskii 2007.
    Where fewer than k points are distinct, the remaining centres are points moved by a little noise, so that no two codes are equal.

    Args:
        points: float [n, d] on the CPU, n >= 1.
        k: How many.
        generator: CPU generator.
    """
    n, d = points.shape
    noise = JITTER * points.square().mean().sqrt().clamp_min(JITTER)
    centres = torch.empty(k, d, dtype=points.dtype)
    chosen = int(torch.randint(n, (1,), generator=generator))
    centres[0] = points[chosen]
    distance = (points - centres[0]).square().sum(1)
    for index in range(1, k):
        total = float(distance.sum())
        if total > 0:
            chosen = int(torch.multinomial(distance.double() / total, 1, generator=generator))
            centres[index] = points[chosen]
        else:
            chosen = int(torch.randint(n, (1,), generator=generator))
            centres[index] = points[chosen] + noise * torch.randn(d, generator=generator)
        distance = torch.minimum(distance, (points - centres[index]).square().sum(1))
    return centres


def kmeans(
    points: torch.Tensor, k: int, generator: torch.Generator, iterations: int = 25, start: torch.Tensor | None = None
) -> torch.Tensor:
    """Lloyd's algorithm from a k-means++ start, or from given centres; an emptied cluster restarts at the point worst served.

    Args:
        points: float32 [n, d], n >= 1; computed on the CPU whatever its device.
        k: Number of centres.
        generator: CPU generator, the only source of randomness.
        iterations: At most so many; stops when no point changes its centre.
        start: Where centres start, float32 [k, d]; by k-means++ when None.

    Returns:
        float32 [k, d] on the CPU.
    """
    points = points.detach().cpu()
    centres = kmeans_plus_plus(points, k, generator) if start is None else start.detach().cpu().clone()
    previous = None
    for _ in range(iterations):
        index, distance = nearest(points, centres)
        if previous is not None and torch.equal(index, previous):
            break
        previous = index
        size = torch.bincount(index, minlength=k)
        total = torch.zeros_like(centres).index_add_(0, index, points)
        filled = size > 0
        centres[filled] = total[filled] / size[filled, None]
        empty = torch.nonzero(~filled).flatten()
        worst = torch.argsort(distance, descending=True, stable=True)[: len(empty)]
        worst = worst[distance[worst] > 0]
        centres[empty[: len(worst)]] = points[worst]
    return centres
