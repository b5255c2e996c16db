"""The model itself: causality, padding, reweighting that starts as nothing, cold items, parts switched off."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from sequence_artifacts import N_ITEMS, SMALL

from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.errors import ProfileError
from bbqrec_core.profile import load_profile
from bbqrec_core.sequence.catalogue import Catalogue, load_catalogue
from bbqrec_core.sequence.config import SequenceConfig
from bbqrec_core.sequence.model import PAD, START, SequenceModel, tokens_of
from bbqrec_core.sequence.similarity import (
    NO_BUCKET,
    SimilarityBias,
    SimilarityBuckets,
    SimilaritySpec,
    bucket_shares,
    quantile_edges,
    similarity_spec,
)
from bbqrec_core.sequence.windows import Windows


@pytest.fixture(scope="module")
def catalogue(artifacts) -> Catalogue:
    data = SequenceDataset.load(artifacts["ingest"], 8)
    return load_catalogue(artifacts["quantize"], data.train_counts)


def build(catalogue: Catalogue, **fields: object) -> SequenceModel:
    config = SequenceConfig(**{**SMALL, **fields})
    torch.manual_seed(3)
    return SequenceModel(config, catalogue, similarity_spec(config.similarity, catalogue, 1)).eval()


def stir(model: SequenceModel) -> SequenceModel:
    """Give every parameter a value that matters, similarity weights included."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@torch.no_grad()
@pytest.mark.parametrize("kind", ["quantile", "prefix"])
def test_future_items_change_nothing_at_earlier_positions(catalogue, kind):
    model = stir(build(catalogue, similarity={"kind": kind, "sources": ["fused", "text", "image"]}))
    one = tokens_of(torch.tensor([[3, 9, 4, 17, 30]]), N_ITEMS, 8)
    other = tokens_of(torch.tensor([[3, 9, 4, 40, 2]]), N_ITEMS, 8)
    first, second = model.states(one), model.states(other)
    torch.testing.assert_close(first[:, :4], second[:, :4], rtol=0, atol=1e-6)
    assert (first[:, 4:] - second[:, 4:]).abs().max() > 1e-2


@torch.no_grad()
def test_padding_and_unknown_items_change_nothing(catalogue):
    model = stir(build(catalogue))
    plain = model.hidden(torch.tensor([[3, 9, 4]]))
    assert torch.equal(plain, model.hidden(torch.tensor([[-1, -1, -1, -1, 3, 9, 4]])))
    assert torch.equal(plain, model.hidden(torch.tensor([[3, -1, 9, 4, -1]])))
    together = model.hidden(torch.tensor([[-1, -1, -1, 3, 9, 4], [1, 2, 5, 6, 7, 8], [-1] * 6]))
    torch.testing.assert_close(plain[0], together[0], rtol=0, atol=1e-5)
    assert together.isfinite().all()


@torch.no_grad()
def test_only_the_most_recent_items_count(catalogue):
    model = stir(build(catalogue))
    recent = torch.arange(8)
    longer = torch.cat([torch.tensor([20, 21, 22]), recent])
    assert torch.equal(model.hidden(recent[None]), model.hidden(longer[None]))


def test_items_outside_the_catalogue_are_refused(catalogue):
    for wrong in (N_ITEMS, -2):
        with pytest.raises(ValueError, match="histories may hold"):
            build(catalogue).hidden(torch.tensor([[1, wrong]]))


def test_tokens_place_the_start_before_the_first_item():
    tokens = tokens_of(torch.tensor([[-1, -1, 5], [-1, -1, -1], [1, 2, 3]]), N_ITEMS, 2)
    assert tokens.tolist() == [[PAD, START, 5], [PAD, PAD, START], [START, 2, 3]]


@pytest.mark.parametrize("kind", ["quantile", "prefix"])
@pytest.mark.parametrize("training", [False, True])
def test_reweighting_is_exactly_the_base_model_until_it_learns(catalogue, kind, training):
    base = build(catalogue, similarity={"sources": []}).train(training)
    model = build(catalogue, similarity={"kind": kind}).train(training)
    model.load_state_dict(base.state_dict(), strict=False)
    tokens = tokens_of(torch.tensor([[-1, 3, 9, 4], [-1, -1, -1, -1], [5, 14, 7, 8]]), N_ITEMS, 8)
    # Bit by bit wherever both run the same attention kernel; torch takes another where a mask wants gradients and dropout is off.
    with torch.set_grad_enabled(training):
        torch.manual_seed(0)
        expected = base.states(tokens)
        torch.manual_seed(0)
        assert torch.equal(expected, model.states(tokens))
    torch.testing.assert_close(base.eval().states(tokens), model.eval().states(tokens), rtol=0, atol=1e-5)


