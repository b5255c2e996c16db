"""The loss over a whole catalogue: one value and one gradient, whichever way it is computed."""

import pytest
import torch

from bbqrec_core.full_softmax import WORTHWHILE_LOGITS, full_softmax_loss


def by_definition(states: torch.Tensor, vectors: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits = states @ vectors.T
    return (logits.exp().sum(1).log() - logits[torch.arange(len(targets)), targets]).mean()


@pytest.mark.parametrize(("states", "items"), [(7, 50), (1, 3000), (128, 8192), (129, 8200), (300, 5000)])
def test_value_and_gradients_are_those_of_the_definition(states: int, items: int) -> None:
    generator = torch.Generator().manual_seed(1)
    left, right = torch.randn(states, 8, generator=generator), torch.randn(items, 8, generator=generator)
    targets = torch.randint(items, (states,), generator=generator)
    values, gradients = [], []
    for loss_of, precision in ((by_definition, torch.float64), (full_softmax_loss, torch.float32)):
        first, second = left.to(precision).requires_grad_(), right.to(precision).requires_grad_()
        loss = loss_of(first, second, targets)
        values.append(loss)
        gradients.append(torch.autograd.grad(3 * loss, (first, second)))  # weighed, as where there are two heads or several processes
    assert values[1].dtype == torch.float32
    torch.testing.assert_close(values[1].double(), values[0], rtol=1e-5, atol=0)
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-6)


def test_chunks_are_computed_in_full_precision_where_half_is_asked_for() -> None:
    states, vectors = torch.randn(130, 8), torch.randn(WORTHWHILE_LOGITS // 128, 8)
    targets = torch.arange(130)
    with torch.autocast("cpu", torch.bfloat16):
        loss = full_softmax_loss(states, vectors, targets)
    torch.testing.assert_close(loss, full_softmax_loss(states, vectors, targets), rtol=1e-6, atol=0)


def test_no_state_gives_no_number_and_no_crash() -> None:
    assert torch.isnan(full_softmax_loss(torch.zeros(0, 8), torch.zeros(9, 8), torch.zeros(0, dtype=torch.int64)))
