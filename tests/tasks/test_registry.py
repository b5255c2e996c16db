"""Which version serves: promotion, challengers, rollback, and swaps cut in the middle, in a real registry."""

import math
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from bbqrec_core.errors import ServiceError
from bbqrec_core.store import ArtifactRef
from tasks.register import (
    CHALLENGER,
    CHAMPION,
    CODE_TAG,
    HELD_OUT_TAG,
    PREVIOUS,
    SEARCH_TAG,
    SWAPPING,
    UNTIL_TAG,
    _lift,
    aliases_lock,
    find_version,
    present_alias,
    promote,
    serving_artifacts,
    swap_champion,
)
from tasks.tracking import PARTIAL_TAG, connect

NAME = "bbqrec-registry-test"


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    client = connect()
    client.create_registered_model(NAME)
    return client


def facts(fingerprint, score, data="d1", lift=2.0):
    return {
        "bbqrec.fingerprint": fingerprint,
        "bbqrec.code": "1",
        "bbqrec.search": "{}",
        "bbqrec.data": data,
        "bbqrec.test_ndcg_at_10": str(score),
        "bbqrec.test_ndcg_over_popularity": str(lift),
    }


def add(client, tmp_path, *about, **more):
    known = facts(*about, **more)
    return client.create_model_version(NAME, tmp_path.as_uri(), tags=known), known


def aliases(client):
    return dict(client.get_registered_model(NAME).aliases)


def test_the_first_version_is_champion_and_stays_so_when_promoted_again(client, tmp_path):
    first = add(client, tmp_path, "f1", 0.1)
    assert [promote(client, NAME, *first), promote(client, NAME, *first)] == [CHAMPION, CHAMPION]
    assert aliases(client) == {CHAMPION: 1}
    assert present_alias(NAME, 1) == CHAMPION and present_alias(NAME, 2) == ""


def test_a_worse_version_on_the_same_data_stays_challenger_until_a_better_one_comes(client, tmp_path):
    promote(client, NAME, *add(client, tmp_path, "f1", 0.1))
    assert promote(client, NAME, *add(client, tmp_path, "f2", 0.05)) == CHALLENGER
    assert aliases(client) == {CHAMPION: 1, CHALLENGER: 2}
    assert promote(client, NAME, *add(client, tmp_path, "f3", 0.12)) == CHAMPION
    assert aliases(client) == {CHAMPION: 3, PREVIOUS: 1}


@pytest.mark.parametrize(("lift", "expected"), [(1.5, CHAMPION), (0.5, CHALLENGER)])
def test_newer_data_replaces_the_champion_only_if_the_model_beats_popularity(client, tmp_path, lift, expected):
    promote(client, NAME, *add(client, tmp_path, "f1", 0.9))
    assert promote(client, NAME, *add(client, tmp_path, "f2", 0.1, data="d2", lift=lift)) == expected


@pytest.mark.parametrize(("until", "expected"), [("900", CHALLENGER), ("1000", CHAMPION), ("1100", CHAMPION)])
def test_older_data_never_replaces_the_champion(client, tmp_path, until, expected):
    for number, end in enumerate(("1000", until)):
        known = {**facts(f"f{number}", 0.1 + number, data=f"d{number}"), UNTIL_TAG: end}
        alias = promote(client, NAME, client.create_model_version(NAME, tmp_path.as_uri(), tags=known), known)
    assert alias == expected


@pytest.mark.parametrize("tag", [PARTIAL_TAG, HELD_OUT_TAG])
def test_what_was_not_shown_all_of_its_data_does_not_replace_what_was(client, tmp_path, tag):
    def added(fingerprint, score, *tags):
        known = {**facts(fingerprint, score, data=fingerprint), **dict.fromkeys(tags, "true")}
        return client.create_model_version(NAME, tmp_path.as_uri(), tags=known), known

    assert promote(client, NAME, *added("f1", 0.1, tag)) == CHAMPION  # there is no other
    assert promote(client, NAME, *added("f2", 0.1, tag)) == CHAMPION
    assert promote(client, NAME, *added("f3", 0.05)) == CHAMPION
    assert promote(client, NAME, *added("f4", 0.2, tag)) == CHALLENGER
    assert aliases(client) == {CHAMPION: 3, PREVIOUS: 2, CHALLENGER: 4}


