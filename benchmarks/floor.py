"""The floor under a computation: its matrix products alone, recorded while it runs, then done again with nothing between them.

Attention's own products are fused with its softmax and not counted, so the floor is lower than what any code could reach.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")


class Products(TorchDispatchMode):
    """Records the matrix products of what runs inside it, backward passes included.

    Attributes:
        calls: Operator and arguments; of tensors only what they are like.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., torch.Tensor], list[Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func.overloadpacket.__name__ in PRODUCTS:
            self.calls.append((func, [_like(value) for value in args]))
        return func(*args, **(kwargs or {}))

    @property
    def operations(self) -> int:
        """Multiplications and additions of all products."""
        total = 0
        for _, args in self.calls:
            left, right = [value for value in args if isinstance(value, _Like)][-2:]
            total += 2 * math.prod(left.size) * right.size[-1]
        return total

    def again(self, device: str) -> Callable[[], None]:
        """All products in the same order, on operands of zeros, each made once."""
        made: dict[_Like, torch.Tensor] = {}
        for _, args in self.calls:
            for value in args:
                if isinstance(value, _Like) and value not in made:
                    made[value] = torch.empty_strided(value.size, value.strides, dtype=value.kind, device=device).zero_()
        calls = [(func, [made[value] if isinstance(value, _Like) else value for value in args]) for func, args in self.calls]

        def run() -> None:
            with torch.no_grad():
                for func, args in calls:
                    func(*args)

        return run


class _Like(NamedTuple):
    size: tuple[int, ...]
    strides: tuple[int, ...]
    kind: torch.dtype


def _like(value: Any) -> Any:
    return _Like(tuple(value.shape), value.stride(), value.dtype) if isinstance(value, torch.Tensor) else value
