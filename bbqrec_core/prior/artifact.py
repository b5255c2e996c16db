"""Getting the kNN back from a `prior` artifact."""

from pathlib import Path

from bbqrec_core.baselines.files import read_model
from bbqrec_core.errors import ArtifactError
from bbqrec_core.prior.cooccurrence import CoOccurrenceKnn


def load_knn(prior: Path) -> CoOccurrenceKnn:
    """The kNN of a `prior` artifact, on the CPU.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    folder = prior / CoOccurrenceKnn.kind
    description, tensors = read_model(folder)
    try:
        return CoOccurrenceKnn.load(description, tensors, "cpu")
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"The kNN in {folder} does not fit its description: {error}", "Run the stage `prior` again.") from None
