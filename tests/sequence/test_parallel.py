"""Training in several processes: the same result as in one, the same twice, and errors and log lines that come back."""

import logging

import pytest
import torch
from safetensors.torch import load_file
from sequence_artifacts import make_context, make_profile

from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.errors import ProfileError, StageError
from bbqrec_core.profile import ComputeConfig, load_profile
from bbqrec_core.sequence import parallel, stage
from bbqrec_core.sequence.catalogue import load_catalogue
from bbqrec_core.sequence.model import SequenceModel
from bbqrec_core.sequence.windows import Windows

PLAIN = {"dropout": 0.0, "id_dropout": 0.0, "epochs": 2, "batch_size": 40, "similarity": {"sources": ["text"]}}
TWO = ComputeConfig(device="cpu", devices=2, threads=1)


def run(root, artifacts, name, devices, scratch=None, **sequence):
    context = make_context(root, artifacts, name, **sequence)
    profile = context.profile.model_copy(update={"compute": ComputeConfig(device="cpu", devices=devices, threads=1)})
    statistics = stage.run(type(context)(profile, context.inputs, context.out, scratch or context.scratch))
    return load_file(context.out / "model.safetensors"), statistics


def test_two_processes_learn_what_one_does(artifacts, tmp_path):
    """Without dropout nothing is drawn: an average of gradients that counts targets is the gradient of the whole batch."""
    (one, alone), (two, together) = (run(tmp_path, artifacts, str(devices), devices, **PLAIN, dimensions=64) for devices in (1, 2))
    assert sum(tensor.nbytes for tensor in one.values()) > 4 * 65_536, "more than fits a pipe"
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=2e-3, atol=2e-4, msg=name)
    assert together["final_train_loss"] == pytest.approx(alone["final_train_loss"], rel=1e-4)
    assert together["valid_ndcg_at_10"] == pytest.approx(alone["valid_ndcg_at_10"], abs=0.01)


@pytest.mark.parametrize("off", [{"dense_weight": 0}, {"generative_weight": 0}, {"item_ids": False, "average_decay": 0.9}])
def test_with_parts_switched_off_too(off, artifacts, tmp_path):
    (one, _), (two, _) = (run(tmp_path, artifacts, str(devices), devices, **PLAIN, **off) for devices in (1, 2))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=2e-3, atol=2e-4, msg=name)


def test_with_dropout_two_processes_learn_the_same_twice_and_go_on_from_a_checkpoint(artifacts, tmp_path, caplog):
    first, statistics = run(tmp_path, artifacts, "first", 2, epochs=3)
    assert statistics["valid_ndcg_at_10"] > 0.6
    second, _ = run(tmp_path, artifacts, "second", 2, epochs=3)
    with caplog.at_level(logging.INFO):
        third, _ = run(tmp_path, artifacts, "third", 2, scratch=tmp_path / "second-scratch", epochs=3)
    assert "resuming after epoch 3 of 3" in caplog.text, "the first process's log lines come back"
    for again in (second, third):
        assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


def test_what_stops_the_processes_comes_back_as_it_was(artifacts, tmp_path):
    config = make_profile().sequence
    data = SequenceDataset.load(artifacts["ingest"], 8)
    model = SequenceModel(config, load_catalogue(artifacts["quantize"], data.train_counts), None)
    nothing = Windows.cut(data.train_offsets[:1], data.train_items[:0], 8)
    with pytest.raises(StageError, match="There is no train sequence"):
        parallel.train_on_devices(model, nothing, data.valid, config, 7, TWO, tmp_path, "identity")


def test_more_gpus_than_there_are_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(StageError, match="asks for 4 GPUs, and this machine has 1"):
        parallel._enough_gpus(ComputeConfig(device="cuda", devices=4))


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_one_device_by_name_cannot_be_several(device):
    with pytest.raises(ProfileError, match=r"devices is 2, which .* is not"):
        load_profile("demo", {"compute": {"device": device, "devices": 2}})
