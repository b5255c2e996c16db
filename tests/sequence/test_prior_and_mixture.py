"""The behaviour prior and the mix: probabilities, what is fitted and when it is not, and that nothing changes where they are off."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sequence_artifacts import N_ITEMS, ONE_POINT, make_artifacts, make_context

from bbqrec_core.baselines.config import KnnConfig
from bbqrec_core.dataset import EvalSplit, SequenceDataset
from bbqrec_core.errors import ArtifactError
from bbqrec_core.prior.cooccurrence import CoOccurrenceKnn, KnnSettings, Neighbours
from bbqrec_core.prior.tuning import tune_knn
from bbqrec_core.sequence import stage
from bbqrec_core.sequence.evidence import Evidence, gather_evidence
from bbqrec_core.sequence.mixture import Mixture, PriorWeight, stands_in
from bbqrec_core.sequence.mixture_fit import fit_cold_lift, fit_prior_weight, fit_repetition, fit_support, generalises, per_user_ndcg
from bbqrec_core.sequence.prior import BehaviourPrior, expected_popularity
from bbqrec_core.sequence.recommender import load_recommender

WEIGHT = PriorWeight(0.7, (0.3, -0.2), (1.5, 2.0))
histories = st.lists(st.integers(-1, N_ITEMS - 1), max_size=12)


@given(st.lists(histories, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_the_prior_is_a_distribution_over_all_items_for_any_history(prior, rows):
    width = max(len(row) for row in rows)
    padded = torch.tensor([[-1] * (width - len(row)) + row for row in rows], dtype=torch.int64).view(len(rows), width)
    log_probs = prior.log_probs(padded)
    assert log_probs.isfinite().all(), "cold items too can be reached"
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(len(rows)), rtol=1e-4, atol=1e-4)
    for row, values, support in zip(rows, log_probs, prior.support(padded), strict=True):
        known = torch.tensor([[item for item in row if item >= 0]], dtype=torch.int64)
        torch.testing.assert_close(prior.log_probs(known)[0], values, msg="-1 is skipped wherever it stands")
        torch.testing.assert_close(prior.support(known)[0], support)


def test_an_unknown_user_gets_popularity(prior, data):
    sold = np.sort(data.train_counts[data.train_counts > 0])
    counts = np.where(data.train_counts > 0, data.train_counts, sold[(len(sold) - 1) // 2])
    expected = torch.from_numpy(counts + 1.0).float()
    torch.testing.assert_close(prior.log_probs(torch.tensor([[-1, -1]]))[0].exp(), expected / expected.sum())


def test_what_was_never_sold_counts_as_an_ordinary_item():
    counts = torch.tensor([0.0, 1.0, 9.0, 4.0, 0.0])
    torch.testing.assert_close(expected_popularity(counts), torch.tensor([5.0, 2.0, 10.0, 5.0, 5.0]) / 27)
    torch.testing.assert_close(expected_popularity(torch.zeros(4)), torch.full((4,), 0.25), msg="nothing was ever sold")


def test_support_is_of_the_items_that_vote(prior, data):
    long = torch.arange(12)[None]
    expected = torch.tensor([[8.0, float(data.train_counts[11])]]).log1p()
    torch.testing.assert_close(prior.support(long), expected)


def test_a_prior_survives_its_files(prior):
    again = BehaviourPrior.load(prior.describe(), prior.tensors())
    rows = torch.tensor([[3, 4, 5], [-1, -1, 40]])
    assert torch.equal(again.log_probs(rows), prior.log_probs(rows))
    with pytest.raises(TypeError, match="oracle"):
        BehaviourPrior.load({**prior.describe(), "kind": "oracle"}, prior.tensors())


def test_the_weight_depends_on_support_as_stated():
    support = torch.tensor([[1.5, 2.0], [2.5, 1.0], [90.0, 2.0]])
    expected = 0.7 * torch.tensor([[1.0], [np.exp(0.3 + 0.2)], [np.exp(0.9)]]).float()
    torch.testing.assert_close(WEIGHT.of(support), expected)


def test_without_prior_and_repetition_scores_are_bit_for_bit_the_heads_mix(artifacts, tmp_path):
    """What the model gave before it had either: the weighted sum of the heads' log-probabilities."""
    context = make_context(tmp_path, artifacts, epochs=2, prior="off", repetition=False)
    statistics = stage.run(context)
    recommender = load_recommender(context.out)
    assert recommender.prior is None and not any(name.startswith("prior.") for name in load_file(context.out / "model.safetensors"))
    rows = torch.tensor([[-1, -1, 3], [5, 6, 7]])
    with torch.no_grad():
        heads = recommender.model.log_probs(recommender.model.hidden(rows))
    weights = {"dense": statistics["mixture_dense"], "generative": statistics["mixture_generative"]}
    expected = torch.stack([heads[name] * weight for name, weight in sorted(weights.items()) if weight]).sum(0)
    assert torch.equal(recommender.score(rows), expected)
    assert (statistics["mixture_prior"], statistics["mixture_repetition"]) == (0.0, 0.0)
    with_prior = make_context(tmp_path, artifacts, "with", epochs=2)
    stage.run(with_prior)
    network = {name: tensor for name, tensor in load_file(with_prior.out / "model.safetensors").items() if not name.startswith("prior.")}
    before = load_file(context.out / "model.safetensors")
    assert network.keys() == before.keys() and all(torch.equal(tensor, before[name]) for name, tensor in network.items())


