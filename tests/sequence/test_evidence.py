"""The candidates on which a mix is fitted: ranked as the catalogue is."""

import numpy as np
import pytest
import torch
from sequence_artifacts import N_ITEMS

from bbqrec_core.dataset import EvalSplit
from bbqrec_core.errors import StageError
from bbqrec_core.evaluation.metrics import expected_ndcg
from bbqrec_core.evaluation.ranking import rank_split
from bbqrec_core.prior.cooccurrence import CoOccurrenceKnn, KnnSettings, Neighbours
from bbqrec_core.sequence.evidence import MOST, TOP, candidates_of, gather_evidence
from bbqrec_core.sequence.mixture import Mixture, PriorWeight, ranking_quality
from bbqrec_core.sequence.mixture_fit import per_user_ndcg
from bbqrec_core.sequence.prior import PRIOR, BehaviourPrior


def test_candidates_are_ranked_as_the_catalogue_is(prior, data):
    """What the fit measures on candidates equals full ranking by the final scores, masked or not."""
    generator = torch.Generator().manual_seed(3)
    table = torch.randn(N_ITEMS, N_ITEMS, generator=generator)
    heads = lambda rows: {"dense": table[rows[:, -1].clamp_min(0)].log_softmax(1)}  # noqa: E731
    mixture = Mixture({"dense": 1.0}, PriorWeight(0.7, (0.3, -0.2), (1.5, 2.0)), repetition=-0.5)
    evidence = gather_evidence(data.valid, heads, prior, 32)

    class Whole:
        name, n_items, max_history = "whole", N_ITEMS, 8

        def score(self, rows: torch.Tensor) -> torch.Tensor:
            return mixture.combine({**heads(rows), PRIOR: prior.log_probs(rows)}, rows, prior)

    ranked = rank_split(Whole(), data.valid)
    assert N_ITEMS < TOP
    for masked in (True, False):
        expected = expected_ndcg(ranked[masked].ranks.above, ranked[masked].ranks.tied, 10)
        np.testing.assert_allclose(per_user_ndcg(evidence, [(mixture, prior.smoothing)], masked)[0], expected)


def test_candidates_are_ranked_as_the_catalogue_is_where_few_items_have_votes():
    """A history whose neighbours vote for a handful: popularity, by which the prior orders all others, proposes the rest.

    And what was never sold is proposed apart, since a mix may lift it.
    """
    rng, n_items, users = np.random.default_rng(0), 1500, 200
    counts = (3000 / np.arange(1, n_items + 1) ** 0.8).astype(int) + 1
    counts[1200:] = 0
    neighbours = Neighbours(torch.from_numpy(rng.integers(0, n_items, (n_items, 3))), torch.from_numpy(rng.random((n_items, 3))).float())
    few = BehaviourPrior(CoOccurrenceKnn(neighbours, counts, KnnSettings(5, 1.0, 1.0, 1.0, 0.0, 0.5, 3, 0.5, 0.0), 8), 0.3)
    histories = np.full((users, 8), -1)
    histories[:, -3:] = rng.integers(0, n_items, (users, 3))
    targets = rng.choice(n_items, users, p=(counts + 1) / (counts + 1).sum())
    split = EvalSplit(np.arange(users, dtype=np.int32), histories, targets, np.arange(0, 3 * users + 1, 3), histories[:, -3:].ravel())
    table = torch.randn(n_items, n_items, generator=torch.Generator().manual_seed(1)).log_softmax(1)
    heads = lambda rows: {"dense": table[rows[:, -1]]}  # noqa: E731
    evidence = gather_evidence(split, heads, few, 64)
    for level, lift in ((1.0, 0.0), (10.0, 0.0), (1.0, 4.0), (10.0, 2.0)):
        mixture = Mixture({"dense": 1.0}, PriorWeight(level, cold_lift=lift))
        rows = torch.from_numpy(histories)
        scores = mixture.combine({**heads(rows), PRIOR: few.log_probs(rows)}, rows, few).numpy()
        own = np.take_along_axis(scores, targets[:, None], axis=1)
        np.put_along_axis(scores, histories[:, -3:], -np.inf, axis=1)
        above = (scores > own).sum(1)
        whole = expected_ndcg(above, np.zeros_like(above), 10)
        np.testing.assert_allclose(per_user_ndcg(evidence, [(mixture, 0.3)])[0], whole, atol=1e-12)
        assert whole.mean() > 0


def test_candidates_are_ranked_as_the_catalogue_is_for_users_who_have_more_than_any_model_is_told():
    """150 items each, which the head puts first; the history that it is told holds eight of them."""
    rng, n_items, users, owned = np.random.default_rng(4), 1500, 40, 150
    seen = np.stack([rng.choice(n_items, owned, replace=False) for _ in range(users)])
    targets = np.array([rng.choice(np.setdiff1d(np.arange(n_items), row)) for row in seen])
    split = EvalSplit(np.arange(users, dtype=np.int32), seen[:, -8:], targets, np.arange(0, users * owned + 1, owned), seen.ravel())
    table = torch.randn(users, n_items, generator=torch.Generator().manual_seed(2))
    table.scatter_add_(1, torch.from_numpy(seen), torch.full((users, owned), 20.0))
    table.scatter_add_(1, torch.from_numpy(targets)[:, None], torch.full((users, 1), 2.5))
    row_of = {tuple(history): row for row, history in enumerate(seen[:, -8:].tolist())}
    heads = lambda rows: {"dense": table[[row_of[tuple(row)] for row in rows.tolist()]].log_softmax(1)}  # noqa: E731
    evidence = gather_evidence(split, heads, None, 16)
    for masked in (True, False):
        for repetition in (0.0, -30.0):
            mixture = Mixture({"dense": 1.0}, repetition=repetition)
            scores = mixture.combine(heads(torch.from_numpy(seen[:, -8:])), torch.from_numpy(seen[:, -8:])).numpy()
            own = np.take_along_axis(scores, targets[:, None], axis=1)
            if masked:
                np.put_along_axis(scores, seen, -np.inf, axis=1)
            above = (scores > own).sum(1)
            whole = expected_ndcg(above, np.zeros_like(above), 10)
            np.testing.assert_allclose(per_user_ndcg(evidence, [(mixture, 1.0)], masked)[0], whole, atol=1e-12)
            assert not masked or 0 < whole.mean() < 1


def test_large_catalogues_have_more_candidates():
    assert [candidates_of(n_items) for n_items in (48, 20_000, 50_000, 10**6)] == [TOP, TOP, 250, MOST]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nothing_is_fitted_on_scores_that_are_no_numbers(data, prior, value):
    def broken(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = torch.zeros(len(rows), N_ITEMS)
        scores[-1, 5] = value
        return {"dense": scores}

    user = data.valid.users[31]
    with pytest.raises(StageError, match=f"'dense' gives user {user} scores that are not finite"):
        gather_evidence(data.valid, broken, prior, 32)
    with pytest.raises(StageError, match=f"dense head gives user {user} scores that are not finite"):
        ranking_quality(data.valid, broken, [{"dense": 1.0}], 32)
