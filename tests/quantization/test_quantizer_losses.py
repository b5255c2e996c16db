"""Losses against independent computations."""

import math

import pytest
import torch
from torch.nn import functional as F

from bbqrec_core.quantization.losses import Club, SequenceContrast, info_nce, shared_variance, symmetric_info_nce


def test_info_nce_is_the_mean_of_minus_log_softmax():
    torch.manual_seed(0)
    queries, keys = torch.randn(5, 4), torch.randn(5, 4)
    cosine = torch.tensor([[float(F.cosine_similarity(q, k, dim=0)) for k in keys] for q in queries]) / 0.2
    expected = -sum(math.log(math.exp(cosine[i, i]) / sum(math.exp(value) for value in cosine[i])) for i in range(5)) / 5
    assert float(info_nce(queries, keys, 0.2)) == pytest.approx(expected, rel=1e-5)
    both = (info_nce(queries, keys, 0.2) + info_nce(keys, queries, 0.2)) / 2
    assert float(symmetric_info_nce(queries, keys, 0.2)) == pytest.approx(float(both))


def test_info_nce_of_one_row_is_zero_and_has_a_gradient():
    query = torch.ones(1, 3, requires_grad=True)
    info_nce(query, torch.ones(1, 3), 0.1).backward()
    assert query.grad is not None and not query.grad.any()


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_club_bounds_the_known_information_of_gaussians(correlation):
    """I = -d/2 log(1 - rho^2) in closed form.

    With q exact, vCLUB is d rho^2 / (1 - rho^2): an upper bound, which is what is expected here rather than I itself.
    """
    torch.manual_seed(1)
    d, n = 3, 4000
    s = torch.randn(n, d)
    b = correlation * s + math.sqrt(1 - correlation**2) * torch.randn(n, d)
    club = Club(d, d, 32)
    optimizer = torch.optim.Adam(club.parameters(), lr=5e-3)
    for _ in range(400):
        rows = torch.randint(n, (512,))
        optimizer.zero_grad()
        club.negative_log_likelihood(s[rows], b[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        bound = float(club.bound(s, b))
    information = -d / 2 * math.log(1 - correlation**2)
    assert bound > information - 0.1
    assert bound == pytest.approx(d * correlation**2 / (1 - correlation**2), rel=0.2, abs=0.1)


def test_club_bound_is_the_mean_over_all_pairs():
    torch.manual_seed(2)
    club, s, b = Club(3, 4, 8), torch.randn(6, 3), torch.randn(6, 4)
    with torch.no_grad():
        mean, log_variance = club.mean(s), 6 * torch.tanh(club.log_variance(s) / 6)
        pairs = torch.stack([torch.distributions.Normal(mean, (log_variance / 2).exp()).log_prob(row).sum(1) for row in b], 1)
        torch.testing.assert_close(club.bound(s, b), pairs.diagonal().mean() - pairs.mean())
        torch.testing.assert_close(club.negative_log_likelihood(s, b), -pairs.diagonal().mean())


def told_by(s, share):
    """Make b of which a smooth function of s explains a share of the variance."""
    told = torch.stack([s[:, 0], s[:, 1] * s[:, 2], s[:, 3].square() - 1], 1)
    return math.sqrt(share) * told / told.std(0) + math.sqrt(1 - share) * torch.randn(len(s), 3)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_shared_variance_of_many_items_is_the_share_that_a_smooth_function_of_s_explains(share):
    torch.manual_seed(3)
    s = F.layer_norm(torch.randn(4000, 8), (8,))
    assert float(shared_variance(s, told_by(s, share), torch.Generator().manual_seed(4))) == pytest.approx(share, abs=0.15)


def test_shared_variance_of_a_batch_grows_with_the_share():
    torch.manual_seed(3)
    draws = torch.Generator().manual_seed(4)
    batches = F.layer_norm(torch.randn(8, 512, 16), (16,))
    found = [sum(float(shared_variance(s, told_by(s, share), draws)) for s in batches) / 8 for share in (0.0, 0.25, 0.5, 0.9)]
    assert found == sorted(found) and found[0] == pytest.approx(-0.25, abs=0.1) and found[3] > 0.2


def test_shared_variance_by_its_definition():
    torch.manual_seed(5)
    s, b = torch.randn(11, 4), torch.randn(11, 3)
    draws = torch.Generator().manual_seed(6)
    weights, phases = torch.randn(4, 128, generator=draws) / 2, 2 * math.pi * torch.rand(128, generator=draws)
    phi = torch.cos(s @ weights + phases)
    # Ridge regression with an intercept is least squares on rows that stand for the penalty.
    inputs = torch.cat([phi[:5] - phi[:5].mean(0), math.sqrt(0.05 * 5) * torch.eye(128)]).double()
    outputs = torch.cat([b[:5] - b[:5].mean(0), torch.zeros(128, 3)]).double()
    fitted = torch.linalg.lstsq(inputs, outputs).solution.float()
    error = (b[5:] - b[:5].mean(0) - (phi[5:] - phi[:5].mean(0)) @ fitted).square().sum()
    expected = 1 - error / (b[5:] - b[:5].mean(0)).square().sum()
    assert float(shared_variance(s, b, torch.Generator().manual_seed(6))) == pytest.approx(float(expected), rel=1e-4)


def test_shared_variance_moves_s_and_leaves_b_which_codes_are_made_of():
    torch.manual_seed(7)
    s, b = torch.randn(40, 4, requires_grad=True), torch.randn(40, 3, requires_grad=True)
    shared_variance(s, b, torch.Generator().manual_seed(8)).backward()
    assert s.grad.abs().sum() > 0 and b.grad is None


@pytest.mark.parametrize(("n", "varies"), [(2, True), (3, True), (2, False), (40, False)])
def test_nothing_is_shared_where_b_does_not_vary_or_one_item_is_fitted(n, varies):
    torch.manual_seed(8)
    s, b = torch.randn(n, 4, requires_grad=True), torch.randn(n, 3) if varies else torch.ones(n, 3)
    loss = shared_variance(s, b, torch.Generator().manual_seed(7))
    loss.backward()
    assert float(loss) == pytest.approx(0.0, abs=1e-6) and s.grad is not None and not s.grad.any()


def test_sequence_contrast_against_a_loop():
    torch.manual_seed(3)
    contrast, vectors = SequenceContrast(6), torch.randn(5, 6)
    windows = torch.tensor([[7, 2, 9, -1], [3, 7, 4, 2]])
    lookup = torch.full((10,), -1)
    distinct = torch.tensor([2, 3, 4, 7, 9])
    lookup[distinct] = torch.arange(5)
    candidates = torch.tensor([2, 4, 7, 9])
    own = torch.tensor([[True, True, True, True], [True, True, True, False]])  # the first user's whole history holds 4 too
    log_share = torch.log(torch.tensor([0.4, 0.1, 0.3, 0.2]))
    terms = []
    for row in range(2):
        states = contrast.output(contrast.recurrent(vectors[lookup[windows[row, :-1].clamp_min(0)].clamp_min(0)][None])[0])[0]
        for position, target in enumerate(windows[row, 1:].tolist()):
            if target < 0:
                continue
            logits = {}
            for column, candidate in enumerate(candidates.tolist()):
                if candidate == target or not own[row, column]:
                    similarity = F.cosine_similarity(states[position], vectors[lookup[candidate]], dim=0)
                    logits[candidate] = similarity / 0.3 - log_share[column]
            terms.append(torch.logsumexp(torch.stack(list(logits.values())), 0) - logits[target])
    loss = contrast(windows, lookup, vectors, candidates, own, log_share, 0.3)
    torch.testing.assert_close(loss, torch.stack(terms).mean())
