"""What every score source says of validation's candidates, gathered once, so that a mix can be tried in milliseconds.

A user's candidates are the target, the history, what any source puts first of all that the user does not have, the same of what was never
sold, which a mix may lift, and the first few of what the user has but the model is not told of. An item that no source puts among its first
hundred, of large catalogues its first half per cent, reaches no mix's first ten, but in odd cases, so ranks up to ten are those of full
ranking (docs/experiments/mix.md).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from bbqrec_core.dataset import EvalSplit
from bbqrec_core.evaluation.ranking import require_finite, seen_items
from bbqrec_core.sequence.content import CONTENT, ContentSimilarity
from bbqrec_core.sequence.mixture import Scores, batches, stands_in
from bbqrec_core.sequence.prior import PRIOR, BehaviourPrior

TOP, TOP_SHARE, MOST = 100, 0.005, 400
"""Candidates that each source proposes: so many, so much of a large catalogue, never more."""
TOP_UNTOLD = 10
"""Of what a user has and the model is not told of, too far back or withheld: it competes where seen items are not masked."""
TIE_BREAK = 1e-6
"""Of popularity, among items that have as good as the same share of the prior's votes."""
TENSORS = ("shares", "popularity", "cold", "content", "real", "seen", "history", "support")


@dataclass(frozen=True)
class Evidence:
    """Scores of candidates; the target is column 0.

    Attributes:
        heads: Log-probabilities by head, float32 [users, candidates].
        shares: The prior's shares of votes, float32 [users, candidates]; all 0 without a prior.
        popularity: The prior's smoothing distribution, the same shape.
        cold: Items that were never sold, as the prior knows, bool [users, candidates]; none without a prior.
        content: Content similarity at each temperature asked for, float32 [users, candidates, temperatures].
        real: False where a column repeats another or a row has fewer candidates, bool [users, candidates].
        seen: Items that masking leaves out, bool [users, candidates]. A target may be one.
        history: Those of them that the model is told of, the others lying too far back, bool [users, candidates].
        support: From `BehaviourPrior.support`, float32 [users, 2].
    """

    heads: Mapping[str, torch.Tensor]
    shares: torch.Tensor
    popularity: torch.Tensor
    cold: torch.Tensor
    content: torch.Tensor
    real: torch.Tensor
    seen: torch.Tensor
    history: torch.Tensor
    support: torch.Tensor

    def __len__(self) -> int:
        return len(self.real)

    def at_temperature(self, column: int) -> "Evidence":
        """The same with content similarity at one of the temperatures."""
        return replace(self, content=self.content[:, :, column : column + 1])


def gather_evidence(
    split: EvalSplit,
    score: Callable[[torch.Tensor], Scores],
    prior: BehaviourPrior | None,
    batch_size: int,
    content: Sequence[ContentSimilarity] = (),
) -> Evidence:
    """Score the catalogue for every user of a split and keep the candidates.

    Args:
        split: At least one user.
        score: Log-probabilities by head for histories, int64 [batch, max_history], on any device.
        prior: On the same device; None = none.
        batch_size: Users scored at a time.
        content: One for each temperature to try, on the same device; the first proposes candidates.

    Returns:
        Evidence on the CPU.

    Raises:
        StageError: A score is not finite.
    """
    parts = [_gather(split, place, score, prior, content) for place in batches(len(split), batch_size)]
    return Evidence(
        {name: torch.cat([part.heads[name] for part in parts]) for name in parts[0].heads},
        *(torch.cat([getattr(part, name) for part in parts]) for name in TENSORS),
    )


def candidates_of(n_items: int) -> int:
    """How many candidates each source proposes in a catalogue of so many items."""
    return min(MOST, max(TOP, int(TOP_SHARE * n_items)))


@torch.no_grad()
def _gather(
    split: EvalSplit,
    place: slice,
    score: Callable[[torch.Tensor], Scores],
    prior: BehaviourPrior | None,
    content: Sequence[ContentSimilarity],
) -> Evidence:
    histories, targets = torch.from_numpy(split.histories[place]), torch.from_numpy(split.targets[place])
    heads = {name: values.float() for name, values in score(histories).items()}
    for name, values in heads.items():
        require_finite(values, f"The source '{name}'", split.users[place])
    device = next(iter(heads.values())).device
    histories, targets = histories.to(device), targets.to(device)
    n_items = next(iter(heads.values())).shape[1]
    top = candidates_of(n_items)
    given = stands_in(histories, n_items)
    rows, places = (part.to(device) for part in seen_items(split, place))
    seen = torch.zeros_like(given)
    seen[rows, places] = True
    proposals = dict(heads)
    if content:
        proposals[CONTENT] = content[0].scores(histories)
    first = []
    if prior is not None:
        votes = prior.shares(histories)  # where too few have any, popularity says who comes next
        first += [_first(values, given | seen | ~prior.cold, min(top, int(prior.cold.sum()))) for values in proposals.values()]
        proposals[PRIOR] = votes + TIE_BREAK * prior.popularity
    first += [_first(values, given | seen, min(top, n_items)) for values in proposals.values()]
    first += [_first(values, given | ~seen, min(TOP_UNTOLD, n_items)) for values in proposals.values()]
    columns = [targets[:, None], histories, *first]
    items = torch.cat(columns, dim=1)
    real = (items >= 0) & _first_of_its_kind(items)
    items = items.clamp_min(0)
    nothing = torch.zeros(items.shape, device=device)
    shares = votes.gather(1, items) if prior is not None else nothing
    popularity = prior.popularity[items] if prior is not None else nothing
    cold = prior.cold[items] if prior is not None else nothing.bool()
    near = torch.stack([source.scores_of(histories, items) for source in content], dim=2) if content else nothing[:, :, None]
    support = prior.support(histories) if prior is not None else nothing[:, :2]
    tensors = (shares, popularity, cold, near, real, seen.gather(1, items), given.gather(1, items), support)
    return Evidence({name: values.gather(1, items).cpu() for name, values in heads.items()}, *(tensor.cpu() for tensor in tensors))


def _first(values: torch.Tensor, closed: torch.Tensor, number: int) -> torch.Tensor:
    """What a source puts first of all that is not closed, filled up with anything else: int64 [batch, number]."""
    return values.masked_fill(closed, float("-inf")).topk(number, dim=1).indices


def _first_of_its_kind(items: torch.Tensor) -> torch.Tensor:
    """Which entries of a row do not repeat an earlier one, bool [batch, n]."""
    ordered, order = items.sort(dim=1, stable=True)
    repeats = torch.zeros_like(ordered, dtype=torch.bool)
    repeats[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return ~torch.zeros_like(repeats).scatter(1, order, repeats)
