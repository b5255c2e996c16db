"""Cleaning of listings: prices, brands, category paths, and how often each rule acted."""

import html
import json
import re
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_raw import as_line, context, listing, make_profile, review, write_gzip

from bbqrec_core import schema
from bbqrec_core.ingest.database import Database, open_database
from bbqrec_core.ingest.intake import READ_ITEMS
from bbqrec_core.ingest.stage import run

NUMBERS = {
    12.34: [
        *["$12.34", "12.34", " $ 12.34\n", "USD 12.34", "usd12.34", "US$12.34", "US $12.34", "12.34 $", "12.34 USD", "12,34"],
        *["&#36;12.34", "<span>$12.34</span>", "1.234e1"],
    ],
    1234.56: ["$1,234.56", "1234.56", "1.234,56", "US$ 1,234.56", "1.234,56 $"],
    1234.0: ["1,234", "$1,234"],
    1.234: ["1.234"],
    1234567.0: ["1,234,567", "1.234.567", "1234567"],
    0.0: ["0", "$0.00"],
    0.99: [".99", "$.99"],
    1e-05: ["1e-05"],
}
NO_NUMBERS = {
    "range": ["$10.00 - $20.00", "10-20", "$10.00 – $20.00", "$10 to $20", "£1 - £2", "from $5", "From 5", "up to $20", "$5+", "$5 and up"],
    "currency": ["£12.34", "€12.34", "12,34 €", "&pound;5", "EUR 5", "5 EUR", "CDN$ 12.34", "C$5", "¥1200", "Rs. 500", "A$1,000.00"],
    "empty": ["", "  ", "None", "null", "N/A", "—", "-", "&nbsp;", None],
    "debris": [
        ".a-box-inner{background-color:#fff}#alohaBuyBoxWidget .selected{color:gray}",
        'var t = (new Date()).getTime(); "$12.34"',
        '\n\t <div class="a-section a-spacing-none"',
        *["-5", "$-5.00", "-$5", "nan", "NaN", "Infinity", "inf", "1" * 400, "$", "1,23,45", "12,345,6", "1.234,567", "12.34.56", "1 2"],
        *["Currently unavailable", "$5.00 ($0.10 / ounce)", "5,6", "--5"],
    ],
}
BRANDS = [
    ("ACME", "ACME", []),
    ("\n    by\n    \n    Microsoft", "Microsoft", ["prefix", "whitespace"]),
    ("by iTunes", "iTunes", ["prefix"]),
    ("By Terry", "By Terry", []),
    ("Bygone Toys", "Bygone Toys", []),
    ("by: X", "X", ["prefix"]),
    ("by", None, ["prefix"]),
    ("Brand: ACME", "ACME", ["prefix"]),
    ("Visit the ACME Store", "ACME", ["prefix"]),
    ("Visit the The Home Depot Store", "The Home Depot", ["prefix"]),
    ("Visit Amazon's Jane Roe Page", "Jane Roe", ["prefix"]),
    ("The Container Store", "The Container Store", []),
    ("Shrimp City Slim  (Artist)    Format: Audio CD", "Shrimp City Slim", ["suffix", "whitespace"]),
    ("Format: DVD", None, ["suffix"]),
    ("Unknown", None, ["placeholder"]),
    ("GENERIC", None, ["placeholder"]),
    ("Brand: N/A", None, ["placeholder", "prefix"]),
    ("—", None, ["placeholder"]),
    ("General Generics", "General Generics", []),
    ("!!!", "!!!", []),
    ("Simon &amp; Schuster", "Simon & Schuster", ["entities"]),
    ("", None, []),
    (None, None, []),
]
PATHS: list[tuple[list[str | None] | None, list[str] | None, list[str]]] = [
    (["Toys", "Cars & Trucks"], ["Toys", "Cars & Trucks"], []),
    (["Gift Cards", "Gift Cards"], ["Gift Cards"], ["repeats"]),
    (["Toys", None, "", "Toys", "Cars &amp; Trucks", "Toys"], ["Toys", "Cars & Trucks"], ["entities", "repeats"]),
    (["Gift Cards", "</span></span></span>", "Starbucks Gift Card 25", "Starbucks"], ["Gift Cards"], ["debris", "tags"]),
    (["Gift Cards", "No expiration, no fees.", "Variety of designs for any occasion."], ["Gift Cards"], ["debris"]),
    (["Cases", "Unique, eye-catching designs which rival boring, plain card cases", "Handmade in Los Angeles"], ["Cases"], ["debris"]),
    (["Toys", "Multiple denominations, from $1.00 to $2,000."], ["Toys"], ["debris"]),
    (["Desk Accessories & Workspace Organizers", "Pop, U.S."], ["Desk Accessories & Workspace Organizers", "Pop, U.S."], []),
    ([".a-box{color:red}"], None, ["debris", "script"]),
    ([], None, []),
    (None, None, []),
]
OTHER_PATHS: list[tuple[list[str | None] | None, list[str] | None, list[str]]] = [
    (
        ["Home & Kitchen > Kitchen & Dining > Cookware > Pots & Pans > Stock Pots"],
        ["Home & Kitchen > Kitchen & Dining > Cookware > Pots & Pans > Stock Pots"],
        [],
    ),
    (
        ["Sale", "Apparel & Accessories > Clothing > Outerwear > Coats & Jackets", "Made in Italy. Now 20% off.", "Coats"],
        ["Sale", "Apparel & Accessories > Clothing > Outerwear > Coats & Jackets", "Made in Italy. Now 20% off.", "Coats"],
        [],
    ),
    (
        ["Toys", "</span>", "", "Cars", "var t = (new Date()).getTime();", "Trucks"],
        ["Toys", "Cars", "Trucks"],
        ["debris", "script", "tags"],
    ),
    ([" ", None], None, ["whitespace"]),
    (["Toys", "Cars", "Toys", "Trucks"], ["Toys", "Cars", "Trucks"], ["repeats"]),  # paths from the root, run together
    ([], None, []),
    (None, None, []),
]
AMAZON_2018 = "Amazon 2018 metadata, JSON"
FIELDS = ("title", "brand", "categories", "description", "price")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with open_database(tmp_path_factory.mktemp("database"), "1GB", 1) as opened:
        yield opened


