"""A catalogue at random, a model of it with random weights, and the searches that are timed on it. PyTorch alone is needed here."""

import numpy as np
import torch

from bbqrec_core.sequence.catalogue import Catalogue
from bbqrec_core.sequence.config import SequenceConfig, SimilarityConfig
from bbqrec_core.sequence.model import SequenceModel
from bbqrec_core.sequence.search import beam_search

CODES, LEVELS = 256, 4
HISTORY, K = 20, 10
AT_A_TIME = 256
"""Users searched for at once."""


def random_ids(n_items: int, seed: int) -> torch.Tensor:
    """Distinct semantic IDs, int64 [n_items, LEVELS], spread evenly."""
    drawn = np.random.default_rng(seed).choice(CODES**LEVELS, n_items, replace=False)
    return torch.from_numpy(np.stack(np.unravel_index(drawn, (CODES,) * LEVELS), axis=1).astype(np.int64))


def random_histories(users: int, n_items: int, seed: int) -> torch.Tensor:
    """Full histories, int64 [users, HISTORY]."""
    return torch.from_numpy(np.random.default_rng(seed + 1).integers(n_items, size=(users, HISTORY)))


def make_model(codes: torch.Tensor, seed: int) -> SequenceModel:
    """The sequence model over a catalogue, as wide as the shipped profiles have it, with random weights."""
    torch.manual_seed(seed)
    everything = torch.ones(len(codes), dtype=torch.bool)
    catalogue = Catalogue({"fused": codes}, {"fused": everything}, {"fused": torch.zeros(len(codes), 4)}, everything)
    config = SequenceConfig(max_history=HISTORY, code_sources=("fused",), similarity=SimilarityConfig(sources=()))
    return SequenceModel(config, catalogue, None).eval()


@torch.no_grad()
def search(model: SequenceModel, histories: torch.Tensor, beams: int) -> torch.Tensor:
    """Ours: states of the histories, then beam search. int64 [users, K]."""
    assert model.decoder is not None
    found = [beam_search(model.decoder, model.hidden(part), part, beams, K)[0] for part in histories.split(AT_A_TIME)]
    return torch.cat(found)


@torch.no_grad()
def score_all(model: SequenceModel, histories: torch.Tensor) -> torch.Tensor:
    """Ours: the generative head's score of every item, seen ones left out. int64 [users, K]."""
    assert model.decoder is not None
    return torch.cat(
        [model.decoder.score_all(model.hidden(part)).scatter(1, part, float("-inf")).topk(K).indices for part in histories.split(AT_A_TIME)]
    )
