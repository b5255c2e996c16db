"""`vector-quantize-pytorch`'s ResidualVQ as a tokenizer: the codebooks of another implementation, in the network of `rqvae`.

The package (Phil Wang, github.com/lucidrains/vector-quantize-pytorch) has no encoder: it is given TIGER's, whose own codebooks it takes the
place of. It learns its own way: k-means on the first batch it sees, exponential moving averages, codes that die replaced by vectors of the
batch, the rotation trick in place of straight-through gradients. Only what the package does not decide is set here.
"""

import torch
from vector_quantize_pytorch import ResidualVQ

from bbqrec_core.quantization.codebook import Quantized, ResidualQuantizer
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.data import TrainingData
from bbqrec_core.quantization.tokenizers.inputs import widths_of
from bbqrec_core.quantization.tokenizers.interface import Fitted
from bbqrec_core.quantization.tokenizers.rqvae import Rqvae, RqvaeTokenizer, train

KMEANS_ITERATIONS = 10
DEAD_BELOW = 2
"""Items per batch, a moving average, below which a code is replaced. Both numbers are those of the package's README."""


def make_residual_vq(sizes: list[int], dimensions: int) -> ResidualVQ:
    """The package's module as its README advises to have it; its loss is the commitment's, without a weight."""
    return ResidualVQ(
        dim=dimensions,
        codebook_size=tuple(sizes),
        kmeans_init=True,
        kmeans_iters=KMEANS_ITERATIONS,
        threshold_ema_dead_code=DEAD_BELOW,
        commitment_weight=1.0,
    )


class PackageQuantizer(ResidualQuantizer):
    """ResidualVQ behind the interface of our own codebooks. It learns in the package's code; `settle` then copies what it learned."""

    def __init__(self, sizes: list[int], dimensions: int) -> None:
        super().__init__(sizes, dimensions, 0.0)
        self.package = make_residual_vq(sizes, dimensions)

    def forward(self, start: torch.Tensor, behaviour: torch.Tensor | None = None, mask: torch.Tensor | None = None) -> Quantized:
        """In training what the package makes of it; afterwards the nearest codes, as in any residual quantizer."""
        if not self.training:
            return super().forward(start)
        vectors, codes, losses = self.package(start)
        return Quantized(codes, vectors, (start,), (vectors,), start.new_zeros(()), losses.sum())

    @torch.no_grad()
    def settle(self) -> None:
        """Copy the package's codebooks."""
        for own, learned in zip(self.codebooks, self.package.codebooks, strict=True):
            own.copy_(learned)


class _Network(Rqvae):
    """TIGER's encoder and decoder around the package's codebooks."""

    def start_codebooks(self, latents: torch.Tensor, iterations: int, generator: torch.Generator) -> None:
        """Nothing: the package starts its codebooks itself, from the first batch."""


def fit(data: TrainingData, config: QuantizationConfig, seed: int, device: torch.device) -> Fitted:
    """Train it as `rqvae` is trained, for as many passes.

    Raises:
        StageError: There are no features.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    tokenizer = RqvaeTokenizer(config, widths_of(data), config.codebook_sizes, data.n_items)
    tokenizer.network = _Network(tokenizer.widths, tokenizer.sizes, config)
    quantizer = PackageQuantizer(tokenizer.sizes, config.rqvae.dimensions)
    tokenizer.network.quantizer = quantizer
    curve = train(tokenizer.network, data, config, "first_batch", generator, device, label="ResidualVQ")
    quantizer.settle()
    return Fitted(tokenizer, curve)
