"""Repair of collisions: every item a semantic ID of its own, at least cost, without an extra digit.

Works on plain arrays, so that it can be tested and used apart from any network.
"""

import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bbqrec_core.errors import StageError
from bbqrec_core.quantization.codebook import ResidualQuantizer
from bbqrec_core.quantization.hungarian import minimal_assignment
from bbqrec_core.quantization.siblings import Siblings

LAYER_NORM_EPSILON = 1e-5
FOLLOW_BATCH = 8192


@dataclass(frozen=True)
class Codebooks:
    """The shared codebooks as arrays, with what the fused chain's last level quantizes.

    Attributes:
        levels: float64 [K_l, d] each.
        residual_scale: rho.
        behaviour_weight: g.
        siblings: What last residuals are centred by (`siblings.py`); None = they are not.
    """

    levels: tuple[np.ndarray, ...]
    residual_scale: float = 1.0
    behaviour_weight: float = 0.0
    siblings: Siblings | None = None

    @classmethod
    def of(cls, quantizer: ResidualQuantizer) -> "Codebooks":
        """Copy a quantizer's codebooks."""
        return cls(
            tuple(codebook.detach().cpu().double().numpy() for codebook in quantizer.codebooks),
            float(quantizer.residual_scale),
            quantizer.behaviour_weight,
            None if quantizer.siblings is None else copy.deepcopy(quantizer.siblings).cpu(),
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """K_1..K_L."""
        return tuple(len(level) for level in self.levels)

    def last_costs(self, starts: np.ndarray, behaviour: np.ndarray, prefixes: np.ndarray) -> np.ndarray:
        """Squared distance of each item's last-level input to every last-level code, under a given prefix.

        Args:
            starts: Fused vectors, float64 [n, d].
            behaviour: z', float64 [n, d].
            prefixes: int64 [n, L - 1].

        Returns:
            float64 [n, K_L].
        """
        residual = starts - sum(level[prefixes[:, at]] for at, level in enumerate(self.levels[:-1]))
        if self.siblings is not None:
            residual = self.siblings.centre(torch.from_numpy(prefixes), torch.from_numpy(residual)).numpy()
        g = self.behaviour_weight
        inputs = self.residual_scale * (_layer_norm(residual) + g * _layer_norm(behaviour)) / np.sqrt(1 + g * g)
        last = self.levels[-1]
        return np.maximum((inputs**2).sum(1)[:, None] - 2 * inputs @ last.T + (last**2).sum(1), 0.0)

    def follow(self, starts: np.ndarray, behaviour: np.ndarray, paths: np.ndarray, tolerance: float) -> np.ndarray:
        """Codes of items that leave given paths only where these do not fit them any more.

        Level by level, an item that is still on its path keeps the path's code k while

            ||r - C_l[k]||^2 <= (1 + tolerance) min_j ||r - C_l[j]||^2,

        and takes the nearest code otherwise, there and on all levels after.

        Args:
            starts: Fused vectors, float [n, d].
            behaviour: z', float [n, d].
            paths: Codes they had, int64 [n, L].
            tolerance: At least 0.

        Returns:
            int64 [n, L].
        """
        codes = np.empty_like(paths)
        for low in range(0, len(paths), FOLLOW_BATCH):
            rows = slice(low, low + FOLLOW_BATCH)
            codes[rows] = self._follow(starts[rows].astype(np.float64), behaviour[rows].astype(np.float64), paths[rows], tolerance)
        return codes

    def _follow(self, starts: np.ndarray, behaviour: np.ndarray, paths: np.ndarray, tolerance: float) -> np.ndarray:
        codes = np.empty_like(paths)
        residual, following = starts, np.ones(len(paths), dtype=bool)
        for at, level in enumerate(self.levels):
            if at == len(self.levels) - 1:
                costs = self.last_costs(starts, behaviour, codes[:, :-1])
            else:
                costs = np.maximum((residual**2).sum(1)[:, None] - 2 * residual @ level.T + (level**2).sum(1), 0.0)
            nearest = costs.argmin(1)
            rows = np.arange(len(paths))
            following &= costs[rows, paths[:, at]] <= (1 + tolerance) * costs[rows, nearest]
            codes[:, at] = np.where(following, paths[:, at], nearest)
            residual = residual - level[codes[:, at]]
        return codes

    def nearest_prefixes(self, start: np.ndarray) -> Iterator[np.ndarray]:
        """Prefixes of L - 1 codes in order of their squared distance to one fused vector.

        A beam keeps the nearest sums of codes per level; when its prefixes are used up it widens fourfold, until it holds every
        prefix there is. Within a beam the order is exact.

        Yields:
            int64 [L - 1], each prefix once.
        """
        total = int(np.prod([float(size) for size in self.sizes[:-1]]))
        seen: set[tuple[int, ...]] = set()
        width = max(self.sizes[:-1])
        while True:
            prefixes, residuals = np.zeros((1, 0), dtype=np.int64), start[None, :]
            for level in self.levels[:-1]:
                squared = (residuals**2).sum(1)[:, None] - 2 * residuals @ level.T + (level**2).sum(1)
                best = np.argsort(squared, axis=None, kind="stable")[:width]
                parent, code = np.unravel_index(best, squared.shape)
                prefixes = np.concatenate([prefixes[parent], code[:, None]], axis=1)
                residuals = residuals[parent] - level[code]
            for prefix in prefixes:
                key = tuple(prefix.tolist())
                if key not in seen:
                    seen.add(key)
                    yield prefix
            if width >= total:
                return
            width *= 4


@dataclass(frozen=True)
class Repaired:
    """What repair did.

    Attributes:
        codes: int64 [n, L].
        moved_last: bool [n], another last code under its own prefix.
        moved_prefix: bool [n], sent to another prefix because its own was full.
    """

    codes: np.ndarray
    moved_last: np.ndarray
    moved_prefix: np.ndarray


def repair(
    codes: np.ndarray, starts: np.ndarray, behaviour: np.ndarray, codebooks: Codebooks, occupied: np.ndarray | None = None
) -> Repaired:
    """Give every item an ID that nobody else has.

    Items are grouped by prefix (all codes but the last). In a group with a collision, last-level codes are assigned anew at least
    total squared distance, among those no existing item holds. Where a group has more items than free codes, the assignment also
    chooses who stays, and the others go, in the order given, to the nearest prefix with room and the nearest free code there.

    Args:
        codes: Codes wished for, int64 [n, L].
        starts: Fused vectors f, float [n, d].
        behaviour: z' per item, float [n, d].
        codebooks: The codebooks.
        occupied: IDs of existing items, int64 [m, L]: never moved, never given again.

    Raises:
        StageError: More items than IDs.
    """
    sizes, radix = codebooks.sizes, _radix(codebooks.sizes)
    taken = set() if occupied is None else set((occupied @ radix).tolist())
    capacity = int(np.prod(np.array(sizes, dtype=np.int64)))
    if len(codes) + len(taken) > capacity:
        raise StageError(
            f"{len(codes) + len(taken)} items need semantic IDs of their own, and codebooks of {list(sizes)} codes give {capacity}.",
            "Raise `quantization.codebook_sizes` in the profile and run the stage `quantize` again.",
        )
    starts, behaviour = starts.astype(np.float64), behaviour.astype(np.float64)
    result = codes.astype(np.int64).copy()
    keys = result @ radix
    prefix_keys = keys // sizes[-1]
    in_use: dict[int, int] = {}
    for key in taken:
        in_use[key // sizes[-1]] = in_use.get(key // sizes[-1], 0) + 1
    colliding = collides(result, sizes, occupied)
    taken.update(keys[~colliding].tolist())
    for prefix, size in zip(*(column.tolist() for column in np.unique(prefix_keys[~colliding], return_counts=True)), strict=True):
        in_use[prefix] = in_use.get(prefix, 0) + size
    order = np.flatnonzero(colliding)[np.argsort(prefix_keys[colliding], kind="stable")]
    bounds = np.flatnonzero(np.diff(prefix_keys[order], prepend=-1, append=-1))
    overflow: list[int] = []
    for low, high in itertools.pairwise(bounds):
        group = order[low:high]
        prefix = int(prefix_keys[group[0]])
        base = prefix * sizes[-1]
        free = np.array([code for code in range(sizes[-1]) if base + code not in taken], dtype=np.int64)
        staying = group[:0]
        if len(free):
            cost = codebooks.last_costs(starts[group], behaviour[group], result[group, :-1])[:, free]
            if len(group) <= len(free):
                staying = group
                result[group, -1] = free[minimal_assignment(cost)]
            else:
                chosen = minimal_assignment(cost.T)
                staying = group[chosen]
                result[staying, -1] = free
                overflow += np.setdiff1d(group, staying).tolist()
        else:
            overflow += group.tolist()
        taken.update((result[staying] @ radix).tolist())
        in_use[prefix] = in_use.get(prefix, 0) + len(staying)
    moved_prefix = np.zeros(len(codes), dtype=bool)
    rooms: dict[bytes, _Rooms] = {}
    for item in sorted(overflow):
        room = rooms.setdefault(starts[item].tobytes(), _Rooms(codebooks, starts[item]))
        nearest = room.nearest_with_room(in_use, radix)
        key = int(nearest @ radix[:-1]) // sizes[-1]
        cost = codebooks.last_costs(starts[item][None], behaviour[item][None], nearest[None])[0]
        code = next(int(code) for code in np.argsort(cost, kind="stable") if key * sizes[-1] + int(code) not in taken)
        result[item] = np.append(nearest, code)
        moved_prefix[item] = True
        taken.add(key * sizes[-1] + code)
        in_use[key] = in_use.get(key, 0) + 1
    return Repaired(result, ~moved_prefix & (result[:, -1] != codes[:, -1]), moved_prefix)


def collides(codes: np.ndarray, sizes: Sequence[int], occupied: np.ndarray | None = None) -> np.ndarray:
    """Which items repair has to do with: all of a prefix under which two have the same ID, or one has an existing item's.

    Args:
        codes: Codes wished for, int64 [n, L].
        sizes: K_1..K_L.
        occupied: IDs of existing items, int64 [m, L].

    Returns:
        bool [n]. The others can have what they wish for, whatever becomes of these.
    """
    radix = _radix(sizes)
    keys = codes @ radix
    wanted_twice = _repeated(keys)
    if occupied is not None:
        wanted_twice |= np.isin(keys, occupied @ radix)
    return np.isin(keys // sizes[-1], keys[wanted_twice] // sizes[-1])


def _radix(sizes: Sequence[int]) -> np.ndarray:
    """What each level's code counts in an ID as one number, int64 [L]."""
    return np.concatenate([np.cumprod(np.array(sizes[:0:-1], dtype=np.int64))[::-1], [1]])


class _Rooms:
    """Prefixes with room around one fused vector. A full prefix stays full, so that look-alikes go on where the last one stopped."""

    def __init__(self, codebooks: Codebooks, start: np.ndarray) -> None:
        self._prefixes = codebooks.nearest_prefixes(start)
        self._current: np.ndarray | None = None
        self._size = codebooks.sizes[-1]

    def nearest_with_room(self, in_use: dict[int, int], radix: np.ndarray) -> np.ndarray:
        """The nearest prefix that holds fewer items than it has codes, int64 [L - 1]. Capacity was checked, so there is one."""
        while self._current is None or in_use.get(int(self._current @ radix[:-1]) // self._size, 0) >= self._size:
            self._current = next(self._prefixes)
        return self._current


def _repeated(keys: np.ndarray) -> np.ndarray:
    """Which of some keys, int64 [n], occur more than once, bool [n]."""
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return counts[inverse] > 1


def _layer_norm(vectors: np.ndarray) -> np.ndarray:
    """LN without parameters, as torch's: variance with divisor d."""
    centred = vectors - vectors.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + LAYER_NORM_EPSILON)


def collision_share(codes: np.ndarray) -> float:
    """Share of items whose ID another item has too. int64 [n, L]; 0 for no items."""
    if not len(codes):
        return 0.0
    _, inverse, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    return float((counts[inverse.reshape(-1)] > 1).mean())
