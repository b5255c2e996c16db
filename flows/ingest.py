"""The flow `ingest`: raw files to validated tables and sequences."""

from prefect import flow

from bbqrec_core.store import ArtifactRef
from flows.parameters import Overrides
from flows.pipeline import stage_flow


@flow(name="ingest")
def ingest(profile: str = "demo", overrides: Overrides | None = None) -> ArtifactRef:
    """Raw files to validated tables and sequences, on the outputs of earlier stages.

    Args:
        profile: A shipped profile's name, or the path of a YAML file.
        overrides: Profile fields to replace.
    """
    return stage_flow("ingest", profile, overrides)
