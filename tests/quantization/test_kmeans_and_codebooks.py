"""k-means, the shared residual quantizer and the model around it."""

import pytest
import torch
from torch.nn import functional as F

from bbqrec_core.quantization.codebook import ResidualQuantizer
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.kmeans import kmeans, nearest
from bbqrec_core.quantization.model import BehaviourQuantizer


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def blobs():
    centres = 10 * torch.randn(20, 8, generator=generator(1))
    return centres.repeat_interleave(30, 0) + 0.1 * torch.randn(600, 8, generator=generator(2))


def test_kmeans_finds_planted_clusters_and_random_points_do_not(blobs):
    found = nearest(blobs, kmeans(blobs, 20, generator()))[1].mean()
    random = nearest(blobs, blobs[torch.randperm(600, generator=generator())[:20]])[1].mean()
    assert found < 0.2 < random


def test_kmeans_uses_every_code(blobs):
    index, _ = nearest(blobs, kmeans(blobs, 64, generator()))
    assert len(index.unique()) == 64


def test_kmeans_is_a_function_of_its_seed(blobs):
    assert torch.equal(kmeans(blobs, 20, generator(5)), kmeans(blobs, 20, generator(5)))
    assert not torch.equal(kmeans(blobs, 20, generator(5)), kmeans(blobs, 20, generator(6)))


def test_kmeans_with_fewer_distinct_points_than_codes_keeps_codes_distinct():
    points = torch.ones(50, 4)
    points[25:] = -1.0
    centres = kmeans(points, 8, generator())
    assert len(centres.unique(dim=0)) == 8
    assert nearest(points, centres)[1].max() < 1e-4
    assert torch.isfinite(kmeans(torch.zeros(10, 4), 4, generator())).all()


def test_nearest_agrees_with_cdist(blobs):
    centres = torch.randn(7, 8, generator=generator(3))
    expected = torch.cdist(blobs.double(), centres.double())
    index, distance = nearest(blobs, centres)
    assert torch.equal(index, expected.argmin(1))
    torch.testing.assert_close(distance.double(), expected.min(1).values.square(), rtol=1e-4, atol=1e-3)


@pytest.fixture
def started():
    quantizer = ResidualQuantizer([6, 5, 7], 8, behaviour_weight=0.5)
    start = F.layer_norm(torch.randn(200, 8, generator=generator(4)), (8,))
    behaviour = torch.randn(200, 8, generator=generator(5))
    quantizer.start_codebooks(start, behaviour, 20, generator())
    return quantizer, start, behaviour


def test_plain_chain_is_greedy_residual_coding(started):
    quantizer, start, _ = started
    result = quantizer(start)
    residual = start
    for level, codebook in enumerate(quantizer.codebooks):
        index = torch.cdist(residual, codebook).argmin(1)
        assert torch.equal(result.codes[:, level], index)
        residual = residual - codebook[index]
    torch.testing.assert_close(result.vectors, start - residual)
    torch.testing.assert_close(result.vectors, quantizer.decode(result.codes))


def test_a_plain_chain_starts_from_the_residuals_that_it_quantizes():
    quantizer = ResidualQuantizer([6, 5, 7], 8, behaviour_weight=0.0)
    start = F.layer_norm(torch.randn(200, 8, generator=generator(4)), (8,))
    quantizer.start_codebooks(start, None, 20, generator())
    result = quantizer(start)
    left = [float(vectors.square().sum(1).mean()) for vectors in (*result.inputs, result.inputs[-1] - result.chosen[-1])]
    assert left == sorted(left, reverse=True) and len(set(left)) == 4, "each level leaves less, the last one too"
    used = result.codes[:, -1]
    means = torch.stack([result.inputs[-1][used == code].mean(0) for code in used.unique()])
    torch.testing.assert_close(quantizer.codebooks[-1][used.unique()].detach(), means, rtol=1e-4, atol=1e-5)


def test_last_level_of_the_fused_chain_looks_at_behaviour_and_the_others_do_not(started):
    quantizer, start, behaviour = started
    plain, fused = quantizer(start), quantizer(start, behaviour)
    other = quantizer(start, behaviour.flip(0))
    assert torch.equal(plain.codes[:, :-1], fused.codes[:, :-1])
    assert (fused.codes[:, -1] != other.codes[:, -1]).any()
    residual = fused.inputs[1] - fused.chosen[1]
    expected = quantizer.residual_scale * (F.layer_norm(residual, (8,)) + 0.5 * F.layer_norm(behaviour, (8,))) / 1.25**0.5
    assert torch.equal(fused.codes[:, -1], torch.cdist(expected, quantizer.codebooks[-1]).argmin(1))


def test_look_alikes_are_separated_by_behaviour_alone():
    quantizer = ResidualQuantizer([2, 2, 16], 8, behaviour_weight=0.5)
    start, behaviour = torch.ones(100, 8), torch.randn(100, 8, generator=generator(1))
    quantizer.start_codebooks(start, behaviour, 20, generator())
    codes = quantizer(start, behaviour).codes
    assert len(codes[:, :2].unique(dim=0)) == 1
    assert len(codes[:, 2].unique()) == 16


