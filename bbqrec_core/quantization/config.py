"""Profile section `quantization`: how semantic IDs are learned.

Every loss has a weight here, and 0 switches it off. What the symbols mean, and which equation a weight belongs to, stands in `losses.py`
and `training.py`; for the baselines in the module of `tokenizers/` that bears the tokenizer's name.
"""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bbqrec_core.config import Section, Share

CodebookSize = Annotated[int, Field(ge=2, le=32767)]
"""Codes are stored as int16."""


PREVIOUS, PREVIOUS_INGEST = "previous", "previous_ingest"
"""Inputs of the stage that are there only if there is something to start from: earlier outputs of `quantize` and of its `ingest`."""

TokenizerName = Literal["bbqrec", "rqvae", "residual_kmeans", "rqvae_per_modality", "letter", "given"]
Start = Literal["first_batch", "all_items"]
Modality = Literal["text", "image"]


class RqvaeConfig(Section):
    """The network of the tokenizers `rqvae`, `rqvae_per_modality` and `letter`; the defaults are TIGER's."""

    dimensions: int = Field(32, ge=4, le=1024, description="of the latent space and its codebooks")
    hidden: list[Annotated[int, Field(ge=4)]] = Field(
        [512, 256, 128], min_length=1, max_length=8, description="widths of the encoder's hidden layers; the decoder's are the reverse"
    )
    start: Start = Field(
        "first_batch",
        description="what k-means starts the codebooks from; first_batch is TIGER's, and starts codes in excess of a batch nearly alike",
    )


class ResidualKmeansConfig(Section):
    """The tokenizer `residual_kmeans`."""

    pca_dimensions: int = Field(0, ge=0, description="principal components that are quantized; 0 = the standardised features themselves")


class PerModalityConfig(Section):
    """The tokenizer `rqvae_per_modality`."""

    first: Modality = Field("text", description="whose codes are an item's fused ones where it has the modality; the other's elsewhere")


class LetterConfig(Section):
    """What the tokenizer `letter` adds to `rqvae`; the defaults are those of its authors' script."""

    alignment_weight: float = Field(0.01, ge=0, description="alpha, of InfoNCE between quantized vector and train-only behaviour; 0 = off")
    diversity_weight: float = Field(1e-4, ge=0, description="beta, of the codes' diversity; 0 = off")
    clusters: int = Field(10, ge=2, description="constrained k-means clusters of a level's codes")
    start: Start = Field("all_items", description="what k-means starts the codebooks from")


class GivenConfig(Section):
    """The tokenizer `given`: published codes, as the source brings them."""

    modality: Modality = Field("text", description="whose published codes are the fused ones")
    repair: bool = Field(
        False, description="move colliding items apart; published codes collide, and so they stay if false, and are counted"
    )


class WarmStartConfig(Section):
    """How nightly retraining keeps semantic IDs stable: it goes on from those that the profile's last registered model stands on.

    They serve only if nothing but the data has changed since; otherwise, and where there are none, codebooks start from scratch.
    """

    start: Literal["previous", "scratch"] = Field("previous", description="what encoders and codebooks start from")
    epochs: int = Field(30, ge=1, description="passes over the fitted items after a warm start, in place of `epochs`; there is no warm-up")
    learning_rate_share: float = Field(0.2, gt=0, le=1, description="learning rate after a warm start, as a share of `learning_rate`")
    tolerance: float = Field(
        0.25,
        ge=0,
        description="a code is kept while its squared distance is at most so much more than the nearest code's, as a share of that",
    )


