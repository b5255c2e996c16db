"""What does not depend on how users and items are numbered: exactly, where nothing is drawn; else no more than on the seed.

Numbers come from a seeded hash of the shop's own names (sql/item_index.sql). A published split that is numbered anew, its names kept, gives
the same files to the byte (tests/ingest/test_ingest_sequences.py), and so the same of everything after. Other names give other numbers;
what that can change is here for IDs, in tests/sequence for the sequence model, in tests/evaluation for ranks.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from artificial_catalogue import Catalogue, run_stage
from other_catalogues import published_codes
from two_days import a_day_later, run_day

from bbqrec_core.dataset import SequenceDataset, load_semantic_ids
from bbqrec_core.quantization import probes
from bbqrec_core.quantization.behaviour import behaviour_vectors, cooccurrence, shifted_ppmi
from bbqrec_core.quantization.collisions import Codebooks, collision_share, repair
from bbqrec_core.quantization.health import cohesion_rows, usage_rows
from bbqrec_core.quantization.lcp import behaviour_lcp


@pytest.fixture(scope="module", autouse=True)
def brief_probes(quantized):
    """The probe of what s and b share takes most of a small run, and nothing here looks at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "MLP_STEPS", 5)
        yield


def renumbered(catalogue: Catalogue, order: np.ndarray, users: np.ndarray) -> Catalogue:
    """Item order[i] of the old catalogue becomes item i; users come in another order."""
    new = np.argsort(order)
    columns = {name: getattr(catalogue, name)[order] for name in ("text", "has_text", "image", "has_image")}
    return Catalogue(
        **columns,
        train=[new[catalogue.train[user]].tolist() for user in users],
        valid=[int(new[catalogue.valid[user]]) for user in users],
        test=[int(new[catalogue.test[user]]) for user in users],
    )


@pytest.fixture(scope="module")
def numbers(catalogue):
    rng = np.random.default_rng(3)
    return rng.permutation(catalogue.n_items), rng.permutation(len(catalogue.train))


def ragged(catalogue):
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in catalogue.train])])
    return offsets, np.array([item for row in catalogue.train for item in row])


def test_behaviour_is_the_same_under_other_numbers(catalogue, numbers):
    order, _ = numbers
    matrices = []
    for one in (catalogue, renumbered(catalogue, *numbers)):
        matrix = shifted_ppmi(cooccurrence(*ragged(one), one.n_items, 5), 1.0)
        vectors, known = behaviour_vectors(matrix, 16, torch.Generator().manual_seed(0))
        dense = np.zeros((one.n_items, one.n_items))
        dense[matrix.rows, matrix.columns] = matrix.counts
        matrices.append((dense, (vectors @ vectors.T).numpy(), known.numpy()))
    (dense, gram, known), (dense_new, gram_new, known_new) = matrices
    np.testing.assert_array_equal(dense[np.ix_(order, order)], dense_new)
    np.testing.assert_allclose(gram[np.ix_(order, order)], gram_new, atol=1e-3)
    np.testing.assert_array_equal(known[order], known_new)


def test_figures_of_given_codes_are_the_same_under_other_numbers(catalogue, numbers):
    order, _ = numbers
    codes = np.random.default_rng(0).integers(0, 6, (catalogue.n_items, 3))
    assert list(usage_rows("fused", codes, [8, 8, 16])) == list(usage_rows("fused", codes[order], [8, 8, 16]))
    assert collision_share(codes) == collision_share(codes[order])
    one, two = (
        list(cohesion_rows("fused", *pair)) for pair in ((codes, "text", catalogue.text), (codes[order], "text", catalogue.text[order]))
    )
    assert [row[:3] for row in one] == [row[:3] for row in two]
    np.testing.assert_allclose([row[3] for row in one], [row[3] for row in two], atol=1e-9)


SPREAD = {
    "reconstruction_r2_text": 0.03,
    "reconstruction_r2_image": 0.09,
    "fused_r2_text": 0.05,
    "fused_r2_image": 0.07,
    "perplexity_level_1": 0.4,
    "perplexity_level_2": 0.8,
    "perplexity_level_3": 0.4,
    "collision_share_before": 0.14,
    "final_reconstruction": 0.025,
}
"""Standard deviation over eight seeds on this catalogue, measured (the larger of either numbering's)."""
SEEDS = (7, 8, 9)


