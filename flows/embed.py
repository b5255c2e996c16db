"""The flow `embed`: titles and pictures to vectors."""

from prefect import flow

from bbqrec_core.store import ArtifactRef
from flows.parameters import Overrides
from flows.pipeline import stage_flow


@flow(name="embed")
def embed(profile: str = "demo", overrides: Overrides | None = None) -> ArtifactRef:
    """Titles and pictures to vectors, on the outputs of earlier stages.

    Args:
        profile: A shipped profile's name, or the path of a YAML file.
        overrides: Profile fields to replace.
    """
    return stage_flow("embed", profile, overrides)
