"""The flow `shop`: make the synthetic shop's raw files."""

from prefect import flow

from bbqrec_core.store import ArtifactRef
from flows.parameters import Overrides
from flows.pipeline import stage_flow


@flow(name="shop")
def shop(profile: str = "demo", overrides: Overrides | None = None) -> ArtifactRef:
    """Make the synthetic shop's raw files, on the outputs of earlier stages.

    Args:
        profile: A shipped profile's name, or the path of a YAML file.
        overrides: Profile fields to replace.
    """
    return stage_flow("shop", profile, overrides)