def cleaned(database: Database, rows: list[dict[str, Any]], format: str = AMAZON_2018) -> list[dict[str, Any]]:
    """Rows of cleaned_items, in the order of rows of read_items, all read from one file of a format."""
    database.drop("files")
    files = [{"file": "meta", "number": 0, "content": "items", "format": format}, {"file": "more", "number": 1, "format": AMAZON_2018}]
    database.insert("files", pa.Table.from_pylist(files, schema.FILES))
    numbered = [{"file": 0, "line": line, "item_id": f"I{line}", **row} for line, row in enumerate(rows)]
    database.drop("read_items")
    database.insert("read_items", pa.Table.from_pylist(numbered, READ_ITEMS))
    database.make("cleaned_items")
    columns = [name for field in FIELDS for name in (field, f"{field}_rules")] + ["image_urls"]
    return [dict(zip(columns, row, strict=True)) for row in database.rows(f"SELECT {', '.join(columns)} FROM cleaned_items ORDER BY line")]


def test_prices_of_all_kinds(database):
    expected = [(text, "number", number) for number, texts in NUMBERS.items() for text in texts]
    expected += [(text, rule, None) for rule, texts in NO_NUMBERS.items() for text in texts]
    found = [
        (text, row["price_rules"][-1], row["price"])
        for (text, _, _), row in zip(expected, cleaned(database, [{"price": text} for text, _, _ in expected]), strict=True)
    ]
    assert found == [(text, rule, pytest.approx(number) if number else number) for text, rule, number in expected]


def test_brands(database):
    rows = cleaned(database, [{"brand": brand} for brand, _, _ in BRANDS])
    found = [(brand, row["brand"], sorted(row["brand_rules"])) for (brand, _, _), row in zip(BRANDS, rows, strict=True)]
    assert found == BRANDS


def test_category_paths(database):
    rows = cleaned(database, [{"categories": path} for path, _, _ in PATHS])
    found = [(path, row["categories"], sorted(row["categories_rules"])) for (path, _, _), row in zip(PATHS, rows, strict=True)]
    assert found == PATHS


@pytest.mark.parametrize("format", ["JSON lines", "CSV", "Amazon 2014 metadata, Python literals", "Amazon 2023 metadata, JSON"])
def test_category_paths_of_others_lose_only_steps_of_which_nothing_is_left(database, format):
    rows = cleaned(database, [{"categories": path} for path, _, _ in OTHER_PATHS], format)
    found = [(path, row["categories"], sorted(row["categories_rules"])) for (path, _, _), row in zip(OTHER_PATHS, rows, strict=True)]
    assert found == OTHER_PATHS