@pytest.mark.parametrize(("cold_targets", "lifted"), [(30, True), (9, False)])
def test_what_was_never_sold_is_lifted_if_that_costs_the_others_next_to_nothing(cold_targets, lifted):
    """The heads know who wants new items, the prior who wants others; nine targets are too few to tell anything from."""
    rng, n_items, users = np.random.default_rng(0), 400, 300
    counts = np.where(np.arange(n_items) < 300, 5, 0)
    neighbours = Neighbours(torch.from_numpy(rng.integers(0, 300, (n_items, 3))), torch.ones(n_items, 3))
    knowing = BehaviourPrior(CoOccurrenceKnn(neighbours, counts, KnnSettings(5, 1.0, 1.0, 1.0, 0.0, 0.5, 3, 0.5, 0.0), 8), 0.1)
    last = rng.integers(0, 300, users)
    targets = neighbours.items.numpy()[last, 0]
    targets[:cold_targets] = rng.integers(300, n_items, cold_targets)
    table = torch.randn(users, n_items, generator=torch.Generator().manual_seed(1))
    table[torch.arange(cold_targets), torch.from_numpy(targets[:cold_targets])] += 8.0
    rows = np.column_stack([np.arange(users) % 300, last])  # the first item says whose row it is
    split = EvalSplit(np.arange(users, dtype=np.int32), rows, targets, np.arange(0, 2 * users + 1, 2), rows.ravel())
    evidence = gather_evidence(split, lambda histories: {"dense": table[histories[:, 0]].log_softmax(1)}, knowing, 64)
    before = Mixture({"dense": 1.0}, PriorWeight(3.0))
    after = fit_cold_lift(evidence, before, 0.1, 0.002)
    values = per_user_ndcg(evidence, [(before, 0.1), (after, 0.1)])
    assert (after.prior.cold_lift > 0) == lifted and replace(after, prior=before.prior) == before
    assert values[1, cold_targets:].mean() >= 0.998 * values[0, cold_targets:].mean()
    if lifted:
        assert values[1, :cold_targets].mean() > values[0, :cold_targets].mean() + 0.1
    assert Mixture.load(after.describe()) == after


def uniform(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"dense": torch.full((len(rows), N_ITEMS), -float(np.log(N_ITEMS)))}


def test_a_prior_that_knows_more_than_the_heads_is_used(prior, data):
    weight, _ = fit_prior_weight(gather_evidence(data.valid, uniform, prior, 64), {"dense": 1.0})
    assert weight.level > 0


