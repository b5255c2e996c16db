"""The tokenizers that are measured beside one another: what each is called and how it is fitted."""

from dataclasses import dataclass

import torch

from bbqrec_core.quantization.config import QuantizationConfig, TokenizerName
from bbqrec_core.quantization.tokenizers import registry
from bbqrec_core.quantization.tokenizers.interface import Fitted
from benchmarks.codebooks import residual_vq
from benchmarks.codebooks.catalogue import Catalogue

OURS, RQVAE, RQVAE_LONG, LETTER, PER_MODALITY = "ours", "rqvae", "rqvae_long", "letter", "rqvae_per_modality"
KMEANS, PUBLISHED, PACKAGE = "residual_kmeans", "published", "residual_vq"
NAMES = {
    OURS: "ours",
    RQVAE: "plain RQ-VAE, as many passes as ours",
    RQVAE_LONG: "plain RQ-VAE, as many seconds as ours",
    LETTER: "RQ-VAE with collaborative alignment and diversity, LETTER's way",
    PER_MODALITY: "one RQ-VAE per modality, the text's as IDs",
    KMEANS: "residual k-means",
    PUBLISHED: "published codes, repaired",
    PACKAGE: "ResidualVQ of vector-quantize-pytorch",
}
"""In the order in which they are fitted: how many passes fit into our seconds is known once the first two have been."""
_TOKENIZERS: dict[str, TokenizerName] = {OURS: "bbqrec", RQVAE_LONG: "rqvae", PUBLISHED: "given"}
"""Where a contender is called otherwise than its tokenizer."""


@dataclass(frozen=True)
class Budget:
    """What plain RQ-VAE may spend when it is to spend as much as ours.

    Attributes:
        ours: Seconds that fitting ours took.
        rqvae: Seconds that fitting plain RQ-VAE for as many passes took.
    """

    ours: float
    rqvae: float

    def passes(self, config: QuantizationConfig) -> int:
        """Passes of plain RQ-VAE over the items in the seconds of ours; never fewer than ours makes."""
        as_ours = config.warmup_epochs + config.epochs
        return max(as_ours, round(as_ours * self.ours / self.rqvae))


def contenders_for(catalogue: Catalogue) -> list[str]:
    """Keys of NAMES of all who can be fitted on a catalogue, in their order."""
    lacking = {PER_MODALITY: len(catalogue.data.features) < 2, PUBLISHED: not catalogue.data.codes}
    return [name for name in NAMES if not lacking.get(name)]


def fit(name: str, catalogue: Catalogue, seed: int, device: torch.device, budget: Budget | None = None) -> Fitted:
    """Fit a contender.

    Args:
        name: Its key in `NAMES`, or a tokenizer as the profile names it.
        catalogue: What it is fitted on; the profile's section `quantization` sizes the codebooks of all and says how many passes they make.
        seed: Its only source of randomness.
        device: Where to train.
        budget: For `RQVAE_LONG`, which needs it.
    """
    config = catalogue.profile.quantization
    if name == PACKAGE:
        return residual_vq.fit(catalogue.data, config, seed, device)
    if name == RQVAE_LONG:
        assert budget is not None
        config = config.model_copy(update={"warmup_epochs": 0, "epochs": budget.passes(config)})
    if name == PUBLISHED:  # distinct, as everybody's
        config = config.model_copy(update={"given": config.given.model_copy(update={"repair": True})})
    tokenizer = _TOKENIZERS.get(name, name)
    return registry.fit(catalogue.data, config.model_copy(update={"tokenizer": tokenizer}), seed, device, catalogue.ingest)
