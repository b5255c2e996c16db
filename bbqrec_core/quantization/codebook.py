"""Residual quantization with one stack of codebooks for every source.

Text, image, their fusion and behaviour all pass through the same `ResidualQuantizer`; only its last level treats the fusion apart.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from bbqrec_core.quantization.kmeans import Centres, kmeans, nearest_index
from bbqrec_core.quantization.siblings import Siblings


@dataclass(frozen=True)
class Quantized:
    """What a batch of vectors became.

    Attributes:
        codes: int64 [n, levels].
        vectors: float32 [n, d], the sum of the codes' vectors; straight-through, so its gradient goes to what was quantized.
        inputs: Per level what was quantized there, float32 [n, d]: the start, then the residuals.
        chosen: Per level the code's vector, with gradient to the codebook.
        codebook_loss: Scalar, sum over levels of mean ||sg(input) - code||^2 per dimension.
        commitment_loss: Scalar, the same of ||input - sg(code)||^2.
    """

    codes: torch.Tensor
    vectors: torch.Tensor
    inputs: tuple[torch.Tensor, ...]
    chosen: tuple[torch.Tensor, ...]
    codebook_loss: torch.Tensor
    commitment_loss: torch.Tensor

    def from_level(self, level: int) -> torch.Tensor:
        """What levels `level` (from 1) and deeper carry, sum of their codes' vectors, straight-through to the residual before them."""
        start = self.inputs[level - 1]
        total = torch.stack(self.chosen[level - 1 :]).sum(0)
        return start + (total - start).detach()


