"""The trie and the beam, against plain Python and against exhaustive scoring."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bbqrec_core.sequence import decoder as decoder_module
from bbqrec_core.sequence.decoder import DepthDecoder
from bbqrec_core.sequence.search import beam_search
from bbqrec_core.sequence.trie import Trie

DIMENSIONS = 6


@st.composite
def catalogues(draw: st.DrawFn) -> np.ndarray:
    levels = draw(st.integers(1, 4))
    widths = [draw(st.integers(1, 4)) for _ in range(levels)]
    rows = st.tuples(*(st.integers(0, width - 1) for width in widths))
    return np.array(draw(st.lists(rows, min_size=1, max_size=25)), dtype=np.int64).reshape(-1, levels)  # identical IDs happen


def make_decoder(codes: np.ndarray, seed: int) -> DepthDecoder:
    tensor = torch.from_numpy(codes)
    torch.manual_seed(seed)
    counts = [int(column.max()) + 1 for column in tensor.T]
    decoder = DepthDecoder(DIMENSIONS, counts, Trie(tensor), Trie(tensor), 0.0).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return decoder


def plain_score(decoder: DepthDecoder, hidden: torch.Tensor, codes: np.ndarray, item: int) -> float:
    """An item's log-probability by dictionaries and loops over the catalogue's rows."""
    state, total = decoder.start(hidden), 0.0
    for level in range(codes.shape[1]):
        legal = sorted({int(row[level]) for row in codes if (row[:level] == codes[item, :level]).all()})
        logits = decoder.out[level](decoder.out_norm[level](state))[legal]
        total += float(logits.log_softmax(0)[legal.index(int(codes[item, level]))])
        if level + 1 < codes.shape[1]:
            state = decoder.step(state, torch.tensor(int(codes[item, level])), level)
    return total - float(np.log((codes == codes[item]).all(1).sum()))


@given(catalogues(), st.data())
@settings(max_examples=60, deadline=None)
def test_trie_holds_exactly_the_catalogue(codes, data):
    members = data.draw(st.lists(st.booleans(), min_size=len(codes), max_size=len(codes)).filter(any))
    trie = Trie(torch.from_numpy(codes), torch.tensor(members))
    inside = [item for item, member in enumerate(members) if member]
    for depth in range(codes.shape[1] + 1):
        prefixes = sorted({tuple(codes[item, :depth].tolist()) for item in inside})
        nodes = trie.nodes_at(depth).tolist()
        assert len(nodes) == len(prefixes)
        for node, prefix in zip(nodes, prefixes, strict=True):  # lexicographic order
            below = [item for item in inside if tuple(codes[item, :depth]) == prefix]
            assert int(trie.items_below[node]) == len(below)
            assert int(trie.leaves_below[node]) == len({tuple(codes[item]) for item in below})
            children = range(int(trie.offsets[node]), int(trie.offsets[node + 1]))
            if depth < codes.shape[1]:
                following = sorted({int(codes[item, depth]) for item in below})
                assert [int(trie.code[child]) for child in children] == following
                assert all(int(trie.parent[child]) == node for child in children)
                legal = trie.legal(torch.tensor([node]), depth, 5)
                assert legal[0].nonzero()[:, 0].tolist() == following
                assert trie.child(torch.tensor([node]).expand(len(following)), torch.tensor(following)).tolist() == list(children)
            else:
                assert len(children) == 0
                held = trie.expand_leaves(torch.tensor([node]))[0]
                assert held[held >= 0].tolist() == below
                assert all(int(trie.path[item, -1]) == node for item in below)
    outside = [item for item, member in enumerate(members) if not member]
    assert (trie.path[outside] == -1).all()


@given(catalogues(), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
@torch.no_grad()
def test_exact_scores_equal_plain_python_and_sum_to_one(codes, seed):
    decoder = make_decoder(codes, seed)
    hidden = torch.randn(2, DIMENSIONS)
    scores = decoder.score_all(hidden)
    expected = [[plain_score(decoder, row, codes, item) for item in range(len(codes))] for row in hidden]
    torch.testing.assert_close(scores, torch.tensor(expected), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(2), rtol=1e-4, atol=1e-4)
    everything = torch.arange(len(codes)).expand(2, -1)
    torch.testing.assert_close(decoder.score_items(hidden, everything), scores, rtol=1e-4, atol=1e-4)


@given(catalogues(), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
@torch.no_grad()
def test_exact_scores_do_not_depend_on_how_the_trie_is_cut_into_slabs(codes, seed):
    decoder, hidden = make_decoder(codes, seed), torch.randn(5, DIMENSIONS)
    at_once = decoder.score_all(hidden)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "SLAB_FLOATS", 1)
        patch.setattr(decoder_module, "MAX_ROWS", 2)
        piecemeal = make_decoder(codes, seed)
        scores = piecemeal.score_all(hidden)
    [walk] = piecemeal._walks.values()
    assert [[len(slab.codes) for slab in slabs] for slabs in walk.slabs] == [[1] * count for count in walk.open_counts[:-1]]
    torch.testing.assert_close(scores, at_once, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat([decoder.score_all(row) for row in hidden.split(1)]), at_once, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 7])
def test_exact_scores_in_bfloat16_under_inference_and_of_a_copy(rows: int) -> None:
    generator = np.random.default_rng(rows)
    decoder, hidden = make_decoder(generator.integers(0, 4, (40, 3)), rows), torch.randn(rows, DIMENSIONS)
    plain = decoder.score_all(hidden)
    with torch.inference_mode():
        assert torch.equal(decoder.score_all(hidden), plain)
        copied = deepcopy(decoder)
    assert torch.equal(copied.score_all(hidden), plain)
    with torch.autocast("cpu", torch.bfloat16):
        scores = decoder.score_all(hidden)
        everything = torch.arange(40).expand(rows, -1)
        torch.testing.assert_close(scores, decoder.score_items(hidden, everything), rtol=0.05, atol=0.1)
    assert scores.dtype == torch.float32
    decoder.loss(hidden, torch.zeros(rows, dtype=torch.int64)).backward()  # what was planned under inference does not stand in the way


@given(catalogues(), st.integers(0, 1000), st.data())
@settings(max_examples=60, deadline=None)
@torch.no_grad()
def test_a_beam_as_wide_as_the_catalogue_is_exhaustive(codes, seed, data):
    decoder = make_decoder(codes, seed)
    n, batch = len(codes), 3
    hidden = torch.randn(batch, DIMENSIONS)
    seen = torch.tensor([data.draw(st.lists(st.integers(-1, n - 1), min_size=4, max_size=4)) for _ in range(batch)])
    k = data.draw(st.integers(1, n + 2))
    items, scores = beam_search(decoder, hidden, seen, n, k)
    exact = decoder.score_all(hidden)
    for row in range(batch):
        unseen = sorted(set(range(n)) - set(seen[row].tolist()))
        found = items[row][items[row] >= 0].tolist()
        assert len(found) == min(k, len(unseen)) == len(set(found)) and set(found) <= set(unseen)
        assert (items[row, len(found) :] == -1).all() and (scores[row, len(found) :] == float("-inf")).all()
        expected = exact[row, unseen].sort(descending=True).values[: len(found)]
        torch.testing.assert_close(scores[row, : len(found)], expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(exact[row, found], expected, rtol=1e-4, atol=1e-4)


@given(catalogues(), st.integers(0, 1000), st.integers(1, 5), st.data())
@settings(max_examples=40, deadline=None)
@torch.no_grad()
def test_a_narrow_beam_returns_real_unseen_items_whatever_the_batch(codes, seed, width, data):
    decoder = make_decoder(codes, seed)
    n, batch = len(codes), 4
    hidden = torch.randn(batch, DIMENSIONS)
    seen = torch.tensor([data.draw(st.lists(st.integers(-1, n - 1), min_size=5, max_size=5)) for _ in range(batch)])
    items, scores = beam_search(decoder, hidden, seen, width, 5)
    exact = decoder.score_all(hidden)
    for row in range(batch):
        found = items[row][items[row] >= 0].tolist()
        assert len(set(found)) == len(found) and not set(found) & set(seen[row].tolist())
        torch.testing.assert_close(scores[row, : len(found)], exact[row, found], rtol=1e-4, atol=1e-4)
        assert found or set(range(n)) <= set(seen[row].tolist())  # closed prefixes never crowd out open ones
        alone = beam_search(decoder, hidden[row : row + 1], seen[row : row + 1], width, 5)
        assert torch.equal(alone[0][0], items[row])
        torch.testing.assert_close(alone[1][0], scores[row], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_candidates_are_scored_in_turns_where_memory_would_not_do(monkeypatch):
    decoder, hidden = make_decoder(np.random.default_rng(5).integers(0, 4, (40, 3)), 5), torch.randn(7, DIMENSIONS)
    items = torch.arange(40).expand(7, -1)
    at_once, asked, real = decoder.score_items(hidden, items), [], decoder._score_items
    monkeypatch.setattr(decoder, "_score_items", lambda *part: asked.append(len(part[0])) or real(*part))
    monkeypatch.setattr(decoder_module, "WORKING_FLOATS", 2 * 40 * (DIMENSIONS + 8) + 1)
    torch.testing.assert_close(decoder.score_items(hidden, items), at_once, rtol=1e-5, atol=1e-5)
    assert asked == [2, 2, 2, 1]


@torch.no_grad()
def test_beam_without_a_history_and_with_everything_seen():
    codes = np.array([[0, 0], [0, 1], [1, 0]])
    decoder = make_decoder(codes, 1)
    nothing = torch.empty(2, 0, dtype=torch.int64)
    assert (beam_search(decoder, torch.randn(2, DIMENSIONS), nothing, 3, 3)[0].sort(1).values == torch.arange(3)).all()
    everything = torch.tensor([[0, 1, 2, 2], [0, 1, 2, -1]])
    assert (beam_search(decoder, torch.randn(2, DIMENSIONS), everything, 3, 3)[0] == -1).all()


@torch.no_grad()
def test_training_loss_is_the_mean_over_legal_paths():
    codes = np.array([[0, 0, 1], [0, 1, 0], [2, 1, 1], [2, 1, 1]])
    decoder = make_decoder(codes, 4)
    hidden = torch.randn(3, DIMENSIONS)
    targets = torch.tensor([0, 2, 1])
    expected = 0.0
    for row, target in enumerate(targets.tolist()):
        expected -= plain_score(decoder, hidden[row], codes, target) + float(np.log((codes == codes[target]).all(1).sum()))
    assert abs(float(decoder.loss(hidden, targets)) - expected / 3) < 1e-5
