"""Recommending in the shop's own IDs, on a model that the smallest pipeline trained."""

import pytest
import torch

from bbqrec_core.store import ArtifactStore
from serving.recommendation import Catalogue, RequestError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def catalogue(tiny_home):
    store = ArtifactStore(tiny_home)
    place = {ref.stage: store.path(ref) for ref in store.entries()}
    return Catalogue.load(place["train"], place["ingest"] / "items.parquet")


def test_seen_items_are_left_out_however_far_back(catalogue):
    history = catalogue.item_ids[:30]  # longer than the model looks back
    (answer,) = catalogue.recommend([history], k=1000)
    assert set(answer["items"]) == set(catalogue.item_ids) - set(history)
    assert answer["scores"] == sorted(answer["scores"], reverse=True)


def test_scores_are_those_that_evaluation_ranks_by(catalogue):
    """Prior and repetition included: what is served is what was measured."""
    histories = [catalogue.item_ids[:3], catalogue.item_ids[7:8], []]
    answers = catalogue.recommend(histories, k=10, masked=False)
    width = max(map(len, histories))
    rows = torch.tensor([[-1] * (width - len(history)) + [catalogue.index[item] for item in history] for history in histories])
    best = catalogue.recommender.score(rows).sort(descending=True, stable=True).values[:, :10]
    assert catalogue.recommender.prior is not None
    torch.testing.assert_close(torch.tensor([answer["scores"] for answer in answers]), best)


def test_seen_items_may_be_asked_for(catalogue):
    (answer,) = catalogue.recommend([catalogue.item_ids[:3]], k=1000, masked=False)
    assert set(answer["items"]) == set(catalogue.item_ids)


def test_new_users_unknown_and_repeated_items_and_those_who_have_everything(catalogue):
    known = catalogue.item_ids[5]
    empty, unknown, repeated, everything = catalogue.recommend([[], ["?", known, "?"], [known] * 40, catalogue.item_ids], k=5)
    assert len(empty["items"]) == 5 and empty["unknown"] == 0
    assert unknown["unknown"] == 2 and known not in unknown["items"]
    assert known not in repeated["items"]
    assert everything["items"] == [] and everything["scores"] == []


def test_answers_do_not_depend_on_the_batch(catalogue):
    histories = [catalogue.item_ids[start : start + 1 + start % 7] for start in range(40)]
    together = catalogue.recommend(histories, k=10)
    assert [answer["items"] for answer in together] == [catalogue.recommend([history], k=10)[0]["items"] for history in histories]


@pytest.mark.parametrize("wrong", ["B001", None, 7, [1, 2], [None], ["a"] * 10_001])
def test_what_is_no_history_is_refused(catalogue, wrong):
    with pytest.raises(RequestError, match="history"):
        catalogue.recommend([wrong], k=5)
