"""SASRec: no look into the future, no dependence on padding, learning what is there, resuming to the same weights."""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from artificial_ingest import planted_sequences, write_ingest
from hypothesis import given
from hypothesis import strategies as st

from bbqrec_core.baselines import load_recommenders
from bbqrec_core.baselines.config import SasrecConfig
from bbqrec_core.baselines.sasrec import ABSENT, Sasrec, SasrecModel, align_left, code_rows
from bbqrec_core.baselines.sasrec_training import schedule, train_sasrec, training_windows
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.errors import StageError
from bbqrec_core.sequence.catalogue import Catalogue
from bbqrec_core.sequence.similarity import SimilarityBuckets, SimilaritySpec

N_ITEMS = 30
SMALL = SasrecConfig(dimensions=16, epochs=3, patience=3, batch_size=32)
PLANTED = planted_sequences(150, N_ITEMS, seed=2, follow=0.9)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    return SequenceDataset.load(write_ingest(tmp_path_factory.mktemp("sasrec"), PLANTED, N_ITEMS), 10)


def model() -> SasrecModel:
    torch.manual_seed(0)
    return SasrecModel(N_ITEMS, 10, 16, 2, 2).eval()


def test_how_long_vectors_are_changes_nothing_inside_the_blocks() -> None:
    network, items = model(), torch.tensor([[3, 7, 1, 19, 4]])
    with torch.no_grad():
        before = network(items)
        for vectors in (network.item, network.position):
            vectors.weight.mul_(50)
        torch.testing.assert_close(network(items), before, rtol=0.02, atol=0.02)
        network.item.weight.copy_(torch.randn(N_ITEMS, 16))
        assert (network(items) - before).abs().max() > 0.2


def test_no_position_sees_the_future() -> None:
    items = torch.randint(N_ITEMS, (4, 10), generator=torch.Generator().manual_seed(1))
    changed = items.clone()
    changed[:, 6:] = (changed[:, 6:] + 5) % N_ITEMS
    with torch.no_grad():
        before, after = model()(items), model()(changed)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_the_past_matters_in_its_order() -> None:
    with torch.no_grad():
        one, other = model()(torch.tensor([[1, 2, 3]])), model()(torch.tensor([[2, 1, 3]]))
    assert not torch.allclose(one[:, 2], other[:, 2])


def similarity_buckets(kind: Literal["quantile", "prefix"]) -> SimilarityBuckets:
    generator = torch.Generator().manual_seed(4)
    codes = torch.randint(3, (N_ITEMS, 3), generator=generator)
    present = torch.rand(N_ITEMS, generator=generator) < 0.8
    vectors = torch.randn(N_ITEMS, 5, generator=generator)
    catalogue = Catalogue({"text": codes}, {"text": present}, {"text": vectors}, torch.ones(N_ITEMS, dtype=torch.bool))
    return SimilarityBuckets(catalogue, SimilaritySpec.fit(catalogue, ("text",), kind, 4, 1))


@pytest.mark.parametrize("kind", ["quantile", "prefix"])
def test_reweighting_starts_as_nothing_never_opens_the_future_and_comes_back_from_disk(
    kind: Literal["quantile", "prefix"], tmp_path: Path
) -> None:
    items = torch.randint(N_ITEMS, (2, 7), generator=torch.Generator().manual_seed(2))
    plain = model()
    net = SasrecModel(N_ITEMS, 10, 16, 2, 2, buckets=similarity_buckets(kind)).eval()
    net.load_state_dict(plain.state_dict(), strict=False)
    assert net.similarity is not None
    with torch.no_grad():
        torch.testing.assert_close(net(items), plain(items))
        net.similarity.weight.normal_(std=3, generator=torch.Generator().manual_seed(5))
        reweighted = net(items)
        assert not torch.allclose(reweighted, plain(items))
        changed = items.clone()
        changed[:, 5:] = (changed[:, 5:] + 5) % N_ITEMS
        torch.testing.assert_close(net(changed)[:, :5], reweighted[:, :5])
    saved = Sasrec(net, torch.ones(N_ITEMS))
    saved.save(tmp_path / "baseline")
    loaded = load_recommenders(tmp_path)[0]
    assert loaded.name == saved.name == "SASRec with codes, reweighted"
    assert torch.equal(loaded.score(items), saved.score(items))


def test_similarity_weights_are_learned(data: SequenceDataset) -> None:
    config = SasrecConfig(**{**SMALL.model_dump(), "epochs": 2})
    net = train_sasrec(data, config, 10, seed=1, buckets=similarity_buckets("quantile"))[0].model
    assert net.similarity is not None and float(net.similarity.weight.detach().abs().max()) > 1e-3


