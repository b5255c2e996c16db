"""Choosing the co-occurrence kNN's settings: a stated grid, judged by NDCG@10 on validation, seen items masked."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from bbqrec_core.baselines.config import KnnConfig
from bbqrec_core.baselines.cooccurrence import CoOccurrenceKnn, KnnSettings, Neighbours, find_neighbours, train_pairs
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.evaluation.ranking import sample_users, validation_metrics
from bbqrec_core.progress import track


@dataclass(frozen=True)
class Trial:
    """One grid point and what it came to on validation."""

    settings: KnnSettings
    ndcg_at_10: float


def grid(config: KnnConfig, seed: int) -> list[KnnSettings]:
    """The grid points to try, those that share neighbours one after another.

    Args:
        config: The grid, and how many of its points to try.
        seed: Decides which, if not all.
    """
    points = [
        KnnSettings(*point)
        for point in product(config.distance_decay, config.backward, config.popularity, config.recency_decay, config.rarity)
    ]
    if not 0 < config.trials < len(points):
        return points
    chosen = np.random.default_rng(seed).choice(len(points), config.trials, replace=False)
    return [points[index] for index in np.sort(chosen)]


def tune_knn(data: SequenceDataset, config: KnnConfig, max_history: int, seed: int) -> tuple[CoOccurrenceKnn, list[Trial]]:
    """Try the grid and keep the best.

    Args:
        data: Train sequences, and the validation split that judges.
        config: Section `baselines.knn`.
        max_history: Items of a history that vote.
        seed: Decides which users judge and which points are tried, where not all.

    Returns:
        The best recommender (the first of equals), and all trials in order.
    """
    pairs = train_pairs(data, config.window)
    judges = sample_users(data.valid, config.tuning_users, seed)
    trials: list[Trial] = []
    best: CoOccurrenceKnn | None = None
    best_value = -1.0
    shared: tuple[float, float, float] | None = None
    neighbours: Neighbours
    for settings in track(grid(config, seed), "tuning the kNN, grid points", unit="points"):
        key = (settings.distance_decay, settings.backward, settings.popularity)
        if key != shared:
            shared, neighbours = key, find_neighbours(pairs, data.train_counts, settings, config.neighbours)
        candidate = CoOccurrenceKnn(neighbours, data.train_counts, settings, max_history)
        value = validation_metrics(candidate, judges)["ndcg_at_10"]
        trials.append(Trial(settings, value))
        if value > best_value:
            best, best_value = candidate, value
    assert best is not None  # the grid is never empty: every list of the section has at least one value
    return best, trials
