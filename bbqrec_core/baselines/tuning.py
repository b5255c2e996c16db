"""Choosing the co-occurrence kNN's settings by NDCG@10 on validation, seen items masked: a stated grid, searched at random, then refined.

The grid is too large to be tried whole. A seeded choice of its points comes first; from each of the best of them every setting is moved one
step up and down, as long as that helps; the best of all these are judged once more by every validation user.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from bbqrec_core.baselines.config import KnnConfig
from bbqrec_core.baselines.cooccurrence import CoOccurrenceKnn, KnnSettings, Neighbours, Pairs, find_neighbours, train_pairs
from bbqrec_core.dataset import EvalSplit, SequenceDataset
from bbqrec_core.evaluation.ranking import sample_users, validation_metrics
from bbqrec_core.progress import track

SETTINGS = tuple(field.name for field in fields(KnnSettings))


@dataclass(frozen=True)
class Trial:
    """One grid point and what it came to on validation.

    Attributes:
        settings: The grid point.
        users: How many judged it.
        ndcg_at_10: By them.
    """

    settings: KnnSettings
    users: int
    ndcg_at_10: float


def random_points(config: KnnConfig, seed: int) -> list[KnnSettings]:
    """Distinct grid points, a seeded choice of `trials`, or all of a grid that has no more.

    Args:
        config: The grid, and how many of its points to try.
        seed: Decides which, if not all.
    """
    sizes = [len(getattr(config, name)) for name in SETTINGS]
    whole = int(np.prod(sizes, dtype=np.int64))
    numbers = np.arange(whole) if whole <= config.trials else np.random.default_rng(seed).choice(whole, config.trials, replace=False)
    places = np.stack(np.unravel_index(np.sort(numbers), sizes), axis=1)
    return [KnnSettings(*(getattr(config, name)[place] for name, place in zip(SETTINGS, row, strict=True))) for row in places.tolist()]


def steps_from(settings: KnnSettings, name: str, config: KnnConfig) -> list[KnnSettings]:
    """The grid points one step down and up from another in one setting."""
    values = getattr(config, name)
    place = values.index(getattr(settings, name))
    return [replace(settings, **{name: values[near]}) for near in (place - 1, place + 1) if 0 <= near < len(values)]


class KnnSearch:
    """Fits and judges grid points, none twice.

    Args:
        data: Train sequences.
        config: Section `baselines.knn`.
        max_history: Items of a history that vote.
        judges: Validation users that judge.
    """

    def __init__(self, data: SequenceDataset, config: KnnConfig, max_history: int, judges: EvalSplit) -> None:
        self.judges = judges
        self.trials: dict[KnnSettings, Trial] = {}
        self._counts = data.train_counts
        self._max_history = max_history
        self._pairs: Pairs = train_pairs(data, max(config.window))
        self._shared: tuple[tuple[float, ...], Neighbours] | None = None

    def fit(self, settings: KnnSettings) -> CoOccurrenceKnn:
        """The kNN of a grid point."""
        if self._shared is None or self._shared[0] != settings.of_neighbours:
            self._shared = settings.of_neighbours, find_neighbours(self._pairs, self._counts, settings)
        return CoOccurrenceKnn(self._shared[1], self._counts, settings, self._max_history)

    def judge(self, points: Iterable[KnnSettings]) -> list[Trial]:
        """Try points, those that were tried before without doing it again."""
        return [self._judge(settings) for settings in points]

    def refine(self, start: Trial, config: KnnConfig) -> None:
        """Move every setting one step up and down from a trial, and go on from whatever is better, `sweeps` times or until nothing is."""
        best = start
        for _ in range(config.sweeps):
            before = best
            for name in track(SETTINGS, "refining the kNN, settings", unit="settings"):
                best = max([best, *self.judge(steps_from(best.settings, name, config))], key=lambda trial: trial.ndcg_at_10)
            if best == before:
                break

    def _judge(self, settings: KnnSettings) -> Trial:
        if settings not in self.trials:
            value = validation_metrics(self.fit(settings), self.judges)["ndcg_at_10"]
            self.trials[settings] = Trial(settings, len(self.judges), value)
        return self.trials[settings]

    def best(self, number: int) -> list[Trial]:
        """The best trials, the first of equals first."""
        return sorted(self.trials.values(), key=lambda trial: -trial.ndcg_at_10)[:number]


def tune_knn(data: SequenceDataset, config: KnnConfig, max_history: int, seed: int) -> tuple[CoOccurrenceKnn, list[Trial]]:
    """Search the grid and keep the best.

    Args:
        data: Train sequences, and the validation split that judges.
        config: Section `baselines.knn`.
        max_history: Items of a history that vote.
        seed: Decides which users judge and which points are drawn.

    Returns:
        The best recommender, and all trials in order; those of the final, judged by all users, come last.
    """
    search = KnnSearch(data, config, max_history, sample_users(data.valid, config.tuning_users, seed))
    search.judge(track(random_points(config, seed), "tuning the kNN, grid points", unit="points"))
    for start in search.best(config.starts):
        search.refine(start, config)
    best = search.best(1)[0]
    trials = list(search.trials.values())
    if len(search.judges) < len(data.valid):
        final = KnnSearch(data, config, max_history, data.valid)
        final.judge(trial.settings for trial in search.best(config.finalists))
        best = final.best(1)[0]
        trials += final.trials.values()
    return search.fit(best.settings), trials


def as_row(trial: Trial) -> dict[str, float]:
    """A trial as a flat row."""
    return {**asdict(trial.settings), "valid_users": trial.users, "valid_ndcg_at_10": trial.ndcg_at_10}
