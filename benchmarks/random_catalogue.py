"""A catalogue at random, a model of it with random weights, and the searches that are timed on it. PyTorch alone is needed here."""

import argparse
from pathlib import Path

import numpy as np
import torch

from bbqrec_core import schema
from bbqrec_core.sequence.catalogue import Catalogue
from bbqrec_core.sequence.config import SequenceConfig
from bbqrec_core.sequence.model import SequenceModel
from bbqrec_core.sequence.search import beam_search
from bbqrec_core.sequence.similarity import similarity_spec

CODES, LEVELS = 256, 4
HISTORY, K = 20, 10
AT_A_TIME = 256
"""Users searched for at once."""


def parse_search(parser: argparse.ArgumentParser, users: int, peer_users: int, rounds: int) -> argparse.Namespace:
    """Add what a benchmark of search is told on the command line, with its defaults, parse, and refuse what cannot be measured."""
    parser.add_argument("--items", type=int, default=10_000, metavar="N", help="catalogue that all search (default: %(default)s)")
    parser.add_argument("--large", type=int, default=1_000_000, metavar="N", help="catalogue that ours searches too (default: %(default)s)")
    parser.add_argument("--users", type=int, default=users, metavar="N", help="histories that ours answers (default: %(default)s)")
    parser.add_argument(
        "--peer-users", type=int, default=peer_users, metavar="N", help="the first of them, which T5 answers (default: %(default)s)"
    )
    parser.add_argument("--beams", type=int, default=20, metavar="N", help="beam width of all (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=rounds, metavar="N", help="rounds, medians count (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the report, beside printing it")
    arguments = parser.parse_args()
    if min(arguments.items, arguments.large, arguments.users, arguments.peer_users, arguments.rounds) < 1 or arguments.beams < K:
        parser.error(f"numbers must be positive, and --beams at least {K}")
    return arguments


def random_ids(n_items: int, seed: int) -> torch.Tensor:
    """Distinct semantic IDs, int64 [n_items, LEVELS], spread evenly."""
    drawn = np.random.default_rng(seed).choice(CODES**LEVELS, n_items, replace=False)
    return torch.from_numpy(np.stack(np.unravel_index(drawn, (CODES,) * LEVELS), axis=1).astype(np.int64))


def random_histories(users: int, n_items: int, seed: int) -> torch.Tensor:
    """Full histories, int64 [users, HISTORY]."""
    return torch.from_numpy(np.random.default_rng(seed + 1).integers(n_items, size=(users, HISTORY)))


def make_model(ids: torch.Tensor, seed: int) -> SequenceModel:
    """As the shipped profiles have it: codes of text and image beside the ID, attention reweighted by both. Weights are random."""
    torch.manual_seed(seed)
    codes = {schema.FUSED: ids} | {source: random_ids(len(ids), seed + drawn) for drawn, source in enumerate(("text", "image"), 2)}
    everything = torch.ones(len(ids), dtype=torch.bool)
    catalogue = Catalogue(codes, dict.fromkeys(codes, everything), dict.fromkeys(codes, torch.zeros(len(ids), 1)), everything)
    config = SequenceConfig(max_history=HISTORY)
    return SequenceModel(config, catalogue, similarity_spec(config.similarity, catalogue, seed)).eval()


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
