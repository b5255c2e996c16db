"""Losses of stage 1 and the networks that only they need.

Each function states its equation. Weights and their meaning: `config.py`. Which is used where: `training.py`.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from bbqrec_core.quantization.model import mlp

LOG_VARIANCE_LIMIT = 6.0
RANDOM_FEATURES = 128
RIDGE = 0.05
"""Penalty of the regression in `shared_variance`, per item that it is fitted on."""


def info_nce(queries: torch.Tensor, keys: torch.Tensor, temperature: float) -> torch.Tensor:
    """InfoNCE with in-batch negatives (van den Oord et al. 2018): -mean_i log softmax_j(cos(q_i, k_j) / tau)[i].

    Args:
        queries: float32 [n, d].
        keys: float32 [n, d]; row i belongs to query i.
        temperature: tau.

    Returns:
        Scalar; zero for fewer than two rows, where there is nothing to contrast.
    """
    if len(queries) < 2:
        return queries.sum() * 0.0
    logits = F.normalize(queries, dim=1) @ F.normalize(keys, dim=1).T / temperature
    return F.cross_entropy(logits, torch.arange(len(queries), device=queries.device))


def symmetric_info_nce(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean of InfoNCE in both directions (CLIP, Radford et al. 2021)."""
    return (info_nce(first, second, temperature) + info_nce(second, first, temperature)) / 2


def shared_variance(s: torch.Tensor, b: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """How much of b's variance a regression on s explains on the half of the batch that it was not fitted on.

        phi(s) = cos(W s + u),   W ~ N(0, 1 / dim(s)),   u ~ U(0, 2 pi)
        A = argmin_A sum_{i in first half} ||b~_i - A phi~(s_i)||^2 + lambda n / 2 ||A||^2
        loss = 1 - sum_{i in second half} ||b~_i - A phi~(s_i)||^2 / sum_{i in second half} ||b~_i||^2

    b~ and phi~ are b and phi(s) less their means over the first half. Random features of a Gaussian kernel (Rahimi and Recht 2007), drawn
    anew at each step, make smooth relations linear, and the regression is solved in closed form: unlike CLUB's network it is never
    behind, and there is nobody to mislead. It overfits a batch of hundreds, so its value is no share to be read off: with 16-dimensional s
    and nothing in common it is about -0.25 for 512 items, -0.7 for 128, and grows from there with what is shared. The share itself is
    measured in `probes.py`. Its gradient is of s alone: codes are made of b, and s is what can give way.

    Args:
        s: Of items in random order, normalised, float32 [n, dim(s)], n at least 2.
        b: float32 [n, d].
        generator: CPU generator.

    Returns:
        Scalar, at most 1; 0 where b does not vary.
    """
    weights = (torch.randn(s.shape[1], RANDOM_FEATURES, generator=generator) / s.shape[1] ** 0.5).to(s.device)
    phases = (2 * math.pi * torch.rand(RANDOM_FEATURES, generator=generator)).to(s.device)
    features, half = torch.cos(s @ weights + phases), len(s) // 2
    inputs, outputs = features - features[:half].mean(0), (b - b[:half].mean(0)).detach()
    penalty = RIDGE * half * torch.eye(RANDOM_FEATURES, device=s.device)
    fitted = torch.linalg.solve(inputs[:half].T @ inputs[:half] + penalty, inputs[:half].T @ outputs[:half])
    error = (outputs[half:] - inputs[half:] @ fitted).square().sum()
    spread = outputs[half:].square().sum()
    return (spread - error) / spread.clamp_min(1e-6)


class Club(nn.Module):
    """Variational contrastive log-ratio upper bound on mutual information (vCLUB; Cheng et al. 2020, eq. 6 and 9).

    q(b|s) = N(mu(s), diag exp(v(s))), fitted by maximum likelihood on detached inputs in steps of its own; then
    I(s; b) <= E_{p(s,b)}[log q(b|s)] - E_{p(s)p(b)}[log q(b|s)], an upper bound as far as q is good. In nats.
    """

    def __init__(self, conditions: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.mean = mlp(conditions, hidden, outputs)
        self.log_variance = mlp(conditions, hidden, outputs)

    def _parameters_of(self, s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # tanh bounds the variance: an unbounded one diverges where s foretells b exactly.
        return self.mean(s), LOG_VARIANCE_LIMIT * torch.tanh(self.log_variance(s) / LOG_VARIANCE_LIMIT)

    def negative_log_likelihood(self, s: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """-mean_i log q(b_i | s_i), what the alternate steps minimise."""
        mean, log_variance = self._parameters_of(s)
        return 0.5 * ((b - mean).square() / log_variance.exp() + log_variance + math.log(2 * math.pi)).sum(1).mean()

    def bound(self, s: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The bound, over all pairs of the batch.

        Args:
            s: float32 [n, conditions].
            b: float32 [n, outputs].

        The normaliser of q cancels, and mean_j (b_j - mu_i)^2 = mean_j b_j^2 - 2 mu_i mean_j b_j + mu_i^2, so no n x n matrix is built.
        """
        mean, log_variance = self._parameters_of(s)
        joint = (b - mean).square()
        apart = b.square().mean(0) - 2 * mean * b.mean(0) + mean.square()
        return 0.5 * ((apart - joint) / log_variance.exp()).sum(1).mean()


class SequenceContrast(nn.Module):
    """Sequence-to-item InfoNCE: a train prefix's quantized items against the quantized next item.

    h_p = W GRU(q(f_1..p)); loss = -mean_p log softmax_j((cos(h_p, q(f_j)) / tau) - log Q(j))[next], over the distinct next items j of
    the batch, Q the share of j among train's interactions (Yi et al. 2019, sampling-bias correction); the user's own items are no
    negatives.
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(dimensions, dimensions, batch_first=True)
        self.output = nn.Linear(dimensions, dimensions)

    def forward(
        self,
        windows: torch.Tensor,
        lookup: torch.Tensor,
        vectors: torch.Tensor,
        candidates: torch.Tensor,
        own: torch.Tensor,
        log_share: torch.Tensor,
        temperature: float,
    ) -> torch.Tensor:
        """Compute the loss.

        Args:
            windows: item_idx padded on the RIGHT with -1, int64 [n, width]; each row has at least two items.
            lookup: Row of `vectors` per item_idx, int64 [n_items].
            vectors: q(f) of the batch's distinct items, float32 [m, d].
            candidates: Distinct next items (item_idx), sorted, int64 [c].
            own: bool [n, c], whether the candidate is among ALL train items of the row's user.
            log_share: log Q of the candidates, float32 [c].
            temperature: tau.
        """
        inputs, targets = windows[:, :-1], windows[:, 1:]
        valid = targets >= 0
        embedded = F.embedding(lookup[inputs.clamp_min(0)].clamp_min(0), vectors)  # padding: any row, never a target
        states = self.output(self.recurrent(embedded)[0])
        rows = torch.nonzero(valid)[:, 0]
        positives = torch.searchsorted(candidates, targets[valid])
        keys = F.normalize(F.embedding(lookup[candidates], vectors), dim=1)
        logits = F.normalize(states[valid], dim=1) @ keys.T / temperature - log_share
        others = own[rows] & (torch.arange(len(candidates), device=rows.device) != positives[:, None])
        return F.cross_entropy(logits.masked_fill(others, float("-inf")), positives)
