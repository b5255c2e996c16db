"""Choosing the co-occurrence kNN's settings by NDCG@10 on validation, seen items masked: a stated grid, by Bayesian optimisation.

The grid is too large to be tried whole. A seeded choice of its points comes first. Then a Gaussian process over places in the grid
(Matern 5/2, a length scale of its own for each setting, white noise) says what to expect of every other point, and those of the largest
expected improvement (Jones, Schonlau and Welch, 1998) are tried, a few at a time. At last the process, which has smoothed the luck of
single trials away, and the trials themselves name finalists, and all validation users choose among them.
"""

import warnings
from collections.abc import Iterable
from copy import copy
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bbqrec_core.baselines.config import KnnConfig
from bbqrec_core.dataset import EvalSplit, SequenceDataset
from bbqrec_core.evaluation.ranking import sample_users, validation_metrics
from bbqrec_core.prior.cooccurrence import CoOccurrenceKnn, KnnSettings, Neighbours, Pairs, find_neighbours, train_pairs
from bbqrec_core.progress import track

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

SETTINGS = tuple(field.name for field in fields(KnnSettings))
AT_A_TIME = 4
"""Points tried before the process is asked again."""
ANYWHERE = 2000
"""Points all over the grid of which the process is asked each time, beside those near the best."""
PARENTS = 10
"""The best trials, whose surroundings, two steps far, are asked about too."""
RELEARN = 5
"""Times that the process is asked before its length scales are learned anew."""


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


class Grid:
    """The points to choose from.

    Args:
        config: Section `baselines.knn`; each of `SETTINGS` is a list there.
    """

    def __init__(self, config: KnnConfig) -> None:
        self.values: dict[str, tuple[Any, ...]] = {name: getattr(config, name) for name in SETTINGS}
        self.sizes = [len(values) for values in self.values.values()]

    def __len__(self) -> int:
        return int(np.prod(self.sizes, dtype=np.int64))

    def points(self, numbers: np.ndarray) -> list[KnnSettings]:
        """Points by number, 0 to the grid's length."""
        places = np.stack(np.unravel_index(numbers, self.sizes), axis=1).tolist()
        return [KnnSettings(*(values[place] for values, place in zip(self.values.values(), row, strict=True))) for row in places]

    def draw(self, number: int, rng: np.random.Generator) -> list[KnnSettings]:
        """Distinct points at random, or all of a grid that has no more, in the grid's order."""
        return self.points(np.arange(len(self)) if len(self) <= number else np.sort(rng.choice(len(self), number, replace=False)))

    def near(self, settings: KnnSettings) -> list[KnnSettings]:
        """The points one step up and down from another in one setting."""
        found = []
        for name, values in self.values.items():
            place = values.index(getattr(settings, name))
            found += [replace(settings, **{name: values[at]}) for at in (place - 1, place + 1) if 0 <= at < len(values)]
        return found

    def places(self, points: Iterable[KnnSettings]) -> np.ndarray:
        """Where points lie, each setting from 0 to 1: float64 [n, settings]."""
        rows = [[values.index(getattr(point, name)) / max(1, len(values) - 1) for name, values in self.values.items()] for point in points]
        return np.array(rows, dtype=np.float64).reshape(-1, len(SETTINGS))


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

    def judge(self, points: Iterable[KnnSettings]) -> None:
        """Try points, but for those that were tried before."""
        for settings in points:
            if settings not in self.trials:
                value = validation_metrics(self.fit(settings), self.judges)["ndcg_at_10"]
                self.trials[settings] = Trial(settings, len(self.judges), value)

    def judged_by(self, judges: EvalSplit) -> "KnnSearch":
        """A search with other judges that begins anew, over the same pairs."""
        other = copy(self)
        other.judges, other.trials = judges, {}
        return other

    def best(self, number: int) -> list[KnnSettings]:
        """The best points tried, the first of equals first."""
        return [trial.settings for trial in sorted(self.trials.values(), key=lambda trial: -trial.ndcg_at_10)[:number]]