def test_health_is_the_same_under_other_numbers(catalogue, numbers, quantized, tmp_path):
    """Exactly where nothing is drawn. The rest moves as it does with the seed, so means over seeds are compared."""
    other = renumbered(catalogue, *numbers)
    first = [quantized[1], *(run_stage(catalogue, tmp_path / f"old{seed}", seed=seed)[1] for seed in SEEDS[1:])]
    second = [run_stage(other, tmp_path / f"new{seed}", seed=seed)[1] for seed in SEEDS]
    exact = ("items", "fitted_items", "cold_items", "blank_items", "repair_only_items", "identical_listings", "collision_share")
    exact += ("null_image_codes", "distinct_ids", "nan_losses")
    assert all({name: one[name] for name in exact} == {name: first[0][name] for name in exact} for one in (*first, *second))
    for name, deviation in SPREAD.items():
        difference = np.mean([one[name] for one in first]) - np.mean([one[name] for one in second])
        assert abs(difference) < 3 * deviation * np.sqrt(2 / len(SEEDS)), name


def test_repair_parts_the_same_items_in_whatever_order_they_come(catalogue):
    """Least total cost is one assignment where no two cost the same; only whom a full prefix sends away first is a matter of order."""
    rng = np.random.default_rng(2)
    books = Codebooks(tuple(rng.normal(size=(size, 6)) for size in (4, 8, 64)), 0.7, 0.5)
    n = catalogue.n_items
    codes = np.c_[rng.integers(0, 4, n), rng.integers(0, 8, n), rng.integers(0, 2, n)]
    starts, behaviour, order = rng.normal(size=(n, 6)), rng.normal(size=(n, 6)), rng.permutation(n)
    one, two = repair(codes, starts, behaviour, books), repair(codes[order], starts[order], behaviour[order], books)
    assert one.moved_last.any() and not one.moved_prefix.any()
    np.testing.assert_array_equal(one.codes[order], two.codes)


def test_behaviour_lcp_of_real_pairs_is_the_same_under_other_numbers(catalogue, numbers, tmp_path):
    """But for the few pairs that are left out since no random partner was drawn for them; those partners are drawn."""
    order, _ = numbers
    codes = np.random.default_rng(0).integers(0, 3, (catalogue.n_items, 3))
    datasets = [SequenceDataset.load(one.write(tmp_path / str(place))["ingest"], 20) for place, one in enumerate(both(catalogue, numbers))]
    one, two = ([behaviour_lcp(mine, data, seed) for seed in range(8)] for mine, data in zip((codes, codes[order]), datasets, strict=True))
    assert all(measured.pairs == pytest.approx(one[0].pairs, rel=0.01) for measured in (*one, *two))
    assert all(measured.mean == pytest.approx(one[0].mean, abs=0.01) for measured in (*one, *two))
    drawn = np.array([[measured.random for measured in side] for side in (one, two)])
    assert abs(np.diff(drawn.mean(1))[0]) < 4 * np.sqrt(drawn.var(1, ddof=1).sum() / drawn.shape[1])


def both(catalogue, numbers):
    return catalogue, renumbered(catalogue, *numbers)


def test_published_codes_stay_with_their_items(catalogue, numbers, tmp_path):
    """Nothing is drawn: the IDs are the same item by item, and so is every figure that no probe is fitted for."""
    order, _ = numbers
    rows = published_codes(catalogue)
    codes = {name: rows.codes(name) for name in ("text", "image")}

    class Renumbered(type(rows)):
        def codes(self, modality):
            return [codes[modality][item] for item in order]

    other = Renumbered(**{**vars(renumbered(catalogue, *numbers)), "published": rows.published})
    (one, before), (two, after) = (run_stage(kind, tmp_path / str(n), tokenizer="given") for n, kind in enumerate((rows, other)))
    np.testing.assert_array_equal(load_semantic_ids(one)["fused"][0][order], load_semantic_ids(two)["fused"][0])
    drawn = ("behaviour_lcp", "reconstruction", "fused_")
    same = [name for name in before if not name.startswith(drawn)]
    assert len(same) > 20 and {name: before[name] for name in same} == {name: after[name] for name in same}


def test_earlier_ids_are_found_by_name_and_not_by_number(catalogue, tmp_path):
    """A day later everything has another number, and IDs stay; were they looked up by number, they would move."""
    warm = {"warm_start": {"epochs": 2}}
    run_day(catalogue, tmp_path / "before", **warm)
    later = a_day_later(catalogue)
    _, by_name = run_day(later, tmp_path / "a", tmp_path / "before", **warm)
    numbered = replace(later, names=tuple(f"A{number}" for number in range(later.n_items)), users=tuple(f"V{user}" for user in later.users))
    _, by_number = run_day(numbered, tmp_path / "b", tmp_path / "before", **warm)
    assert by_name["churn_share"] < 0.4 < 0.6 < by_number["churn_share"]
