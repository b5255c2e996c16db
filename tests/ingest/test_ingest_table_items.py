"""Items in a shop's own tables."""

from typing import Any

import pyarrow as pa
import pytest
from shop_tables import WRITTEN, Reading, as_csv, as_json_lines, as_parquet

pytestmark = pytest.mark.usefixtures("table_database")


ITEM_COLUMNS = {
    "item_id": "sku",
    "title": "name",
    "brand": "maker",
    "categories": "shelf",
    "description": "about",
    "price": "cost",
    "image": "picture",
}


def test_items_from_json_lines(tmp_path):
    rows = [
        {"sku": 1, "name": "One", "maker": "M", "shelf": ["A", "B > C"], "about": ["x", "y"], "cost": 9.5, "picture": "https://x/1.jpg"},
        {"sku": "2", "name": 1984, "shelf": "A > B|C", "about": None, "cost": "$1,200", "picture": "./front/2.jpg"},
        {"sku": "3", "shelf": [["A"], ["B"]], "picture": ["http://x/3.jpg", "ftp://x"], "cost": None},
        {"sku": "4", "name": {"a": 1}, "shelf": 7, "cost": float("nan"), "picture": ""},
    ]
    found = Reading(tmp_path, WRITTEN["commas"], as_json_lines(rows), item_columns=ITEM_COLUMNS)
    one, two, three, four = found.items
    assert one == {
        "item_id": "1",
        "title": "One",
        "brand": "M",
        "categories": ["A", "B > C"],
        "description": "x y",
        "price": "9.5",
        "image_urls": ["https://x/1.jpg"],
        "image_path": None,
    }
    assert (two["title"], two["categories"], two["price"], two["image_urls"], two["image_path"]) == (
        "1984",
        ["A > B|C"],
        "$1,200",
        None,
        "front/2.jpg",
    )
    assert (three["categories"], three["image_urls"], three["image_path"]) == (["A", "B"], ["http://x/3.jpg", "ftp://x"], None)
    assert (four["title"], four["categories"], four["price"], four["image_path"]) == (None, ["7"], None, None)


def test_items_from_csv_and_parquet(tmp_path):
    rows = [
        {"sku": "I1", "name": "Größe", "maker": "", "shelf": '["A", "B"]', "about": "two\nlines", "cost": "9", "picture": "1.jpg"},
        {"sku": "I2", "name": "", "maker": "M", "shelf": "[sale] shoes", "about": "", "cost": "", "picture": ""},
    ]
    for name, data in {"csv": as_csv(rows), "parquet": as_parquet(rows)}.items():
        one, two = Reading(tmp_path / name, WRITTEN["commas"], data, item_columns=ITEM_COLUMNS).items
        assert (one["title"], one["categories"], one["description"], one["image_path"]) == ("Größe", ["A", "B"], "two\nlines", "1.jpg")
        assert (two["categories"], two["image_path"]) == (["[sale] shoes"], None)
    lists = pa.table({"sku": [1, 2], "shelf": [["A", None, "B"], None]})
    found = Reading(tmp_path, WRITTEN["commas"], as_parquet(lists), item_columns={"item_id": "sku", "categories": "shelf"})
    assert [(r["item_id"], [c for c in r["categories"] or [] if c]) for r in found.items] == [("1", ["A", "B"]), ("2", [])]


def test_two_keys_may_share_a_column(tmp_path):
    found = Reading(tmp_path, WRITTEN["commas"], as_csv([{"sku": "I1"}]), item_columns={"item_id": "sku", "title": "sku"})
    assert [(r["item_id"], r["title"]) for r in found.items] == [("I1", "I1")]


def test_a_rare_field_of_json_lines_is_no_missing_column(tmp_path):
    items = [{"sku": f"I{n}"} for n in range(600)] + [{"sku": "I600", "name": "Late"}]
    found = Reading(tmp_path, WRITTEN["commas"], as_json_lines(items), item_columns={"item_id": "sku", "title": "name"})
    assert found.items[-1]["title"] == "Late" and len(found.items) == 601


def test_rejects_of_items(tmp_path):
    rows: list[Any] = [{"sku": "I"}, {"sku": None}, {"sku": ""}, {"sku": "I\t"}, {"sku": ["I"]}, {}]
    found = Reading(tmp_path, WRITTEN["commas"], as_json_lines(rows), item_columns={"item_id": "sku"})
    assert found.reasons == [
        "no sku",
        "sku is empty",
        "sku holds control characters",
        "sku is neither text nor a whole number",
        "no sku",
    ]
    assert [r["item_id"] for r in found.items] == ["I"]


@pytest.mark.parametrize("path", ["/etc/x.jpg", "../x.jpg", "a/../../x.jpg", "C:\\x.jpg", "~/x.jpg", "a\\..\\x.jpg", "\\\\host\\x.jpg"])
def test_a_picture_outside_of_the_folder_is_ignored_and_counted(tmp_path, path):
    rows = [{"sku": "I1", "picture": path}, {"sku": "I2", "picture": "a..b/x.jpg"}]
    found = Reading(tmp_path, WRITTEN["commas"], as_csv(rows), item_columns={"item_id": "sku", "image": "picture"})
    assert [r["image_path"] for r in found.items] == [None, "a..b/x.jpg"]
    assert [(r[0], r[2]) for r in found.rejects] == [(None, "image: its path leaves the folder of pictures")]
    assert found.intakes[1].rejected.total() == 0
