"""A baseline mixed with the co-occurrence kNN and content similarity exactly as our model is: the opponent that gets the same help."""

from pathlib import Path
from typing import Any

import torch

from bbqrec_core.baselines.files import write_model
from bbqrec_core.baselines.sasrec import Sasrec
from bbqrec_core.dataset import EvalSplit
from bbqrec_core.sequence.config import users_in_memory
from bbqrec_core.sequence.content import CONTENT, ContentSimilarity
from bbqrec_core.sequence.mixture import Mixture, Scores
from bbqrec_core.sequence.mixture_fit import Helpers, fit_helpers
from bbqrec_core.sequence.prior import PRIOR, BehaviourPrior, packed

OWN = "own"
"""Name of the baseline among the sources of scores."""
AND_CONTENT = " and content"
"""Ends the name of what content similarity has a say in."""
SCORED_AT_A_TIME = 256
"""Users, at most."""


class SasrecWithPrior:
    """SASRec's log-probabilities and the prior's, and content similarity if it is given, mixed.

    Args:
        sasrec: Trained.
        prior: On the same device.
        content: On the same device; None = it has no say.
        mixture: Of OWN and the others.
    """

    without_content = "sasrec_with_codes_and_prior"
    with_content = "sasrec_with_codes_and_prior_and_content"

    def __init__(self, sasrec: Sasrec, prior: BehaviourPrior, content: ContentSimilarity | None, mixture: Mixture) -> None:
        self.sasrec, self.prior, self.content, self.mixture = sasrec, prior, content, mixture
        self.kind = self.without_content if content is None else self.with_content
        self.name = f"{sasrec.name} and prior{'' if content is None else AND_CONTENT}"
        self.n_items = sasrec.n_items
        self.max_history = max(sasrec.max_history, prior.knn.max_history, 0 if content is None else content.max_history)

    @classmethod
    def fit(cls, sasrec: Sasrec, helpers: Helpers, valid: EvalSplit) -> "SasrecWithPrior":
        """Fit the mix on validation, with the very function that fits our model's.

        Args:
            sasrec: Trained.
            helpers: With a kNN.
            valid: At least one user.
        """
        device = sasrec.model.item.weight.device

        def score(histories: torch.Tensor) -> Scores:
            return {OWN: sasrec.score(histories).log_softmax(1)}

        mixture, prior, content = fit_helpers(valid, score, {OWN: 1.0}, helpers, device, users_in_memory(SCORED_AT_A_TIME, sasrec.n_items))
        assert prior is not None
        return cls(sasrec, prior.to(device), None if content is None else content.to(device), mixture)

    def score(self, histories: torch.Tensor) -> torch.Tensor:
        """See `Recommender.score`."""
        own = self.sasrec.score(histories).log_softmax(1)
        histories = packed(histories.to(own.device))[:, -self.max_history :]  # as long as the mix was fitted on
        scores = {OWN: own, PRIOR: self.prior.log_probs(histories)}
        if self.content is not None:
            scores[CONTENT] = self.content.scores(histories)
        return self.mixture.combine(scores, histories, self.prior)

    def save(self, folder: Path) -> None:
        """Write it as `files.write_model` does."""
        description: dict[str, Any] = {
            "kind": self.kind,
            "sasrec": self.sasrec.describe(),
            "prior": self.prior.describe(),
            "mixture": self.mixture.describe(),
        }
        parts = {"sasrec": self.sasrec.tensors(), "prior": self.prior.tensors()}
        if self.content is not None:
            description["content"] = self.content.describe()
            parts["content"] = {"vectors": self.content.vectors.values}
        write_model(folder, description, {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()})

    @classmethod
    def load(cls, description: dict[str, Any], tensors: dict[str, torch.Tensor], device: str) -> "SasrecWithPrior":
        """Rebuild it from what `files.read_model` read."""

        def of(part: str) -> dict[str, torch.Tensor]:
            return {name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}

        sasrec = Sasrec.load(description["sasrec"], of("sasrec"), device)
        prior = BehaviourPrior.load(description["prior"], of("prior")).to(device)
        content = None
        if description["kind"] == cls.with_content:
            content = ContentSimilarity.load(description["content"], of("content")["vectors"]).to(device)
        return cls(sasrec, prior, content, Mixture.load(description["mixture"]))