def test_a_prior_that_only_disturbs_is_not_used(prior, data):
    split = unique_rows(data.valid)
    target = dict(zip(map(tuple, split.histories.tolist()), split.targets.tolist(), strict=True))

    def knowing(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = torch.full((len(rows), N_ITEMS), -20.0)
        places = torch.tensor([target[tuple(row)] for row in rows.tolist()])
        return {"dense": scores.scatter_(1, places[:, None], 0.0)}

    weight, _ = fit_prior_weight(gather_evidence(split, knowing, prior, 64), {"dense": 1.0})
    assert weight == PriorWeight()


def unique_rows(split: EvalSplit) -> EvalSplit:
    _, first = np.unique(split.histories, axis=0, return_index=True)
    seen = [split.seen_items[split.seen_offsets[row] : split.seen_offsets[row + 1]] for row in first]
    offsets = np.concatenate([[0], np.cumsum([len(items) for items in seen])])
    return EvalSplit(split.users[first], split.histories[first], split.targets[first], offsets, np.concatenate(seen))


def test_support_counts_only_if_it_helps_users_who_had_no_part_in_choosing():
    rng = np.random.default_rng(0)
    noise = rng.random((25, 300))
    noise[0] = rng.permutation(noise[1])
    assert noise.mean(1).max() > noise[0].mean() + 0.01, "by chance some choice looks better"
    assert not generalises(noise)
    real = noise.copy()
    real[7] = real[0] + 0.05 * rng.random(300)
    assert generalises(real)
    assert not generalises(real[:, :1]), "one user says nothing of others"


def two_candidates(right: torch.Tensor, support: torch.Tensor) -> Evidence:
    """A target and a rival per user: the head prefers the target, and the prior gives it nine tenths of its votes where it is right."""
    users = len(right)
    shares = torch.where(right, 0.9, 0.1)
    nothing = torch.zeros(users, 2)
    return Evidence(
        heads={"dense": torch.tensor([0.0, -1.8]).expand(users, 2)},
        shares=torch.stack([shares, 1 - shares], dim=1),
        popularity=torch.full((users, 2), 0.5),
        cold=torch.zeros(users, 2, dtype=torch.bool),
        content=nothing[:, :, None],
        real=torch.ones(users, 2, dtype=torch.bool),
        seen=torch.zeros(users, 2, dtype=torch.bool),
        history=torch.zeros(users, 2, dtype=torch.bool),
        support=support,
    )


def test_the_prior_counts_more_for_the_histories_that_it_knows_more_of():
    often = torch.arange(200) % 2 == 0
    support = torch.stack([torch.full((200,), 1.5), torch.where(often, 3.0, 1.0)], dim=1)
    level = Mixture({"dense": 1.0}, PriorWeight(1.0), content=0.3)
    fitted = fit_support(two_candidates(often, support), level, 0.01)
    assert fitted.prior.slopes[1] > 0 and fitted.content == 0.3
    assert fit_support(two_candidates(torch.ones(200, dtype=torch.bool), support), level, 0.01) == level, "nothing to gain"
    without = Mixture({"dense": 1.0})
    assert fit_support(two_candidates(often, support), without, 0.01) == without


def test_repetition_is_penalised_where_nobody_repeats_and_rewarded_where_all_do(prior, data):
    mixture = Mixture({"dense": 1.0}, PriorWeight(1.0))
    never = gather_evidence(data.valid, uniform, prior, 64)
    assert not never.history[:, 0].any()
    assert fit_repetition(never, mixture, 0.1) < 0
    again = replace(data.valid, targets=data.valid.histories[:, -1].copy())
    assert fit_repetition(gather_evidence(again, uniform, prior, 64), mixture, 0.1) > 0


def test_repetition_reaches_every_item_of_the_row_once():
    rows = torch.tensor([[-1, 2, 2], [0, 1, -1]])
    expected = torch.tensor([[0, 0, 1, 0], [1, 1, 0, 0]]).bool()
    assert torch.equal(stands_in(rows, 4), expected)
    items = torch.tensor([[3, 2], [1, 0]])
    assert torch.equal(stands_in(rows, 4, items), expected.gather(1, items))
    scores = {"dense": torch.zeros(2, 4)}
    assert torch.equal(Mixture({"dense": 1.0}, repetition=-3.0).combine(scores, rows), -3.0 * expected)


@given(st.integers(0, 5), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_asked_of_some_items_or_of_all_repetition_says_the_same(width, columns, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    histories = torch.randint(-1, 6, (rows, width), generator=generator)
    items = torch.randint(0, 6, (rows, columns), generator=generator)
    expected = (items[:, :, None] == histories[:, None, :]).any(2)
    assert torch.equal(stands_in(histories, 6, items), expected)
    assert torch.equal(stands_in(histories, 6).gather(1, items), expected)


def test_the_mix_is_fitted_on_histories_as_long_as_it_is_used_with(artifacts, tmp_path, monkeypatch):
    """The kNN looks further back than the network here."""
    widths = []
    fit = stage.fit_helpers
    monkeypatch.setattr(stage, "fit_helpers", lambda valid, *rest: widths.append(valid.histories.shape[1]) or fit(valid, *rest))
    context = make_context(tmp_path, artifacts, epochs=1)
    stage.run(context)
    recommender = load_recommender(context.out)
    assert recommender.model.config.max_history < recommender.max_history == widths[0] == recommender.prior.knn.max_history
    longer = torch.randint(0, N_ITEMS, (5, recommender.max_history + 30), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(recommender.score(longer), recommender.score(longer[:, -recommender.max_history :]))
    gaps = torch.cat([longer, torch.full((5, 40), -1)], dim=1)
    torch.testing.assert_close(recommender.score(gaps), recommender.score(longer))


def test_the_prior_is_of_train_alone(artifacts, tmp_path, data, prior):
    """With one grid point nothing is chosen: other validation and test targets leave every number of the prior as it was."""
    folder = tmp_path / "ingest"
    make_artifacts(tmp_path, test_seed=9)
    table = pq.read_table(folder / "valid.parquet")
    targets = np.random.default_rng(0).permutation(table["target"].to_numpy()).astype(np.int32)
    pq.write_table(table.set_column(table.schema.get_field_index("target"), "target", [targets]), folder / "valid.parquet")
    other = SequenceDataset.load(folder, 8)
    assert not np.array_equal(other.valid.targets, data.valid.targets) and not np.array_equal(other.test.targets, data.test.targets)
    knn, _ = tune_knn(other, KnnConfig(**ONE_POINT), 8, 1)
    assert all(torch.equal(tensor, prior.tensors()[name]) for name, tensor in knn.tensors().items())


def test_a_prior_of_another_catalogue_is_refused(artifacts, tmp_path):
    context = make_context(tmp_path, artifacts, epochs=1)
    stage.run(context)
    path = context.out / "model.safetensors"
    tensors = load_file(path)
    tensors["prior.counts"] = tensors["prior.counts"][:-1]
    save_file(tensors, path)
    with pytest.raises(ArtifactError, match="is of 47 items, the model of 48"):
        load_recommender(context.out)
