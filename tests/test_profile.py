"""Profiles: merging, validation, nearest keys, overrides."""

import shlex
import textwrap
from pathlib import Path

import pytest
from pydantic import ValidationError

from bbqrec_core.errors import ProfileError
from bbqrec_core.home import PROJECT
from bbqrec_core.profile import available_profiles, load_profile, merge, overrides_model
from cli.overrides import parse_overrides
from flows.parameters import resolve


@pytest.mark.parametrize("name", available_profiles())
def test_shipped_profiles_are_valid(name):
    assert load_profile(name).name == name


def test_the_whole_profile_that_the_documentation_shows_is_one(tmp_path):
    text = (PROJECT / "docs" / "ingestion.md").read_text().partition("A whole profile")[2].partition("\n\n")[2].partition("\n\n")[0]
    path = tmp_path / "my_shop.yaml"
    path.write_text(textwrap.dedent(text))
    profile = load_profile(str(path))
    assert (profile.source.kind, profile.source.note, profile.embedding.image) == ("tables", "", None)


def test_misspelt_key_is_named_with_the_nearest_valid_one():
    with pytest.raises(ProfileError, match=r"no key 'ingest\.k_usr'\. Did you mean 'ingest\.k_user'"):
        load_profile("demo", {"ingest": {"k_usr": 3}})


def test_a_key_that_moved_is_found_where_it_is_now():
    with pytest.raises(ProfileError, match=r"no key 'sequence\.beam_width'\. Did you mean 'search\.beam_width'"):
        load_profile("demo", {"sequence": {"beam_width": 50}})


def test_misplaced_key_is_found_elsewhere():
    with pytest.raises(ProfileError, match=r"Did you mean 'ingest\.k_user'"):
        load_profile("demo", {"k_user": 3})


def test_out_of_range_value_is_named():
    with pytest.raises(ProfileError, match=r"'ingest\.k_user' is 0: Input should be greater than or equal to 1"):
        load_profile("demo", {"ingest": {"k_user": 0}})


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ProfileError) as caught:
        load_profile("demo", {"seed": -1, "ingest": {"k_user": "many"}})
    assert "'seed'" in str(caught.value) and "'ingest.k_user'" in str(caught.value)


def test_unknown_profile_names_the_nearest():
    with pytest.raises(ProfileError, match="Did you mean 'gift_cards'"):
        load_profile("giftcards")


def test_extends_merges_key_by_key(tmp_path):
    (tmp_path / "base.yaml").write_text("source: {kind: synthetic, shop: {users: 50}}\ningest: {k_user: 2, k_item: 3}\n")
    (tmp_path / "child.yaml").write_text("extends: base.yaml\ningest: {k_item: 4}\n")
    profile = load_profile(str(tmp_path / "child.yaml"))
    assert (profile.name, profile.ingest.k_user, profile.ingest.k_item, profile.source.shop.users) == ("child", 2, 4, 50)


