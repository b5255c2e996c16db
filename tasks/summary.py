"""What a pipeline run came to: read from the artifacts, put on the MLflow parent run, shown by the command line and by Prefect."""

import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel

from bbqrec_core.data_note import data_note
from bbqrec_core.profile import Profile
from bbqrec_core.refitted import NOTE, is_refitted, ranking_key
from bbqrec_core.stage import Statistics
from tasks.runner import StageOutcome
from tasks.stages import BY_NAME
from tasks.tracking import PARTIAL_TAG, PLOTS, PipelineTracking

WITHOUT_ALIAS = "neither champion nor challenger"

OURS = "BBQRec"


class StageLine(BaseModel):
    """One stage in the summary."""

    name: str
    artifact: str
    cached: bool
    seconds: float
    headline: str
    warnings: list[str]


class ModelLine(BaseModel):
    """One model's test metrics: seen items masked, and not."""

    name: str
    ndcg_at_10: float
    ndcg_low: float
    ndcg_high: float
    recall_at_10: float
    ndcg_at_10_unmasked: float
    recall_at_10_unmasked: float


class Summary(BaseModel):
    """A pipeline run at a glance.

    Attributes:
        profile: The profile's name.
        profile_argument: The profile as it was asked for, by name or path: what another command takes.
        note: What a reader of results must know of this data.
        stages: In the pipeline's order, as far as it ran.
        models: Best first; none where the pipeline ended before `evaluate`.
        report: The HTML report, if it came to that.
        model_name: Registered model, or empty.
        model_version: The version that this run made or found, if any.
        model_alias: The alias that version has in the registry now, or empty.
        champion_version: The version that serves, where it is another one.
        encoders: Which encoders the embeddings come from.
    """

    profile: str
    profile_argument: str
    note: str
    stages: list[StageLine]
    models: list[ModelLine]
    report: Path | None = None
    model_name: str = ""
    model_version: int | None = None
    model_alias: str = ""
    champion_version: int | None = None
    encoders: list[str]

    @property
    def about_models(self) -> str:
        """What a reader of the metrics must know, or nothing."""
        if not any(is_refitted(line.name) for line in self.models):
            return ""
        return NOTE if self.model_version is None else f"{NOTE} The registered model is a refitted one."

    @property
    def model_uri(self) -> str:
        """The version's address in MLflow, by its alias where it has one."""
        return f"models:/{self.model_name}" + (f"@{self.model_alias}" if self.model_alias else f"/{self.model_version}")

    @property
    def standing(self) -> str:
        """What the version is in the registry, and which one serves if it does not."""
        own = f"version {self.model_version} is {self.model_alias or WITHOUT_ALIAS}"
        return own + (f", version {self.champion_version} is champion" if self.champion_version is not None else "")

    def markdown(self) -> str:
        """The summary as a page for Prefect's UI and MLflow's run description."""
        stages = "\n".join(
            f"| {line.name} | {'cached' if line.cached else f'{line.seconds:.1f} s'} | {line.headline} |" for line in self.stages
        )
        if self.model_version is None:
            return f"## {self.profile}{self._notes()}\n\n| stage | time | made |\n| --- | --- | --- |\n{stages}\n"
        models = "\n".join(
            f"| {line.name} | {line.ndcg_at_10:.4f} | {line.recall_at_10:.4f} | {line.ndcg_at_10_unmasked:.4f} |" for line in self.models
        )
        return (
            f"## {self.profile}: {self.model_name} {self.standing}{self._notes()}\n\n"
            f"| model | NDCG@10 | Recall@10 | NDCG@10, seen not masked |\n| --- | --- | --- | --- |\n{models}\n\n{self.about_models}\n\n"
            f"| stage | time | made |\n| --- | --- | --- |\n{stages}\n\nReport: `{self.report}`\n"
        )

    def _notes(self) -> str:
        return "".join(f"\n\n> {note}" for note in (self.note, *self.encoders) if note)


def headline(stage: str, statistics: Statistics, standing: str = "") -> str:
    """What a stage made, in a few words.

    Args:
        stage: Its name.
        statistics: Its statistics.
        standing: For `register`: what the registry says of its version now.
    """
    told = BY_NAME[stage].headline.format(**statistics)
    return f"{told}, {standing}" if standing else told