class QuantizationConfig(Section):
    """Encoders, codebooks, losses, training and ID assignment."""

    tokenizer: TokenizerName = Field("bbqrec", description="what makes the semantic IDs; all but bbqrec are baselines")
    rqvae: RqvaeConfig = RqvaeConfig()
    residual_kmeans: ResidualKmeansConfig = ResidualKmeansConfig()
    rqvae_per_modality: PerModalityConfig = PerModalityConfig()
    letter: LetterConfig = LetterConfig()
    given: GivenConfig = GivenConfig()
    warm_start: WarmStartConfig = WarmStartConfig()

    codebook_sizes: list[CodebookSize] = Field(
        [64, 64, 64, 64],
        min_length=3,
        max_length=8,
        description="codes per residual level; 64 suits some hundred items, 256 some ten thousand",
    )
    shared_codebooks: bool = Field(
        True, description="let the chains of text, image and behaviour go through the fused chain's codebooks; if false, each has its own"
    )
    dimensions: int = Field(64, ge=4, le=1024, description="of the space that modalities, behaviour and codebooks share")
    hidden: int = Field(256, ge=4, description="width of the encoders' and decoders' hidden layer")
    encoder_dropout: float = Field(0.1, ge=0, lt=1, description="on the hidden layer of the behaviour-aligned encoders, in training")
    specific_dimensions: int = Field(16, ge=2, le=16, description="of s, what only the modality has; small, so that codes are not bypassed")
    specific_dropout: Share = Field(0.5, description="how often an item's whole s is dropped in training")

    cooccurrence_window: int = Field(5, ge=1, description="two train items of a user co-occur when at most so many places apart")
    ppmi_shift: float = Field(1.0, gt=0, description="k of the shifted PPMI, max(PMI - log k, 0); 1 = no shift")
    behaviour_folds: int = Field(
        0,
        ge=0,
        le=20,
        description="folds of users over which the co-occurrence in z is cross-fitted in training, see `cross_fitting.py`; 0 = it is not",
    )
    behaviour_in_fusion: float = Field(0.25, ge=0, description="a in LN(content + a * LN(z')), what the first level quantizes")
    behaviour_in_last_level: float = Field(0.5, ge=0, description="g in LN(residual) + g * LN(z'), what the last level quantizes")
    siblings_apart: bool = Field(
        False, description="let the last level quantize what sets items of one prefix off from one another, see `siblings.py`"
    )
    predicted_behaviour_share: Share = Field(0.3, description="how often z' is predicted from content in training, as it is for new items")

    epochs: int = Field(120, ge=1, description="passes over the fitted items with codebooks")
    warmup_epochs: int = Field(40, ge=0, description="passes before them without codebooks, so that k-means starts from aligned spaces")
    batch_size: int = Field(512, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    kmeans_items: int = Field(65536, ge=8192, description="at most so many encoded items start the codebooks; all, if fewer")
    kmeans_iterations: int = Field(25, ge=1)
    revive_every: int = Field(
        10, ge=0, description="epochs between revivals of dead codes, and once more at the end of a start from scratch; 0 = never"
    )

    reconstruction_weight: float = Field(1.0, ge=0)
    commitment_weight: float = Field(0.25, ge=0, description="beta")
    regression_weight: float = Field(0.5, ge=0, description="of foretelling behaviour from content")
    anchor_weight: float = Field(1.0, ge=0, description="of staying near the train part's co-occurrence")
    item_behaviour_weight: float = Field(0.1, ge=0, description="of InfoNCE between a modality's quantized vector and behaviour")
    sequence_weight: float = Field(0.1, ge=0, description="of InfoNCE between a quantized train prefix and the next item")
    semantic_weight: float = Field(0.02, ge=0, description="of symmetric InfoNCE between an item's quantized text and image")
    semantic_from_level: int = Field(3, ge=1, description="the first level that text and image are aligned on")
    shared_variance_weight: float = Field(0.3, ge=0, description="of the variance of b that a regression on s explains, see `losses.py`")
    club_weight: float = Field(0.0, ge=0, description="of the CLUB bound on the same, the paper's way: 0.01, with that other weight at 0")
    temperature: float = Field(0.1, gt=0, description="tau of every InfoNCE")
    sequence_length: int = Field(20, ge=2, description="items of a train window in the sequence-to-item InfoNCE")
    sequence_batch: int = Field(128, ge=2, description="train windows per step in it")

    share_identical: bool = Field(False, description="let items whose features are identical in every modality share one semantic ID")

    @property
    def levels(self) -> int:
        """Number of residual levels."""
        return len(self.codebook_sizes)

    @model_validator(mode="after")
    def _levels_fit(self) -> "QuantizationConfig":
        if self.semantic_from_level > self.levels:
            raise ValueError(f"semantic_from_level is {self.semantic_from_level}, but there are {self.levels} levels in codebook_sizes")
        if self.behaviour_folds == 1:
            raise ValueError("behaviour_folds is 1, which would leave nobody to make z from; use 0 or at least 2")
        if math.prod(self.codebook_sizes) > 2**62:
            raise ValueError("codebook_sizes multiply to more than 2^62 IDs; use fewer or smaller levels")
        return self
