"""Flow parameters: overrides merge as `extends` merges, and idle nulls of a form mean nothing."""

import pytest
from pydantic import ValidationError

from bbqrec_core.errors import ProfileError
from flows.parameters import Overrides, given, idle_nulls, resolve
from flows.retrain import artifact_key


def test_only_what_was_given_is_overridden():
    profile = resolve("demo", Overrides(sequence={"learning_rate": 0.5}))
    plain = resolve("demo", None)
    assert profile.sequence.learning_rate == 0.5
    assert profile.model_copy(update={"sequence": plain.sequence}) == plain


def test_null_switches_off_what_may_be_null():
    assert resolve("demo", Overrides(embedding={"image": None})).embedding.image is None


def test_null_for_what_may_not_be_null_is_a_field_left_empty():
    assert given(Overrides(seed=None, sequence={"epochs": None, "dropout": 0.1})) == {"sequence": {"dropout": 0.1}}


def test_a_wrong_field_is_refused_before_a_flow_begins():
    with pytest.raises(ValidationError):
        Overrides(sequence={"epochz": 1})


def test_what_only_shows_in_the_whole_profile_is_refused_too():
    with pytest.raises(ProfileError, match="head must remain"):
        resolve("demo", Overrides(sequence={"dense_weight": 0, "generative_weight": 0}))


def test_fields_left_empty_in_a_section_that_may_be_null_mean_nothing_either():
    sent = Overrides(embedding={"image": {"model": None, "max_pixels": None}, "text": {"max_tokens": 32, "model": None}})
    assert given(sent) == {"embedding": {"text": {"max_tokens": 32}}}
    assert given(Overrides(embedding={"image": {}})) == {"embedding": {"image": {}}}  # the section itself, as its defaults have it


def test_nulls_that_are_no_values_are_named():
    sent = Overrides(seed=None, sequence={"epochs": None, "dropout": 0.1}, embedding={"image": None, "text": {"model": None}})
    assert sorted(idle_nulls(sent)) == ["embedding.text.model", "seed", "sequence.epochs"]
    assert idle_nulls(Overrides(embedding={"image": {"pretrained": None}}, source={"note": ""})) == []


@pytest.mark.parametrize("name", ["gift_cards", "a__b-", "A.b c'", "\N{SNOWMAN}"])
def test_any_profile_name_makes_a_key_that_prefect_takes(name):
    from prefect.client.schemas.actions import ArtifactCreate

    ArtifactCreate(key=artifact_key(name), type="markdown", data="")
