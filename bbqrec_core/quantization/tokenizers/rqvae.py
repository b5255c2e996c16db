"""RQ-VAE on frozen features: the semantic IDs of TIGER.

Rajput et al., Recommender Systems with Generative Retrieval (TIGER), NeurIPS 2023, arXiv:2305.05065, section 3.1; RQ-VAE after Zeghidour et
al. 2021, SoundStream. With standardised features x~ (modalities side by side, and a mask each: 1 = present),

    r_0 = E([x~; masks]);   c_l = argmin_k ||r_{l-1} - C_l[k]||^2;   r_l = r_{l-1} - C_l[c_l];   q = sum_l C_l[c_l];   x^ = D(q)
    L = ||x^ - x~||^2 + sum_l ||sg(r_{l-1}) - C_l[c_l]||^2 + beta ||r_{l-1} - sg(C_l[c_l])||^2,   beta = 0.25,

squares per dimension, reconstruction over present modalities, gradients straight through. Behaviour plays no part. TIGER has one text
embedding; two modalities side by side are our extension. Its k-means starts the codebooks from the first batch of an untrained encoder:
that is its known weakness (a batch smaller than a codebook makes codes nearly alike, and nothing revives those that die), and
`rqvae.start: all_items` is the remedy. Ours differs in: AdamW with cosine decay and the section's epochs (TIGER: Adagrad, 20,000 epochs,
batches of 1,024); collisions are repaired, where TIGER adds a digit. Codes of one modality alone, which TIGER has none of, are what the
same network says with the other modality masked.

The training loop takes further losses, which is how `letter` becomes a setting of this one.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import nn

from bbqrec_core.progress import track
from bbqrec_core.quantization.assign import BATCH, EncodedCatalogue
from bbqrec_core.quantization.codebook import Quantized, ResidualQuantizer, masked_mean
from bbqrec_core.quantization.collisions import Codebooks
from bbqrec_core.quantization.config import QuantizationConfig, Start
from bbqrec_core.quantization.curve import Curve
from bbqrec_core.quantization.data import TrainingData
from bbqrec_core.quantization.model import Features, Masks
from bbqrec_core.quantization.tokenizers.inputs import Standardiser, fitted_with_content, only, widths_of
from bbqrec_core.quantization.tokenizers.interface import Baseline, Earlier, Fitted, PlainCodebooks, encoding, sources


class Regulariser(Protocol):
    """Losses on top of RQ-VAE's own."""

    def begin_epoch(self, quantizer: ResidualQuantizer) -> None:
        """Called before each epoch."""

    def losses(self, quantizer: ResidualQuantizer, quantized: Quantized, items: torch.Tensor) -> dict[str, torch.Tensor]:
        """Weighted losses by name, of a batch of items (item_idx, int64 [n])."""


