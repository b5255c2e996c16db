"""What keeps s and b apart in training, as the profile weighs it: pairs of both, the losses on them, and the steps of CLUB's network."""

from collections.abc import Iterable

import torch
from torch.nn import functional as F

from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.losses import Club, shared_variance
from bbqrec_core.quantization.model import Encoded

Pairs = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""Per modality that two items or more have, s [n, dim(s)] and b [n, d] of the items that have it, both normalised."""


class Disentangling:
    """The losses between s and b, each switched off by a weight of 0.

    Args:
        modalities: Their names.
        config: Weights and widths.
        device: Where the model trains.
    """

    def __init__(self, modalities: Iterable[str], config: QuantizationConfig, device: torch.device) -> None:
        self.config = config
        self.clubs: dict[str, Club] = {}
        self.optimizer: torch.optim.Optimizer | None = None
        if config.club_weight:
            self.clubs = {name: Club(config.specific_dimensions, config.dimensions, config.hidden).to(device) for name in modalities}
        if self.clubs:
            parameters = [parameter for club in self.clubs.values() for parameter in club.parameters()]
            self.optimizer = torch.optim.Adam(parameters, lr=config.learning_rate)

    def losses(self, encoded: Encoded, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """By name the mean over modalities, times its weight; CLUB's network takes its step first.

        Args:
            encoded: A batch in random order, with s.
            generator: CPU generator.
        """
        config = self.config
        pairs = self._pairs(encoded) if config.shared_variance_weight or config.club_weight else {}
        losses: dict[str, torch.Tensor] = {}
        if config.shared_variance_weight and pairs:
            terms = [shared_variance(*pair, generator) for pair in pairs.values()]
            losses["shared_variance"] = config.shared_variance_weight * torch.stack(terms).mean()
        if config.club_weight and pairs:
            self._fit(pairs)
            terms = [self.clubs[name].bound(*pair) for name, pair in pairs.items()]
            losses["club"] = config.club_weight * torch.stack(terms).mean()
        return losses

    def _pairs(self, encoded: Encoded) -> Pairs:
        pairs = {}
        for name, specific in encoded.specific.items():
            mask = encoded.present[name]
            if int(mask.sum()) >= 2:
                pairs[name] = F.layer_norm(specific[mask], (self.config.specific_dimensions,)), encoded.aligned[name][mask]
        return pairs

    def _fit(self, pairs: Pairs) -> None:
        """One maximum-likelihood step of CLUB's q(b|s), on detached inputs."""
        assert self.optimizer is not None
        loss = torch.stack([self.clubs[name].negative_log_likelihood(s.detach(), b.detach()) for name, (s, b) in pairs.items()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
