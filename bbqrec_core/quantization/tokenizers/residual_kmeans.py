"""Residual k-means on frozen features: the simplest semantic IDs there are, without a network.

Residual vector quantization (Juang and Gray 1982, Multiple stage vector quantization for speech coding); as a tokenizer of recommenders
for instance in OneRec (Deng et al. 2025, arXiv:2502.18965), there with balanced clusters, here with plain ones:

    r_0 = P [x~_t / sqrt(d_t); x~_v / sqrt(d_v)];   C_l = k-means(r_{l-1} of train items);   c_l, r_l as in `rqvae`

x~ standardised, zero where absent; the division gives modalities equal weight whatever their width. P is the identity, or the projection
on the principal components of the train items. Codes of one modality alone are those of r_0 with the other modality at its mean.
"""

from collections.abc import Mapping

import numpy as np
import torch

from bbqrec_core.quantization.assign import BATCH, EncodedCatalogue
from bbqrec_core.quantization.codebook import ResidualQuantizer
from bbqrec_core.quantization.collisions import Codebooks
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.curve import Curve
from bbqrec_core.quantization.data import TrainingData
from bbqrec_core.quantization.kmeans import kmeans, nearest
from bbqrec_core.quantization.model import Features, Masks
from bbqrec_core.quantization.tokenizers.inputs import Standardiser, fitted_with_content, only, widths_of
from bbqrec_core.quantization.tokenizers.interface import Baseline, Earlier, Fitted, PlainCodebooks, encoding, sources


class ResidualKmeansTokenizer(Baseline):
    """Centres per level, in the space of the features or of their principal components."""

    centre: torch.Tensor
    projection: torch.Tensor

    def __init__(self, config: QuantizationConfig, widths: Mapping[str, int], sizes: list[int], n_items: int) -> None:
        super().__init__(config, widths, sizes, n_items)
        total = sum(widths.values())
        components = min(config.residual_kmeans.pca_dimensions, total)
        self.standardiser = Standardiser(widths)
        self.register_buffer("centre", torch.zeros(total if components else 0))
        self.register_buffer("projection", torch.zeros(total if components else 0, components))
        self.quantizer = ResidualQuantizer(sizes, components or total, 0.0)

    def joint(self, features: Features, present: Masks) -> torch.Tensor:
        """Modalities side by side with equal weight, float32 [n, D]."""
        standardised = self.standardiser(features, present)
        return torch.cat([values / self.widths[name] ** 0.5 for name, values in standardised.items()], 1)

    def points(self, features: Features, present: Masks) -> torch.Tensor:
        """r_0, float32 [n, d]."""
        joint = self.joint(features, present)
        return (joint - self.centre) @ self.projection if len(self.centre) else joint

    @torch.no_grad()
    def fit_projection(self, points: torch.Tensor) -> None:
        """Take centre and principal components of items side by side, float32 [n, D]; signs make each one's largest entry positive."""
        centre = points.double().mean(0)
        centred = points.double() - centre
        vectors = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, : self.projection.shape[1]]
        signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
        self.centre.copy_(centre)
        self.projection.copy_(vectors * signs)

    @torch.no_grad()
    def encode(self, features: Features, present: Masks, items: np.ndarray | None, n_items: int | None = None) -> EncodedCatalogue:
        """Codes of the whole item, and of each modality with the others at their mean."""
        wished, starts = self._chain(features, present)
        alone = {name: wished if len(self.widths) == 1 else self._chain(features, only(name, present))[0] for name in self.widths}
        return encoding(wished, starts, alone)

    def _chain(self, features: Features, present: Masks) -> tuple[np.ndarray, np.ndarray]:
        n = len(next(iter(present.values())))
        codes, starts = [], []
        for low in range(0, max(n, 1), BATCH):
            rows = slice(low, low + BATCH)
            start = self.points({name: features[name][rows] for name in self.widths}, {name: present[name][rows] for name in self.widths})
            codes.append(self.quantizer(start).codes.numpy())
            starts.append(start.numpy())
        return np.concatenate(codes), np.concatenate(starts)

    def codebooks(self) -> Codebooks:
        """The one stack."""
        return PlainCodebooks.of(self.quantizer)

    def vectors(self, fused: np.ndarray, modality_codes: Mapping[str, np.ndarray], present: Masks) -> dict[str, torch.Tensor]:
        """Sums of the centres."""
        return {source: self.quantizer.decode(torch.from_numpy(codes)) for source, codes in sources(modality_codes, fused).items()}


@torch.no_grad()
def fit(data: TrainingData, config: QuantizationConfig, seed: int, device: torch.device, earlier: Earlier | None = None) -> Fitted:
    """Fit by k-means, level after level, on the items that occur in train; on the CPU whatever the device.

    From an earlier tokenizer: features are standardised and projected as they were, and centres start where they stood.

    The curve's steps are levels: what each leaves of the mean squared length of r_0.

    Raises:
        StageError: There are no features.
    """
    generator = torch.Generator().manual_seed(seed)
    tokenizer = ResidualKmeansTokenizer(config, widths_of(data), config.codebook_sizes, data.n_items).eval()
    if earlier is None:
        tokenizer.standardiser.fit(data)
    else:
        tokenizer.load_state_dict(earlier.tokenizer.module.state_dict())
    items = fitted_with_content(data, tuple(tokenizer.widths))
    if len(items) > config.kmeans_items:
        items = items[torch.randperm(len(items), generator=generator)[: config.kmeans_items].sort().values]
    features, present = data.rows(items)
    if len(tokenizer.centre) and earlier is None:
        tokenizer.fit_projection(tokenizer.joint(features, present))
    residual = tokenizer.points(features, present)
    curve = Curve()
    for level, codebook in enumerate(tokenizer.quantizer.codebooks, start=1):
        start = None if earlier is None else codebook
        codebook.copy_(kmeans(residual, len(codebook), generator, config.kmeans_iterations, start))
        residual = residual - codebook[nearest(residual, codebook)[0]]
        curve.rows.append((level, "train/residual", float(residual.square().sum(1).mean())))
    return Fitted(tokenizer, curve)