def perceptron(widths: list[int]) -> nn.Sequential:
    """Linear layers with ReLU between."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Rqvae(nn.Module):
    """The network: standardised features to latents, codes, and back."""

    def __init__(self, widths: Mapping[str, int], sizes: list[int], config: QuantizationConfig) -> None:
        super().__init__()
        self.widths = dict(widths)
        total, hidden, dimensions = sum(widths.values()), config.rqvae.hidden, config.rqvae.dimensions
        self.standardiser = Standardiser(widths)
        self.encoder = perceptron([total + len(widths), *hidden, dimensions])
        self.decoder = perceptron([dimensions, *reversed(hidden), total])
        self.quantizer = ResidualQuantizer(sizes, dimensions, 0.0)

    def latents(self, features: Features, present: Masks) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """r_0, float32 [n, d], and what it was made from."""
        standardised = self.standardiser(features, present)
        masks = torch.stack([present[name] for name in self.widths], 1).to(torch.float32)
        return self.encoder(torch.cat([*standardised.values(), masks], 1)), standardised

    def reconstruction(self, quantized: torch.Tensor, standardised: Features, present: Masks) -> torch.Tensor:
        """||x^ - x~||^2 per dimension, mean over the items that have a modality, then over modalities."""
        decoded = self.decoder(quantized).split(list(self.widths.values()), 1)
        terms = [
            masked_mean((values - standardised[name]).square().mean(1), present[name])
            for name, values in zip(self.widths, decoded, strict=True)
        ]
        return torch.stack(terms).mean()

    @torch.no_grad()
    def encode(self, features: Features, present: Masks) -> tuple[np.ndarray, np.ndarray]:
        """Codes, int64 [n, L], and latents, float32 [n, d]; in batches."""
        device = self.quantizer.codebooks[0].device
        n = len(next(iter(present.values())))
        codes, starts = [], []
        for low in range(0, max(n, 1), BATCH):
            rows = slice(low, low + BATCH)
            start, _ = self.latents(
                {name: features[name][rows].to(device) for name in self.widths},
                {name: present[name][rows].to(device) for name in self.widths},
            )
            codes.append(self.quantizer(start).codes.cpu().numpy())
            starts.append(start.cpu().numpy())
        return np.concatenate(codes), np.concatenate(starts)


def train(
    network: Rqvae,
    data: TrainingData,
    config: QuantizationConfig,
    start: Start,
    generator: torch.Generator,
    device: torch.device,
    regulariser: Regulariser | None = None,
    label: str = "RQ-VAE",
    warm: bool = False,
) -> Curve:
    """Train a network on the items that occur in train and have one of its modalities.

    As many passes over the items as BBQRec's own quantizer makes, warm-up included; all of them with codebooks.

    Args:
        network: Freshly made, and its standardiser is fitted here; or an earlier one, if `warm`.
        data: What training may see.
        config: The profile's section.
        start: What k-means starts the codebooks from.
        generator: CPU generator: order of items, k-means.
        device: Where to train.
        regulariser: Further losses.
        label: Of the progress bar.
        warm: Go on from where the network stands, as short and slow as `config.WarmStartConfig` says.
    """
    if not warm:
        network.standardiser.fit(data)
    network.to(device)
    features = {name: data.features[name].to(device) for name in network.widths}
    present = {name: data.present[name].to(device) for name in network.widths}
    items = fitted_with_content(data, tuple(network.widths))
    codebooks = list(network.quantizer.parameters())
    rest = [*network.encoder.parameters(), *network.decoder.parameters()]
    rate = config.learning_rate * config.warm_start.learning_rate_share if warm else config.learning_rate
    optimizer = torch.optim.AdamW(
        [{"params": rest, "weight_decay": config.weight_decay}, {"params": codebooks, "weight_decay": 0.0}], lr=rate
    )
    epochs = config.warm_start.epochs if warm else config.warmup_epochs + config.epochs
    steps = epochs * math.ceil(len(items) / config.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.05 + 0.475 * (1 + math.cos(math.pi * step / steps)))

    def rows(batch: torch.Tensor) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        return {name: values[batch] for name, values in features.items()}, {name: mask[batch] for name, mask in present.items()}

    curve = Curve()
    for epoch in track(range(1, epochs + 1), f"{label}, epochs", total=epochs, unit="epoch"):
        batches = items[torch.randperm(len(items), generator=generator)].split(config.batch_size)
        if epoch == 1 and not warm:
            first = batches[0] if start == "first_batch" else torch.cat(batches)[: config.kmeans_items]
            with torch.no_grad():
                latents = torch.cat([network.latents(*rows(part.to(device)))[0] for part in first.split(BATCH)])
            network.quantizer.start_codebooks(latents, None, config.kmeans_iterations, generator)
        if regulariser is not None:
            regulariser.begin_epoch(network.quantizer)
        sums: dict[str, torch.Tensor] = {}
        for batch in batches:
            batch = batch.to(device)
            given, masks = rows(batch)
            latents, standardised = network.latents(given, masks)
            quantized = network.quantizer(latents)
            losses = {
                "reconstruction": config.reconstruction_weight * network.reconstruction(quantized.vectors, standardised, masks),
                "codebook": quantized.codebook_loss,
                "commitment": config.commitment_weight * quantized.commitment_loss,
            }
            if regulariser is not None:
                losses |= regulariser.losses(network.quantizer, quantized, batch)
            loss = torch.stack(list(losses.values())).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            for name, value in {"loss": loss, **losses}.items():
                sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach()
        curve.rows += [(epoch, f"train/{name}", float(value) / len(batches)) for name, value in sorted(sums.items())]
    network.eval()
    return curve


class RqvaeTokenizer(Baseline):
    """One RQ-VAE over all modalities side by side."""

    def __init__(self, config: QuantizationConfig, widths: Mapping[str, int], sizes: list[int], n_items: int) -> None:
        super().__init__(config, widths, sizes, n_items)
        self.network = Rqvae(widths, sizes, config)

    def encode(self, features: Features, present: Masks, items: np.ndarray | None, n_items: int | None = None) -> EncodedCatalogue:
        """Codes of the whole item, and of each modality with the others masked."""
        wished, starts = self.network.encode(features, present)
        alone = {name: wished if len(self.widths) == 1 else self.network.encode(features, only(name, present))[0] for name in self.widths}
        return encoding(wished, starts, alone)

    def codebooks(self) -> Codebooks:
        """The one stack."""
        return PlainCodebooks.of(self.network.quantizer)

    def vectors(self, fused: np.ndarray, modality_codes: Mapping[str, np.ndarray], present: Masks) -> dict[str, torch.Tensor]:
        """Sums of the codes' vectors."""
        device = self.network.quantizer.codebooks[0].device
        return {
            source: self.network.quantizer.decode(torch.from_numpy(codes).to(device)).cpu()
            for source, codes in sources(modality_codes, fused).items()
        }


def made_or_taken_over(data: TrainingData, config: QuantizationConfig, earlier: Earlier | None) -> RqvaeTokenizer:
    """A tokenizer to be trained: as it is made, or as an earlier one stands."""
    tokenizer = RqvaeTokenizer(config, widths_of(data), config.codebook_sizes, data.n_items)
    if earlier is not None:
        tokenizer.load_state_dict(earlier.tokenizer.module.state_dict())
    return tokenizer


def fit(data: TrainingData, config: QuantizationConfig, seed: int, device: torch.device, earlier: Earlier | None = None) -> Fitted:
    """Fit TIGER's tokenizer, from scratch or from an earlier one.

    Raises:
        StageError: There are no features.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    tokenizer = made_or_taken_over(data, config, earlier)
    curve = train(tokenizer.network, data, config, config.rqvae.start, generator, device, warm=earlier is not None)
    return Fitted(tokenizer, curve)
