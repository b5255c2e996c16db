"""TIGER: what its beam finds, that company makes no difference, learning, resuming, and the way to disk and back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from artificial_ingest import planted_sequences, write_ingest
from pydantic import ValidationError

from bbqrec_core.baselines import load_recommenders
from bbqrec_core.baselines.config import TigerConfig
from bbqrec_core.baselines.tiger import NOT_FOUND, PAD, Tiger, TigerModel
from bbqrec_core.baselines.tiger_training import batches_of_like_length, train_tiger, training_examples
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.errors import StageError
from bbqrec_core.evaluation.ranking import validation_metrics

N_ITEMS = 30
IDS = torch.tensor([[item % 5, item // 5, (item * item) % 4] for item in range(N_ITEMS)])
COUNTS = torch.arange(N_ITEMS)
QUICK = TigerConfig(examples=200, checks=3, batch_size=32, selection_users=20)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    sequences = planted_sequences(60, N_ITEMS, seed=2, follow=0.95)
    return SequenceDataset.load(write_ingest(tmp_path_factory.mktemp("tiger"), sequences, N_ITEMS), 10)


def tiger(ids: torch.Tensor = IDS, beams: int = N_ITEMS) -> Tiger:
    torch.manual_seed(1)
    return Tiger(TigerModel(ids), COUNTS, 10, beams)


@torch.no_grad()
def log_probabilities(model: TigerModel, history: list[int]) -> torch.Tensor:
    """Of every item's ID, code by code, with all the others of a level allowed too."""
    tokens = model.tokens
    encoded = model.tokens[torch.tensor(history)].flatten().repeat(len(tokens), 1)
    before = torch.cat([torch.full_like(tokens[:, :1], PAD), tokens[:, :-1]], dim=1)
    logits = model.network(input_ids=encoded, decoder_input_ids=before).logits.log_softmax(-1)
    return logits.gather(2, tokens[..., None])[..., 0].sum(1)


def test_a_beam_as_wide_as_the_catalogue_scores_every_item_by_its_id() -> None:
    recommender = tiger()
    scores = recommender.score(torch.tensor([[-1, -1, 4, 9], [1, 2, 3, 8]]))
    assert scores.dtype == torch.float32 and bool(scores.isfinite().all())
    torch.testing.assert_close(scores[0], log_probabilities(recommender.model, [4, 9]), atol=2e-4, rtol=0)
    torch.testing.assert_close(scores[1], log_probabilities(recommender.model, [1, 2, 3, 8]), atol=2e-4, rtol=0)


def test_a_narrow_beam_finds_what_it_finds_and_leaves_the_others_alike_below() -> None:
    wide, narrow = (tiger(beams=beams).score(torch.tensor([[3, 5]]))[0] for beams in (N_ITEMS, 4))
    found = narrow > NOT_FOUND
    assert int(found.sum()) == 4
    torch.testing.assert_close(narrow[found], wide[found], atol=2e-4, rtol=0)


def test_more_beams_than_ids_and_shared_ids() -> None:
    ids = IDS.clone()
    ids[7] = ids[20]
    scores = tiger(ids, beams=N_ITEMS + 10).score(torch.tensor([[3, 5]]))[0]
    assert bool((scores > NOT_FOUND).all()) and scores[7] == scores[20]
    model = tiger(ids).model
    torch.testing.assert_close(scores[7], log_probabilities(model, [3, 5])[7] - np.log(2), atol=2e-4, rtol=0)


def test_company_makes_no_difference_and_nobody_is_answered_by_popularity() -> None:
    recommender = tiger(beams=6)
    rng = np.random.default_rng(0)
    histories = torch.from_numpy(np.where(np.arange(14) < rng.integers(0, 15, (90, 1)), -1, rng.integers(N_ITEMS, size=(90, 14))))
    histories[5] = -1
    together = recommender.score(histories)
    assert together[5].tolist() == COUNTS.tolist()
    alone = torch.cat([recommender.score(histories[row : row + 1]) for row in range(90)])
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=0)