def test_scores_do_not_depend_on_padding_or_company() -> None:
    recommender = Sasrec(model(), torch.arange(N_ITEMS))
    together = recommender.score(torch.tensor([[-1] * 9 + [4], [-1] * 7 + [5, 1, 0]]))
    for row, history in enumerate([[4], [5, 1, 0]]):
        torch.testing.assert_close(together[row], recommender.score(torch.tensor([history]))[0], rtol=1e-5, atol=1e-6)
    long = torch.arange(20)[None]
    assert torch.equal(recommender.score(long), recommender.score(long[:, -10:]))


def test_an_empty_history_is_answered_by_popularity() -> None:
    counts = torch.arange(N_ITEMS)
    recommender = Sasrec(model(), counts)
    popularity = (counts + 1).float().log()  # whatever is mixed with it takes it for logits
    scores = recommender.score(torch.tensor([[-1, -1], [-1, 3]]))
    torch.testing.assert_close(scores[0], popularity)
    assert not torch.allclose(scores[1], popularity)
    torch.testing.assert_close(recommender.score(torch.full((2, 3), -1)), popularity.repeat(2, 1))


@given(st.lists(st.lists(st.integers(0, 99), max_size=17), max_size=8), st.integers(1, 6))
def test_every_item_but_the_first_is_foretold_once(sequences: list[list[int]], width: int) -> None:
    offsets = np.concatenate([[0], np.cumsum([len(sequence) for sequence in sequences])]).astype(np.int64)
    items = np.array([value for sequence in sequences for value in sequence], dtype=np.int64)
    windows = training_windows(offsets, items, width)
    assert windows.shape[1] == width + 1
    steps = [(int(a), int(b)) for window in windows for a, b in pairwise(window) if b >= 0]
    assert sorted(steps) == sorted((a, b) for sequence in sequences for a, b in pairwise(sequence))
    assert (np.diff((windows < 0).astype(int), axis=1) >= 0).all(), "padding on the right only"
    assert (windows[:, :2] >= 0).all(), "a window without a step trains nothing"


def test_alignment() -> None:
    moved = align_left(torch.tensor([[-1, -1, 3, 4], [-1, -1, -1, 9], [5, -1, 6, 7]]))
    assert moved.tolist() == [[3, 4, -1], [9, -1, -1], [5, 6, 7]]


def test_schedule() -> None:
    values = [schedule(share, 0.1) for share in np.linspace(0.001, 1, 1000)]
    assert max(values) == pytest.approx(1)
    assert np.argmax(values) == pytest.approx(99, abs=1)
    assert values[-1] == pytest.approx(0, abs=1e-9)
    assert schedule(0.5, 0.0) == pytest.approx(0.5)


def test_learns_a_planted_pattern(data: SequenceDataset) -> None:
    config = SasrecConfig(dimensions=32, heads=1, layers=1, dropout=0.1, epochs=25, patience=25, batch_size=32, learning_rate=0.01)
    recommender, progress = train_sasrec(data, config, 10, seed=1)
    assert progress.best_ndcg > 0.7, "nine of ten steps follow a rule"
    assert progress.best_epoch > 1
    scores = recommender.score(torch.tensor([[11]]))
    assert scores.argmax().item() == (7 * 11 + 3) % N_ITEMS


def test_early_stopping_keeps_the_best_weights(data: SequenceDataset) -> None:
    # A learning rate far too high: it gets worse after the first epochs and must stop there.
    config = SasrecConfig(dimensions=16, epochs=40, patience=2, batch_size=32, learning_rate=0.3, warmup_share=0.0)
    recommender, progress = train_sasrec(data, config, 10, seed=1)
    from bbqrec_core.evaluation.ranking import validation_metrics

    assert progress.epoch < 40
    assert progress.epoch == progress.best_epoch + 2
    assert validation_metrics(recommender, data.valid)["ndcg_at_10"] == progress.best_ndcg


def weights(recommender: Sasrec) -> dict[str, torch.Tensor]:
    return recommender.model.state_dict()


def same(one: Sasrec, other: Sasrec) -> bool:
    return all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


def test_training_is_seeded_and_leaves_the_random_state_alone(data: SequenceDataset) -> None:
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    first, _ = train_sasrec(data, SMALL, 10, seed=1)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(456)
    again, _ = train_sasrec(data, SMALL, 10, seed=1)
    other, _ = train_sasrec(data, SMALL, 10, seed=2)
    assert same(first, again)
    assert not same(first, other)
    assert not torch.are_deterministic_algorithms_enabled()