def test_straight_through_and_losses(started):
    quantizer, start, _ = started
    start = start.clone().requires_grad_()
    result = quantizer(start)
    upstream = torch.randn(200, 8, generator=generator(6))
    (gradient,) = torch.autograd.grad((result.vectors * upstream).sum(), start, retain_graph=True)
    torch.testing.assert_close(gradient, upstream)
    expected = sum((seen - vector).square().mean() for seen, vector in zip(result.inputs, result.chosen, strict=True))
    torch.testing.assert_close(result.codebook_loss, expected)
    torch.testing.assert_close(result.commitment_loss, expected)
    assert torch.autograd.grad(result.codebook_loss, start, retain_graph=True, allow_unused=True)[0] is None
    assert torch.autograd.grad(result.commitment_loss, list(quantizer.parameters()), allow_unused=True)[0] is None


def test_masked_rows_do_not_count_in_losses(started):
    quantizer, start, _ = started
    mask = torch.arange(200) < 120
    torch.testing.assert_close(quantizer(start, mask=mask).codebook_loss, quantizer(start[:120]).codebook_loss)
    assert quantizer(start, mask=torch.zeros(200, dtype=torch.bool)).codebook_loss == 0


def test_from_level_carries_only_deeper_codes(started):
    quantizer, start, _ = started
    result = quantizer(start)
    torch.testing.assert_close(result.from_level(1), result.vectors)
    torch.testing.assert_close(result.from_level(3), quantizer.codebooks[2][result.codes[:, 2]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = QuantizationConfig(codebook_sizes=[4, 4, 8], dimensions=8, hidden=16, encoder_dropout=0.0)
    built = BehaviourQuantizer(config, {"text": 6, "image": 5}, n_items=40)
    built.set_behaviour(torch.randn(40, 8), torch.arange(40) < 30)
    return built.eval()


@pytest.fixture
def batch():
    features = {"text": torch.randn(40, 6, generator=generator(7)), "image": torch.randn(40, 5, generator=generator(8))}
    present = {"text": torch.arange(40) % 5 != 0, "image": torch.arange(40) % 3 != 0}
    return features, present


def test_fusion_starts_as_the_plain_mean(model, batch):
    features, present = batch
    encoded = model.encode(features, present)
    both = present["text"] & present["image"]
    mean = (encoded.aligned["text"] + encoded.aligned["image"]) / 2
    torch.testing.assert_close(encoded.content[both], model.normalise(mean)[both])
    only = present["text"] & ~present["image"]
    torch.testing.assert_close(encoded.content[only], model.normalise(encoded.aligned["text"])[only])


def test_a_gate_moves_the_fusion_towards_its_modality(model, batch):
    features, present = batch
    model.coder("text").gate.bias.data.fill_(20.0)
    encoded = model.encode(features, present)
    both = present["text"] & present["image"]
    torch.testing.assert_close(encoded.content[both], model.normalise(encoded.aligned["text"])[both], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("garbage", [1e6, float("nan"), float("inf")])
def test_features_of_a_missing_modality_do_not_matter(model, batch, garbage):
    features, present = batch
    changed = {name: torch.where(present[name][:, None], values, garbage) for name, values in features.items()}
    first, second = model.encode(features, present), model.encode(changed, present)
    items = torch.arange(40)
    for part in ("content", "predicted"):
        assert torch.equal(getattr(first, part), getattr(second, part))
    codes = [model.quantize_fused(encoded, model.known_behaviour(encoded, items)).codes for encoded in (first, second)]
    assert torch.equal(*codes)


def test_behaviour_is_the_items_own_where_known_and_foretold_elsewhere(model, batch):
    encoded = model.encode(*batch)
    items = torch.arange(40)
    used = model.known_behaviour(encoded, items)
    torch.testing.assert_close(used[:30], model.behaviour[:30])
    torch.testing.assert_close(used[30:], encoded.predicted[30:])
    torch.testing.assert_close(model.known_behaviour(encoded, None), encoded.predicted)
    blank = ~encoded.has_content & model.has_behaviour
    everywhere = torch.ones(40, dtype=torch.bool)
    torch.testing.assert_close(model.known_behaviour(encoded, items, everywhere)[blank], model.behaviour[blank])
    torch.testing.assert_close(model.fuse(encoded, used)[blank], model.normalise(model.behaviour)[blank])


def test_every_chain_trains_the_same_codebooks(model, batch):
    encoded = model.encode(*batch)
    items = torch.arange(40)
    torch.nn.init.normal_(model.quantizer.codebooks[0])
    for chain in (
        model.quantize_fused(encoded, model.known_behaviour(encoded, items)),
        model.quantizer(encoded.aligned["text"]),
        model.quantizer(encoded.aligned["image"]),
        model.quantizer(model.normalise(model.behaviour)),
    ):
        (gradient,) = torch.autograd.grad(chain.codebook_loss, [model.quantizer.codebooks[0]])
        assert gradient.abs().sum() > 0
    assert sum("codebooks" in name for name, _ in model.named_parameters()) == 3
