"""`shared_codebooks: false`: every chain has codebooks of its own; items, IDs and files are as ever."""

import numpy as np
import pytest
import torch
from artificial_catalogue import make_trainer, run_stage
from safetensors.torch import load_file

from bbqrec_core.dataset import ItemFeatures
from bbqrec_core.quantization.model import BEHAVIOUR
from bbqrec_core.quantization.tokenizers.registry import assign, load


@pytest.fixture(scope="module")
def separate(catalogue, tmp_path_factory):
    return run_stage(catalogue, tmp_path_factory.mktemp("separate"), shared_codebooks=False)


def test_each_chain_learns_codebooks_of_its_own(separate, quantized):
    out, statistics = separate
    assert statistics["nan_losses"] == 0 and statistics["repaired_collision_share"] == 0
    model = load(out).tokenizer.model
    assert set(model.own) == {"text", "image", BEHAVIOUR}
    stacks = [model.quantizer, *(model.quantizer_of(name) for name in model.own)]
    for one in range(len(stacks)):
        for other in range(one):
            pairs = zip(stacks[one].codebooks, stacks[other].codebooks, strict=True)
            assert all((left != right).any(1).all() for left, right in pairs), "no two stacks share a code"
    assert not [name for name in load_file(quantized[0] / "quantizer.safetensors") if ".own." in name]


def test_vectors_are_sums_of_the_chains_own_codes(separate):
    tokenizer = load(separate[0]).tokenizer
    codes = np.array([[0, 1, 2], [3, 0, 5]])
    present = {name: torch.ones(2, dtype=torch.bool) for name in ("text", "image")}
    vectors = tokenizer.vectors(codes, {"text": codes, "image": codes}, present)
    for name in ("text", "image"):
        expected = sum(book[codes[:, level]] for level, book in enumerate(tokenizer.model.quantizer_of(name).codebooks))
        torch.testing.assert_close(vectors[name], expected.detach())
    assert not torch.equal(vectors["text"], vectors["fused"])


def test_new_items_are_assigned_as_the_catalogue_was(separate, catalogue):
    quantizer = load(separate[0])
    features, present = _features(catalogue)
    again = {name: ItemFeatures(features[name].numpy(), present[name].numpy()) for name in features}
    given = assign(quantizer, again)
    everyone = np.concatenate([quantizer.semantic_ids, given.fused])
    assert len(np.unique(everyone, axis=0)) == len(everyone)


def _features(catalogue):
    features = {"text": torch.from_numpy(catalogue.text).float(), "image": torch.from_numpy(catalogue.image).float()}
    return features, {"text": torch.from_numpy(catalogue.has_text), "image": torch.from_numpy(catalogue.has_image)}


def test_a_chain_that_no_item_has_is_left_alone(catalogue, tmp_path):
    trainer = make_trainer(catalogue, tmp_path, shared_codebooks=False)
    trainer.model.has_behaviour.fill_(False)
    trainer.start_codebooks()
    assert all(not book.any() for book in trainer.model.quantizer_of(BEHAVIOUR).codebooks)
    assert all(book.any() for book in trainer.model.quantizer_of("text").codebooks)
    losses = trainer.step(trainer.fitted[:64])
    assert all(torch.isfinite(loss) for loss in losses.values())
