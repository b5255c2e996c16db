"""The flow `retrain`: the whole chain, from raw files to a registered model and a report."""

import re

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from bbqrec_core.errors import ProfileError
from flows.baselines import baselines
from flows.embed import embed
from flows.evaluate import evaluate
from flows.ingest import ingest
from flows.parameters import Overrides
from flows.pipeline import pipeline
from flows.prior import prior
from flows.quantize import quantize
from flows.refit import refit
from flows.register import register
from flows.report import report
from flows.shop import shop
from flows.train import train
from tasks.stages import StageName
from tasks.summary import Summary, summarise

FLOWS = {
    "shop": shop,
    "ingest": ingest,
    "embed": embed,
    "quantize": quantize,
    "prior": prior,
    "train": train,
    "refit": refit,
    "baselines": baselines,
    "evaluate": evaluate,
    "register": register,
    "report": report,
}


@flow(name="retrain")
def retrain(profile: str = "demo", overrides: Overrides | None = None, until: StageName | None = None) -> Summary:
    """Run every stage of a profile, in order; what stands already is not made again.

    Args:
        profile: A shipped profile's name, or the path of a YAML file.
        overrides: Profile fields to replace, merged as `extends` merges; fields that are not named keep the profile's values.
        until: The last stage to run; none runs them all.
    """
    with pipeline(profile, overrides) as current:
        if until is not None and until not in current.plan:
            raise ProfileError(f"The pipeline of profile '{profile}' has no stage `{until}`.", f"It has {', '.join(current.plan)}.")
        for stage in current.plan:
            FLOWS[stage](profile=profile, overrides=overrides)
            if stage == until:
                break
        summary = summarise(current.profile, profile, current.outcomes, current.tracking)
        create_markdown_artifact(summary.markdown(), key=artifact_key(current.profile.name), description="What this run made")
        return summary


def artifact_key(profile: str) -> str:
    """Key of a profile's summary among Prefect's artifacts, which take small letters, digits and single dashes."""
    return "summary-" + (re.sub(r"[^a-z0-9]+", "-", profile.lower()).strip("-") or "profile")
