"""Encoding for assignment takes a shorter way than training: it must arrive at the same codes."""

import numpy as np
import pytest
import torch

from bbqrec_core.determinism import kernel_threads
from bbqrec_core.quantization.assign import BATCH, code_new_items, encode_items
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.kmeans import CHUNK, nearest, nearest_index
from bbqrec_core.quantization.model import BehaviourQuantizer

N = BATCH + 300
CONFIG = QuantizationConfig(codebook_sizes=[8, 16, 32], dimensions=16, hidden=32)


def make_model(
    widths: dict[str, int], share_present: float = 0.9, behaviour_in_fusion: float = CONFIG.behaviour_in_fusion
) -> tuple[BehaviourQuantizer, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    config = CONFIG.model_copy(update={"behaviour_in_fusion": behaviour_in_fusion})
    model = BehaviourQuantizer(config, widths, N).eval()
    features = {name: 3 * torch.randn(N, width) + 5 for name, width in widths.items()}
    present = {name: torch.rand(N) < share_present for name in widths}
    model.set_behaviour(torch.randn(N, CONFIG.dimensions), torch.rand(N) > 0.3)
    with torch.no_grad():
        for name, values in features.items():
            model.coder(name).fit_standardisation(values)
            model.coder(name).gate.weight.normal_()
        encoded = model.encode(features, present)
        behaviour = model.known_behaviour(encoded, torch.arange(N))
        model.quantizer.start_codebooks(model.fuse(encoded, behaviour), behaviour, 3, torch.Generator().manual_seed(0))
    return model, features, present


@pytest.mark.parametrize("widths", [{"text": 24}, {"text": 24, "image": 12}])
@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("share_present", [0.9, 1.0])  # with everybody there standardisation is folded into the first layer
@pytest.mark.parametrize("weight", [0.0, 0.25])  # with 0 a modality alone has the fused chain's prefix
def test_codes_are_those_of_the_chains_that_training_sees(widths, new, share_present, weight):
    model, features, present = make_model(widths, share_present, weight)
    items = None if new else np.arange(N)
    found = encode_items(model, features, present, items, N)
    with torch.no_grad():
        encoded = model.encode(features, present)
        behaviour = model.known_behaviour(encoded, None if new else torch.arange(N))
        fused = model.quantize_fused(encoded, behaviour).codes.numpy()
        plain = {name: model.quantizer(encoded.aligned[name]).codes.numpy() for name in widths}
    assert np.array_equal(found.wished, fused)
    assert np.allclose(found.starts, model.fuse(encoded, behaviour).numpy(), atol=1e-5)
    for name in widths:
        has = present[name].numpy()
        assert np.array_equal(found.modality_codes[name][has], plain[name][has])
        assert not np.array_equal(found.modality_codes[name][has], fused[has])
    assert set(found.specific) == set(found.aligned) == (set() if new else set(widths))


@pytest.mark.parametrize("items", [None, np.arange(N)], ids=["new", "known"])
def test_what_comes_out_does_not_depend_on_threads(items):
    model, features, present = make_model({"text": 24, "image": 12})
    found = []
    for threads in (1, 2, 5):
        with kernel_threads(threads):
            found.append(encode_items(model, features, present, items, N))
            assert torch.get_num_threads() == threads
    for other in found[1:]:
        assert np.array_equal(found[0].wished, other.wished)
        assert np.array_equal(found[0].starts, other.starts) and np.array_equal(found[0].behaviour, other.behaviour)
        assert all(np.array_equal(codes, other.modality_codes[name]) for name, codes in found[0].modality_codes.items())


def test_codes_alone_are_those_that_come_with_vectors():
    model, features, present = make_model({"text": 24, "image": 12})
    whole, alone = encode_items(model, features, present, None, N), code_new_items(model, features, present, N)
    assert np.array_equal(whole.wished, alone.wished)
    assert all(np.array_equal(codes, alone.modality_codes[name]) for name, codes in whole.modality_codes.items())


def test_an_error_in_a_batch_is_told_and_threads_are_put_back():
    model, features, present = make_model({"text": 24}, share_present=1.0)
    with kernel_threads(2):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            code_new_items(model, {"text": features["text"][:, :20]}, present, N)
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_with_one_modality_the_content_is_that_modality(weight):
    model, features, present = make_model({"text": 24}, behaviour_in_fusion=weight)
    with torch.no_grad():
        encoded = model.encode(features, present)
        behaviour = model.known_behaviour(encoded, None)
        fused = model.fuse(encoded, behaviour)
    has, content = present["text"], encoded.content
    assert torch.equal(content, encoded.aligned["text"])
    expected = model.normalise(content + weight * model.normalise(behaviour)) if weight else content
    assert torch.equal(fused[has], expected[has])
    assert torch.equal(fused[~has], model.normalise(behaviour)[~has])
    assert model.modality_alone == (weight == 0)


def test_nearest_agrees_with_all_distances_and_ties_go_to_the_lowest_index():
    points = torch.randn(CHUNK + 77, 5, generator=torch.Generator().manual_seed(1))
    centres = torch.cat([points[:40], points[:40]])
    index, distance = nearest(points, centres)
    exact = torch.cdist(points.double(), centres.double()).square()
    assert torch.equal(index, nearest_index(points, centres))
    assert int(index.max()) < 40
    assert torch.allclose(distance.double(), exact.min(1).values, atol=1e-4)
    assert torch.allclose(exact.gather(1, index[:, None])[:, 0], exact.min(1).values, atol=1e-5)
    assert torch.equal(index[:40], torch.arange(40))
    assert float(distance.min()) >= 0
    assert len(nearest_index(points[:0], centres)) == 0