def test_addresses_of_pictures(database):
    urls = [" https://x/b.jpg\n", "http://x/a.jpg", None, "", "javascript:alert(1)", "https://x/b.jpg", "ftp://x/c.jpg", "https://x/d e"]
    urls.append("HTTPS://X/E.jpg")
    [one, two] = cleaned(database, [{"image_urls": urls}, {"image_urls": ["data:x"]}])
    assert one["image_urls"] == ["https://x/b.jpg", "http://x/a.jpg", "HTTPS://X/E.jpg"] and two["image_urls"] is None


WORDS = st.sampled_from(
    [
        "Red",
        "shoe",
        "<b>",
        "</b>",
        "&amp;",
        "&lt;",
        "i>",
        "\x00",
        "\n",
        "  ",
        "by ",
        "Visit the ",
        " Store",
        "Brand: ",
        "Unknown",
        "$",
        "1,2",
        ".5",
    ]
)
DIRT = st.none() | st.text(max_size=20) | st.lists(WORDS, max_size=8).map("".join)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries({**dict.fromkeys(FIELDS, DIRT), "categories": st.none() | st.lists(DIRT, max_size=5)}), max_size=5))
def test_clean_fields_hold_no_dirt_and_are_not_cleaned_again(database, rows):
    once = cleaned(database, rows)
    assert len(once) == len(rows)
    for row in once:
        assert sum(rule in ("number", "range", "currency", "empty", "debris") for rule in row["price_rules"]) == 1
        assert (row["price"] is not None) == ("number" in row["price_rules"])
        for text in (row["title"], row["brand"], row["description"], *(row["categories"] or [])):
            if text is not None:
                assert text and html.unescape(text) == text and not re.search(r"</?[bi]>|[\x00-\x1f\x7f-\x9f]|^ | $|  ", text)
    twice = cleaned(database, [{key: row[key] for key in ("title", "categories", "description")} for row in once])
    for before, after in zip(once, twice, strict=True):
        for key in ("title", "categories", "description"):
            assert (after[key], after[f"{key}_rules"]) == (before[key], [])


def test_what_was_planted_is_counted(tmp_path):
    rows = [
        *[listing(f"C{number}", category=["Toys"], price="$1") for number in range(3)],  # clean
        *[listing(f"T{number}", category=["Toys"], title=f"<b>Bold</b> {number} &amp; more", price=None) for number in range(2)],
        listing("T0", title="<i>a second row of an item is not counted</i>", price="£5"),
        listing("S1", category=["Toys"], title="var t = (new Date()).getTime();", price="$1 - $2"),
        listing("S2", category=["Toys"], title="  ", brand="by ACME", price="€5"),
        listing("D1", category=["Toys", "Toys", "</span>"], description=["<script>x</script>One", "&eacute; two"], price=".a-b{c:d}"),
        listing("B1", category=["Toys"], brand="Generic", price=7),
        as_line({"asin": "N1"}),
    ]
    raw = tmp_path / "raw"
    raw.mkdir()
    write_gzip(raw / "reviews.json.gz", [review("U1", "C1", 1)])
    write_gzip(raw / "meta.json.gz", rows)
    stage = context(tmp_path, make_profile(raw))
    statistics = run(stage)
    table = pq.read_table(stage.out / "cleaning.parquet")
    assert table.schema.equals(schema.CLEANING)
    assert {(row["field"], row["rule"]): row["items"] for row in table.to_pylist()} == {
        ("title", "tags"): 2,
        ("title", "entities"): 2,
        ("title", "script"): 1,
        ("title", "whitespace"): 1,
        ("brand", "prefix"): 1,
        ("brand", "placeholder"): 1,
        ("categories", "tags"): 1,
        ("categories", "debris"): 1,
        ("categories", "repeats"): 1,
        ("description", "blocks"): 1,
        ("description", "entities"): 1,
        ("price", "number"): 4,
        ("price", "range"): 1,
        ("price", "currency"): 1,
        ("price", "script"): 1,
        ("price", "debris"): 1,
        ("price", "empty"): 3,
    }
    counts = Counter(
        {name: value for name, value in statistics.items() if name.startswith(("cleaned_", "price_")) and name != "price_share"}
    )
    assert len(counts) == 19
    assert +counts == {
        "cleaned_title_tags": 2,
        "cleaned_title_entities": 2,
        "cleaned_title_script": 1,
        "cleaned_title_whitespace": 1,
        "cleaned_brand_prefix": 1,
        "cleaned_brand_placeholder": 1,
        "cleaned_categories_debris": 1,
        "cleaned_categories_repeats": 1,
        "cleaned_description_blocks": 1,
        "cleaned_description_entities": 1,
        "price_number": 4,
        "price_range": 1,
        "price_currency": 1,
        "price_debris": 1,
        "price_empty": 3,
    }
    assert sum(counts[f"price_{rule}"] for rule in ("number", "range", "currency", "debris", "empty")) == statistics["metadata_items"]
    assert (statistics["titles_unusable"], statistics["prices_unusable"]) == (2, 3)
    items = {row["item_id"]: row for row in pq.read_table(stage.out / "raw_items.parquet").to_pylist()}
    assert items["T1"]["title"] == "Bold 1 & more" and items["S2"]["brand"] == "ACME" and items["D1"]["description"] == "One é two"