@torch.no_grad()
def test_reweighting_reacts_once_weights_are_learned(catalogue):
    model = build(catalogue)
    tokens = tokens_of(torch.tensor([[3, 9, 4, 17]]), N_ITEMS, 8)
    before = model.states(tokens)
    assert model.similarity is not None
    model.similarity.weight[0, 0, 0] = torch.linspace(-2, 2, model.similarity.weight.shape[-1])
    after = model.states(tokens)
    assert torch.equal(before[:, :1], after[:, :1])  # START has no bucket
    assert ((before - after).abs().amax(2)[0, 1:] > 1e-6).all()


def test_similarity_weights_get_gradients_of_every_bucket_that_occurs(catalogue):
    model = build(catalogue, dropout=0.0).train()
    tokens = tokens_of(torch.tensor([[3, 9, 4, 17], [0, 1, 2, 3]]), N_ITEMS, 8)
    targets = torch.tensor([[3, 9, 4, 17, 5], [0, 1, 2, 3, 5]])
    sum(model(tokens, targets).values()).backward()
    assert model.similarity is not None and model.similarity.weight.grad is not None
    buckets = model.similarity.buckets(tokens)[..., 0]
    used = {int(value) for value in buckets[torch.ones_like(buckets).tril() > 0] if value >= 0}
    moved = set(model.similarity.weight.grad[:, :, 0].abs().sum((0, 1)).nonzero()[:, 0].tolist())
    assert moved == used


@pytest.mark.parametrize("source", ["fused", "image"])
def test_prefix_buckets_are_common_prefixes(catalogue, source):
    buckets = SimilarityBuckets(catalogue, SimilaritySpec("prefix", (source,), {}))(torch.tensor([[-1, START, 0, 1, 3, 4, 40]]))[0, ..., 0]
    items = [-1, START, 0, 1, 3, 4, 40]
    codes, present = catalogue.codes[source].tolist(), catalogue.present[source].tolist()
    for (row, i), (column, j) in itertools.product(enumerate(items), repeat=2):
        expected = NO_BUCKET
        if i >= 0 and j >= 0 and present[i] and present[j]:
            expected = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(codes[i], codes[j], strict=True))))
        assert int(buckets[row, column]) == expected


def test_quantile_buckets_rise_with_the_cosine_and_share_random_pairs_evenly(catalogue):
    spec = SimilaritySpec.fit(catalogue, ("text",), "quantile", 8, seed=1)
    buckets = SimilarityBuckets(catalogue, spec)
    items = torch.arange(N_ITEMS)[None]
    values = buckets(items)[0, ..., 0]
    units = torch.nn.functional.normalize(catalogue.vectors["text"], dim=1)
    cosine = (units @ units.T).fill_diagonal_(2)
    order = cosine.flatten().argsort()
    assert (values.flatten()[order].diff() >= 0).all()
    assert (values.diagonal() == 8).all()
    off_diagonal = values[~torch.eye(N_ITEMS, dtype=torch.bool)]
    shares = torch.bincount(off_diagonal, minlength=9).double() / len(off_diagonal)
    assert (shares[:8] > 0.09).all() and (shares[:8] < 0.16).all() and shares[8] == 0


def test_half_precision_moves_no_pair_to_another_bucket(catalogue):
    anywhere = replace(catalogue, vectors={"text": torch.randn(N_ITEMS, 8, generator=torch.Generator().manual_seed(2))})
    buckets = SimilarityBuckets(anywhere, SimilaritySpec.fit(anywhere, ("text",), "quantile", 8, seed=1))
    items = torch.arange(N_ITEMS)[None]
    with torch.autocast("cpu", torch.bfloat16):
        halved = buckets(items)
    assert torch.equal(halved, buckets(items))


def test_quantile_edges_keep_repeated_values_together():
    vectors = torch.eye(4).repeat(5, 1)  # cosines are 0 or 1, nothing between
    assert quantile_edges(vectors, 8, 0).tolist() == [0.5]
    assert quantile_edges(torch.ones(6, 3), 8, 0).tolist() == []
    assert quantile_edges(torch.ones(1, 3), 8, 0).tolist() == []


def test_bucket_shares_count_pairs_of_train(catalogue):
    buckets = SimilarityBuckets(catalogue, SimilaritySpec("prefix", ("text", "image"), {}))
    shares = bucket_shares(buckets, torch.tensor([[-1, 0, 1, 40], [-1, -1, -1, 3]], dtype=torch.int32))
    assert shares.tolist() == [pytest.approx([2 / 3, 0, 0, 1 / 3])] * 2
    with_absent = bucket_shares(buckets, torch.tensor([[0, 4]], dtype=torch.int32))
    assert with_absent[0].sum() == 1 and with_absent[1].sum() == 0


