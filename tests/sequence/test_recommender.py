"""Recommending by a trained model: whatever the histories, exactly or by candidates, for as many users at a time as memory allows."""

import pytest
import torch
from sequence_artifacts import N_ITEMS

from bbqrec_core.sequence import config
from bbqrec_core.sequence.recommender import load_recommender


def test_recommender_takes_whatever_histories_there_are(trained):
    recommender = load_recommender(trained[0])
    assert (recommender.name, recommender.n_items) == ("BBQRec", N_ITEMS)
    assert recommender.prior is not None and recommender.model.config.max_history == 8
    assert recommender.max_history == recommender.prior.knn.max_history == 20  # it is given as much as the prior looks at
    histories = torch.tensor([[-1] * 12, [-1] * 11 + [3], list(range(12)), [5, 5, 5, -1, 6, 5, 5, -1, -1, 7, 7, N_ITEMS - 1]])
    scores = recommender.score(histories)
    assert scores.shape == (4, N_ITEMS) and scores.dtype == torch.float32 and scores.isfinite().all()
    torch.testing.assert_close(torch.cat([recommender.score(row[None]) for row in histories]), scores, rtol=1e-4, atol=1e-5)
    assert recommender.score(histories[:0]).shape == (0, N_ITEMS)
    assert recommender.score(torch.empty(2, 0, dtype=torch.int64)).isfinite().all()


@pytest.mark.parametrize("exact", [True, False])
def test_recommend_gives_the_best_unseen_items(trained, exact):
    recommender = load_recommender(trained[0])
    histories = torch.tensor([[-1] * 12, [-1] * 11 + [3], list(range(12)), [5, 5, 5, -1, 6, 5, 5, -1, -1, 7, 7, 9]])
    items, scores = recommender.recommend(histories, 10, exact=exact)
    for row, everything in enumerate(recommender.score(histories)):
        seen = histories[row][histories[row] >= 0]
        everything[seen] = float("-inf")
        torch.testing.assert_close(scores[row], everything.topk(10).values, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(everything[items[row]], scores[row], rtol=1e-4, atol=1e-4)
        assert len(set(items[row].tolist())) == 10
    unmasked = recommender.recommend(histories[1:2], N_ITEMS, seen_mask=False, exact=exact)[0]
    assert sorted(unmasked[0].tolist()) == list(range(N_ITEMS))
    few, few_scores = recommender.recommend(torch.arange(N_ITEMS - 2)[None], 4, exact=exact)
    assert sorted(few[0, :2].tolist()) == [N_ITEMS - 2, N_ITEMS - 1] and (few[0, 2:] == -1).all() and few_scores[0, 2] == float("-inf")
    more, _ = recommender.recommend(histories[:2], N_ITEMS + 7, exact=exact)
    for row, history in zip(more.tolist(), histories[:2].tolist(), strict=True):
        unseen = sorted(set(range(N_ITEMS)) - set(history))
        assert sorted(row[: len(unseen)]) == unseen and all(item == -1 for item in row[len(unseen) :]), "K beyond the catalogue"


def test_a_large_catalogue_is_scored_for_fewer_users_at_a_time_with_the_same_result(trained, monkeypatch):
    recommender = load_recommender(trained[0])
    histories = torch.arange(N_ITEMS)[:, None]
    scores, (items, _) = recommender.score(histories), recommender.recommend(histories, 5)
    asked = []
    real = recommender._catalogue
    monkeypatch.setattr(recommender, "_catalogue", lambda rows: asked.append(len(rows)) or real(rows))
    pairs = 9 * 9 * 2 * 9  # of positions, times sources, times buckets: more than there are items
    monkeypatch.setattr(config, "NUMBERS_AT_ONCE", 7 * pairs + 1)
    torch.testing.assert_close(recommender.score(histories), scores, rtol=1e-4, atol=1e-5)
    assert max(asked) == 7
    assert torch.equal(recommender.recommend(histories, 5)[0], items)
    monkeypatch.setattr(config, "NUMBERS_AT_ONCE", 1)
    assert recommender.recommend(histories[:2], 5)[0].shape == (2, 5) and asked[-1] == 1


def test_a_wide_beam_or_a_long_list_is_searched_for_fewer_users_at_a_time_with_the_same_result(trained, monkeypatch):
    recommender = load_recommender(trained[0], search=config.SearchConfig(beam_width=100))
    histories = torch.arange(N_ITEMS)[:, None]
    items, _ = recommender.recommend(histories, 5, exact=False)
    asked = []
    real = recommender._by_candidates
    monkeypatch.setattr(recommender, "_by_candidates", lambda rows, *more: asked.append(len(rows)) or real(rows, *more))
    monkeypatch.setattr(config, "NUMBERS_AT_ONCE", 30 * recommender._numbers_of_a_user(5, False))
    assert torch.equal(recommender.recommend(histories, 5, exact=False)[0], items)
    recommender.recommend(histories, 200, exact=False)
    assert asked == [30, 18, 15, 15, 15, 3]


def test_how_many_users_are_scored_at_a_time():
    settings = config.SequenceConfig()
    assert [settings.users_at_once(n_items) for n_items in (500, 100_000, 1_000_000, 10**9)] == [256, 256, 33, 1]
    assert settings.model_copy(update={"max_history": 200}).users_at_once(500) == 46
    assert settings.model_copy(update={"max_history": 1000}).users_at_once(500) == 1


def test_beyond_the_limit_candidates_are_searched_in_place_of_everything(trained, monkeypatch):
    recommender = load_recommender(trained[0])
    histories = torch.tensor([[-1, -1, 3], [5, 9, 1]])
    ways = []
    for way in ("_exhaustive", "_by_candidates"):
        real = getattr(recommender, way)
        monkeypatch.setattr(recommender, way, lambda *told, way=way, real=real: ways.append(way) or real(*told))
    for limit in (N_ITEMS, N_ITEMS - 1):
        recommender.search = config.SearchConfig(exact_limit=limit)
        recommender.recommend(histories, 5)
    assert ways == ["_exhaustive", "_by_candidates"]


@pytest.mark.parametrize("beam_width", [1, 2, 5])
def test_a_beam_far_narrower_than_the_catalogue_still_gives_distinct_unseen_items(trained, beam_width):
    recommender = load_recommender(trained[0], search=config.SearchConfig(beam_width=beam_width))
    histories = torch.tensor([[-1] * 11 + [3], list(range(12)), [-1] * 12])
    items, scores = recommender.recommend(histories, 10, exact=False)
    whole = recommender.score(histories)
    assert bool((items >= 0).all()), "as many candidates as are wanted are looked for, however narrow the beam"
    for row, history in zip(items.tolist(), histories.tolist(), strict=True):
        assert len(set(row)) == 10 and not set(row) & set(history)
    torch.testing.assert_close(whole.gather(1, items), scores, rtol=1e-4, atol=1e-4)
