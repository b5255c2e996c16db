"""The tables of an evaluation against what the ranks say by hand, on an artificial catalogue."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from artificial_ingest import planted_sequences, write_ingest

from bbqrec_core import schema
from bbqrec_core.baselines.popularity import Popularity
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.errors import StageError
from bbqrec_core.evaluation.stage import evaluate
from bbqrec_core.profile import load_profile
from bbqrec_core.stage import StageContext, Statistics

N_ITEMS = 40
FILES = ("metrics", "ranks", "comparisons", "examples")


@dataclass
class Oracle:
    """Knows the planted pattern: after item i comes (7 i + 3) mod n."""

    n_items: int = N_ITEMS
    name: str = "BBQRec"
    max_history: int = 3

    def score(self, histories: torch.Tensor) -> torch.Tensor:
        scores = torch.zeros(len(histories), self.n_items)
        return scores.scatter_(1, (7 * histories[:, -1:] + 3) % self.n_items, 1.0)


class Renamed(Popularity):
    name = "same again"


def evaluated(folder: Path, ingest: Path, **overrides: object) -> Statistics:
    out = folder / "out"
    out.mkdir(parents=True)
    profile = load_profile("demo", {"evaluation": {"bootstrap_samples": 200, "permutation_samples": 500, "examples": 4, **overrides}})
    data = SequenceDataset.load(ingest, 3)
    models = [Oracle(), Popularity(data.train_counts), Renamed(data.train_counts)]
    return evaluate(StageContext(profile, {"ingest": ingest}, out, folder), models)


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sequences = planted_sequences(80, N_ITEMS, seed=1)
    never_trained = N_ITEMS - 1
    kept = [[item for item in sequence if item != never_trained] for sequence in sequences]
    kept[0][-1] = kept[1][-1] = never_trained  # two cold test targets
    return write_ingest(tmp_path_factory.mktemp("evaluate") / "ingest", kept, N_ITEMS)


def test_tables_and_statistics(tmp_path: Path, ingest: Path) -> None:
    statistics = evaluated(tmp_path, ingest)
    tables = {name: pq.read_table(tmp_path / "out" / f"{name}.parquet") for name in FILES}
    wanted = {"metrics": schema.METRICS, "ranks": schema.RANKS, "comparisons": schema.COMPARISONS, "examples": schema.EXAMPLES}
    assert all(tables[name].schema.equals(wanted[name]) for name in FILES)

    metrics = {(row["model"], row["split"], row["masked"], row["metric"]): row for row in tables["metrics"].to_pylist()}
    assert len(metrics) == len(tables["metrics"])
    ranks = tables["ranks"].to_pandas()
    assert len(ranks) == 3 * 2 * 80
    for (model, masked), group in ranks.groupby(["model", "masked"]):
        # Recall@1 by the definition: one over the size of the tie at the very top.
        expected = np.where(group["above"] == 0, 1 / (group["tied"] + 1), 0).mean()
        row = metrics[model, "test", bool(masked), "recall_at_1"]
        assert row["value"] == pytest.approx(expected)
        assert row["low"] <= row["value"] <= row["high"]
    assert statistics["ndcg_at_10"] == metrics["BBQRec", "test", True, "ndcg_at_10"]["value"]
    assert statistics["null_metrics"] == 0
    assert metrics["popularity", "test", True, "coverage_at_10"]["low"] is None
    # Recommending popular items to everybody, unmasked: the ten most popular of 40, whose places lie above 0.75.
    assert metrics["popularity", "test", False, "popularity_percentile_at_10"]["value"] > 0.8
    assert metrics["popularity", "test", False, "coverage_at_10"]["value"] == 10 / N_ITEMS
    assert statistics["cold_targets"] == 2
    assert metrics["popularity", "test", False, "cold_recall_at_10"]["value"] == 0
    assert ("popularity", "valid", True, "cold_recall_at_10") not in metrics, "no cold targets, no metric of them"


def test_who_has_everything_spoils_no_mean(tmp_path: Path) -> None:
    """A shop that sells things twice: nothing is left to recommend to that one user."""
    sequences = [*planted_sequences(20, N_ITEMS, seed=1), [*range(N_ITEMS), 5]]
    statistics = evaluated(tmp_path / "with", write_ingest(tmp_path / "ingest", sequences, N_ITEMS))
    assert statistics["null_metrics"] == 0
    rows = pq.read_table(tmp_path / "with" / "out" / "metrics.parquet").to_pylist()
    for row in rows:
        if row["metric"] == "popularity_percentile_at_10":
            assert 0 < row["low"] <= row["value"] <= row["high"] < 1


def test_planted_pattern_beats_popularity_and_equals_compare_as_equal(tmp_path: Path, ingest: Path) -> None:
    statistics = evaluated(tmp_path, ingest)
    assert statistics["best_baseline"] == "popularity"
    assert statistics["ndcg_over_best_baseline"] == statistics["ndcg_over_popularity"] > 1
    rows = {row["baseline"]: row for row in pq.read_table(tmp_path / "out" / "comparisons.parquet").to_pylist()}
    assert set(rows) == {"popularity", "same again"}
    assert rows["popularity"] | {"baseline": ""} == rows["same again"] | {"baseline": ""}, "equal baselines, equal comparisons"
    assert rows["popularity"]["p"] == 1 / 501
    assert rows["popularity"]["p_holm"] == pytest.approx(2 / 501)
    assert rows["popularity"]["low"] > 0


def test_a_part_of_ours_is_shown_and_compared_but_never_the_opponent(tmp_path: Path, ingest: Path) -> None:
    data = SequenceDataset.load(ingest, 3)
    context = StageContext(load_profile("demo"), {"ingest": ingest}, tmp_path, tmp_path)
    part = Oracle(name="BBQRec without prior")
    statistics = evaluate(context, [Oracle(), Popularity(data.train_counts)], [part])
    assert statistics["best_baseline"] == "popularity"
    assert statistics["models_evaluated"] == 3
    rows = {row["baseline"]: row for row in pq.read_table(tmp_path / "comparisons.parquet").to_pylist()}
    assert set(rows) == {"BBQRec without prior", "popularity"}
    assert rows[part.name]["difference"] == 0


def test_what_was_refitted_is_ranked_for_test_alone_and_tells_of_what_is_registered(tmp_path: Path, ingest: Path) -> None:
    data = SequenceDataset.load(ingest, 3)
    context = StageContext(load_profile("demo"), {"ingest": ingest}, tmp_path, tmp_path)
    weak, strong = Popularity(data.train_counts), Oracle(name="BBQRec refitted")
    weak.name = "BBQRec"
    statistics = evaluate(context, [weak, Renamed(data.train_counts)], [], [strong])
    assert statistics["best_baseline"] == "same again" and statistics["models_evaluated"] == 3
    assert statistics["registered_ndcg_at_10"] > statistics["ndcg_at_10"]
    ratio = statistics["registered_ndcg_at_10"] / statistics["ndcg_at_10"]
    assert statistics["registered_ndcg_over_ours"] == pytest.approx(ratio)
    rows = pq.read_table(tmp_path / "metrics.parquet").to_pylist()
    assert {row["model"] for row in rows if row["split"] == "valid"} == {"BBQRec", "same again"}
    assert {row["model"] for row in rows if row["split"] == "test"} == {"BBQRec", "same again", "BBQRec refitted"}
    assert pq.read_table(tmp_path / "comparisons.parquet")["baseline"].to_pylist() == ["same again"]


def test_without_refitting_ours_is_registered(tmp_path: Path, ingest: Path) -> None:
    statistics = evaluated(tmp_path, ingest)
    assert statistics["registered_ndcg_at_10"] == statistics["ndcg_at_10"] and statistics["registered_ndcg_over_ours"] == 1


def test_examples_recommend_nothing_seen(tmp_path: Path, ingest: Path) -> None:
    evaluated(tmp_path, ingest)
    rows = pq.read_table(tmp_path / "out" / "examples.parquet").to_pylist()
    assert [row["model"] for row in rows] == ["BBQRec", "popularity"] * 4
    test = {row["user_idx"]: row for row in pq.read_table(ingest / "test.parquet").to_pylist()}
    for row in rows:
        assert row["history"] == test[row["user_idx"]]["history"]
        assert row["target"] == test[row["user_idx"]]["target"]
        assert len(set(row["recommended"])) == 10
        assert not set(row["recommended"]) & set(row["history"])


def test_same_seed_same_bytes(tmp_path: Path, ingest: Path) -> None:
    assert evaluated(tmp_path / "a", ingest) == evaluated(tmp_path / "b", ingest)
    for name in FILES:
        assert (tmp_path / "a" / "out" / f"{name}.parquet").read_bytes() == (tmp_path / "b" / "out" / f"{name}.parquet").read_bytes()


def test_cut_offs_beyond_the_catalogue_and_ten_always(tmp_path: Path, ingest: Path) -> None:
    evaluated(tmp_path, ingest, ks=[1000])
    rows = pq.read_table(tmp_path / "out" / "metrics.parquet").to_pylist()
    assert {row["value"] for row in rows if row["metric"] == "recall_at_1000"} == {1.0}
    assert any(row["metric"] == "ndcg_at_10" for row in rows)


def test_a_model_of_another_catalogue_is_refused(tmp_path: Path, ingest: Path) -> None:
    context = StageContext(load_profile("demo"), {"ingest": ingest}, tmp_path, tmp_path)
    with pytest.raises(StageError, match="knows 7 items, the catalogue has 40"):
        evaluate(context, [Oracle(n_items=7)])
    with pytest.raises(StageError, match="one name"):
        evaluate(context, [Oracle(), Oracle()])


def test_no_baseline_at_all(tmp_path: Path, ingest: Path) -> None:
    statistics = evaluate(StageContext(load_profile("demo"), {"ingest": ingest}, tmp_path, tmp_path), [Oracle()])
    assert statistics["best_baseline"] is None
    assert statistics["ndcg_over_best_baseline"] is None
    assert pq.read_table(tmp_path / "comparisons.parquet").num_rows == 0
