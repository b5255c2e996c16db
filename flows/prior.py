"""The flow `prior`: the co-occurrence kNN, tuned."""

from prefect import flow

from bbqrec_core.store import ArtifactRef
from flows.parameters import Overrides
from flows.pipeline import stage_flow


@flow(name="prior")
def prior(profile: str = "demo", overrides: Overrides | None = None) -> ArtifactRef:
    """The co-occurrence kNN, tuned, on the outputs of earlier stages.

    Args:
        profile: A shipped profile's name, or the path of a YAML file.
        overrides: Profile fields to replace.
    """
    return stage_flow("prior", profile, overrides)