def test_of_a_champion_of_which_nobody_noted_whether_its_data_was_whole_it_is_not_held_against_others(client, tmp_path):
    old = {name: value for name, value in facts("f1", 0.1).items() if name != CODE_TAG}
    promote(client, NAME, client.create_model_version(NAME, tmp_path.as_uri(), tags=old), old)
    known = {**facts("f2", 0.1, data="d2"), HELD_OUT_TAG: "100"}
    assert promote(client, NAME, client.create_model_version(NAME, tmp_path.as_uri(), tags=known), known) == CHAMPION


def test_whoever_finds_anything_is_ahead_of_popularity_that_finds_nothing():
    assert _lift({"ndcg_over_popularity": None, "registered_ndcg_at_10": 0.01}) == float(f"{math.inf:.6f}") >= 1.0
    assert _lift({"ndcg_over_popularity": None, "registered_ndcg_at_10": 0.0}) == 0.0
    assert _lift({"ndcg_over_popularity": 1.25, "registered_ndcg_at_10": 0.1}) == 1.25


def test_aliases_are_moved_by_one_at_a_time(client, tmp_path, monkeypatch):
    monkeypatch.setenv("BBQREC_HOME", str(tmp_path))
    promote(client, NAME, *add(client, tmp_path, "f1", 0.1))
    promote(client, NAME, *add(client, tmp_path, "f2", 0.2))
    with ThreadPoolExecutor(1) as pool:
        with aliases_lock():
            swapped = pool.submit(swap_champion, NAME)
            with pytest.raises(TimeoutError):
                swapped.result(timeout=1)
            assert aliases(client) == {CHAMPION: 2, PREVIOUS: 1}
        assert swapped.result(timeout=30) == (1, 2)


def test_rollback_swaps_and_is_not_undone_by_the_next_run(client, tmp_path):
    promote(client, NAME, *add(client, tmp_path, "f1", 0.1))
    second = add(client, tmp_path, "f2", 0.2)
    promote(client, NAME, *second)
    assert swap_champion(NAME) == (1, 2)
    assert aliases(client) == {CHAMPION: 1, PREVIOUS: 2}
    assert promote(client, NAME, *second) == PREVIOUS
    assert swap_champion(NAME) == (2, 1)


def test_a_rollback_is_not_undone_by_the_same_model_with_other_code(client, tmp_path):
    promote(client, NAME, *add(client, tmp_path, "f1", 0.1))
    promote(client, NAME, *add(client, tmp_path, "f2", 0.2, data="d2"))
    assert swap_champion(NAME) == (1, 2)
    assert promote(client, NAME, *add(client, tmp_path, "f2", 0.2, data="d2")) == PREVIOUS
    assert aliases(client) == {CHAMPION: 1, PREVIOUS: 3}
    assert promote(client, NAME, *add(client, tmp_path, "f1", 0.1)) == CHAMPION  # and who serves is renewed
    assert aliases(client) == {CHAMPION: 4, PREVIOUS: 1}


def test_a_rollback_from_new_code_of_the_same_model_is_not_undone(client, tmp_path):
    promote(client, NAME, *add(client, tmp_path, "f1", 0.1))
    renewed = add(client, tmp_path, "f1", 0.1)
    assert promote(client, NAME, *renewed) == CHAMPION
    assert swap_champion(NAME) == (1, 2)
    assert promote(client, NAME, *renewed) == PREVIOUS
    assert aliases(client) == {CHAMPION: 1, PREVIOUS: 2}