def masked_mean(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean of values [n] over the rows of a mask, bool [n]; 0 where no row counts."""
    return values.mean() if mask is None else (values * mask).sum() / mask.sum().clamp_min(1)


class ResidualQuantizer(nn.Module):
    """Codebooks C_1..C_L of K_1..K_L vectors (RQ-VAE, Zeghidour et al. 2021 and Lee et al. 2022), shared by all sources.

    Plain chain: r_0 = start; c_l = argmin_k ||r_{l-1} - C_l[k]||^2; r_l = r_{l-1} - C_l[c_l].
    Fused chain: the same, but the last level quantizes u = rho * (LN(r_{L-1}) + g * LN(z')) / sqrt(1 + g^2): behaviour separates
    look-alikes. rho is the root mean square of r_{L-1} when the codebooks were started; it changes no choice of code in a codebook of
    its own unit, and keeps u as long as the plain residuals that the other sources quantize there. Where siblings are to be told apart,
    r_{L-1} is centred by its prefix first (`siblings.py`).

    Attributes:
        codebooks: float32 [K_l, d] each.
        residual_scale: rho, scalar buffer.
        siblings: What the last residuals are centred by; None = they are not.
    """

    residual_scale: torch.Tensor

    def __init__(self, sizes: list[int], dimensions: int, behaviour_weight: float, siblings_apart: bool = False) -> None:
        super().__init__()
        self.siblings = Siblings(sizes, dimensions) if siblings_apart else None
        self.codebooks = nn.ParameterList([nn.Parameter(torch.zeros(size, dimensions)) for size in sizes])
        self.dimensions = dimensions
        self.behaviour_weight = behaviour_weight
        self.register_buffer("residual_scale", torch.ones(()))

    def last_input(self, residual: torch.Tensor, behaviour: torch.Tensor, prefix: torch.Tensor) -> torch.Tensor:
        """What the last level of the fused chain quantizes.

        The residual is taken as given: near zero LN's gradient explodes, and levels before the last commit it already.

        Args:
            residual: r_{L-1}, float32 [n, d].
            behaviour: z', float32 [n, d]; zero rows mean that nothing is known.
            prefix: Codes of levels 1..L-1, int64 [n, L - 1].
        """
        g, given = self.behaviour_weight, residual.detach()
        if self.siblings is not None:
            given = self.siblings.centre(prefix, given)
        mixed = F.layer_norm(given, (self.dimensions,)) + g * F.layer_norm(behaviour, (self.dimensions,))
        return mixed.mul_(self.residual_scale).div_((1 + g * g) ** 0.5)

    def forward(self, start: torch.Tensor, behaviour: torch.Tensor | None = None, mask: torch.Tensor | None = None) -> Quantized:
        """Quantize.

        Args:
            start: float32 [n, d], normalised.
            behaviour: z' for the fused chain, float32 [n, d]; None for a plain chain.
            mask: bool [n], rows that count in the losses; the others' codes mean nothing. None = all.
        """
        residual = start
        codes: list[torch.Tensor] = []
        inputs, chosen = [], []
        gradient_path = start
        codebook_loss = commitment_loss = start.new_zeros(())
        last = len(self.codebooks) - 1
        for level, codebook in enumerate(self.codebooks):
            if level == last and behaviour is not None:
                residual = self.last_input(residual, behaviour, torch.stack(codes, 1))
                gradient_path = gradient_path + residual
            index = nearest_index(residual.detach(), codebook.detach())
            vector = F.embedding(index, codebook)
            codebook_loss = codebook_loss + masked_mean((vector - residual.detach()).square().mean(1), mask)
            commitment_loss = commitment_loss + masked_mean((residual - vector.detach()).square().mean(1), mask)
            codes.append(index)
            inputs.append(residual)
            chosen.append(vector)
            residual = residual - vector.detach()
        total = torch.stack(chosen).sum(0)
        vectors = gradient_path + (total - gradient_path).detach()
        return Quantized(torch.stack(codes, 1), vectors, tuple(inputs), tuple(chosen), codebook_loss, commitment_loss)

    @torch.no_grad()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """The quantized vectors of given codes, float32 [n, d]: the sum over levels of C_l[c_l]."""
        return torch.stack([codebook[codes[:, level]] for level, codebook in enumerate(self.codebooks)]).sum(0)

    @torch.no_grad()
    def start_codebooks(self, start: torch.Tensor, behaviour: torch.Tensor | None, iterations: int, generator: torch.Generator) -> None:
        """Set every codebook by k-means on a chain's inputs at its level, and of the fused chain rho from the last residual.

        Args:
            start: What the chain of the encoded items starts from, float32 [n, d].
            behaviour: Their z' for the fused chain, float32 [n, d]; None for a plain chain.
            iterations: Of Lloyd's algorithm.
            generator: CPU generator.
        """
        residual = start
        codes: list[torch.Tensor] = []
        for level, codebook in enumerate(self.codebooks):
            if level == len(self.codebooks) - 1 and behaviour is not None:
                self.residual_scale.fill_(float(residual.square().mean().sqrt().clamp_min(1e-3)))
                prefix = torch.stack(codes, 1)
                if self.siblings is not None:
                    self.siblings.fit(prefix, residual)
                residual = self.last_input(residual, behaviour, prefix)
            codebook.copy_(kmeans(residual, len(codebook), generator, iterations).to(codebook.device))
            codes.append(nearest_index(residual, codebook))
            residual = residual - codebook[codes[-1]]


class CodeSearch:
    """The codes that `ResidualQuantizer` gives, without its losses, from codebooks made ready once for many batches.

    Args:
        quantizer: Must not change while this is used.
    """

    def __init__(self, quantizer: ResidualQuantizer) -> None:
        self.quantizer = quantizer
        self.codebooks = [codebook.detach() for codebook in quantizer.codebooks]
        self.centres = [Centres(codebook) for codebook in self.codebooks]

    @torch.no_grad()
    def prefix(self, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All levels but the last, which plain and fused chains share.

        Args:
            start: float32 [n, d], normalised.

        Returns:
            Codes of levels 1..L-1, int64 [n, L - 1], and the residual r_{L-1}, float32 [n, d].
        """
        codes, residual = [], start
        for codebook, centres in zip(self.codebooks[:-1], self.centres[:-1], strict=True):
            index = centres.nearest(residual)
            codes.append(index)
            residual = residual - F.embedding(index, codebook)
        return torch.stack(codes, 1), residual

    @torch.no_grad()
    def complete(self, prefix: torch.Tensor, residual: torch.Tensor, behaviour: torch.Tensor | None = None) -> torch.Tensor:
        """Add the last level's code.

        Args:
            prefix: Codes of the others, int64 [n, L - 1].
            residual: r_{L-1}, float32 [n, d].
            behaviour: z' for the fused chain, float32 [n, d]; None for a plain chain.

        Returns:
            int64 [n, L].
        """
        given = residual if behaviour is None else self.quantizer.last_input(residual, behaviour, prefix)
        return torch.cat([prefix, self.centres[-1].nearest(given)[:, None]], 1)