@torch.no_grad()
def test_bias_fits_any_attention(catalogue):
    bias = SimilarityBias(SimilarityBuckets(catalogue, SimilaritySpec("prefix", ("text",), {})), layers=3, heads=4)
    bias.weight.copy_(torch.randn(bias.weight.shape, generator=torch.Generator().manual_seed(1)))
    mask = bias(torch.tensor([[-1, 0, 1], [2, 3, 40]]))
    assert mask.shape == (3, 2, 4, 3, 3)
    assert float(mask[2, 0, 3, 1, 2]) == float(bias.weight[2, 3, 0, 3])  # items 0 and 1 share all three codes
    assert (mask[:, 0, :, 0] == 0).all()  # padding has no bucket


@torch.no_grad()
def test_cold_items_have_no_vector_of_their_own_but_can_be_recommended(catalogue):
    assert not catalogue.warm[N_ITEMS - 1]
    model = stir(build(catalogue))
    scores = model.log_probs(model.hidden(torch.tensor([[1, 2]])))
    assert model.items.own is not None
    model.items.own.weight[N_ITEMS - 1] += 5
    again = model.log_probs(model.hidden(torch.tensor([[1, 2]])))
    for name in scores:
        assert torch.equal(scores[name], again[name]) and scores[name].isfinite().all()


@pytest.mark.parametrize(("code_sources", "dropped"), [((), False), (("fused",), True)])
def test_own_vectors_are_dropped_only_where_codes_are_left(catalogue, code_sources, dropped):
    model = build(catalogue, code_sources=code_sources, id_dropout=0.9, dense_score="product").train()
    assert model.items.own is not None
    own = model.items.own.weight * catalogue.warm[:, None]
    _, vectors = model._dense_factors(torch.zeros(1, model.config.dimensions))
    assert bool((vectors == own + model.items.content()).all()) != dropped


def test_cold_items_are_not_fitted_on(catalogue):
    """The loss does not feel the code vectors that only a cold item's place in the catalogue would touch."""
    model = build(catalogue, dropout=0.0, id_dropout=0.0, dense_score="product")
    tokens, targets = tokens_of(torch.tensor([[1, 2, 3]]), N_ITEMS, 8), torch.tensor([[1, 2, 3, 4]])
    logits = model._dense_logits(model.states(tokens)[:, -1])
    full = torch.nn.functional.cross_entropy(logits, torch.tensor([4]))
    warm = torch.nn.functional.cross_entropy(logits[:, :-1], torch.tensor([4]))
    got = model(tokens, torch.where(torch.arange(4) == 3, targets, -1))["dense"]
    assert torch.isclose(got, warm) and not torch.isclose(got, full)


@torch.no_grad()
def test_a_cosine_does_not_feel_how_long_vectors_are(catalogue):
    """Scores of the dense head stay within its factor, and an item's vector times ten scores the same; as a product it does not."""
    hidden = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    for score, feels in (("cosine", False), ("product", True)):
        model = build(catalogue, dense_score=score, code_sources=[])
        before = model._dense_logits(hidden)
        model.items.own.weight[5] *= 10
        after = model._dense_logits(hidden)
        assert torch.allclose(before, after, atol=1e-5) != feels
        if score == "cosine":
            assert float(before.abs().max()) <= math.exp(float(model.log_sharpness)) + 1e-4


@torch.no_grad()
def test_each_head_gives_a_distribution_over_the_catalogue(catalogue):
    model = stir(build(catalogue))
    for scores in model.log_probs(model.hidden(torch.tensor([[1, 2], [-1, -1]]))).values():
        torch.testing.assert_close(scores.exp().sum(1), torch.ones(2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "fields",
    [
        {"item_ids": False},
        {"code_sources": []},
        {"code_sources": ["image"]},
        {"similarity": {"sources": []}},
        {"similarity": {"sources": ["fused"], "kind": "prefix"}},
        {"dense_weight": 0.0},
        {"generative_weight": 0.0},
        {"id_dropout": 0.0, "dropout": 0.0},
        {"layers": 1, "heads": 1, "max_history": 1},
    ],
)
def test_every_part_can_be_switched_off(catalogue, artifacts, fields):
    model = build(catalogue, **fields).train()
    data = SequenceDataset.load(artifacts["ingest"], model.config.max_history)
    windows = Windows.cut(data.train_offsets, data.train_items, model.config.max_history)
    losses = model(*windows.batch(torch.arange(12)))
    sum(losses.values()).backward()
    assert tuple(losses) == model.heads and all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dense_weight": 0, "generative_weight": 0}, "at least one head must remain"),
        ({"item_ids": False, "code_sources": []}, "an item needs an input"),
        ({"dimensions": 64, "heads": 5}, r"must divide `dimensions` \(64\)"),
        ({"similarity": {"sources": ["text", "text"]}}, "only once"),
        ({"similarity": {"sources": ["sound"]}}, "sequence.similarity.sources"),
        ({"similarity": {"bucket": 4}}, "Did you mean 'sequence.similarity.buckets'"),
    ],
)
def test_impossible_settings_are_named(fields, message):
    with pytest.raises(ProfileError, match=message):
        load_profile("demo", {"sequence": fields})
