"""Which kinds of baseline there are, and how to get them back from disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bbqrec_core.baselines.config import TIGER
from bbqrec_core.baselines.files import DESCRIPTION, read_model
from bbqrec_core.baselines.popularity import Popularity
from bbqrec_core.baselines.sasrec import Sasrec
from bbqrec_core.baselines.with_prior import SasrecWithPrior
from bbqrec_core.errors import ArtifactError
from bbqrec_core.prior.cooccurrence import CoOccurrenceKnn
from bbqrec_core.recommender import Recommender

Loader = Callable[[dict[str, Any], dict[str, torch.Tensor], str], Recommender]


def _load_tiger(description: dict[str, Any], tensors: dict[str, torch.Tensor], device: str) -> Recommender:
    from bbqrec_core.baselines.tiger import Tiger  # transformers stays out of a run without it

    return Tiger.load(description, tensors, device)


LOADERS: dict[str, Loader] = {
    Popularity.kind: Popularity.load,
    CoOccurrenceKnn.kind: CoOccurrenceKnn.load,
    TIGER: _load_tiger,
    Sasrec.kind: Sasrec.load,
    Sasrec.with_codes: Sasrec.load,
    Sasrec.reweighted: Sasrec.load,
    SasrecWithPrior.without_content: SasrecWithPrior.load,
    SasrecWithPrior.with_content: SasrecWithPrior.load,
}
"""From `kind` in a model.json to what rebuilds it, the simplest first."""


def load_all(baselines: Path, device: str = "cpu") -> list[Recommender]:
    """See `bbqrec_core.baselines.load_recommenders`."""
    order = list(LOADERS)
    found = []
    for file in sorted(baselines.glob(f"*/{DESCRIPTION}")):
        description, tensors = read_model(file.parent)
        kind = description["kind"]
        if kind not in LOADERS:
            raise ArtifactError(
                f"{file} is of the unknown kind {kind!r}.", f"Known are {', '.join(order)}. Run the stage `baselines` again."
            )
        try:
            found.append((order.index(kind), LOADERS[kind](description, tensors, device)))
        except (KeyError, TypeError, RuntimeError) as error:
            raise ArtifactError(
                f"The baseline in {file.parent} does not fit its description: {error}", "Run the stage `baselines` again."
            ) from None
    if not found:
        raise ArtifactError(f"There is no baseline in {baselines}.", "Run the stage `baselines` again.")
    return [recommender for _, recommender in sorted(found, key=lambda entry: entry[0])]
