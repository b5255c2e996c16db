"""What a profile may say of ingestion, and what it may not."""

from datetime import date, datetime

import pytest
import yaml
from pydantic import ValidationError

from bbqrec_core.ingest.config import IngestConfig, SplitConfig


@pytest.mark.parametrize("written", ["2018-06-30", '"2018-06-30"', '"20180630"', "2018-06-30 00:00:00"])
def test_a_date_is_a_date_however_it_is_written(written):
    split = SplitConfig(**yaml.safe_load(f"valid_from: {written}\ntest_from: 2018-07-30"))
    assert (split.valid_from, split.test_from) == ("2018-06-30", "2018-07-30")
    assert SplitConfig.model_validate_json(split.model_dump_json()) == split


@pytest.mark.parametrize("moment", [20180630, "yesterday", "2018-06-31", datetime(2018, 6, 30, 12), True, 0, 1.0, float("nan"), [1], None])
def test_what_is_no_moment_is_refused(moment):
    with pytest.raises(ValidationError):
        SplitConfig(valid_from=moment)


def test_validation_begins_before_test():
    for valid, test in ((date(2018, 7, 1), "20180630"), ("2018-06-30", "20180630"), (0.9, 0.8), (0.9, 0.9)):
        with pytest.raises(ValidationError, match="must come before"):
            SplitConfig(valid_from=valid, test_from=test)
    assert SplitConfig(valid_from="2018-06-30", test_from=0.9).test_from == 0.9


def test_numbers_are_bounded():
    for broken in ({"k_user": 2**70}, {"k_item": 2**70}, {"split": {"max_history": 2**64}}):
        with pytest.raises(ValidationError, match="less than or equal to 1000000"):
            IngestConfig(**broken)


def test_the_form_of_overrides_still_has_numbers_and_texts():
    for name in ("valid_from", "test_from"):
        kinds = [kind["type"] for kind in SplitConfig.model_json_schema()["properties"][name]["anyOf"]]
        assert kinds == ["number", "string"]
