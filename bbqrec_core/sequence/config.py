"""Profile sections `sequence`, the model, its parts and its training, `search` and `refit`. Every part has a setting that turns it off."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from bbqrec_core.config import Section, local_field

Source = Literal["fused", "text", "image"]
COLD_COST = 0.002
"""What new items may cost, unless a profile says otherwise."""
NUMBERS_AT_ONCE = 2**25
"""128 MiB of float32: users times items for each source of scores, or users times pairs times buckets."""


def _distinct(sources: tuple[Source, ...]) -> tuple[Source, ...]:
    if len(set(sources)) != len(sources):
        raise ValueError("a source may be named only once")
    return sources


def users_in_memory(most: int, numbers: int) -> int:
    """How many users to compute for at a time, each of whom takes so many numbers."""
    return max(1, min(most, NUMBERS_AT_ONCE // max(1, numbers)))


def _unquoted(value: Any) -> Any:
    """YAML takes `off` for false where it is not quoted."""
    return "off" if value is False else value


class SimilarityConfig(Section):
    """Discretized similarity reweighting of the attention scores."""

    sources: tuple[Source, ...] = Field(("text", "image"), description="whose similarities reweight attention; [] = off")
    kind: Literal["prefix", "quantile"] = Field(
        "prefix", description="buckets: length of the codes' common prefix, or quantiles of the cosine between quantized vectors"
    )
    buckets: int = Field(8, ge=2, le=64, description="buckets of kind quantile; one more is kept for an item with itself")
    lr_scale: float = Field(5.0, gt=0, le=100, description="learning rate of the similarity weights, relative to the others'")

    @field_validator("sources")
    @classmethod
    def _no_source_twice(cls, sources: tuple[Source, ...]) -> tuple[Source, ...]:
        return _distinct(sources)


class SequenceConfig(Section):
    """An item-level causal transformer with a generative and a dense head.

    The defaults are for small catalogues (hundreds of users and items); larger ones want less dropout. `docs/experiments/sequence-model.md`
    has what they were compared with.
    """

    max_history: int = Field(20, ge=1, le=1000, description="items of a history that the model looks at, most recent ones")
    dimensions: int = Field(64, ge=4, le=4096)
    heads: int = Field(2, ge=1, description="attention heads; must divide dimensions")
    layers: int = Field(2, ge=1, le=48)
    dropout: float = Field(0.5, ge=0, lt=1)
    item_ids: bool = Field(True, description="learn a vector per item besides the code vectors")
    id_dropout: float = Field(
        0.5, ge=0, lt=1, description="share of item vectors dropped whole in training, so that codes learn to do without"
    )
    code_sources: tuple[Source, ...] = Field(("fused", "text", "image"), description="whose code vectors make an item's input; [] = none")
    similarity: SimilarityConfig = SimilarityConfig()
    dense_weight: float = Field(1.0, ge=0, description="weight of the dense head's loss; 0 = no dense head")
    dense_score: Literal["cosine", "product"] = Field(
        "cosine", description="a state and an item's vector score by their cosine, times a learned factor, or by their product"
    )
    generative_weight: float = Field(1.0, ge=0, description="weight of the generative head's loss; 0 = no generative head")
    epochs: int = Field(60, ge=1)
    patience: int = Field(10, ge=1, description="epochs without a better validation NDCG@10 before training stops")
    batch_size: int = Field(64, ge=1, description="sequences in a training step")
    learning_rate: float = Field(1e-3, gt=0, le=1)
    weight_decay: float = Field(0.1, ge=0)
    warmup_share: float = Field(
        0.05, ge=0, lt=1, description="share of all steps in which the learning rate rises; then it falls as a cosine"
    )
    average_decay: float = Field(
        0.0, ge=0, lt=1, description="of the exponential moving average of the weights that is judged and kept; 0 = the weights themselves"
    )
    clip_norm: float = Field(1.0, gt=0, description="largest norm of a step's gradient")
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    selection_users: int = Field(5000, ge=0, description="validation users (a seeded sample) that pick the epoch; 0 = all")
    mixture_users: int = Field(20_000, ge=0, description="validation users (a seeded sample) that fit the mix; 0 = all")
    prior: Annotated[Literal["knn", "off"], BeforeValidator(_unquoted)] = Field(
        "knn", description="a third score beside the heads': the co-occurrence kNN, tuned as the section baselines.knn says"
    )
    content: bool = Field(
        True, description="a fourth score: similarity of text and image features between the history and an item, where there are any"
    )
    repetition: bool = Field(True, description="fit on validation what it is worth that an item stands in the history already")
    cold_cost: float = Field(
        COLD_COST,
        ge=0,
        le=1,
        description="share of validation's NDCG@10 on other targets that may be lost so that items never sold are recommended",
    )
    mixture_steps: int = Field(10, ge=1, le=100, description="the heads' weights are fitted on a grid of 1/steps")
    score_batch: int = local_field(256, ge=1, description="histories scored at a time; fewer where the catalogue is large")

    @field_validator("code_sources")
    @classmethod
    def _no_source_twice(cls, sources: tuple[Source, ...], info: ValidationInfo) -> tuple[Source, ...]:
        if not sources and info.data.get("item_ids") is False:
            raise ValueError("an item needs an input: set `item_ids: true` or name at least one of `code_sources`")
        return _distinct(sources)

    @field_validator("heads")
    @classmethod
    def _heads_divide(cls, heads: int, info: ValidationInfo) -> int:
        dimensions = info.data.get("dimensions")
        if dimensions is not None and dimensions % heads:
            raise ValueError(f"must divide `dimensions` ({dimensions})")
        return heads

    @field_validator("generative_weight")
    @classmethod
    def _a_head_remains(cls, weight: float, info: ValidationInfo) -> float:
        if weight == 0 and info.data.get("dense_weight") == 0:
            raise ValueError("at least one head must remain: give `dense_weight` or `generative_weight` a value above 0")
        return weight

    def users_at_once(self, n_items: int) -> int:
        """How many histories are scored at a time: fewer where a score for every item, or a bucket for every pair, takes much memory."""
        pairs = (self.max_history + 1) ** 2 * len(self.similarity.sources) * (self.similarity.buckets + 1)
        return users_in_memory(self.score_batch, max(n_items, pairs))


class SearchConfig(Section):
    """How the registered model looks for the best items. None of it is trained: other values make another version of the same model."""

    exact_limit: int = Field(50_000, ge=0, description="catalogues up to this size are searched by scoring every item, larger ones by beam")
    beam_width: int = Field(100, ge=1, le=10_000, description="prefixes kept per level of the trie")


class RefitConfig(Section):
    """The chosen model once more, on train and validation together."""

    enabled: bool = Field(
        True, description="train as many epochs as validation picked on train and validation together; that model is registered"
    )
