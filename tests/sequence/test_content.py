"""Content similarity: its formula, any history, features that say nothing, when it is used, that it is saved and searched with."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sequence_artifacts import N_ITEMS, make_context

from bbqrec_core.dataset import ItemFeatures, SequenceDataset
from bbqrec_core.errors import ArtifactError
from bbqrec_core.evaluation.metrics import expected_ndcg
from bbqrec_core.evaluation.ranking import rank_split
from bbqrec_core.sequence import content, stage
from bbqrec_core.sequence.config import SearchConfig
from bbqrec_core.sequence.content import CONTENT, ContentSimilarity, ContentVectors, content_vectors
from bbqrec_core.sequence.evidence import TOP, gather_evidence
from bbqrec_core.sequence.mixture import Mixture
from bbqrec_core.sequence.mixture_fit import TEMPERATURES, Helpers, fit_content, fit_helpers, per_user_ndcg
from bbqrec_core.sequence.recommender import load_recommender

CPU = torch.device("cpu")


def random_vectors(n: int = N_ITEMS, d: int = 6, seed: int = 2) -> ContentVectors:
    return ContentVectors(torch.nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed))), (d,))


def cosines(features: dict[str, ItemFeatures]) -> torch.Tensor:
    """Of every pair of items, as the similarity sees them; 0 where it is below, or of an item with itself."""
    similarity = ContentSimilarity(content_vectors(features), 1.0, 1)
    return similarity.scores(torch.arange(similarity.n_items)[:, None])


def uniform(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"dense": torch.full((len(rows), N_ITEMS), -float(np.log(N_ITEMS)))}


@pytest.fixture(scope="module")
def data(artifacts) -> SequenceDataset:
    return SequenceDataset.load(artifacts["ingest"], 8)


@given(st.lists(st.integers(-1, N_ITEMS - 1), max_size=9), st.sampled_from([0.03, 0.1, 1.0]))
@settings(max_examples=80, deadline=None)
def test_scores_are_those_of_the_formula_for_any_history(row, temperature):
    vectors = random_vectors()
    similarity = ContentSimilarity(vectors, temperature, 5)
    histories = torch.tensor([[-1, *row]], dtype=torch.int64)
    scores = similarity.scores(histories)[0]
    known = [item for item in row if item >= 0][::-1][:5]
    expected = torch.zeros(N_ITEMS)
    if known:
        weights = np.arange(1, len(known) + 1) ** -0.5
        for j in range(N_ITEMS):
            cosines = [0.0 if item == j else max(0.0, float(vectors.values[item] @ vectors.values[j])) for item in known]
            expected[j] = np.log(weights @ np.exp(np.array(cosines) / temperature) / weights.sum())
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    assert scores.min() >= 0 and scores.max() <= 1 / temperature + 1e-3


def test_some_items_score_as_all_do_and_blocks_change_nothing(monkeypatch):
    similarity = ContentSimilarity(random_vectors(), 0.05, 4)
    histories = torch.tensor([[-1, 3, 9, 3], [47, 0, -1, 20], [-1, -1, -1, -1]])
    whole = similarity.scores(histories)
    items = torch.tensor([[3, 4, 9, 3], [0, 47, 1, 2], [5, 6, 7, 8]])
    torch.testing.assert_close(similarity.scores_of(histories, items), whole.gather(1, items))
    monkeypatch.setattr(content, "COLUMNS", 7)
    monkeypatch.setattr(content, "SPEAKERS", 2)
    torch.testing.assert_close(similarity.scores(histories), whole)


def test_the_cosine_of_items_with_both_modalities_is_the_mean_of_both():
    rng = np.random.default_rng(1)
    both = np.ones(20, dtype=bool)
    parts = {name: ItemFeatures(rng.normal(size=(20, 5)).astype(np.float32), both) for name in ("text", "image")}
    apart = [content_vectors({name: part}).values for name, part in parts.items()]
    expected = (sum(part @ part.T for part in apart) / 2).clamp_min(0).fill_diagonal_(0)
    torch.testing.assert_close(cosines(parts), expected, rtol=1e-4, atol=1e-5)


def test_an_item_without_a_picture_is_compared_by_its_text_alone():
    rng = np.random.default_rng(1)
    text = ItemFeatures(rng.normal(size=(20, 5)).astype(np.float32), np.ones(20, dtype=bool))
    pictured = np.arange(20) < 10
    image = ItemFeatures(np.where(pictured[:, None], rng.normal(size=(20, 5)), 0.0).astype(np.float32), pictured)
    both, by_text = cosines({"text": text, "image": image}), cosines({"text": text})
    torch.testing.assert_close(both[:, 10:], by_text[:, 10:], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(both[:10, :10], by_text[:10, :10])


def test_only_main_components_are_kept_and_what_lacks_features_is_near_nothing():
    rng = np.random.default_rng(1)
    present = np.arange(300) % 7 != 0
    values = rng.normal(size=(300, 200)) * np.linspace(3, 0.1, 200)
    values[~present] = 0
    vectors = content_vectors({"text": ItemFeatures(values.astype(np.float32), present)})
    assert vectors.values.shape == (300, content.COMPONENTS) and vectors.widths == (content.COMPONENTS,)
    assert not vectors.values[~present].any()
    torch.testing.assert_close(vectors.values[present].norm(dim=1), torch.ones(int(present.sum())))
    assert not ContentSimilarity(vectors, 0.05, 2).scores(torch.tensor([[0, 7]])).any()


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_features_that_tell_no_items_apart_say_nothing(rows):
    present = np.arange(9) < rows
    same = np.where(present[:, None], np.full((9, 4), 0.37), 0.0).astype(np.float32)
    assert content_vectors({"text": ItemFeatures(same, present)}) is None
    assert content_vectors({}) is None


def test_how_large_features_are_does_not_matter_and_what_is_no_number_is_refused():
    values = np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32)
    everywhere = np.ones(20, dtype=bool)
    small = cosines({"text": ItemFeatures(values * 1e-6, everywhere)})
    torch.testing.assert_close(small, cosines({"text": ItemFeatures(values, everywhere)}), rtol=1e-3, atol=1e-4)
    values[3, 2] = np.nan
    with pytest.raises(ArtifactError, match="Some text features are not finite"):
        content_vectors({"text": ItemFeatures(values, everywhere)})


def test_proposals_put_near_copies_first():
    vectors = random_vectors()
    vectors.values[7] = vectors.values[3]
    proposed = ContentSimilarity(vectors, 0.05, 4).proposals(torch.tensor([[-1, 3]]))
    assert set(proposed[0].topk(2).indices.tolist()) == {3, 7}


def test_candidates_are_ranked_as_the_catalogue_is(data):
    similarity, mixture = ContentSimilarity(random_vectors(), TEMPERATURES[0], 8), Mixture({"dense": 1.0}, content=0.4)
    table = torch.randn(N_ITEMS, N_ITEMS, generator=torch.Generator().manual_seed(3))
    heads = lambda rows: {"dense": table[rows[:, -1].clamp_min(0)].log_softmax(1)}  # noqa: E731

    class Whole:
        name, n_items, max_history = "whole", N_ITEMS, 8

        def score(self, rows: torch.Tensor) -> torch.Tensor:
            return mixture.combine({**heads(rows), CONTENT: similarity.scores(rows)}, rows)

    assert N_ITEMS < TOP
    ranked = rank_split(Whole(), data.valid)[True].ranks
    evidence = gather_evidence(data.valid, heads, None, 32, [similarity])
    np.testing.assert_allclose(per_user_ndcg(evidence, [(mixture, 1.0)])[0], expected_ndcg(ranked.above, ranked.tied, 10))


def test_it_is_used_where_targets_look_like_the_history_and_not_where_it_only_disturbs(data):
    vectors = random_vectors()
    near = ContentSimilarity(vectors, 0.05, 8).scores(torch.from_numpy(data.valid.histories))
    for row in range(len(data.valid)):
        near[row, data.valid.seen_items[data.valid.seen_offsets[row] : data.valid.seen_offsets[row + 1]]] = -1.0
    alike = replace(data.valid, targets=near.argmax(1).numpy())
    mixture, _, chosen = fit_helpers(alike, uniform, {"dense": 1.0}, Helpers(None, vectors, 8, False), CPU, 64)
    assert mixture.content > 0 and chosen is not None and chosen.temperature in TEMPERATURES

    unlike = replace(data.valid, targets=near.masked_fill(near < 0, float("inf")).argmin(1).numpy())
    mixture, _, chosen = fit_helpers(unlike, uniform, {"dense": 1.0}, Helpers(None, vectors, 8, False), CPU, 64)
    assert mixture == Mixture({"dense": 1.0}) and chosen is None


def test_of_the_temperatures_the_one_that_ranks_best_is_taken(data):
    """Only with sharp similarity one item that is very near beats two that are fairly near."""
    vectors = random_vectors(d=12)
    histories = torch.from_numpy(data.valid.histories)
    for column, temperature in enumerate(TEMPERATURES):
        scores = ContentSimilarity(vectors, temperature, 8).scores(histories)
        split = replace(data.valid, targets=scores.argmax(1).numpy())
        evidence = gather_evidence(split, uniform, None, 64, [ContentSimilarity(vectors, value, 8) for value in TEMPERATURES])
        mixture, found = fit_content(evidence, Mixture({"dense": 1.0}), 1.0)
        ndcg = [per_user_ndcg(evidence.at_temperature(place), [(mixture, 1.0)]).mean() for place in range(len(TEMPERATURES))]
        assert ndcg[found] == max(ndcg) == ndcg[column]


@pytest.fixture(scope="module")
def trained(artifacts, tmp_path_factory):
    context = make_context(tmp_path_factory.mktemp("content"), artifacts, epochs=1)
    stage.run(context)
    return context.out


def with_say(folder):
    """The trained model with content similarity at a weight that matters, whatever validation said."""
    meaning, path = json.loads((folder / "model.json").read_text()), folder / "model.safetensors"
    meaning["mixture"]["content"], meaning["content"] = 0.5, {"temperature": 0.05, "max_history": 8, "widths": [6]}
    (folder / "model.json").write_text(json.dumps(meaning))
    save_file({**load_file(path), "content.vectors": random_vectors().values}, path)
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    for file in trained.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_both_ways_of_searching_use_it(copied):
    before = load_recommender(copied)
    recommender = load_recommender(with_say(copied))
    rows = torch.tensor([[1, 2, 3], [-1, 40, 41]])
    assert not torch.allclose(before.score(rows), recommender.score(rows))
    exact, by_candidates = (recommender.recommend(rows, 10, exact=way) for way in (True, False))
    assert torch.equal(exact[0], by_candidates[0])
    torch.testing.assert_close(exact[1], by_candidates[1], rtol=1e-4, atol=1e-4)
    alone = recommender.without_prior()
    assert alone.content is None and alone.mixture.content == 0
    assert torch.equal(alone.score(rows), before.without_prior().score(rows))


def test_vectors_of_another_catalogue_are_refused(copied):
    path = with_say(copied) / "model.safetensors"
    save_file({**load_file(path), "content.vectors": random_vectors(N_ITEMS - 1).values}, path)
    with pytest.raises(ArtifactError, match=r"content vectors .* are of 47 items, the model of 48"):
        load_recommender(copied)


def test_switched_off_nothing_of_it_is_in_the_model(artifacts, tmp_path):
    context = make_context(tmp_path, artifacts, epochs=1, content=False)
    statistics = stage.run(context)
    assert statistics["mixture_content"] == 0 and statistics["content_temperature"] is None
    assert "content.vectors" not in load_file(context.out / "model.safetensors")
    assert load_recommender(context.out).content is None


def test_a_long_history_scores_as_its_most_recent_items_do():
    similarity = ContentSimilarity(random_vectors(), 0.05, 4)
    rows = torch.arange(40).view(2, 20)
    assert torch.equal(similarity.scores(rows), similarity.scores(rows[:, -4:]))


def test_a_narrow_search_finds_what_only_content_knows(copied):
    with_say(copied)
    meaning = json.loads((copied / "model.json").read_text())
    meaning["mixture"]["content"] = 50.0
    (copied / "model.json").write_text(json.dumps(meaning))
    recommender = load_recommender(copied, search=SearchConfig(beam_width=1))
    rows = torch.tensor([[-1, -1, 5], [-1, -1, 30]])
    exact, by_candidates = (recommender.recommend(rows, 1, exact=way) for way in (True, False))
    assert torch.equal(exact[0], by_candidates[0])
