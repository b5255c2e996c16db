"""Thresholds of the gates: what a profile demands of each stage's statistics.

Only the numbers live here; the rules that use them, with codes and severities, are in `tasks/gates/`.
"""

from pydantic import Field

from bbqrec_core.config import Section, Share


class GatesConfig(Section):
    """A critical rule stops the pipeline, a warning is reported. The defaults fit a small but real category."""

    min_users: int = Field(100, ge=1, description="critical: users after k-core")
    min_items: int = Field(50, ge=1, description="critical: items after k-core")
    min_interactions: int = Field(500, ge=1, description="critical: interactions after k-core")
    max_reject_share: Share = Field(0.01, description="critical: lines that could not be used, of lines read; of metadata too")
    max_duplicate_share: Share = Field(0.5, description="warning: repeated interactions, of those that could be used")
    min_kcore_kept_share: Share = Field(0.0, description="warning: interactions that the k-core leaves, of those it began with")
    min_sequence_median: int = Field(3, ge=1, description="warning: median number of interactions of a user")
    min_days: float = Field(0.0, ge=0, description="warning: days from the first interaction to the last; 0 where a source has no times")
    max_tied_target_share: Share = Field(1.0, description="warning: test targets that tie in time with another interaction of their user")
    min_text_share: Share = Field(0.9, description="critical: items with text")
    max_unknown_item_share: Share = Field(
        0.95, description="warning: items that the metadata does not know; 0 where the profile names no metadata"
    )
    min_image_share: Share = Field(0.0, description="warning: items with a readable image")
    max_collision_share: Share = Field(
        0.05, description="critical: items sharing a semantic ID after repair; warning: of published codes, unrepaired"
    )
    max_collision_share_before_repair: Share = Field(
        0.1, description="warning: items sharing a semantic ID before repair, identical listings counted once"
    )
    min_used_code_share: Share = Field(0.5, description="warning: codes in use, worst level")
    max_largest_code_share: Share = Field(0.25, description="warning: items on the most used first-level code")
    min_users_evaluated: int = Field(50, ge=1, description="critical: users in the test split")
    min_ndcg_of_popularity: float = Field(1.0, ge=0, description="warning: NDCG@10 relative to popularity's")
    min_ndcg_of_ours: float = Field(
        0.95, ge=0, description="warning: NDCG@10 of the registered model relative to that of the one that has not learned from validation"
    )
    min_ndcg_of_best_baseline: float = Field(1.0, ge=0, description="warning: NDCG@10 relative to the best baseline's")
