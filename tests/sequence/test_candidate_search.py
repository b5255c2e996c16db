"""Searching by candidates: what any source puts first is one, however narrow the beam."""

import torch
from sequence_artifacts import N_ITEMS, make_context

from bbqrec_core.sequence import stage
from bbqrec_core.sequence.config import SearchConfig
from bbqrec_core.sequence.mixture import PriorWeight
from bbqrec_core.sequence.recommender import load_recommender


def test_both_ways_of_searching_use_the_prior(artifacts, tmp_path):
    context = make_context(tmp_path, artifacts, epochs=1)
    statistics = stage.run(context)
    recommender = load_recommender(context.out)
    assert recommender.uses_prior and statistics["mixture_prior"] > 0
    rows = torch.tensor([[1, 2, 3], [-1, 40, 41]])
    exact, by_candidates = (recommender.recommend(rows, 10, seen_mask=False, exact=exact) for exact in (True, False))
    torch.testing.assert_close(exact[1], by_candidates[1], rtol=1e-4, atol=1e-4)
    alone = recommender.without_prior()
    assert alone.name == "BBQRec without prior" and not torch.allclose(alone.score(rows), recommender.score(rows))
    best = recommender.score(rows).sort(descending=True).values[:, :10]
    torch.testing.assert_close(exact[1], best, rtol=1e-4, atol=1e-4)


def test_the_prior_brings_candidates_of_its_own(artifacts, tmp_path):
    """A narrow search by the heads alone would miss what only the prior puts first."""
    context = make_context(tmp_path, artifacts, epochs=1)
    stage.run(context)
    recommender = load_recommender(context.out, search=SearchConfig(beam_width=1))
    object.__setattr__(recommender.mixture, "prior", PriorWeight(1000.0))
    assert recommender.prior is not None
    rows = torch.tensor([[1, 2, 3], [20, 21, 22]])
    first = recommender.recommend(rows, 1, exact=False)[0][:, 0]
    unseen = recommender.prior.log_probs(rows).scatter(1, rows, float("-inf"))
    assert torch.equal(first, unseen.argmax(1))


def test_what_is_lifted_is_a_candidate(artifacts, tmp_path):
    """A narrow search would miss what neither the prior nor a head puts first of all."""
    context = make_context(tmp_path, artifacts, epochs=1)
    stage.run(context)
    recommender = load_recommender(context.out, search=SearchConfig(beam_width=1))
    object.__setattr__(recommender.mixture, "prior", PriorWeight(1.0, cold_lift=1000.0))
    assert recommender.prior is not None
    recommender.prior.cold = torch.arange(N_ITEMS) % 7 == 5
    rows = torch.tensor([[1, 2, 3], [20, 21, 22]])
    found = recommender.recommend(rows, 1, exact=False)[0]
    assert torch.equal(found, recommender.recommend(rows, 1, exact=True)[0]) and bool(recommender.prior.cold[found].all())


def test_what_the_user_has_is_a_candidate_where_repetition_is_worth_something(artifacts, tmp_path):
    context = make_context(tmp_path, artifacts, epochs=1)
    stage.run(context)
    recommender = load_recommender(context.out, search=SearchConfig(beam_width=1))
    rows = torch.tensor([[1, 2, 3], [-1, 40, 41]])
    for worth in (50.0, -50.0):
        object.__setattr__(recommender.mixture, "repetition", worth)
        items, _ = recommender.recommend(rows, 2, seen_mask=False, exact=False)
        assert torch.equal(items, recommender.recommend(rows, 2, seen_mask=False, exact=True)[0]) or worth < 0
        had = [set(items[row].tolist()) <= set(rows[row].tolist()) for row in range(2)]
        assert had == [worth > 0] * 2
    object.__setattr__(recommender.mixture, "repetition", 50.0)
    masked = recommender.recommend(rows, 2, seen_mask=True, exact=False)[0]
    assert not any(set(masked[row].tolist()) & set(rows[row].tolist()) for row in range(2))
