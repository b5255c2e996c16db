"""Items of one prefix are told apart: by the means of their residuals, near-copies too, saved and loaded, and kept over a night."""

import numpy as np
import pytest
import torch
from artificial_catalogue import run_stage
from torch.nn import functional as F
from two_days import a_day_later, ids_by_name, run_day

from bbqrec_core.dataset import load_semantic_ids
from bbqrec_core.quantization import probes
from bbqrec_core.quantization.codebook import ResidualQuantizer
from bbqrec_core.quantization.collisions import Codebooks
from bbqrec_core.quantization.siblings import Siblings
from bbqrec_core.quantization.tokenizers.registry import load


@pytest.fixture(scope="module", autouse=True)
def brief_probes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "MLP_STEPS", 5)
        yield


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_residuals_are_centred_by_the_mean_of_their_prefix():
    siblings = Siblings([4, 5, 6], 3)
    prefix = torch.tensor([[1, 2], [3, 4], [1, 2], [2, 1], [3, 4], [1, 2]])
    residual = torch.randn(6, 3, generator=generator())
    siblings.fit(prefix, residual)
    expected = residual.clone()
    expected[[0, 2, 5]] -= residual[[0, 2, 5]].mean(0)
    expected[[1, 4]] -= residual[[1, 4]].mean(0)
    torch.testing.assert_close(siblings.centre(prefix, residual), expected)
    new = torch.randn(2, 3, generator=generator(1))
    assert torch.equal(siblings.centre(torch.tensor([[0, 0], [2, 1]]), new), new), "nobody, or one alone, says what sets them off"
    assert siblings.keys.tolist() == [7, 11, 19] and not siblings.means[1].any()


def test_means_that_are_there_can_be_kept():
    siblings = Siblings([4, 5, 6], 3)
    prefix, residual = torch.tensor([[3, 0], [3, 0]]), torch.eye(3)[:2]
    siblings.fit(prefix, residual)
    before = siblings.means[0].clone()
    siblings.fit(torch.tensor([[3, 0], [3, 0], [0, 1], [0, 1]]), torch.ones(4, 3), keep=True)
    assert siblings.keys.tolist() == [1, 15] and torch.equal(siblings.means, torch.stack([torch.ones(3), before]))


def test_a_newcomer_moves_nobody():
    siblings = Siblings([4, 5, 6], 3)
    alone, residual = torch.tensor([[2, 1]]), torch.randn(1, 3, generator=generator(1))
    siblings.fit(alone, residual)
    siblings.fit(alone.repeat(2, 1), torch.cat([residual, residual + 0.1]), keep=True)
    assert torch.equal(siblings.centre(alone, residual), residual)


def test_means_are_those_of_the_last_look_otherwise():
    siblings, prefix = Siblings([4, 5, 6], 3), torch.tensor([[3, 0], [3, 0]])
    siblings.fit(prefix, torch.eye(3)[:2])
    siblings.fit(prefix, torch.ones(2, 3))
    assert siblings.keys.tolist() == [15] and torch.equal(siblings.means, torch.ones(1, 3))


@pytest.fixture(scope="module")
def near_copies() -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of items that hardly differ, in content and in behaviour."""
    pairs, apart = torch.randn(100, 8, generator=generator(2)), torch.randn(200, 8, generator=generator(3))
    start = F.layer_norm(pairs.repeat_interleave(2, 0) + 0.05 * apart, (8,))
    return start, torch.randn(100, 8, generator=generator(4)).repeat_interleave(2, 0)


@pytest.mark.parametrize("apart", [False, True])
def test_near_copies_get_codes_of_their_own(near_copies, apart):
    start, behaviour = near_copies
    quantizer = ResidualQuantizer([32, 32, 32], 8, behaviour_weight=0.5, siblings_apart=apart)
    quantizer.start_codebooks(start, behaviour, 20, generator())
    codes = quantizer(start, behaviour).codes
    same = (codes[::2, :2] == codes[1::2, :2]).all(1)
    collide = (codes[::2] == codes[1::2]).all(1)[same].float().mean()
    assert int(same.sum()) > 50
    assert collide < 0.1 if apart else collide > 0.5


def test_repair_counts_costs_as_codes_were_chosen(near_copies):
    start, behaviour = near_copies
    quantizer = ResidualQuantizer([32, 32, 32], 8, behaviour_weight=0.5, siblings_apart=True)
    quantizer.start_codebooks(start, behaviour, 20, generator())
    codes = quantizer(start, behaviour).codes.numpy()
    costs = Codebooks.of(quantizer).last_costs(start.double().numpy(), behaviour.double().numpy(), codes[:, :-1])
    assert np.array_equal(costs.argmin(1), codes[:, -1])


def test_the_stage_saves_and_loads_it(catalogue, quantized, tmp_path):
    out, statistics = run_stage(catalogue, tmp_path, siblings_apart=True)
    assert statistics["collision_share_before"] < quantized[1]["collision_share_before"]
    assert statistics["collision_share"] == 0 and statistics["nan_losses"] == 0
    siblings = load(out).tokenizer.model.quantizer.siblings
    assert len(siblings.keys) == len(siblings.means) > 0 and bool(siblings.means.isfinite().all())
    assert not any("siblings" in name for name in load(quantized[0]).tokenizer.module.state_dict())


def test_identical_listings_that_may_share_an_id_are_one_sibling(changed, catalogue, tmp_path):
    text, image = catalogue.text.copy(), catalogue.image.copy()
    text[1::2], image[1::2] = text[::2], image[::2]
    twins = changed(text=text, image=image, has_image=np.repeat(catalogue.has_image[::2], 2))
    out, _ = run_stage(twins, tmp_path, siblings_apart=True, share_identical=True, codebook_sizes=[16, 16, 16])
    ids = load_semantic_ids(out)["fused"][0]
    siblings = load(out).tokenizer.model.quantizer.siblings
    prefixes, counts = np.unique(np.unique(ids[:-6], axis=0)[:, :2], axis=0, return_counts=True)
    alone = siblings.number(torch.from_numpy(prefixes[counts == 1]))
    known = torch.isin(siblings.keys, alone)
    assert int(known.sum()) > 5
    assert float((siblings.means[known] == 0).all(1).float().mean()) > 0.8, "a pair of identical listings does not cancel itself out"


def test_ids_stay_over_a_night(catalogue, tmp_path):
    fields = {"siblings_apart": True, "warm_start": {"epochs": 4}}
    later = a_day_later(catalogue)
    run_day(catalogue, tmp_path / "yesterday", **fields)
    run_day(later, tmp_path / "today", tmp_path / "yesterday", **fields)
    before, after = (ids_by_name(day, tmp_path / name / "out") for day, name in ((catalogue, "yesterday"), (later, "today")))
    stayed = [after[name] == ids for name, ids in before.items()]
    assert np.mean(stayed) > 0.6
