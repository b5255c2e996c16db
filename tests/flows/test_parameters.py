"""Flow parameters: overrides merge as `extends` merges, and idle nulls of a form mean nothing."""

import pytest
from pydantic import ValidationError

from bbqrec_core.errors import ProfileError
from flows.parameters import Overrides, given, resolve


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
