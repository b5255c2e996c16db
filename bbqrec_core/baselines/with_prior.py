"""A baseline mixed with the co-occurrence kNN exactly as our model is: the opponent that gets the same help."""

from pathlib import Path
from typing import Any

import torch

from bbqrec_core.baselines.files import write_model
from bbqrec_core.baselines.sasrec import Sasrec
from bbqrec_core.dataset import EvalSplit
from bbqrec_core.prior.cooccurrence import CoOccurrenceKnn
from bbqrec_core.sequence.evidence import gather_evidence
from bbqrec_core.sequence.mixture import Mixture
from bbqrec_core.sequence.mixture_fit import fit_prior_weight, fit_repetition
from bbqrec_core.sequence.prior import PRIOR, BehaviourPrior

OWN = "own"
"""Name of the baseline among the sources of scores."""
SCORED_AT_A_TIME = 256


class SasrecWithPrior:
    """SASRec's log-probabilities and the prior's, mixed.

    Args:
        sasrec: Trained.
        prior: On the same device.
        mixture: Of OWN and the prior.
    """

    kind = "sasrec_with_codes_and_prior"

    def __init__(self, sasrec: Sasrec, prior: BehaviourPrior, mixture: Mixture) -> None:
        self.sasrec, self.prior, self.mixture = sasrec, prior, mixture
        self.name = f"{sasrec.name} and prior"
        self.n_items = sasrec.n_items
        self.max_history = max(sasrec.max_history, prior.knn.max_history)

    @classmethod
    def fit(cls, sasrec: Sasrec, knn: CoOccurrenceKnn, valid: EvalSplit) -> "SasrecWithPrior":
        """Fit the mix on validation, as `bbqrec_core.sequence.stage.fit_mixture` does for our model."""
        prior = BehaviourPrior(knn.to(sasrec.model.item.weight.device), 1.0)
        evidence = gather_evidence(valid, lambda histories: {OWN: sasrec.score(histories).log_softmax(1)}, prior, SCORED_AT_A_TIME)
        weight, smoothing = fit_prior_weight(evidence, {OWN: 1.0})
        mixture = Mixture({OWN: 1.0}, weight)
        mixture = Mixture(mixture.heads, weight, fit_repetition(evidence, mixture, smoothing))
        return cls(sasrec, prior.with_smoothing(smoothing), mixture)

    def score(self, histories: torch.Tensor) -> torch.Tensor:
        """See `Recommender.score`."""
        own = self.sasrec.score(histories).log_softmax(1)
        histories = histories.to(own.device)
        return self.mixture.combine({OWN: own, PRIOR: self.prior.log_probs(histories)}, histories, self.prior)

    def save(self, folder: Path) -> None:
        """Write it as `files.write_model` does."""
        description = {
            "kind": self.kind,
            "sasrec": self.sasrec.describe(),
            "prior": self.prior.describe(),
            "mixture": self.mixture.describe(),
        }
        parts = {"sasrec": self.sasrec.tensors(), "prior": self.prior.tensors()}
        write_model(folder, description, {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()})

    @classmethod
    def load(cls, description: dict[str, Any], tensors: dict[str, torch.Tensor], device: str) -> "SasrecWithPrior":
        """Rebuild it from what `files.read_model` read."""

        def of(part: str) -> dict[str, torch.Tensor]:
            return {name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}

        sasrec = Sasrec.load(description["sasrec"], of("sasrec"), device)
        prior = BehaviourPrior.load(description["prior"], of("prior")).to(device)
        return cls(sasrec, prior, Mixture.load(description["mixture"]))
