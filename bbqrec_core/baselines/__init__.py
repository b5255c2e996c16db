"""What the model is measured against, behind the model's own interface."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bbqrec_core.recommender import Recommender


def load_recommenders(baselines: Path, device: str = "cpu") -> "list[Recommender]":
    """Load every baseline of a baselines artifact.

    Args:
        baselines: The artifact's directory.
        device: Where those that compute with torch do so.

    Returns:
        The baselines, in the order of the registry: the simplest first.

    Raises:
        ArtifactError: There is none, or one is of an unknown kind or damaged.
    """
    from bbqrec_core.baselines.registry import load_all  # torch stays out of whoever only reads the profile

    return load_all(baselines, device)
