"""The flow `evaluate`: full ranking of the model beside the baselines."""

from prefect import flow

from bbqrec_core.store import ArtifactRef
from flows.parameters import Overrides
from flows.pipeline import stage_flow


@flow(name="evaluate")
def evaluate(profile: str = "demo", overrides: Overrides | None = None) -> ArtifactRef:
    """Full ranking of the model beside the baselines, on the outputs of earlier stages.

    Args:
        profile: A shipped profile's name, or the path of a YAML file.
        overrides: Profile fields to replace.
    """
    return stage_flow("evaluate", profile, overrides)