def test_what_is_said_of_one_kind_of_data_is_not_said_of_another(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: demo\nsource:\n  kind: tables\n  tables: {interactions: orders.csv}\n")
    mine, demo = load_profile(str(path)), load_profile("demo")
    assert demo.source.note and demo.description
    assert (mine.source.note, mine.description) == ("", "")
    assert mine.quantization == demo.quantization
    (tmp_path / "raw.yaml").write_text("description: Theirs\nsource: {reviews: r.jsonl, metadata: m.jsonl, raw: there}\n")  # kind: amazon
    child = tmp_path / "child.yaml"
    child.write_text("extends: raw.yaml\nsource: {kind: amazon, note: Part.}\n")
    assert load_profile(str(child)).source.reviews == "r.jsonl" and load_profile(str(child)).description == "Theirs"
    child.write_text("extends: raw.yaml\nsource: {kind: tables, tables: {interactions: orders.csv}}\n")
    assert (load_profile(str(child)).source.reviews, load_profile(str(child)).source.raw) == ("", "there")
    same = load_profile("demo", {"source": {"kind": "synthetic", "shop": {"users": 80}}})
    assert (same.source.note, same.description) == (demo.source.note, demo.description)
    asked = load_profile("demo", {"source": {"kind": "tables", "tables": {"interactions": "orders.csv"}}, "description": "Ours"})
    assert (asked.source.note, asked.description) == ("", "Ours")


def test_circle_of_extends_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(ProfileError, match="circle"):
        load_profile(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize("text", ["", "- a list", "a: [1", "42"])
def test_nonsense_instead_of_a_profile_is_refused(tmp_path, text):
    path = tmp_path / "nonsense.yaml"
    path.write_text(text)
    with pytest.raises(ProfileError, match=r"nonsense\.yaml"):
        load_profile(str(path))


def test_off_need_not_be_quoted(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: demo\nsequence: {prior: off}\n")
    assert load_profile(str(path)).sequence.prior == "off"
    overrides = parse_overrides(["sequence.prior=off"])
    assert overrides is not None and resolve("demo", overrides).sequence.prior == "off"


def test_merge_replaces_everything_but_mappings():
    assert merge({"a": {"x": 1, "y": 2}, "b": [1, 2]}, {"a": {"y": 3}, "b": [4]}) == {"a": {"x": 1, "y": 3}, "b": [4]}


def test_overrides_keep_what_they_do_not_name():
    given = overrides_model()(ingest={"k_user": 7}).model_dump(exclude_unset=True)
    assert given == {"ingest": {"k_user": 7}}
    before, after = load_profile("demo"), load_profile("demo", given)
    assert after.ingest.k_user == 7
    assert after.model_copy(update={"ingest": before.ingest}) == before


@pytest.mark.parametrize("wrong", [{"ingest": {"k_usr": 1}}, {"ingest": {"k_user": 0}}, {"nothing": 1}, {"name": "x"}])
def test_wrong_overrides_are_refused(wrong):
    with pytest.raises(ValidationError):
        overrides_model()(**wrong)


def test_local_fields_stay_out_of_fingerprints():
    here, there = load_profile("demo"), load_profile("demo", {"ingest": {"memory_limit": "1GB"}, "compute": {"threads": 1}})
    assert here.fingerprint_fields() == there.fingerprint_fields()
    assert here.fingerprint_fields() != load_profile("demo", {"ingest": {"k_user": 6}}).fingerprint_fields()


def test_baselines_look_as_far_back_as_the_model_unless_told_otherwise():
    longer = {"sequence": {"max_history": 50}}
    assert load_profile("demo", longer).baseline_history == 50
    assert load_profile("demo", {**longer, "baselines": {"max_history": 10}}).baseline_history == 10


def test_own_folder_of_profiles_comes_first_and_may_extend_the_shipped_one_of_the_same_name(tmp_path, monkeypatch):
    (tmp_path / "demo.yaml").write_text("extends: demo\nseed: 7\n")
    (tmp_path / "mine.yaml").write_text("extends: demo\ningest: {k_user: 3}\n")
    shipped = load_profile("demo")
    monkeypatch.setenv("BBQREC_PROFILES", str(tmp_path))
    assert load_profile("demo") == shipped.model_copy(update={"seed": 7, "data_seed": 7})
    assert (load_profile("mine").seed, load_profile("mine").ingest.k_user) == (7, 3)
    assert {"mine", "demo", "gift_cards"} <= set(available_profiles())


def test_own_folder_that_is_none_is_named(monkeypatch):
    monkeypatch.setenv("BBQREC_PROFILES", "/no/such/folder")
    with pytest.raises(ProfileError, match="BBQREC_PROFILES names /no/such/folder"):
        load_profile("demo")


@pytest.mark.parametrize(
    "name", ["MyShop", "my.shop", "my shop", "it's", "_shop", "-shop", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "x" * 65]
)
def test_a_file_name_that_cannot_be_a_profiles_is_refused_with_one_that_can(tmp_path, name):
    path = tmp_path / f"{name}.yaml"
    path.write_text("extends: demo\n")
    with pytest.raises(ProfileError, match="cannot be a name") as caught:
        load_profile(str(path))
    assert str(path) in caught.value.problem
    *_, old, new = shlex.split(caught.value.way_out)
    path.rename(new)
    assert old == str(path) and load_profile(new).name == Path(new).stem


def test_a_parent_may_have_any_file_name(tmp_path):
    (tmp_path / "The Base.yaml").write_text("extends: demo\nseed: 5\n")
    (tmp_path / "mine.yaml").write_text("extends: The Base.yaml\n")
    assert load_profile(str(tmp_path / "mine.yaml")).seed == 5


@pytest.mark.parametrize("value", ["a/b", "a:b", "it's", 'say "x"', "a b", "-a", "a@b", "x" * 201])
def test_a_model_name_that_mlflow_cannot_address_is_refused(value):
    with pytest.raises(ProfileError, match=r"tracking\.model_name"):
        load_profile("demo", {"tracking": {"model_name": value}})


@pytest.mark.parametrize("value", ["it's", 'say "x"', "a\nb", " a", "a ", "/"])
def test_an_experiment_name_that_would_be_trouble_is_refused(value):
    with pytest.raises(ProfileError, match=r"tracking\.experiment"):
        load_profile("demo", {"tracking": {"experiment": value}})


def test_names_for_tracking_are_taken():
    profile = load_profile("demo", {"tracking": {"model_name": "Shop_1.2-b", "experiment": "team a/shop 2"}})
    assert (profile.model_name, profile.experiment) == ("Shop_1.2-b", "team a/shop 2")
    assert load_profile("gift_cards").model_name == "bbqrec-gift-cards"


def test_an_unreadable_profile_of_ones_own_is_named(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_bytes(b"description: \xff\xfe")
    monkeypatch.setenv("BBQREC_PROFILES", str(tmp_path))
    with pytest.raises(ProfileError, match=r"mine\.yaml cannot be read"):
        load_profile("mine")
