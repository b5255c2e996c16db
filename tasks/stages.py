"""The pipeline in one table: every stage, what it stands on, and which sections of the profile it reads.

A stage's `version` is part of its fingerprint: raise it when a change in its sources changes its output. A test compares the sources
with what was recorded for that version, so that nobody forgets (`make stages` records anew).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bbqrec_core.profile import Profile

StageName = Literal["shop", "ingest", "embed", "quantize", "prior", "train", "refit", "baselines", "evaluate", "register", "report"]


@dataclass(frozen=True)
class Stage:
    """A stage's declaration.

    Attributes:
        name: Also the name of its flow, its artifacts' folder and its MLflow child run.
        version: Raised whenever its output changes for the same input.
        entry: "module:function" of its `run(context)`, imported only in the process that runs it.
        inputs: Stages whose artifacts it reads, in the pipeline's order.
        sections: Profile fields it reads, dotted. Changing any other field leaves its artifact valid.
        sources: Folders or files, from the project's root, that it reads other than by importing them: SQL, templates, weights. `version`
            stands for them, for the modules that `entry` imports, and for theirs (`tasks/stage_sources.py`).
        headline: What the summary says of it: a format string over its statistics.
        environment: Variables of its process, unless the caller's environment has them.
    """

    name: str
    version: int
    entry: str
    inputs: tuple[str, ...]
    sections: tuple[str, ...]
    sources: tuple[str, ...]
    headline: str
    environment: Mapping[str, str] = field(default_factory=dict)


BRIEF_SPINNING = {"GOMP_SPINCOUNT": "10000"}
"""Threads that wait for one another soon sleep. Where another program keeps a core busy, long spinning makes training many times slower;
on a free machine sleeping at once makes it up to twice as slow, sleeping soon an eighth at most (docs/experiments/speed.md)."""

STAGES = (
    Stage(
        "shop",
        version=1,
        entry="bbqrec_core.ingest.shop.stage:run",
        inputs=(),
        sections=("source.shop", "data_seed"),
        sources=(),
        headline="{reviews:,} reviews by {users:,} users of {items:,} items",
    ),
    Stage(
        "ingest",
        version=5,
        entry="bbqrec_core.ingest.stage:run",
        inputs=("shop",),
        sections=(
            "source.kind",
            "source.reviews",
            "source.metadata",
            "source.images",
            "source.tables",
            "source.sequences",
            "ingest",
            "data_seed",
        ),
        sources=("sql",),
        headline="{interactions:,} interactions, {users:,} users, {items:,} items of {lines_read:,} lines",
    ),
    Stage(
        "embed",
        version=3,
        entry="bbqrec_core.embedding.stage:run",
        inputs=("shop", "ingest"),
        sections=("embedding", "source.kind", "source.images"),
        sources=("bbqrec_core/embedding/demo_clip",),
        headline="{items:,} items, {text_share:.0%} with text, {image_share:.0%} with a picture",
    ),
    Stage(
        "quantize",
        version=9,
        entry="bbqrec_core.quantization.stage:run",
        inputs=("ingest", "embed"),
        sections=("quantization", "seed"),
        sources=(),
        headline="{distinct_ids:,} semantic IDs for {items:,} items",
        environment=BRIEF_SPINNING,
    ),
    Stage(
        "prior",
        version=2,
        entry="bbqrec_core.prior.stage:run",
        inputs=("ingest",),
        sections=("baselines.knn", "baselines.max_history", "sequence.max_history", "seed"),
        sources=(),
        headline="co-occurrence kNN of {trials} trials, validation NDCG@10 {valid_ndcg_at_10:.4f}",
    ),
    Stage(
        "train",
        version=13,
        entry="bbqrec_core.sequence.stage:run",
        inputs=("ingest", "embed", "quantize", "prior"),
        sections=("sequence", "seed"),
        sources=(),
        headline="{epochs_run} epochs, validation NDCG@10 {valid_ndcg_at_10:.4f}",
        environment=BRIEF_SPINNING,
    ),
    Stage(
        "refit",
        version=4,
        entry="bbqrec_core.sequence.refit:run",
        inputs=("ingest", "quantize", "train"),
        sections=("sequence", "ingest.split.max_history", "seed"),
        sources=(),
        headline="{epochs_run} epochs on {interactions:,} interactions of train and validation",
        environment=BRIEF_SPINNING,
    ),
    Stage(
        "baselines",
        version=11,
        entry="bbqrec_core.baselines.stage:run",
        inputs=("ingest", "embed", "quantize", "prior"),
        sections=("baselines", "quantization", "sequence.max_history", "sequence.repetition", "sequence.cold_cost", "seed"),
        sources=(),
        headline="{models}",
        environment=BRIEF_SPINNING,
    ),
    Stage(
        "evaluate",
        version=5,
        entry="bbqrec_core.evaluation.stage:run",
        inputs=("ingest", "train", "refit", "baselines"),
        sections=("evaluation", "seed"),
        sources=(),
        headline="{users_evaluated:,} users, test NDCG@10 {ndcg_at_10:.4f}",
        environment=BRIEF_SPINNING,
    ),
    Stage(
        "register",
        version=4,
        entry="tasks.register:run",
        inputs=("ingest", "embed", "quantize", "train", "refit", "evaluate"),
        sections=("tracking", "name", "description", "source.note", "search"),
        sources=("serving",),
        headline="{model_name} version {version}",
    ),
    Stage(
        "report",
        version=8,
        entry="bbqrec_core.report.stage:run",
        inputs=("shop", "ingest", "embed", "quantize", "prior", "train", "refit", "baselines", "evaluate"),
        sections=(
            "report",
            "name",
            "description",
            "source.kind",
            "source.note",
            "source.images",
            "gates",
        ),
        sources=("bbqrec_core/report/templates",),
        headline="{bytes:,} bytes",
    ),
)
BY_NAME = {stage.name: stage for stage in STAGES}


def pipeline(profile: Profile) -> list[Stage]:
    """The stages of a profile in order: without `shop` where data is real, and without `refit` where the profile has it off."""
    wanted = {"shop": profile.source.kind == "synthetic", "refit": profile.refit.enabled}
    return [stage for stage in STAGES if wanted.get(stage.name, True)]
