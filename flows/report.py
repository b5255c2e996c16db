"""The flow `report`: everything into one HTML file."""

from prefect import flow

from bbqrec_core.store import ArtifactRef
from flows.parameters import Overrides
from flows.pipeline import stage_flow


@flow(name="report")
def report(profile: str = "demo", overrides: Overrides | None = None) -> ArtifactRef:
    """Everything into one HTML file, on the outputs of earlier stages.

    Args:
        profile: A shipped profile's name, or the path of a YAML file.
        overrides: Profile fields to replace.
    """
    return stage_flow("report", profile, overrides)