def test_every_interaction_but_the_first_is_a_target_with_what_came_before(data: SequenceDataset) -> None:
    histories, targets = training_examples(data, 2)
    expected = [
        (([-1] * 2 + user[:place])[-2:], user[place])
        for user in np.split(data.train_items, data.train_offsets[1:-1])
        for user in [user.tolist()]
        for place in range(1, len(user))
    ]
    assert list(zip(histories.tolist(), targets.tolist(), strict=True)) == expected


def test_a_pass_has_every_row_once_in_batches_alike_in_length() -> None:
    lengths = np.random.default_rng(1).integers(1, 21, 3000)
    batches = batches_of_like_length(lengths, 16, np.random.default_rng(2))
    assert sorted(np.concatenate(batches).tolist()) == list(range(3000))
    assert max(map(len, batches)) == 16
    padded = sum(len(rows) * int(lengths[rows].max()) for rows in batches)
    assert padded < 1.2 * lengths.sum()
    assert [rows.tolist() for rows in batches] != [rows.tolist() for rows in batches_of_like_length(lengths, 16, np.random.default_rng(3))]


def test_it_learns_what_follows(tmp_path: Path) -> None:
    chains = [[(start + 3 * step) % N_ITEMS for step in range(6)] for start in range(N_ITEMS)]
    data = SequenceDataset.load(write_ingest(tmp_path, chains, N_ITEMS), 10)
    untrained = validation_metrics(tiger(beams=20), data.valid)["ndcg_at_10"]
    config = TigerConfig(examples=1500, checks=2, batch_size=16, learning_rate=3e-3)
    trained, progress = train_tiger(data, IDS, config, 10, seed=1)
    values = [value for _, name, value in progress.curve if name.startswith("valid")]
    assert len(values) == 2 and max(values) == progress.best_ndcg
    assert validation_metrics(trained, data.valid)["ndcg_at_10"] == pytest.approx(progress.best_ndcg)
    assert progress.best_ndcg > untrained + 0.3


def same(one: Tiger, other: Tiger) -> bool:
    pairs = zip(one.model.network.parameters(), other.model.network.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_resumed_training_ends_with_the_same_weights(data: SequenceDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bbqrec_core.baselines import tiger_training

    whole, progress = train_tiger(data, IDS, QUICK, 10, seed=1)
    real, begun = tiger_training._train, []

    def killed_in_the_second(*arguments: object) -> float:
        begun.append(arguments[6])
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tiger_training, "_train", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        train_tiger(data, IDS, QUICK, 10, seed=1, checkpoint=tmp_path / "tiger.pt")
    resumed, resumed_progress = train_tiger(data, IDS, QUICK, 10, seed=1, checkpoint=tmp_path / "tiger.pt")
    assert begun == [0, 66, 66, 133], "the first stretch is not done again"
    assert same(whole, resumed) and resumed_progress == progress
    assert not same(whole, train_tiger(data, IDS, QUICK, 10, seed=2)[0])


def test_what_is_loaded_scores_as_what_was_saved(tmp_path: Path) -> None:
    recommender = tiger(beams=7)
    recommender.save(tmp_path / "tiger")
    [loaded] = load_recommenders(tmp_path)
    histories = torch.tensor([[-1, 4, 9], [1, 2, 3], [-1, -1, -1]])
    assert loaded.name == "TIGER" and loaded.max_history == 10
    assert torch.equal(loaded.score(histories), recommender.score(histories))


def test_a_budget_without_a_step_before_each_check_and_a_beam_of_one_are_refused() -> None:
    with pytest.raises(ValidationError, match="do not give a step before each of 5 checks"):
        TigerConfig(examples=100, checks=5, batch_size=64)
    with pytest.raises(ValidationError, match="beams"):
        TigerConfig(beams=1)
    assert bool(tiger(beams=2).score(torch.tensor([[3, 5]])).isfinite().all())


def test_nothing_to_learn_from_is_an_error(tmp_path: Path) -> None:
    few = SequenceDataset.load(write_ingest(tmp_path, [[0, 1, 2], [2, 0, 1]], 3), 10)
    with pytest.raises(StageError, match="nothing to learn from"):
        train_tiger(few, IDS[:3], QUICK, 10, seed=1)
