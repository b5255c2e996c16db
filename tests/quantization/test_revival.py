"""Dead codes come back: on the way, and once more when training is over."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from artificial_catalogue import make_catalogue, make_trainer
from two_days import a_day_later, run_day

from bbqrec_core.quantization import revival
from bbqrec_core.quantization.codebook import ResidualQuantizer
from bbqrec_core.quantization.model import BEHAVIOUR
from bbqrec_core.quantization.revival import fill_codebooks, move_unused

CROWDED = {"codebook_sizes": [32, 32, 64], "epochs": 8}
"""So many codes for 115 items that some die while training goes on."""


def used(trainer) -> list[int]:
    codes = trainer.model.quantizer(*trainer._fused_inputs(trainer.fitted)).codes
    return [len(codes[:, level].unique()) for level in range(codes.shape[1])]


def revivals(out) -> list[int]:
    """Epochs after which codes were revived."""
    return [row["step"] for row in pq.read_table(out / "curve.parquet").to_pylist() if row["name"] == "train/revived_codes"]


def test_codes_move_onto_what_is_served_worst():
    inputs = torch.tensor([[0.0, 0.0], [0.0, 1.0], [5.0, 5.0], [9.0, 9.0], [9.0, 9.0]])
    codebook = torch.tensor([[0.0, 0.4], [-50.0, 0.0], [5.0, 5.0], [50.0, 50.0]])
    assert move_unused(codebook, inputs).tolist() == [1, 3]
    assert codebook.tolist() == [[0.0, pytest.approx(0.4)], [9.0, 9.0], [5.0, 5.0], [9.0, 9.0]]
    assert move_unused(codebook, inputs).tolist() == [3] and codebook[3].tolist() == [0.0, 1.0]
    before = codebook.clone()
    assert move_unused(codebook, inputs).tolist() == [] and torch.equal(codebook, before)


def test_where_every_input_has_its_code_idle_codes_stay():
    inputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).repeat(3, 1)
    quantizer = ResidualQuantizer([8, 4, 4], 4, 0.0)
    with torch.no_grad():
        quantizer.codebooks[0][:6] = inputs[:6]
        quantizer.codebooks[0][6:] = 100.0
    assert fill_codebooks(quantizer, inputs, None) == 0


@pytest.mark.parametrize("siblings_apart", [False, True])
@pytest.mark.parametrize("seed", [0, 4, 7])
def test_no_code_is_dead_when_training_is_over(tmp_path, monkeypatch, seed, siblings_apart):
    catalogue, fields = make_catalogue(seed=seed), {**CROWDED, "siblings_apart": siblings_apart}
    with monkeypatch.context() as patch:
        patch.setattr(revival, "ROUNDS", 0)
        trainer = make_trainer(catalogue, tmp_path / "without", **fields)
        trainer.train()
        assert min(np.array(used(trainer)) / [32, 32, 64]) < 1
    trainer = make_trainer(catalogue, tmp_path / "with", **fields)
    trainer.train()
    assert used(trainer) == [32, 32, 64]


def test_at_the_end_a_code_is_dead_only_if_no_item_at_all_uses_it(catalogue, tmp_path, monkeypatch):
    """On the way a large catalogue is looked at by samples; nothing would mend afterwards what a sample got wrong."""
    trainer = make_trainer(catalogue, tmp_path, codebook_sizes=[8, 8, 16])
    trainer.train()
    before = [codebook.clone() for codebook in trainer.model.quantizer.codebooks]
    assert used(trainer) == [8, 8, 16]
    monkeypatch.setattr(trainer, "_some_fitted", lambda: trainer.fitted[:10])
    assert trainer._fill_codebooks() == 0
    assert all(torch.equal(now, then) for now, then in zip(trainer.model.quantizer.codebooks, before, strict=True))


def test_a_chain_s_own_codebooks_are_filled_too(catalogue, tmp_path):
    trainer = make_trainer(catalogue, tmp_path, **CROWDED, shared_codebooks=False)
    trainer.train()
    for chain in ("text", BEHAVIOUR):
        codes = trainer.model.quantizer_of(chain)(trainer._plain_inputs(chain, trainer.fitted)).codes
        assert [len(codes[:, level].unique()) for level in range(2)] == [32, 32]


def test_revival_at_the_end_is_of_a_start_from_scratch_and_can_be_switched_off(catalogue, tmp_path):
    fields = {"epochs": 8, "revive_every": 2, "warm_start": {"epochs": 4}}
    run_day(catalogue, tmp_path / "before", **fields)
    run_day(a_day_later(catalogue), tmp_path / "after", tmp_path / "before", **fields)
    run_day(catalogue, tmp_path / "never", **{**fields, "revive_every": 0})
    found = [revivals(tmp_path / name / "out") for name in ("before", "after", "never")]
    assert found == [[6, 8, 10, 12], [2], []]


def test_revival_brings_dead_codes_back(catalogue, tmp_path):
    trainer = make_trainer(catalogue, tmp_path)
    trainer.start_codebooks()
    codebook = trainer.model.quantizer.codebooks[0]
    with torch.no_grad():
        codebook[3:] = 100.0
    assert trainer._revive() >= 5
    start, behaviour = trainer._fused_inputs(trainer.fitted)
    assert len(trainer.model.quantizer(start, behaviour).codes[:, 0].unique()) == 8


@pytest.mark.parametrize("chain", ["text", "image", BEHAVIOUR])
def test_revival_brings_dead_codes_of_a_chain_s_own_codebooks_back(catalogue, tmp_path, chain):
    trainer = make_trainer(catalogue, tmp_path, shared_codebooks=False)
    trainer.start_codebooks()
    quantizer = trainer.model.quantizer_of(chain)
    assert quantizer is not trainer.model.quantizer
    with torch.no_grad():
        quantizer.codebooks[0][3:] = 100.0
    assert trainer._revive() >= 5
    assert len(quantizer(trainer._plain_inputs(chain, trainer.fitted)).codes[:, 0].unique()) == 8
