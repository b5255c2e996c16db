"""Generative search by what was trained: how good what it finds is, and how many users a second ours and T5 answer."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from bbqrec_core.baselines.tiger import TigerModel
from bbqrec_core.dataset import EvalSplit
from bbqrec_core.evaluation.metrics import expected_ndcg
from bbqrec_core.evaluation.ranking import seen_items
from bbqrec_core.sequence.mixture import batches, ranking_quality
from bbqrec_core.sequence.model import GENERATIVE, SequenceModel
from bbqrec_core.sequence.search import beam_search
from benchmarks.t5 import T5, T5_WITH_OUR_TRIE, allowed_by_prefix, generate
from benchmarks.turns import seconds_in_turns

K = 10
OURS = "ours, generative head"
AT_A_TIME = 256
"""Users searched for at once, by ours."""
T5_AT_A_TIME = 16
"""By T5, whose beams take more memory."""


@torch.no_grad()
def search_quality(model: SequenceModel, judges: EvalSplit, widths: Sequence[int]) -> tuple[float, dict[int, float]]:
    """NDCG@10 of the generative head alone, seen items masked: by the exact score of every item, and by beams of some widths."""
    decoder = model.decoder
    assert decoder is not None
    [(exact, _)] = ranking_quality(
        judges, lambda histories: {GENERATIVE: decoder.score_all(model.hidden(histories))}, [{GENERATIVE: 1.0}], AT_A_TIME
    )
    beams: dict[int, list[np.ndarray]] = {width: [] for width in widths}
    for place in batches(len(judges), AT_A_TIME):
        targets, closed = torch.from_numpy(judges.targets[place]), _closed(judges, place)
        hidden = model.hidden(torch.from_numpy(judges.histories[place]))
        for width, found in beams.items():
            hits = beam_search(decoder, hidden, closed, width, K)[0] == targets[:, None]
            places = torch.where(hits.any(1), hits.int().argmax(1), K).numpy()
            found.append(expected_ndcg(places, np.zeros_like(places), K))
    return exact, {width: float(np.concatenate(found).mean()) for width, found in beams.items()}


def _closed(judges: EvalSplit, place: slice) -> torch.Tensor:
    """What some users have, which no search may return, int64 [users, most of a user], padded with -1."""
    rows, seen = seen_items(judges, place)
    users = place.stop - place.start
    closed = torch.full((users, int(torch.bincount(rows, minlength=1).max())), -1)
    rows, order = rows.sort(stable=True)
    closed[rows, torch.arange(len(rows)) - torch.searchsorted(rows, rows)] = seen[order]
    return closed


@torch.no_grad()
def search_rates(model: SequenceModel, peer: TigerModel, judges: EvalSplit, width: int, rounds: int) -> dict[str, float]:
    """Users a second from histories to K items by beams of one width: ours, and T5 told either way what may follow.

    T5 answers the first `T5_AT_A_TIME` of the users.
    """
    decoder = model.decoder
    assert decoder is not None
    allowed = allowed_by_prefix(peer)
    few = torch.from_numpy(judges.histories[:T5_AT_A_TIME])

    def ours() -> None:
        for place in batches(len(judges), AT_A_TIME):
            beam_search(decoder, model.hidden(torch.from_numpy(judges.histories[place])), _closed(judges, place), width, K)

    contenders: dict[str, tuple[Callable[[], object], int]] = {
        OURS: (ours, len(judges)),
        T5: (lambda: generate(peer, few, width, K, allowed), len(few)),
        T5_WITH_OUR_TRIE: (lambda: generate(peer, few, width, K), len(few)),
    }
    seconds, _ = seconds_in_turns({name: run for name, (run, _) in contenders.items()}, rounds)
    return {name: users / seconds[name] for name, (_, users) in contenders.items()}
