"""The trained model behind the interface that every model shares, and top-k recommendation on top of it."""

from copy import copy
from pathlib import Path

import torch

from bbqrec_core.recommender import Recommender
from bbqrec_core.refitted import refitted
from bbqrec_core.sequence.artifact import TrainedModel, load_model
from bbqrec_core.sequence.config import SearchConfig
from bbqrec_core.sequence.content import CONTENT
from bbqrec_core.sequence.mixture import Scores, batches
from bbqrec_core.sequence.model import DENSE, GENERATIVE
from bbqrec_core.sequence.prior import PRIOR, packed
from bbqrec_core.sequence.search import beam_search, best

NAME = "BBQRec"
WITHOUT_PRIOR = f"{NAME} without prior"


class SequenceRecommender:
    """See `bbqrec_core.recommender.Recommender`.

    Args:
        trained: The model and its mix.
        device: Where to compute.
        search: How `recommend` looks for the best items.
    """

    def __init__(self, trained: TrainedModel, device: str = "cpu", search: SearchConfig | None = None) -> None:
        self.name = NAME
        self.search = search or SearchConfig()
        self.model = trained.model.to(device)
        self.mixture = trained.mixture
        self.prior = None if trained.prior is None else trained.prior.to(device)
        self.content = None if trained.content is None else trained.content.to(device)
        self.meaning = trained.meaning
        self.device = torch.device(device)
        self.n_items = self.model.n_items
        of_prior = 0 if self.prior is None else self.prior.knn.max_history
        self.max_history = max(self.model.config.max_history, of_prior, 0 if self.content is None else self.content.max_history)

    @property
    def uses_prior(self) -> bool:
        """Whether the behaviour prior has a say."""
        return self.prior is not None and self.mixture.prior.level > 0

    @property
    def has_helpers(self) -> bool:
        """Whether prior or content similarity has a say beside the heads."""
        return self.uses_prior or self.content is not None

    def without_prior(self) -> "SequenceRecommender":
        """The heads alone, with what repetition is worth in the whole mix, under a name of their own."""
        alone = copy(self)
        alone.name, alone.mixture, alone.prior, alone.content = WITHOUT_PRIOR, self.mixture.without_prior(), None, None
        return alone

    @torch.no_grad()
    def score(self, histories: torch.Tensor) -> torch.Tensor:
        """Score the catalogue; see the interface. -1 may stand for padding and for unknown items, anywhere in a row."""
        scores = torch.empty(len(histories), self.n_items)
        for part in batches(len(histories), self.model.config.users_at_once(self.n_items)):
            scores[part] = self._catalogue(self._told(histories[part].to(self.device))).cpu()
        return scores

    @torch.no_grad()
    def recommend(
        self, histories: torch.Tensor, k: int, seen_mask: bool = True, exact: bool | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The k best items for each history.

        Args:
            histories: As for `score`.
            k: How many.
            seen_mask: Never return an item that stands anywhere in the row, however far back.
            exact: Score every item, or what sources put first and a beam finds; None = by the catalogue's size (`search.exact_limit`).

        Returns:
            item_idx, int64 [batch, k], best first, -1 where no item is left; and scores, float32 [batch, k], minus infinity there.
        """
        if exact is None:
            exact = self.n_items <= self.search.exact_limit
        items = torch.full((len(histories), k), -1, dtype=torch.int64)
        scores = torch.full((len(histories), k), float("-inf"))
        for part in batches(len(histories), self.model.config.users_at_once(self._numbers_of_a_user(k, exact))):
            rows = histories[part].to(self.device)
            seen = rows if seen_mask else rows[:, :0]
            told = self._told(rows)
            found = self._exhaustive(told, seen, k) if exact else self._by_candidates(told, seen, k)
            items[part], scores[part] = found[0].cpu(), found[1].cpu()
        return items, scores

    def _numbers_of_a_user(self, k: int, exact: bool) -> int:
        """How many numbers the search for one user's best items holds at a time."""
        if exact:
            return self.n_items
        wanted = max(k, self.search.beam_width)
        numbers = [self.n_items if DENSE in self.model.heads or self.has_helpers else 1]  # the beam alone looks at few items
        if self.model.decoder is not None:
            numbers.append(wanted * (self.model.config.dimensions + 2 * max(self.model.decoder.code_counts)))
        if self.content is not None:
            whole = 1 + (DENSE in self.model.heads) + self.uses_prior  # these may propose what was never sold, too
            candidates = wanted * (2 * whole + (self.model.decoder is not None))
            numbers.append(candidates * (self.content.vectors.values.shape[1] + 2 * self.content.max_history))
        return max(numbers)

    def _told(self, histories: torch.Tensor) -> torch.Tensor:
        """The part of histories that anything here looks at: what the mix was fitted on, however long the rows are."""
        return packed(histories)[:, -self.max_history :]

    def _catalogue(self, histories: torch.Tensor) -> torch.Tensor:
        """Final scores of every item, float32 [batch, n_items]."""
        scores: Scores = self.model.log_probs(self.model.hidden(histories))
        if self.prior is not None and self.uses_prior:
            scores = {**scores, PRIOR: self.prior.log_probs(histories)}
        if self.content is not None:
            scores = {**scores, CONTENT: self.content.scores(histories)}
        return self.mixture.combine(scores, histories, self.prior)

    def _exhaustive(self, histories: torch.Tensor, seen: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        everything = torch.arange(self.n_items, device=self.device).expand(len(histories), -1)
        return best(everything, _without(self._catalogue(histories), seen), k)

    def _by_candidates(self, histories: torch.Tensor, seen: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Candidates of each head, of the prior and of content similarity, rescored by all of them."""
        hidden = self.model.hidden(histories)
        wanted = max(k, self.search.beam_width)
        whole: dict[str, torch.Tensor] = {}  # sources that score the catalogue anyway
        if DENSE in self.model.heads:
            whole[DENSE] = self.model.dense_log_probs(hidden)
        if self.prior is not None and self.uses_prior:
            whole[PRIOR] = self.prior.log_probs(histories)
        proposals = list(whole.values()) + ([] if self.content is None else [self.content.proposals(histories)])
        if self.prior is not None and self.mixture.prior.cold_lift:
            proposals += [source.masked_fill(~self.prior.cold, float("-inf")) for source in proposals]
        found = []
        if self.model.decoder is not None:
            found.append(beam_search(self.model.decoder, hidden, seen, wanted, wanted)[0])
        for source in proposals:
            top = _without(source, seen).topk(min(wanted, self.n_items), dim=1)
            found.append(torch.where(top.values > float("-inf"), top.indices, -1))
        if self.mixture.repetition > 0 and not seen.shape[1]:
            found.append(histories)  # what the user has may come first, whatever the sources say
        candidates = torch.cat(found, dim=1).sort(dim=1).values
        useless = candidates < 0
        useless[:, 1:] |= candidates[:, 1:] == candidates[:, :-1]
        safe = candidates.clamp_min(0)
        scores = {name: source.gather(1, safe) for name, source in whole.items()}
        if self.model.decoder is not None:
            scores[GENERATIVE] = self.model.decoder.score_items(hidden, safe)
        if self.content is not None:
            scores[CONTENT] = self.content.scores_of(histories, safe)
        mixed = self.mixture.combine(scores, histories, self.prior, safe)
        return best(safe, mixed.masked_fill(useless, float("-inf")), k)


def load_recommender(
    folder: Path,
    device: str = "cpu",
    expected_codes: str | None = None,
    expected_items: int | None = None,
    search: SearchConfig | None = None,
) -> SequenceRecommender:
    """Load what the stage `train` or `refit` wrote; see `load_model` for the errors."""
    return SequenceRecommender(load_model(folder, expected_codes, expected_items), device, search)


def load_refitted(folder: Path, device: str = "cpu") -> list[Recommender]:
    """What the stage `refit` wrote, under names of their own: the model and, if there is one, the kNN in it by itself."""
    model = load_recommender(folder, device)
    recommenders: list[Recommender] = [model] if model.prior is None else [model, model.prior.knn.to(device)]
    for recommender in recommenders:
        recommender.name = refitted(recommender.name)
    return recommenders


def _without(scores: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Scores with those of seen items (int64 [batch, any], negative entries ignored) at minus infinity, on a copy."""
    wide = torch.cat([scores, scores.new_zeros(len(scores), 1)], dim=1)
    wide.scatter_(1, torch.where(seen >= 0, seen, scores.shape[1]), float("-inf"))
    return wide[:, :-1]
