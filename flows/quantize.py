"""The flow `quantize`: vectors and behaviour to semantic IDs."""

from prefect import flow

from bbqrec_core.store import ArtifactRef
from flows.parameters import Overrides
from flows.pipeline import stage_flow


@flow(name="quantize")
def quantize(profile: str = "demo", overrides: Overrides | None = None) -> ArtifactRef:
    """Vectors and behaviour to semantic IDs, on the outputs of earlier stages.

    Args:
        profile: A shipped profile's name, or the path of a YAML file.
        overrides: Profile fields to replace.
    """
    return stage_flow("quantize", profile, overrides)
