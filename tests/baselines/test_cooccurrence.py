"""The co-occurrence kNN against a double loop written from its formulas."""

import numpy as np
import pytest
import torch
from artificial_ingest import planted_sequences, write_ingest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbqrec_core.baselines.config import KnnConfig
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.evaluation.ranking import validation_metrics
from bbqrec_core.prior.cooccurrence import BACKOFF, CoOccurrenceKnn, KnnSettings, collect_pairs, find_neighbours
from bbqrec_core.prior.tuning import SETTINGS, Grid, KnnSearch, tune_knn

ALL = 10_000


def ragged(sequences: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum([len(sequence) for sequence in sequences])]).astype(np.int64)
    return offsets, np.array([item for sequence in sequences for item in sequence], dtype=np.int64)


def chosen(window: int = 5, neighbours: int = ALL, **others: float) -> KnnSettings:
    plain = {"distance_decay": 1.0, "backward": 0.5, "sharpness": 1.0, "shrinkage": 0.0, "popularity": 0.25}
    return KnnSettings(window=window, neighbours=neighbours, **{**plain, "recency_decay": 1.0, "rarity": 0.0, **others})


def fit(sequences: list[list[int]], n_items: int, settings: KnnSettings, history: int = 20, farthest: int = 7) -> CoOccurrenceKnn:
    offsets, items = ragged(sequences)
    counts = np.bincount(items, minlength=n_items)
    return CoOccurrenceKnn(find_neighbours(collect_pairs(offsets, items, n_items, farthest), counts, settings), counts, settings, history)


def naive_scores(sequences: list[list[int]], n_items: int, settings: KnnSettings, history: list[int]) -> np.ndarray:
    counts = np.zeros(n_items)
    together = np.zeros((n_items, n_items))
    for sequence in sequences:
        for p, first in enumerate(sequence):
            counts[first] += 1
            for q in range(p + 1, len(sequence)):
                second, distance = sequence[q], q - p
                if distance <= settings.window and first != second:
                    together[first, second] += distance**-settings.distance_decay
                    together[second, first] += settings.backward * distance**-settings.distance_decay
    scores = np.zeros(n_items)
    for r, item in enumerate(reversed(history), start=1):
        divisor = np.maximum(counts + settings.shrinkage, 1) ** settings.popularity
        similarity = together[item] ** settings.sharpness / divisor
        kept = sorted((j for j in range(n_items) if together[item, j] > 0), key=lambda j: (-similarity[j], j))[: settings.neighbours]
        for j in kept:
            scores[j] += r**-settings.recency_decay * max(counts[item], 1) ** -settings.rarity * similarity[j]
    if scores.max() > 0:
        scores /= scores.max()
    return scores + BACKOFF * counts / max(counts.max(), 1)


ITEMS = 8
item = st.integers(0, ITEMS - 1)
exponent = st.sampled_from([0.0, 0.5, 1.0, 2.0])


@given(
    st.lists(st.lists(item, min_size=1, max_size=7), min_size=1, max_size=8),
    st.lists(item, max_size=6),
    st.builds(
        KnnSettings,
        window=st.integers(1, 7),
        distance_decay=exponent,
        backward=st.sampled_from([0.0, 0.25, 1.0]),
        sharpness=st.sampled_from([0.5, 1.0, 1.5]),
        shrinkage=st.sampled_from([0.0, 3.0]),
        popularity=exponent,
        neighbours=st.just(ALL),
        recency_decay=exponent,
        rarity=exponent,
    ),
)
@settings(max_examples=200, deadline=None)
def test_equals_the_double_loop(sequences: list[list[int]], history: list[int], point: KnnSettings) -> None:
    ours = fit(sequences, ITEMS, point).score(torch.tensor([[-1, -1, *history]]))[0].numpy()
    np.testing.assert_allclose(ours, naive_scores(sequences, ITEMS, point, history), rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_only_the_nearest_neighbours_are_kept(limit: int) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.permutation(ITEMS)[:5].tolist() for _ in range(30)]
    # Irrational weights, so that no two similarities are equal up to rounding.
    point = chosen(4, limit, distance_decay=0.7, backward=0.3, sharpness=1.1, popularity=0.4, recency_decay=0.9, rarity=0.2)
    model = fit(sequences, ITEMS, point)
    for history in ([3], [1, 2], [7, 0, 4]):
        expected = naive_scores(sequences, ITEMS, point, history)
        np.testing.assert_allclose(model.score(torch.tensor([history]))[0].numpy(), expected, rtol=2e-5)


PLAIN = chosen()
SEQUENCES = [[0, 1, 2], [0, 1, 3], [4, 5, 0], [5, 4, 6], [1, 0, 2]]


def test_empty_history_and_strangers_fall_back_on_popularity() -> None:
    model = fit([*SEQUENCES, [7]], 9, PLAIN)
    counts = torch.tensor([4.0, 3, 2, 1, 2, 2, 1, 1, 0])
    scores = model.score(torch.tensor([[-1, -1], [-1, 7], [-1, 8]]))
    for row in scores:
        torch.testing.assert_close(row, BACKOFF * counts / 4)
    assert model.score(torch.empty(2, 0, dtype=torch.int64)).shape == (2, 9)


