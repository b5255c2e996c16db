"""Profile section `quantization`: how semantic IDs are learned.

Every loss has a weight here, and 0 switches it off. What the symbols mean, and which equation a weight belongs to, stands in `losses.py`
and `training.py`.
"""

import math
from typing import Annotated

from pydantic import Field, model_validator

from bbqrec_core.config import Section, Share

CodebookSize = Annotated[int, Field(ge=2, le=32767)]
"""Codes are stored as int16."""


class QuantizationConfig(Section):
    """Encoders, codebooks, losses, training and ID assignment."""

    codebook_sizes: list[CodebookSize] = Field(
        [64, 64, 64, 64],
        min_length=3,
        max_length=8,
        description="codes per residual level; 64 suits some hundred items, 256 some ten thousand",
    )
    dimensions: int = Field(64, ge=4, le=1024, description="of the space that modalities, behaviour and codebooks share")
    hidden: int = Field(256, ge=4, description="width of the encoders' and decoders' hidden layer")
    encoder_dropout: float = Field(0.1, ge=0, lt=1, description="on the hidden layer of the behaviour-aligned encoders, in training")
    specific_dimensions: int = Field(16, ge=1, le=16, description="of s, what only the modality has; small, so that codes are not bypassed")
    specific_dropout: Share = Field(0.5, description="how often an item's whole s is dropped in training")

    cooccurrence_window: int = Field(5, ge=1, description="two train items of a user co-occur when at most so many places apart")
    ppmi_shift: float = Field(1.0, gt=0, description="k of the shifted PPMI, max(PMI - log k, 0); 1 = no shift")
    behaviour_in_last_level: float = Field(0.5, ge=0, description="g in LN(residual) + g * LN(z'), what the last level quantizes")
    predicted_behaviour_share: Share = Field(0.3, description="how often z' is predicted from content in training, as it is for new items")

    epochs: int = Field(120, ge=1, description="passes over the fitted items with codebooks")
    warmup_epochs: int = Field(40, ge=0, description="passes before them without codebooks, so that k-means starts from aligned spaces")
    batch_size: int = Field(512, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    kmeans_items: int = Field(65536, ge=8192, description="at most so many encoded items start the codebooks; all, if fewer")
    kmeans_iterations: int = Field(25, ge=1)
    revive_every: int = Field(10, ge=0, description="epochs between revivals of dead codes; 0 = never")

    reconstruction_weight: float = Field(1.0, ge=0)
    commitment_weight: float = Field(0.25, ge=0, description="beta")
    regression_weight: float = Field(0.5, ge=0, description="of foretelling behaviour from content")
    anchor_weight: float = Field(1.0, ge=0, description="of staying near the train part's co-occurrence")
    item_behaviour_weight: float = Field(0.1, ge=0, description="of InfoNCE between a modality's quantized vector and behaviour")
    sequence_weight: float = Field(0.1, ge=0, description="of InfoNCE between a quantized train prefix and the next item")
    semantic_weight: float = Field(0.02, ge=0, description="of symmetric InfoNCE between an item's quantized text and image")
    semantic_from_level: int = Field(3, ge=1, description="the first level that text and image are aligned on")
    club_weight: float = Field(0.01, ge=0, description="of the CLUB bound on what s and b have in common")
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
        if math.prod(self.codebook_sizes) > 2**62:
            raise ValueError("codebook_sizes multiply to more than 2^62 IDs; use fewer or smaller levels")
        return self
