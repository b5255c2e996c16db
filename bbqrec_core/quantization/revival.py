"""Dead codes brought back: a code that nothing uses is moved onto an input that its level serves worst."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from bbqrec_core.quantization.codebook import ResidualQuantizer
from bbqrec_core.quantization.kmeans import nearest, nearest_index

ROUNDS = 10
"""A level is filled in at most so many: a code that moves takes items from others, and may leave one of them idle."""
SERVED = 1e-6
"""An input so near to its code, relative to the inputs' mean square, needs no other."""


@torch.no_grad()
def move_unused(codebook: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Move codes that are nearest to no input onto the inputs that are farthest from theirs.

    Args:
        codebook: float32 [k, d], changed in place.
        inputs: What its level quantizes, float32 [n, d].

    Returns:
        Rows of the codebook that moved, int64; those of codes for which there is no badly served input stay.
    """
    index, distance = nearest(inputs, codebook)
    dead = torch.nonzero(torch.bincount(index, minlength=len(codebook)) == 0).flatten()
    worst = torch.argsort(distance, descending=True, stable=True)[: len(dead)]
    worst = worst[distance[worst] > SERVED * inputs.square().sum(1).mean()]
    moved = dead[: len(worst)]
    codebook[moved] = inputs[worst]
    return moved


@torch.no_grad()
def fill_codebooks(
    quantizer: ResidualQuantizer, start: torch.Tensor, behaviour: torch.Tensor | None, before_the_last: Callable[[], None] | None = None
) -> int:
    """Leave no code dead, level by level, since what a level is given depends on the codes before it.

    Args:
        quantizer: Its codebooks are changed in place.
        start: What the chain of every fitted item starts from, float32 [n, d].
        behaviour: Their z' for the fused chain, float32 [n, d]; None for a plain chain.
        before_the_last: Called when all levels but the last are as they will stay.

    Returns:
        How many times a code was moved.
    """
    residual, moves = start, 0
    codes: list[torch.Tensor] = []
    last = len(quantizer.codebooks) - 1
    for level, codebook in enumerate(quantizer.codebooks):
        if level == last:
            if before_the_last is not None:
                before_the_last()
            if behaviour is not None:
                residual = quantizer.last_input(residual, behaviour, torch.stack(codes, 1))
        for _ in range(ROUNDS):
            moved = len(move_unused(codebook, residual))
            moves += moved
            if not moved:
                break
        index = nearest_index(residual, codebook)
        codes.append(index)
        residual = residual - F.embedding(index, codebook)
    return moves
