"""The synthetic shop knows what it soiled: ingest must find exactly that."""

import pytest
from ingest_raw import context

from bbqrec_core.ingest.shop.stage import run as make_shop
from bbqrec_core.ingest.stage import run
from bbqrec_core.profile import load_profile


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    stage = context(folder, load_profile("demo", {"source": {"shop": {"users": 120, "items": 60}}}))
    return stage, make_shop(stage)


def test_ingest_finds_what_the_shop_soiled(shop, tmp_path):
    made, truth = shop
    statistics = run(context(tmp_path, made.profile, shop=made.out))
    assert statistics["lines_read"] == truth["review_lines"] and statistics["lines_rejected"] == truth["broken_review_lines"] > 0
    assert statistics["duplicates"] == truth["duplicate_review_lines"] + truth["second_reviews"] > 0
    assert statistics["accounting_difference"] == statistics["metadata_accounting_difference"] == 0
    assert statistics["metadata_rejected"] == truth["broken_metadata_lines"] > 0
    assert statistics["metadata_duplicates"] == truth["duplicate_metadata_rows"] > 0
    assert statistics["titles_unusable"] == truth["titles_with_script"] > 0
    assert statistics["prices_unusable"] == truth["price_ranges"] + truth["price_debris"] > 0
    assert statistics["images_unreadable"] <= truth["images_damaged"]  # a damaged picture's item may not survive the k-core
    assert 0 < statistics["tied_target_share"] < 1