class Surrogate:
    """What a Gaussian process makes of the trials so far; quality is in standard deviations from the mean of all trials.

    Args:
        grid: Where the points lie.
        seed: Decides where the search for length scales begins anew.
    """

    def __init__(self, grid: Grid, seed: int) -> None:
        self._grid, self._seed = grid, seed
        self._process: GaussianProcessRegressor | None = None
        self._asked = 0
        self._best = 0.0

    def learn(self, trials: Iterable[Trial]) -> None:
        """Fit the process; its length scales only every few times, since they change little."""
        # A box with PyTorch alone loads and evaluates models, but does not tune.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        trials = list(trials)
        places = self._grid.places(trial.settings for trial in trials)
        values = np.array([trial.ndcg_at_10 for trial in trials])
        values = (values - values.mean()) / (values.std() or 1.0)
        if self._process is None or self._asked % RELEARN == 0:
            kernel = ConstantKernel(1.0) * Matern([1.0] * len(SETTINGS), (0.1, 20.0), nu=2.5) + WhiteKernel(0.01, (1e-5, 0.3))
            self._process = GaussianProcessRegressor(kernel, random_state=self._seed)
        else:
            self._process = GaussianProcessRegressor(self._process.kernel_, optimizer=None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound: a setting that does not matter
            self._process.fit(places, values)
        self._asked += 1
        self._best = float(self._process.predict(places).max())

    def expect(self, points: list[KnnSettings]) -> np.ndarray:
        """Quality to expect of points, float64 [n]."""
        assert self._process is not None
        return np.asarray(self._process.predict(self._grid.places(points)))

    def improvement(self, points: list[KnnSettings]) -> np.ndarray:
        """How much better than the best point known each may be expected to turn out, where it does, float64 [n]."""
        from scipy.stats import norm

        assert self._process is not None
        mean, deviation = self._process.predict(self._grid.places(points), return_std=True)
        ahead = (mean - self._best) / deviation
        return np.asarray((mean - self._best) * norm.cdf(ahead) + deviation * norm.pdf(ahead))


def explore(search: KnnSearch, config: KnnConfig, seed: int) -> list[KnnSettings]:
    """Try `trials` points of the grid, or all of a smaller one, and name those that all users should judge.

    Args:
        search: Tries points.
        config: Section `baselines.knn`.
        seed: Decides which points come first, and about which others the process is asked.

    Returns:
        Finalists, distinct.
    """
    grid, rng = Grid(config), np.random.default_rng(seed)
    whole = len(grid) <= config.trials
    search.judge(
        track(grid.draw(config.trials if whole else min(config.drawn, config.trials), rng), "tuning the kNN, points drawn", unit="points")
    )
    if whole:
        return search.best(config.finalists)
    surrogate = Surrogate(grid, seed)
    surrogate.learn(search.trials.values())
    for _ in track(range(-(-(config.trials - len(search.trials)) // AT_A_TIME)), "tuning the kNN, improvements", unit="rounds"):
        asked = grid.points(rng.choice(len(grid), min(ANYWHERE, len(grid)), replace=False))
        close = [point for best in search.best(PARENTS) for point in grid.near(best)]
        asked += [*close, *(point for other in close for point in grid.near(other))]
        asked = [point for point in dict.fromkeys(asked) if point not in search.trials]
        order = np.argsort(-surrogate.improvement(asked), kind="stable")
        search.judge(asked[index] for index in order[: min(AT_A_TIME, config.trials - len(search.trials))])
        surrogate.learn(search.trials.values())
    tried = list(search.trials)
    smoothed = [tried[index] for index in np.argsort(-surrogate.expect(tried), kind="stable")]
    return list(dict.fromkeys([*smoothed[: config.finalists // 2], *search.best(config.finalists)]))[: config.finalists]


def tune_knn(data: SequenceDataset, config: KnnConfig, max_history: int, seed: int) -> tuple[CoOccurrenceKnn, list[Trial]]:
    """Search the grid and keep the best.

    Args:
        data: Train sequences, and the validation split that judges.
        config: Section `baselines.knn`.
        max_history: Items of a history that vote.
        seed: Decides which users judge and which points are tried.

    Returns:
        The best recommender, and all trials in order; those of the final, judged by all users, come last.
    """
    search = KnnSearch(data, config, max_history, sample_users(data.valid, config.tuning_users, seed))
    finalists = explore(search, config, seed)
    trials = list(search.trials.values())
    if len(search.judges) < len(data.valid):
        final = search.judged_by(data.valid)
        final.judge(track(finalists, "tuning the kNN, finalists", unit="points"))
        trials += final.trials.values()
        return final.fit(final.best(1)[0]), trials
    return search.fit(search.best(1)[0]), trials


def as_row(trial: Trial) -> dict[str, float]:
    """A trial as a flat row."""
    return {**asdict(trial.settings), "valid_users": trial.users, "valid_ndcg_at_10": trial.ndcg_at_10}