def test_metadata_without_lines_has_no_counts(tmp_path, database):
    assert cleaned(database, []) == []
    database.make("cleaning")
    assert set(database.row("statistics_cleaning").values()) == {0}


def test_amazon_2023_falls_back_on_the_department(tmp_path):
    more = {
        "average_rating": 4.0,
        "rating_number": 1,
        "features": [],
        "description": [],
        "videos": [],
        "details": {},
        "bought_together": None,
    }
    pictures = [{"large": "https://x/1.jpg", "hi_res": None}, {"large": "https://x/2.jpg", "hi_res": "https://x/2_big.jpg"}]
    rows = [
        {
            "main_category": "All Beauty",
            "title": "Soap",
            "price": None,
            "images": pictures,
            "store": "Visit the Howard Store",
            "categories": [],
        },
        {"main_category": "Home", "title": "Pot", "price": 5.0, "images": [], "store": None, "categories": ["Kitchen", "Pots"]},
    ]
    raw = tmp_path / "raw"
    raw.mkdir()
    write_gzip(raw / "reviews.json.gz", [review("U1", "B0", 1)])
    write_gzip(raw / "meta.json.gz", [{**row, **more, "parent_asin": f"B{number}"} for number, row in enumerate(rows)])
    stage = context(tmp_path, make_profile(raw))
    run(stage)
    soap, pot = pq.read_table(stage.out / "raw_items.parquet").to_pylist()
    assert (soap["categories"], soap["brand"], soap["price"]) == (["All Beauty"], "Howard", None)
    assert soap["image_urls"] == ["https://x/1.jpg", "https://x/2_big.jpg"]
    assert (pot["categories"], pot["brand"], pot["price"]) == (["Kitchen", "Pots"], None, 5.0)


def test_pictures_of_amazon_2023_are_the_largest_of_each_the_main_one_first(database):
    pictures = [
        {"thumb": "https://x/side_t.jpg", "large": "https://x/side.jpg", "hi_res": "https://x/side_big.jpg", "variant": "PT01"},
        {"thumb": "https://x/main_t.jpg", "large": "https://x/main.jpg", "hi_res": None, "variant": "MAIN"},
        {"thumb": "https://x/small.jpg", "large": "", "hi_res": None, "variant": "PT02"},
        {"thumb": None, "large": None, "hi_res": None, "variant": "PT03"},
    ]
    of_lists = {key: [picture[key] for picture in pictures] for key in ("hi_res", "large", "thumb", "variant")}
    wanted = ["https://x/main.jpg", "https://x/side_big.jpg", "https://x/small.jpg"]
    cases: list[tuple[Any, list[str]]] = [
        (pictures, wanted),
        (of_lists, wanted),
        ([{"large": "https://x/a.jpg"}, None, 3, {"hi_res": "https://x/b.jpg"}], ["https://x/a.jpg", "https://x/b.jpg"]),
        ({"hi_res": [None, "https://x/b.jpg"], "large": ["https://x/a.jpg"]}, ["https://x/a.jpg", "https://x/b.jpg"]),
        *[(nothing, []) for nothing in ([], {}, {"hi_res": []}, [[]], None, "x", 3)],
    ]
    lines = [json.dumps({"parent_asin": f"B{line}", "title": "Pot", "images": images}) for line, (images, _) in enumerate(cases)]
    with database.view("spool", pa.table({"line": range(len(lines)), "text": lines})):
        database.make("parsed", "parsed_metadata_2023")
    found = database.rows("SELECT reason, image_urls FROM parsed ORDER BY line")
    assert found == [(None, urls) for _, urls in cases]
