"""Full ranking against a slow one, and its corner cases: ties, masks, repeats, tiny catalogues, users who have seen everything."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from artificial_ingest import write_ingest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbqrec_core import schema
from bbqrec_core.dataset import PADDING, EvalSplit, SequenceDataset, pad_left
from bbqrec_core.errors import StageError
from bbqrec_core.evaluation import ranking


@dataclass
class Table:
    """Scores by the last item of the history; row n_items for an empty one."""

    scores: torch.Tensor
    name: str = "table"

    @property
    def n_items(self) -> int:
        return self.scores.shape[1]

    @property
    def max_history(self) -> int:
        return 1

    def score(self, histories: torch.Tensor) -> torch.Tensor:
        return self.scores[histories[:, -1]]  # PADDING is -1: the last row


def split_of(histories: list[list[int]], targets: list[int], width: int = 5) -> EvalSplit:
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])]).astype(np.int64)
    items = np.array([item for history in histories for item in history], dtype=np.int64)
    users = np.arange(len(targets), dtype=np.int32) * 7
    return EvalSplit(users, pad_left(offsets, items, width), np.array(targets, dtype=np.int64), offsets, items)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Table, EvalSplit]:
    n_items = draw(st.integers(2, 9))
    # Few distinct values, so that ties abound; minus zero must tie with zero.
    values = st.sampled_from([-2.5, -1.0, -0.0, 0.0, 0.5, 1e-30, 3.0])
    row = st.lists(values, min_size=n_items, max_size=n_items)
    scores = torch.tensor(draw(st.lists(row, min_size=n_items + 1, max_size=n_items + 1)), dtype=torch.float32)
    item = st.integers(0, n_items - 1)
    users = draw(st.lists(st.tuples(st.lists(item, max_size=12), item), min_size=1, max_size=6))
    return Table(scores), split_of([history for history, _ in users], [target for _, target in users])


@given(cases(), st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_equals_a_slow_ranking(case: tuple[Table, EvalSplit], k: int) -> None:
    table, split = case
    rankings = ranking.rank_split(table, split, k)
    for row in range(len(split)):
        scores = table.score(torch.from_numpy(split.histories[row : row + 1]))[0].tolist()
        target = int(split.targets[row])
        seen = set(split.seen_items[split.seen_offsets[row] : split.seen_offsets[row + 1]].tolist())
        for masked in (True, False):
            candidates = [item for item in range(table.n_items) if not (masked and item in seen)]
            ranks, top = rankings[masked].ranks, rankings[masked].top
            if target in candidates:
                assert ranks.above[row] == sum(scores[item] > scores[target] for item in candidates)
                assert ranks.tied[row] == sum(scores[item] == scores[target] for item in candidates) - 1
            else:
                assert (ranks.above[row], ranks.tied[row]) == (ranking.MISSED, 0)
            best = sorted(candidates, key=lambda item: (-scores[item], item))[:k]
            assert top[row].tolist() == best + [PADDING] * (k - len(best))


def test_a_target_that_the_user_has_is_missed_where_seen_items_are_masked() -> None:
    table = Table(torch.tensor([[0.1, 0.9, 0.5]] * 4))
    rankings = ranking.rank_split(table, split_of([[1, 2]], [1]), 3)
    assert (rankings[True].ranks.above[0], rankings[True].ranks.tied[0]) == (ranking.MISSED, 0)
    assert rankings[True].top[0].tolist() == [0, PADDING, PADDING]
    assert (rankings[False].ranks.above[0], rankings[False].ranks.tied[0]) == (0, 0)


def test_what_a_user_has_of_the_items_held_out_is_masked_and_nothing_else_of_it() -> None:
    table = Table(torch.tensor([[5.0, 4.0, 3.0, 2.0]] * 5))
    split = replace(split_of([[3], [3]], [2, 2]), withheld_offsets=np.array([0, 2, 2]), withheld_items=np.array([0, 1]))
    assert ranking.rank_split(table, split)[True].ranks.above.tolist() == [0, 2]
    assert ranking.rank_split(table, split)[False].ranks.above.tolist() == [2, 2]
    second = ranking.rank_split(table, split.of(np.array([1])))
    assert second[True].ranks.above.tolist() == [2] and len(split.nobody()) == 0


def test_held_out_purchases_are_read_for_those_who_made_them(tmp_path: Path) -> None:
    ingest = write_ingest(tmp_path, [[0, 1, 2, 3], [4, 1, 2, 0]], 6)
    columns = {schema.USER_IDX: [1, 0, 1], schema.ITEM_IDX: [5, 4, 3], "part": ["held_out", "train", "held_out"]}
    pq.write_table(pa.table(columns), ingest / "interactions.parquet")
    test = SequenceDataset.load(ingest, 2).test
    rows, items = ranking.seen_items(test, slice(0, 2))
    pairs = sorted(zip(rows.tolist(), items.tolist(), strict=True))
    assert pairs == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5)]
    assert test.histories.tolist() == [[1, 2], [1, 2]]


def test_user_who_has_seen_all_but_the_target() -> None:
    table = Table(torch.tensor([[5.0, 4.0, 3.0, 1.0]] * 5))
    rankings = ranking.rank_split(table, split_of([[0, 1, 2]], [3]), 10)
    assert rankings[True].ranks.above[0] == 0
    assert rankings[False].ranks.above[0] == 3
    assert rankings[True].top[0].tolist() == [3] + [PADDING] * 9


def test_whole_history_is_masked_not_just_the_padded_one() -> None:
    table = Table(torch.tensor([[5.0, 4.0, 3.0, 1.0]] * 5))
    split = split_of([[0, 1, 2]], [3], width=1)
    assert ranking.rank_split(table, split, 1)[True].ranks.above[0] == 0


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    table = Table(torch.from_numpy(rng.normal(size=(41, 40)).astype(np.float32)))
    split = split_of([rng.integers(40, size=rng.integers(9)).tolist() for _ in range(300)], rng.integers(40, size=300).tolist())
    whole = ranking.rank_split(table, split, 7)
    monkeypatch.setattr(ranking, "FIRST_BATCH", 7)
    monkeypatch.setattr(ranking, "MAX_SCORES", 40 * 13)
    cut = ranking.rank_split(table, split, 7)
    for masked in (True, False):
        np.testing.assert_array_equal(whole[masked].ranks.above, cut[masked].ranks.above)
        np.testing.assert_array_equal(whole[masked].top, cut[masked].top)


def test_a_large_catalogue_is_scored_for_few_users_from_the_first_batch_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(Table):
        def score(self, histories: torch.Tensor) -> torch.Tensor:
            asked.append(len(histories))
            return super().score(histories)

    table, split = Counting(torch.zeros(41, 40)), split_of([[1]] * 20, [2] * 20)
    monkeypatch.setattr(ranking, "MAX_SCORES", 40 * 8)
    for rank in (ranking.rank_split, ranking.validation_metrics):
        asked: list[int] = []
        rank(table, split)
        assert asked == [8, 8, 4]


def test_labels_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    n = 30
    scores = rng.integers(5, size=(n + 1, n)).astype(np.float32)
    histories = [rng.integers(n, size=rng.integers(1, 9)).tolist() for _ in range(50)]
    targets = rng.integers(n, size=50).tolist()
    new = rng.permutation(n)
    relabelled = np.empty_like(scores)
    relabelled[np.append(new, n)[:, None], new[None, :]] = scores
    before = ranking.validation_metrics(Table(torch.from_numpy(scores)), split_of(histories, targets), (1, 5, 10))
    after_split = split_of([new[history].tolist() for history in histories], new[targets].tolist())
    assert ranking.validation_metrics(Table(torch.from_numpy(relabelled)), after_split, (1, 5, 10)) == before


def test_validation_metrics_take_a_function_and_agree_with_the_ranking() -> None:
    table = Table(torch.tensor([[1.0, 2.0, 3.0]] * 4))
    split = split_of([[2], []], [1, 0])
    # User 1: item 2 masked, so the target is first. User 2: nothing masked, the target is third.
    expected = {"recall_at_1": 0.5, "ndcg_at_1": 0.5, "recall_at_10": 1.0, "ndcg_at_10": 0.75, "mrr": (1 + 1 / 3) / 2}
    assert ranking.validation_metrics(table.score, split, (1, 10)) == pytest.approx(expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_no_numbers_are_an_error(value: float) -> None:
    scores = torch.ones(4, 3)
    scores[1, 2] = value
    with pytest.raises(StageError, match="table gives user 7 scores"):
        ranking.validation_metrics(Table(scores), split_of([[0], [1]], [1, 2]))


def test_nobody_to_rank_for_is_an_error() -> None:
    with pytest.raises(StageError, match="no users"):
        ranking.rank_split(Table(torch.ones(4, 3)), split_of([], []))


def test_sample_of_users_keeps_their_histories() -> None:
    rng = np.random.default_rng(2)
    split = split_of([rng.integers(40, size=rng.integers(9)).tolist() for _ in range(100)], rng.integers(40, size=100).tolist())
    sample = ranking.sample_users(split, 30, seed=5)
    assert len(sample) == 30
    assert len(set(sample.users.tolist())) == 30
    for row, user in enumerate(sample.users):
        original = int(user) // 7
        assert sample.targets[row] == split.targets[original]
        np.testing.assert_array_equal(sample.histories[row], split.histories[original])
        np.testing.assert_array_equal(
            sample.seen_items[sample.seen_offsets[row] : sample.seen_offsets[row + 1]],
            split.seen_items[split.seen_offsets[original] : split.seen_offsets[original + 1]],
        )
    np.testing.assert_array_equal(ranking.sample_users(split, 30, seed=5).users, sample.users)
    assert ranking.sample_users(split, 0, seed=5) is split
    assert ranking.sample_users(replace(split), 1000, seed=5).users is split.users
