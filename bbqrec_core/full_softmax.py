"""Cross-entropy over a whole catalogue: what SASRec and our dense head are trained with.

On a CPU the logits of all states and items at once do not fit its caches, and the loss spends more time moving them than computing them.
Torch's chunked loss goes through some states at a time and has the gradient of each part before it takes the next: two to three times as
fast with thousands of items and a whole batch of states (docs/experiments/speed.md), and there are never more logits than a chunk's.
"""

import torch
from torch.nn import LinearCrossEntropyOptions
from torch.nn import functional as F

CHUNK = LinearCrossEntropyOptions(batch_chunk_size=128)
"""States that are gone through at once: with some ten thousand items their logits take six megabytes."""
WORTHWHILE_LOGITS = 2**20
"""Fewer are faster all at once."""


def full_softmax_loss(states: torch.Tensor, vectors: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Compute mean_p -log softmax_i(states_p . vectors_i)[targets_p].

    Args:
        states: float [n, d].
        vectors: Of the items that compete, float [m, d].
        targets: Rows of `vectors`, int64 [n].

    Returns:
        Scalar, float32, in nats.
    """
    if states.device.type != "cpu" or len(states) * len(vectors) < WORTHWHILE_LOGITS:
        return F.cross_entropy((states @ vectors.T).float(), targets)
    return F.linear_cross_entropy(states.float(), vectors.float(), targets, options=CHUNK)
