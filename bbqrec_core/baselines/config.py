"""Profile section `baselines`: what the model is measured against."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from bbqrec_core.config import Section
from bbqrec_core.sequence.config import SimilarityConfig

Exponents = tuple[Annotated[float, Field(ge=0, le=8)], ...]
Sizes = tuple[Annotated[int, Field(ge=1, le=10_000)], ...]


class KnnConfig(Section):
    """Co-occurrence kNN: the grid that is searched on validation, and how. Formulas are in `bbqrec_core.prior`."""

    enabled: bool = True
    window: Sizes = Field((3, 5, 10, 20, 50), min_length=1, description="grid: largest distance, in positions, at which two items co-occur")
    distance_decay: Exponents = Field(
        (0.0, 0.5, 1.0, 1.5), min_length=1, description="grid: a pair d positions apart weighs d to the minus this"
    )
    backward: Exponents = Field(
        (0.0, 0.25, 0.5, 0.75, 1.0), min_length=1, description="grid: weight of j before i where i before j weighs 1; 0 = forward only"
    )
    sharpness: Exponents = Field((0.75, 1.0, 1.25, 1.5, 2.0), min_length=1, description="grid: co-occurrence counts to the power of this")
    shrinkage: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (0.0, 5.0, 20.0, 50.0, 100.0, 200.0, 500.0),
        min_length=1,
        description="grid: added to a candidate's count before similarity is divided by it",
    )
    popularity: Exponents = Field(
        (0.0, 0.1, 0.25, 0.5, 0.75, 1.0), min_length=1, description="grid: similarity is divided by the candidate's count to this"
    )
    neighbours: Sizes = Field((50, 100, 200, 500), min_length=1, description="grid: neighbours kept per item, the most similar ones")
    recency_decay: Exponents = Field(
        (0.0, 0.25, 0.5, 0.75, 1.0, 1.5), min_length=1, description="grid: the r-th latest item weighs r to the minus this"
    )
    rarity: Exponents = Field(
        (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0), min_length=1, description="grid: a history item weighs its count to the minus this"
    )
    trials: int = Field(200, ge=1, description="grid points tried; all of them where there are no more")
    drawn: int = Field(60, ge=2, description="how many of the trials are drawn at random; a Gaussian process picks the others")
    tuning_users: int = Field(8000, ge=0, description="validation users (a seeded sample) that judge trials; 0 = all")
    finalists: int = Field(12, ge=1, description="best trials that are judged again by all validation users; the best of them is taken")

    @field_validator(
        "window", "distance_decay", "backward", "sharpness", "shrinkage", "popularity", "neighbours", "recency_decay", "rarity"
    )
    @classmethod
    def _in_order(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted({*values}))


class SasrecConfig(Section):
    """SASRec with cross-entropy over the whole catalogue."""

    enabled: bool = True
    codes: bool = Field(True, description="train a second one whose items are known by their semantic IDs too")
    reweighted: bool = Field(
        False, description="train a third one, with codes, whose attention is reweighted as our model's; see similarity"
    )
    similarity: SimilarityConfig = SimilarityConfig()
    prior: bool = Field(True, description="mix the one with codes with the co-occurrence kNN, as our model is; needs both")
    content: bool = Field(True, description="mix that one with content similarity too, as our model is, beside the mix without")
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
    mixture_users: int = Field(20_000, ge=0, description="validation users (a seeded sample) that fit the mix; 0 = all")

    @field_validator("heads")
    @classmethod
    def _heads_divide(cls, heads: int, info: ValidationInfo) -> int:
        dimensions = info.data.get("dimensions")
        if dimensions is not None and dimensions % heads:
            raise ValueError(f"must divide `dimensions` ({dimensions})")
        return heads


TIGER = "tiger"
"""Kind of that baseline; named here since its own module brings transformers in."""


class TigerConfig(Section):
    """TIGER: T5 over semantic IDs. Its recipe, some 200 passes over the train interactions, is for a GPU; here it gets a stated budget."""

    enabled: bool = Field(False, description="it takes far longer than all the other stages together")
    ids: Literal["rqvae", "ours"] = Field(
        "rqvae",
        description="what it foretells: IDs of a plain RQ-VAE, as TIGER has them, published ones where nothing else is known, or ours",
    )
    examples: int = Field(
        50_000,
        ge=1,
        description="training examples in all: train interactions with the history before them, each pass in an order of its own",
    )
    checks: int = Field(5, ge=1, description="how often it is judged on the way; the best check is kept")
    batch_size: int = Field(64, ge=1, description="examples in a training step")
    learning_rate: float = Field(1e-3, gt=0, le=1)
    beams: int = Field(20, ge=2, description="beam width of its search; what the beam does not find it ranks below, all alike")
    selection_users: int = Field(500, ge=0, description="validation users (a seeded sample) that pick the check; 0 = all")

    @model_validator(mode="after")
    def _each_check_has_a_step(self) -> "TigerConfig":
        if self.checks * self.batch_size > self.examples:
            raise ValueError(
                f"{self.examples} examples in batches of {self.batch_size} do not give a step before each of {self.checks} checks: "
                "raise `examples`, or lower `checks` or `batch_size`"
            )
        return self


class BaselinesConfig(Section):
    """Popularity is always there; the others can be switched off, and TIGER on."""

    max_history: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="most recent items of a history that baselines and prior look at; unset = sequence.max_history",
    )
    knn: KnnConfig = KnnConfig()
    sasrec: SasrecConfig = SasrecConfig()
    tiger: TigerConfig = TigerConfig()