def test_resumed_training_ends_with_the_same_weights(data: SequenceDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bbqrec_core.baselines import sasrec_training

    whole, progress = train_sasrec(data, SMALL, 10, seed=1)
    real, epochs = sasrec_training._train_epoch, []

    def killed_in_the_second(*arguments: object) -> float:
        epochs.append(arguments[-1])
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sasrec_training, "_train_epoch", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        train_sasrec(data, SMALL, 10, seed=1, checkpoint=tmp_path / "sasrec.pt")
    resumed, resumed_progress = train_sasrec(data, SMALL, 10, seed=1, checkpoint=tmp_path / "sasrec.pt")
    assert epochs == [1, 2, 2, 3], "the first epoch is not done again"
    assert same(whole, resumed)
    assert resumed_progress == progress


def test_a_damaged_or_foreign_checkpoint_is_not_used(data: SequenceDataset, tmp_path: Path) -> None:
    fresh, _ = train_sasrec(data, SMALL, 10, seed=1)
    file = tmp_path / "sasrec.pt"
    train_sasrec(data, SMALL, 10, seed=2, checkpoint=file)
    assert same(train_sasrec(data, SMALL, 10, seed=1, checkpoint=file)[0], fresh)
    file.write_bytes(file.read_bytes()[:500])
    assert same(train_sasrec(data, SMALL, 10, seed=1, checkpoint=file)[0], fresh)
    backwards = SequenceDataset.load(write_ingest(tmp_path / "other", [row[::-1] for row in PLANTED], N_ITEMS), 10)
    train_sasrec(backwards, SMALL, 10, seed=1, checkpoint=file)
    assert same(train_sasrec(data, SMALL, 10, seed=1, checkpoint=file)[0], fresh), "as many windows, other ones"


def test_nothing_to_learn_from_is_an_error(tmp_path: Path) -> None:
    data = SequenceDataset.load(write_ingest(tmp_path, [[0, 1, 2], [2, 0, 1]], 3), 10)
    with pytest.raises(StageError, match="nothing to learn from"):
        train_sasrec(data, SMALL, 10, seed=1)


def test_codes_are_numbered_through_and_absent_ones_stay_zero() -> None:
    text = np.array([[0, 1], [2, 0]]), np.array([True, True])
    image = np.array([[3, 3], [0, 0]]), np.array([True, False])
    rows = code_rows({"text": text, "image": image})
    assert rows.tolist() == [[1, 5, 9, 13], [3, 4, ABSENT, ABSENT]]
    torch.manual_seed(0)
    net = SasrecModel(2, 4, 8, 2, 1, codes=rows)
    assert net.code is not None
    expected = net.item.weight[1] + net.code.weight[3] + net.code.weight[4]
    torch.testing.assert_close(net.vectors()[1], expected)
    net.logits(net(torch.tensor([[1, 0]]))).sum().backward()
    assert (net.code.weight.grad[ABSENT] == 0).all() and (net.code.weight[ABSENT] == 0).all()  # type: ignore[index]


def test_codes_carry_what_an_item_alone_cannot(tmp_path: Path) -> None:
    """Any item of a class is followed by any of the next class: told the classes, few sequences are enough."""
    rng = np.random.default_rng(0)
    classes, members = 6, 12
    sequences = [[(first + step) % classes * members + int(rng.integers(members)) for step in range(6)] for first in range(classes)] * 2
    sequences = [[(item // members) * members + int(rng.integers(members)) for item in sequence] for sequence in sequences * 5]
    data = SequenceDataset.load(write_ingest(tmp_path, sequences, classes * members), 10)
    codes = (np.arange(classes * members) // members)[:, None], np.ones(classes * members, dtype=bool)
    config = SasrecConfig(dimensions=32, heads=1, layers=1, dropout=0.1, epochs=20, patience=20, batch_size=32, learning_rate=0.01)
    plain = train_sasrec(data, config, 10, seed=1)[1].best_ndcg
    told = train_sasrec(data, config, 10, seed=1, codes=code_rows({"fused": codes}))[1].best_ndcg
    assert told > 1.5 * plain


def test_what_train_does_not_have_is_known_by_its_codes(tmp_path: Path) -> None:
    """A class is followed by the next; the last item of each is in no sequence, and is ranked among those of its class all the same."""
    rng = np.random.default_rng(0)
    classes, members = 6, 8
    number = classes * members
    starts = list(range(classes)) * 20
    sequences = [[(first + step) % classes * members + int(rng.integers(members - 1)) for step in range(6)] for first in starts]
    data = SequenceDataset.load(write_ingest(tmp_path, sequences, number), 10)
    codes = np.arange(number)[:, None] // members, np.ones(number, dtype=bool)
    config = SasrecConfig(dimensions=32, heads=1, layers=1, dropout=0.1, epochs=10, patience=10, batch_size=32, learning_rate=0.01)
    sasrec = train_sasrec(data, config, 10, seed=1, codes=code_rows({"fused": codes}))[0]
    histories = torch.arange(classes)[:, None] * members
    scores = sasrec.score(histories)
    wanted = (torch.arange(classes) + 1) % classes * members + members - 1
    assert not data.train_counts[wanted.numpy()].any()
    above = (scores > scores.gather(1, wanted[:, None])).sum(1)
    assert (above < members).all()  # what is said of a class holds for its new item
    sasrec.save(tmp_path / sasrec.kind)
    torch.testing.assert_close(load_recommenders(tmp_path)[0].score(histories), scores)
