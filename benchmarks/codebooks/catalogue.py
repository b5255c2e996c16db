"""The catalogue that tokenizers are measured on: what a profile's stages `ingest` and `embed` made, and are run for if it does not stand.

Nothing of it is timed here.
"""

from dataclasses import dataclass
from pathlib import Path

from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.profile import Profile
from bbqrec_core.quantization.data import TrainingData, load_item_features, prepare
from bbqrec_core.store import ArtifactStore
from tasks.plan import make_plan
from tasks.runner import run_stage

SHOP = Path(__file__).parent / "catalogue.yaml"
"""The profile that is measured if none is named: synthetic, and large enough for codebooks of 256."""
STAGES = ("shop", "ingest", "embed")


@dataclass(frozen=True)
class Catalogue:
    """What every tokenizer is given, and what its IDs are judged on.

    Attributes:
        profile: The profile, with what was overridden.
        ingest: The ingest artifact.
        dataset: Its sequences.
        data: What a tokenizer may see.
    """

    profile: Profile
    ingest: Path
    dataset: SequenceDataset
    data: TrainingData


def load_catalogue(profile: Profile, store: ArtifactStore, max_history: int) -> Catalogue:
    """Find or make the artifacts of the stages before `quantize`, and read them.

    Args:
        profile: A profile, with overrides merged in.
        store: The home folder's.
        max_history: Most recent items of a history that the sequence model will look at.

    Raises:
        BBQRecError: A stage failed or did not pass its gate, or the features cannot be worked with.
    """
    made: dict[str, Path] = {}
    for name, planned in make_plan(profile, store).items():
        if name in STAGES:
            made[name] = run_stage(planned, profile, store).artifact.path
    dataset = SequenceDataset.load(made["ingest"], max_history)
    features = load_item_features(made["embed"], made["ingest"])
    return Catalogue(profile, made["ingest"], dataset, prepare(dataset, features, profile.quantization))