def test_padding_and_batching_change_nothing() -> None:
    model = fit(SEQUENCES, 8, PLAIN)
    together = model.score(torch.tensor([[-1, -1, -1, 4], [-1, 5, 1, 0], [-1, -1, -1, -1]]))
    alone = [model.score(torch.tensor([row])) for row in ([4], [5, 1, 0], [-1])]
    assert torch.equal(together, torch.cat(alone))


def test_only_the_most_recent_items_vote() -> None:
    model = fit(SEQUENCES, 8, PLAIN, history=2)
    assert torch.equal(model.score(torch.tensor([[6, 3, 1, 0]])), model.score(torch.tensor([[1, 0]])))


def test_labels_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    sequences = [rng.permutation(30)[:6].tolist() for _ in range(60)]
    new = rng.permutation(30)
    history = [3, 17, 4]
    before = fit(sequences, 30, PLAIN).score(torch.tensor([history]))[0].numpy()
    after = fit([new[s].tolist() for s in sequences], 30, PLAIN).score(torch.from_numpy(new[[history]]))[0].numpy()
    np.testing.assert_allclose(after[new], before, rtol=1e-5)


def test_memory_goes_with_pairs_not_with_the_catalogue_squared() -> None:
    n_items = 300_000  # squared, as float32: 335 GiB
    sequences = [[0, 299_999, 150_000], [299_999, 7]]
    model = fit(sequences, n_items, PLAIN)
    best = model.score(torch.tensor([[299_999]]))[0].topk(3).indices.tolist()
    assert set(best[:2]) == {7, 150_000}, "what came after counts more than what came before"
    assert best[2] == 0


GRID = {
    "window": (2, 5),
    "distance_decay": (0.0, 1.0),
    "backward": (0.5,),
    "sharpness": (1.0,),
    "shrinkage": (0.0,),
    "popularity": (0.0, 0.25, 0.5),
    "neighbours": (50,),
    "recency_decay": (0.0, 1.0),
    "rarity": (0.0, 0.5),
}


def test_points_drawn_are_the_whole_grid_or_a_seeded_choice_of_it() -> None:
    grid = Grid(KnnConfig(**GRID))
    whole = grid.draw(48, np.random.default_rng(0))
    assert len(whole) == len(set(whole)) == len(grid) == 48
    some = grid.draw(20, np.random.default_rng(3))
    assert len(set(some)) == 20
    assert set(some) < set(whole)
    assert some == grid.draw(20, np.random.default_rng(3)) != grid.draw(20, np.random.default_rng(4))


def test_near_points_differ_in_one_setting_by_one_step() -> None:
    grid = Grid(KnnConfig(**GRID))
    middle = chosen(2, 50, popularity=0.25, distance_decay=0.0)
    near = grid.near(middle)
    assert {point.popularity for point in near} == {0.0, 0.25, 0.5} and chosen(5, 50, popularity=0.25, distance_decay=0.0) in near
    moved = grid.places(near) - grid.places([middle])
    assert len(near) == 6 and (np.count_nonzero(moved, axis=1) == 1).all(), "up and down in popularity, one step in four others"
    assert grid.places([chosen(2, 50, popularity=0.25)])[0, SETTINGS.index("popularity")] == 0.5


def test_a_small_grid_is_tried_whole_and_the_best_of_it_is_taken(planted: SequenceDataset) -> None:
    knn, trials = tune_knn(planted, KnnConfig(**GRID, trials=48, tuning_users=0), 10, 1)
    value = {trial.settings: trial.ndcg_at_10 for trial in trials}
    assert len(value) == len(trials) == 48, "no point is tried twice"
    assert value[knn.settings] == max(value.values()) == validation_metrics(knn, planted.valid)["ndcg_at_10"]


def test_the_search_is_better_than_as_many_points_at_random(planted: SequenceDataset) -> None:
    """Means over seeds of the best of 40 trials, on the grid that ships."""
    found, drawn = [], []
    for seed in range(5):
        config = KnnConfig(trials=40, drawn=15, tuning_users=0)
        trials = tune_knn(planted, config, 10, seed)[1]
        assert len(trials) == len({trial.settings for trial in trials}) == 40
        found.append(max(trial.ndcg_at_10 for trial in trials))
        search = KnnSearch(planted, config, 10, planted.valid)
        search.judge(Grid(config).draw(40, np.random.default_rng(seed + 100)))
        drawn.append(max(trial.ndcg_at_10 for trial in search.trials.values()))
    assert np.mean(found) > np.mean(drawn)


def test_all_users_choose_among_finalists(planted: SequenceDataset) -> None:
    knn, trials = tune_knn(planted, KnnConfig(**GRID, trials=12, drawn=5, tuning_users=30, finalists=2), 10, 1)
    assert [trial.users for trial in trials] == [30] * 12 + [len(planted.valid)] * 2
    assert knn.settings == max(trials[12:], key=lambda trial: trial.ndcg_at_10).settings
    again, same = tune_knn(planted, KnnConfig(**GRID, trials=12, drawn=5, tuning_users=30, finalists=2), 10, 1)
    assert same == trials and again.settings == knn.settings


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    return SequenceDataset.load(write_ingest(tmp_path_factory.mktemp("planted"), planted_sequences(120, 30, seed=4), 30), 10)
