"""The flow `refit`: the chosen model, trained once more on train and validation together."""

from prefect import flow

from bbqrec_core.store import ArtifactRef
from flows.parameters import Overrides
from flows.pipeline import stage_flow


@flow(name="refit")
def refit(profile: str = "demo", overrides: Overrides | None = None) -> ArtifactRef:
    """The chosen model, trained once more on train and validation together, on the outputs of earlier stages.

    Args:
        profile: A shipped profile's name, or the path of a YAML file.
        overrides: Profile fields to replace.
    """
    return stage_flow("refit", profile, overrides)
