"""Profile section `evaluation`: cut-offs and intervals."""

from typing import Annotated

from pydantic import Field, field_validator

from bbqrec_core.config import Section


class EvaluationConfig(Section):
    """How recommendations are judged. Recall, NDCG and coverage at 10 are always computed."""

    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 5, 10, 20), min_length=1, description="cut-offs K of Recall@K and NDCG@K")
    bootstrap_samples: int = Field(1000, ge=100, description="resamples of users behind each 95 % interval")
    permutation_samples: int = Field(10_000, ge=100, description="sign patterns behind each p value")
    examples: int = Field(8, ge=0, description="users whose recommendations are kept for the report")

    @field_validator("ks")
    @classmethod
    def _in_order(cls, ks: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted({*ks}))