def test_a_swap_cut_in_the_middle_is_finished(client, tmp_path):
    promote(client, NAME, *add(client, tmp_path, "f1", 0.1))
    second = add(client, tmp_path, "f2", 0.2)
    promote(client, NAME, *second)
    client.set_registered_model_alias(NAME, SWAPPING, "2")  # where a kill would leave it
    client.set_registered_model_alias(NAME, CHAMPION, "1")
    promote(client, NAME, *second)
    assert aliases(client) == {CHAMPION: 1, PREVIOUS: 2}


def test_a_rollback_cut_in_the_middle_and_asked_for_again_is_not_undone(client, tmp_path):
    promote(client, NAME, *add(client, tmp_path, "f1", 0.1))
    promote(client, NAME, *add(client, tmp_path, "f2", 0.2))
    client.set_registered_model_alias(NAME, SWAPPING, "2")  # where a kill would leave it: before the champion has moved
    assert swap_champion(NAME) == (1, 2)
    assert aliases(client) == {CHAMPION: 1, PREVIOUS: 2}
    client.set_registered_model_alias(NAME, SWAPPING, "1")  # and after it
    client.set_registered_model_alias(NAME, CHAMPION, "2")
    assert swap_champion(NAME) == (2, 1)
    assert aliases(client) == {CHAMPION: 2, PREVIOUS: 1}


def test_a_promotion_cut_in_the_middle_ends_the_same(client, tmp_path):
    promote(client, NAME, *add(client, tmp_path, "f1", 0.1))
    second = add(client, tmp_path, "f2", 0.2)
    client.set_registered_model_alias(NAME, PREVIOUS, "1")  # where a kill would leave it
    assert promote(client, NAME, *second) == CHAMPION
    assert aliases(client) == {CHAMPION: 2, PREVIOUS: 1}


def test_nothing_to_roll_back_to(client, tmp_path):
    promote(client, NAME, *add(client, tmp_path, "f1", 0.1))
    assert swap_champion(NAME) is None and swap_champion("no-such-model") is None


def test_a_version_is_found_by_its_fingerprint_its_code_and_how_it_searches(client, tmp_path):
    add(client, tmp_path, "f1", 0.1)
    _, known = add(client, tmp_path, "f2", 0.1)
    found = find_version(client, NAME, known)
    assert found is not None and int(found.version) == 2
    assert find_version(client, NAME, facts("f3", 0.1)) is None
    assert find_version(client, NAME, {**known, CODE_TAG: "2"}) is None  # what it carries is of before
    assert find_version(client, NAME, {**known, SEARCH_TAG: '{"beam_width": 5}'}) is None


def test_a_version_whose_files_are_gone_is_none(client, tmp_path):
    for folder in ("gone", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "MLmodel").touch()
        add(client, tmp_path / folder, "f1", 0.1)
    assert int(find_version(client, NAME, facts("f1", 0.1)).version) == 1
    shutil.rmtree(tmp_path / "gone")
    assert int(find_version(client, NAME, facts("f1", 0.1)).version) == 2
    shutil.rmtree(tmp_path / "there")
    assert find_version(client, NAME, facts("f1", 0.1)) is None


def test_what_versions_with_an_alias_were_made_from_is_known(client, tmp_path):
    assert serving_artifacts() == set()
    for number, score in ((1, 0.1), (2, 0.2), (3, 0.3)):  # the first is neither champion nor previous in the end
        version, known = add(client, tmp_path, f"f{number}", score)
        client.set_model_version_tag(NAME, version.version, "bbqrec.artifact.quantize", f"q{number}")
        promote(client, NAME, version, known)
    assert serving_artifacts() == {ArtifactRef(stage="quantize", fingerprint=fingerprint) for fingerprint in ("q2", "q3")}


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "sqlite:///{folder}/garbage.db"])
def test_an_mlflow_that_cannot_be_used_is_an_error_with_a_way_out(monkeypatch, tmp_path, address):
    (tmp_path / "garbage.db").write_bytes(b"this is no database" * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.format(folder=tmp_path))
    with pytest.raises(ServiceError, match="MLflow") as caught:
        connect()
    assert "MLFLOW_TRACKING_URI" in caught.value.way_out
