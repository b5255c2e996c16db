"""The flow `register`: the model into MLflow's registry, checked and promoted."""

from prefect import flow

from bbqrec_core.store import ArtifactRef
from flows.parameters import Overrides
from flows.pipeline import stage_flow


@flow(name="register")
def register(profile: str = "demo", overrides: Overrides | None = None) -> ArtifactRef:
    """The model into MLflow's registry, checked and promoted, on the outputs of earlier stages.

    Args:
        profile: A shipped profile's name, or the path of a YAML file.
        overrides: Profile fields to replace.
    """
    return stage_flow("register", profile, overrides)