def summarise(profile: Profile, argument: str, outcomes: Mapping[str, StageOutcome], tracking: PipelineTracking) -> Summary:
    """Sum up a finished pipeline, and put the headline on its MLflow run.

    Args:
        profile: What was run.
        argument: The profile as it was asked for, by name or path.
        outcomes: What became of each stage.
        tracking: Its MLflow runs.
    """
    registered = _statistics(outcomes, "register")
    name, version = str(registered.get("model_name", "")), int(str(registered["version"])) if registered else None
    alias, champion = _standing(name, version) if version is not None else ("", None)
    embedded = _statistics(outcomes, "embed")
    summary = Summary(
        profile=profile.name,
        profile_argument=argument,
        note=data_note(profile.source.note, _statistics(outcomes, "ingest")),
        stages=[
            StageLine(
                name=stage,
                artifact=str(outcome.artifact.ref),
                cached=outcome.cached,
                seconds=outcome.seconds,
                headline=headline(stage, outcome.statistics, (alias or WITHOUT_ALIAS) if stage == "register" else ""),
                warnings=outcome.gate.warnings,
            )
            for stage, outcome in outcomes.items()
        ],
        models=_model_lines(outcomes["evaluate"].artifact.path) if "evaluate" in outcomes else [],
        report=outcomes["report"].artifact.path / "report.html" if "report" in outcomes else None,
        model_name=name,
        model_version=version,
        model_alias=alias,
        champion_version=champion,
        encoders=[f"{kind}: {embedded[f'{kind}_encoder']}" for kind in ("text", "image") if embedded.get(f"{kind}_encoder")],
    )
    tracking.headline(_metrics(summary), _tags(summary, outcomes))
    if summary.report is not None:
        tracking.artifacts(summary.report, summary.report.parent / PLOTS, outcomes["evaluate"].artifact.path / "metrics.parquet")
    return summary


def _statistics(outcomes: Mapping[str, StageOutcome], stage: str) -> Statistics:
    """A stage's statistics; none where the pipeline ended before it."""
    return outcomes[stage].statistics if stage in outcomes else {}


def _standing(name: str, version: int) -> tuple[str, int | None]:
    """A version's alias in the registry now, and the champion's version if that is another one."""
    from tasks.register import CHAMPION, present_alias
    from tasks.tracking import connect

    alias = present_alias(name, version)
    champion = None if alias == CHAMPION else connect().get_registered_model(name).aliases.get(CHAMPION)
    return alias, None if champion is None else int(champion)


def _model_lines(evaluate: Path) -> list[ModelLine]:
    table = pq.read_table(evaluate / "metrics.parquet")
    rows = table.filter(pc.equal(table["split"], "test")).to_pylist()
    values = {(row["model"], row["masked"], row["metric"]): row for row in rows}
    names = list(dict.fromkeys(row["model"] for row in rows))
    lines = [
        ModelLine(
            name=name,
            ndcg_at_10=values[name, True, "ndcg_at_10"]["value"],
            ndcg_low=values[name, True, "ndcg_at_10"]["low"],
            ndcg_high=values[name, True, "ndcg_at_10"]["high"],
            recall_at_10=values[name, True, "recall_at_10"]["value"],
            ndcg_at_10_unmasked=values[name, False, "ndcg_at_10"]["value"],
            recall_at_10_unmasked=values[name, False, "recall_at_10"]["value"],
        )
        for name in names
    ]
    return sorted(lines, key=lambda line: ranking_key(line.name, line.ndcg_at_10))


def _metrics(summary: Summary) -> dict[str, float]:
    """Ours as `test/ndcg_at_10`, a baseline's as `test/sasrec/ndcg_at_10`."""
    metrics: dict[str, float] = {}
    for line in summary.models:
        place = "test" if line.name == OURS else f"test/{slug(line.name)}"
        for name in ("ndcg_at_10", "recall_at_10", "ndcg_at_10_unmasked", "recall_at_10_unmasked"):
            metrics[f"{place}/{name}"] = getattr(line, name)
    return metrics


def slug(model: str) -> str:
    """A model's name as part of a metric's, for which MLflow takes few characters.

    >>> slug("SASRec with codes, reweighted")
    'sasrec_with_codes_reweighted'
    """
    return re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_")


def _tags(summary: Summary, outcomes: Mapping[str, StageOutcome]) -> dict[str, str]:
    tags = {f"bbqrec.artifact.{name}": outcome.artifact.ref.fingerprint for name, outcome in outcomes.items()}
    tags["mlflow.note.content"] = summary.markdown()
    if summary.model_version is not None:
        tags["bbqrec.model"] = f"{summary.model_name}/{summary.model_version}"
    if _statistics(outcomes, "ingest").get("partial"):
        tags[PARTIAL_TAG] = "true"
    if any("demo encoder" in encoder for encoder in summary.encoders):
        tags["bbqrec.demo_encoder"] = "true"
    return tags
