"""The co-occurrence kNN against a double loop written from its formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bbqrec_core.baselines.config import KnnConfig
from bbqrec_core.baselines.cooccurrence import BACKOFF, CoOccurrenceKnn, KnnSettings, collect_pairs, find_neighbours
from bbqrec_core.baselines.tuning import grid

ALL = 10_000


def ragged(sequences: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum([len(sequence) for sequence in sequences])]).astype(np.int64)
    return offsets, np.array([item for sequence in sequences for item in sequence], dtype=np.int64)


def fit(
    sequences: list[list[int]], n_items: int, settings: KnnSettings, window: int, limit: int = ALL, history: int = 20
) -> CoOccurrenceKnn:
    offsets, items = ragged(sequences)
    counts = np.bincount(items, minlength=n_items)
    return CoOccurrenceKnn(
        find_neighbours(collect_pairs(offsets, items, n_items, window), counts, settings, limit), counts, settings, history
    )


def naive_scores(
    sequences: list[list[int]], n_items: int, settings: KnnSettings, window: int, history: list[int], limit: int = ALL
) -> np.ndarray:
    counts = np.zeros(n_items)
    together = np.zeros((n_items, n_items))
    for sequence in sequences:
        for p, first in enumerate(sequence):
            counts[first] += 1
            for q in range(p + 1, len(sequence)):
                second, distance = sequence[q], q - p
                if distance <= window and first != second:
                    together[first, second] += distance**-settings.distance_decay
                    together[second, first] += settings.backward * distance**-settings.distance_decay
    scores = np.zeros(n_items)
    for r, item in enumerate(reversed(history), start=1):
        similarity = [together[item, j] / max(counts[j], 1) ** settings.popularity for j in range(n_items)]
        kept = sorted((j for j in range(n_items) if together[item, j] > 0), key=lambda j: (-similarity[j], j))[:limit]
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
    st.builds(KnnSettings, exponent, st.sampled_from([0.25, 1.0]), exponent, exponent, exponent),
    st.integers(1, 7),
)
@settings(max_examples=200, deadline=None)
def test_equals_the_double_loop(sequences: list[list[int]], history: list[int], chosen: KnnSettings, window: int) -> None:
    ours = fit(sequences, ITEMS, chosen, window).score(torch.tensor([[-1, -1, *history]]))[0].numpy()
    np.testing.assert_allclose(ours, naive_scores(sequences, ITEMS, chosen, window, history), rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_only_the_nearest_neighbours_are_kept(limit: int) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.permutation(ITEMS)[:5].tolist() for _ in range(30)]
    # Irrational weights, so that no two similarities are equal up to rounding.
    chosen = KnnSettings(0.7, 0.3, 0.4, 0.9, 0.2)
    model = fit(sequences, ITEMS, chosen, 4, limit)
    for history in ([3], [1, 2], [7, 0, 4]):
        expected = naive_scores(sequences, ITEMS, chosen, 4, history, limit)
        np.testing.assert_allclose(model.score(torch.tensor([history]))[0].numpy(), expected, rtol=2e-5)


PLAIN = KnnSettings(1.0, 0.5, 0.25, 1.0, 0.0)
SEQUENCES = [[0, 1, 2], [0, 1, 3], [4, 5, 0], [5, 4, 6], [1, 0, 2]]


def test_empty_history_and_strangers_fall_back_on_popularity() -> None:
    model = fit([*SEQUENCES, [7]], 9, PLAIN, 5)
    counts = torch.tensor([4.0, 3, 2, 1, 2, 2, 1, 1, 0])
    scores = model.score(torch.tensor([[-1, -1], [-1, 7], [-1, 8]]))
    for row in scores:
        torch.testing.assert_close(row, BACKOFF * counts / 4)
    assert model.score(torch.empty(2, 0, dtype=torch.int64)).shape == (2, 9)


def test_padding_and_batching_change_nothing() -> None:
    model = fit(SEQUENCES, 8, PLAIN, 5)
    together = model.score(torch.tensor([[-1, -1, -1, 4], [-1, 5, 1, 0], [-1, -1, -1, -1]]))
    alone = [model.score(torch.tensor([row])) for row in ([4], [5, 1, 0], [-1])]
    assert torch.equal(together, torch.cat(alone))


def test_only_the_most_recent_items_vote() -> None:
    model = fit(SEQUENCES, 8, PLAIN, 5, history=2)
    assert torch.equal(model.score(torch.tensor([[6, 3, 1, 0]])), model.score(torch.tensor([[1, 0]])))


def test_labels_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    sequences = [rng.permutation(30)[:6].tolist() for _ in range(60)]
    new = rng.permutation(30)
    history = [3, 17, 4]
    before = fit(sequences, 30, PLAIN, 5).score(torch.tensor([history]))[0].numpy()
    after = fit([new[s].tolist() for s in sequences], 30, PLAIN, 5).score(torch.from_numpy(new[[history]]))[0].numpy()
    np.testing.assert_allclose(after[new], before, rtol=1e-5)


def test_memory_goes_with_pairs_not_with_the_catalogue_squared() -> None:
    n_items = 300_000  # squared, as float32: 335 GiB
    sequences = [[0, 299_999, 150_000], [299_999, 7]]
    model = fit(sequences, n_items, PLAIN, 5)
    best = model.score(torch.tensor([[299_999]]))[0].topk(3).indices.tolist()
    assert set(best[:2]) == {7, 150_000}, "what came after counts more than what came before"
    assert best[2] == 0


def test_grid_is_whole_or_a_seeded_choice() -> None:
    config = KnnConfig()
    points = grid(config, 0)
    assert len(points) == len(set(points)) == 192
    some = grid(KnnConfig(trials=100), 3)
    assert len(set(some)) == 100
    assert set(some) <= set(points)
    assert some == grid(KnnConfig(trials=100), 3) != grid(KnnConfig(trials=100), 4)
