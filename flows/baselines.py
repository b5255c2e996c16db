"""The flow `baselines`: what the model is measured against."""

from prefect import flow

from bbqrec_core.store import ArtifactRef
from flows.parameters import Overrides
from flows.pipeline import stage_flow


@flow(name="baselines")
def baselines(profile: str = "demo", overrides: Overrides | None = None) -> ArtifactRef:
    """What the model is measured against, on the outputs of earlier stages.

    Args:
        profile: A shipped profile's name, or the path of a YAML file.
        overrides: Profile fields to replace.
    """
    return stage_flow("baselines", profile, overrides)
