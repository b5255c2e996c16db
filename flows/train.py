"""The flow `train`: semantic IDs and sequences to a sequence model."""

from prefect import flow

from bbqrec_core.store import ArtifactRef
from flows.parameters import Overrides
from flows.pipeline import stage_flow


@flow(name="train")
def train(profile: str = "demo", overrides: Overrides | None = None) -> ArtifactRef:
    """Semantic IDs and sequences to a sequence model, on the outputs of earlier stages.

    Args:
        profile: A shipped profile's name, or the path of a YAML file.
        overrides: Profile fields to replace.
    """
    return stage_flow("train", profile, overrides)
