"""Profile section `baselines`: what the model is measured against."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from bbqrec_core.config import Section

Exponents = tuple[Annotated[float, Field(ge=0, le=8)], ...]


class KnnConfig(Section):
    """Co-occurrence kNN: the grid that is searched on validation, and what bounds it."""

    enabled: bool = True
    window: int = Field(20, ge=1, le=1000, description="largest distance, in positions, at which two items of a user co-occur")
    neighbours: int = Field(200, ge=1, description="neighbours kept per item, the most similar ones")
    distance_decay: Exponents = Field(
        (0.5, 1.0, 2.0), min_length=1, description="grid: a pair d positions apart weighs d to the minus this"
    )
    backward: Exponents = Field((0.5, 1.0), min_length=1, description="grid: weight of j before i where i before j weighs 1")
    popularity: Exponents = Field(
        (0.0, 0.25, 0.5, 0.75), min_length=1, description="grid: similarity is divided by the candidate's count to this"
    )
    recency_decay: Exponents = Field(
        (0.0, 0.5, 1.0, 2.0), min_length=1, description="grid: the r-th latest item weighs r to the minus this"
    )
    rarity: Exponents = Field((0.0, 0.5), min_length=1, description="grid: a history item weighs its count to the minus this")
    trials: int = Field(0, ge=0, description="grid points tried, a seeded choice; 0 = all of them")
    tuning_users: int = Field(2000, ge=0, description="validation users (a seeded sample) that choose; 0 = all")


class SasrecConfig(Section):
    """SASRec with cross-entropy over the whole catalogue."""

    enabled: bool = True
    dimensions: int = Field(64, ge=4, le=4096)
    heads: int = Field(2, ge=1, description="attention heads; must divide dimensions")
    layers: int = Field(2, ge=1, le=48)
    dropout: float = Field(0.5, ge=0, lt=1)
    epochs: int = Field(60, ge=1)
    patience: int = Field(10, ge=1, description="epochs without a better validation NDCG@10 before training stops")
    batch_size: int = Field(64, ge=1, description="sequences in a training step")
    learning_rate: float = Field(3e-3, gt=0, le=1)
    weight_decay: float = Field(0.05, ge=0)
    warmup_share: float = Field(
        0.05, ge=0, lt=1, description="share of all steps in which the learning rate rises; then it falls as a cosine"
    )
    clip_norm: float = Field(1.0, gt=0, description="largest norm of a step's gradient")
    selection_users: int = Field(5000, ge=0, description="validation users (a seeded sample) that pick the epoch; 0 = all")

    @field_validator("heads")
    @classmethod
    def _heads_divide(cls, heads: int, info: ValidationInfo) -> int:
        dimensions = info.data.get("dimensions")
        if dimensions is not None and dimensions % heads:
            raise ValueError(f"must divide `dimensions` ({dimensions})")
        return heads


class BaselinesConfig(Section):
    """Popularity is always there; the others can be switched off."""

    max_history: int = Field(20, ge=1, le=1000, description="items of a history that a baseline looks at, most recent ones")
    knn: KnnConfig = KnnConfig()
    sasrec: SasrecConfig = SasrecConfig()
