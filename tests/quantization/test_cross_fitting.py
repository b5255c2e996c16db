"""z without the users of a fold: what only they did is not in it, a step looks at one fold alone, and the stage works with it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from artificial_catalogue import make_catalogue, make_trainer, run_stage
from pydantic import ValidationError

from bbqrec_core.quantization.config import QuantizationConfig

FOLDS = 4


def cosine(vectors: torch.Tensor, one: int, other: int) -> float:
    return float(torch.nn.functional.cosine_similarity(vectors[one], vectors[other], dim=0))


def test_what_only_a_folds_users_did_is_not_in_its_z(catalogue, tmp_path):
    """A dozen items of all clusters that a single user has, again and again."""
    dozen = list(range(12))
    train = [[item for item in row if item not in dozen] or [50, 51] for row in catalogue.train]
    train[3] = np.random.default_rng(0).permutation(dozen * 8).tolist()
    trainer = make_trainer(replace(catalogue, train=train), tmp_path, behaviour_folds=FOLDS)
    fold, anchor = int(trainer.cross_fitting.folds[3]), trainer.model.anchor
    assert cosine(anchor, 0, 5) > 0.8
    for other in range(FOLDS):
        z = anchor + trainer.cross_fitting.shifts[other]
        if other == fold:
            assert not trainer.cross_fitting.known[other, dozen].any(), "nobody else has these items"
        else:
            assert cosine(z, 0, 5) > 0.8


def test_z_without_a_fold_lies_near_z(catalogue, tmp_path):
    trainer = make_trainer(catalogue, tmp_path, behaviour_folds=FOLDS)
    anchor, shifts = trainer.model.anchor, trainer.cross_fitting.shifts
    assert shifts.shape == (FOLDS, *anchor.shape)
    for shift in shifts:
        assert 0 < float(shift.square().mean() / anchor.square().mean()) < 0.5


def test_a_step_takes_the_sequences_and_the_z_of_one_fold_and_all_come_in_turn(catalogue, tmp_path, monkeypatch):
    trainer = make_trainer(catalogue, tmp_path, behaviour_folds=FOLDS)
    trainer.start_codebooks()
    cross, model = trainer.cross_fitting, trainer.model
    foretold, taken = [], []
    sequence_loss, known_behaviour = trainer._sequence_loss, model.known_behaviour

    def watched_loss(sequences):
        foretold.append(sequences)
        return sequence_loss(sequences)

    def watched_behaviour(encoded, items, predict, z, known):
        taken.append((items, known, z.detach() - model.behaviour[items].detach()))
        return known_behaviour(encoded, items, predict, z, known)

    monkeypatch.setattr(trainer, "_sequence_loss", watched_loss)
    monkeypatch.setattr(model, "known_behaviour", watched_behaviour)
    folds = []
    for _ in range(FOLDS):
        taken.clear()
        trainer.step(torch.arange(40))
        [fold] = set(cross.folds[foretold[-1]].tolist())
        folds.append(fold)
        assert len(taken) == 2, "of the items, and of the sequences' items"
        for items, known, shift in taken:
            torch.testing.assert_close(shift, cross.shifts[fold, items], atol=1e-6, rtol=0)
            assert not known[~cross.known[fold, items]].any(), "who has no behaviour among the others has none in this step"
    assert sorted(folds) == list(range(FOLDS))
    assert sorted(np.concatenate(foretold).tolist()) == trainer.sequences.tolist()


def test_who_has_no_behaviour_in_a_step_has_none_without_content_either(catalogue, tmp_path):
    trainer = make_trainer(catalogue, tmp_path)
    items, known = torch.arange(4), torch.tensor([True, False, True, False])
    encoded = trainer._encode(items)
    bare = replace(encoded, has_content=torch.zeros(4, dtype=torch.bool), predicted=torch.zeros_like(encoded.predicted))
    z = torch.ones_like(encoded.predicted)
    found = trainer.model.known_behaviour(bare, items, torch.ones(4, dtype=torch.bool), z, known)
    torch.testing.assert_close(found, z * known[:, None])


def test_more_folds_than_users(tmp_path):
    single = make_catalogue(n_users=5)
    trainer = make_trainer(single, tmp_path, behaviour_folds=8)
    assert np.isfinite([float(trainer.step(torch.arange(40))["loss"]) for _ in range(8)]).all()


def test_the_stage_works_with_it_and_is_reproducible(catalogue, quantized, tmp_path):
    (one, statistics), (other, _) = (run_stage(catalogue, tmp_path / name, behaviour_folds=2) for name in ("one", "other"))
    ids = [(folder / "semantic_ids.parquet").read_bytes() for folder in (one, other, quantized[0])]
    assert ids[0] == ids[1] != ids[2]
    assert statistics["nan_losses"] == 0 and statistics["collision_share"] == 0


def test_one_fold_is_refused():
    with pytest.raises(ValidationError, match="nobody to make z from"):
        QuantizationConfig(behaviour_folds=1)
