"""The synthetic shop: deterministic, in the 2018 format, soiled as its statistics say, with behaviour worth learning."""

import gzip
import hashlib
import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bbqrec_core.ingest.shop import dirt, pictures
from bbqrec_core.ingest.shop.behaviour import make_reviews
from bbqrec_core.ingest.shop.catalogue import DAYS, make_catalogue
from bbqrec_core.ingest.shop.stage import run, stream
from bbqrec_core.ingest.shop.taxonomy import MATERIALS, TYPES, Kind
from bbqrec_core.profile import load_profile
from bbqrec_core.stage import StageContext

REVIEW_KEYS = {"overall", "verified", "reviewTime", "reviewerID", "asin", "reviewerName", "reviewText", "summary", "unixReviewTime"}
META_KEYS = {
    "category",
    "title",
    "brand",
    "description",
    "feature",
    "price",
    "imageURL",
    "imageURLHighRes",
    "asin",
    "also_buy",
    "also_view",
}


def make(folder: Path, seed: int = 11, users: int = 120, items: int = 90) -> dict:
    folder.mkdir()
    profile = load_profile("demo", {"seed": seed, "source": {"shop": {"users": users, "items": items}}})
    return run(StageContext(profile, {}, folder, folder))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shops") / "shop"
    return folder, make(folder)


def lines_of(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines()


def parsed(lines: list[bytes]) -> tuple[list[dict], int]:
    """Whole objects with an asin, and how many lines are none."""
    rows = []
    for line in lines:
        try:
            row = json.loads(line.decode("utf-8"))
        except ValueError:
            continue
        if isinstance(row, dict) and "asin" in row:
            rows.append(row)
    return rows, len(lines) - len(rows)


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_same_bytes_another_seed_another_shop(tmp_path):
    sizes = {"users": 20, "items": 25}
    make(tmp_path / "a", **sizes)
    make(tmp_path / "b", **sizes)
    make(tmp_path / "c", seed=12, **sizes)
    a, b, c = (digests(tmp_path / name) for name in "abc")
    assert a == b
    assert a["reviews.json.gz"] != c["reviews.json.gz"] and a["meta.json.gz"] != c["meta.json.gz"]


def test_reviews_are_in_the_2018_format(shop):
    folder, statistics = shop
    lines = lines_of(folder / "reviews.json.gz")
    rows, broken = parsed(lines)
    assert len(lines) == statistics["review_lines"]
    assert broken == statistics["broken_review_lines"] > 0
    assert sum(statistics[kind] for kind in dirt.BROKEN_KINDS) == broken
    for row in rows:
        assert row.keys() >= REVIEW_KEYS
        assert row["overall"] in {1.0, 2.0, 3.0, 4.0, 5.0} and isinstance(row["unixReviewTime"], int)
        assert row["unixReviewTime"] % 86_400 == 0  # day resolution
        month, day, year = row["reviewTime"].replace(",", "").split()
        assert np.datetime64(f"{year}-{month}-{int(day):02d}").astype("datetime64[s]").astype(int) == row["unixReviewTime"]


def test_review_lines_add_up(shop):
    folder, statistics = shop
    rows, broken = parsed(lines_of(folder / "reviews.json.gz"))
    pairs = {(row["reviewerID"], row["asin"]) for row in rows}
    assert len(pairs) == statistics["reviews"] - broken
    assert len(rows) - len(pairs) == statistics["duplicate_review_lines"] + statistics["second_reviews"]
    exact = len(rows) - len({json.dumps(row, sort_keys=True) for row in rows})
    assert exact == statistics["duplicate_review_lines"] > 0


def test_metadata_is_in_the_2018_format_and_soiled_as_told(shop):
    folder, statistics = shop
    lines = lines_of(folder / "meta.json.gz")
    rows, broken = parsed(lines)
    assert len(lines) == statistics["metadata_lines"]
    assert broken == statistics["broken_metadata_lines"]
    assert all(row.keys() >= META_KEYS and isinstance(row["category"], list) and isinstance(row["description"], list) for row in rows)
    by_asin = {row["asin"]: row for row in rows}
    assert len(by_asin) == statistics["items"] - statistics["items_without_metadata"]
    assert len(rows) - len(by_asin) == statistics["duplicate_metadata_rows"]
    hidden = statistics["items_without_metadata"]  # their own faults cannot be seen
    for name, fault in {
        "titles_missing": lambda row: row["title"] == "",
        "titles_with_script": lambda row: "getTime" in row["title"],
        "titles_with_html": lambda row: "<" in row["title"],
        "brands_missing": lambda row: row["brand"] == "",
        "prices_missing": lambda row: row["price"] == "",
        "price_ranges": lambda row: " - $" in row["price"],
        "price_debris": lambda row: row["price"].startswith("."),
        "images_missing": lambda row: not row["imageURLHighRes"],
    }.items():
        seen = sum(fault(row) for row in by_asin.values())
        assert statistics[name] - hidden <= seen <= statistics[name], name
        assert statistics[name] > 0, name


def test_pictures_are_there_missing_or_damaged_as_told(shop):
    folder, statistics = shop
    files = sorted((folder / "images").iterdir())
    assert len(files) == statistics["images"] == statistics["items"] - statistics["images_missing"]
    damaged = 0
    for path in files:
        try:
            with Image.open(path) as image:
                image.load()
                assert image.size == (pictures.SIZE, pictures.SIZE) and image.format == "JPEG"
        except OSError:
            damaged += 1
    assert damaged == statistics["images_damaged"] == 2


def test_truth_names_every_item(shop):
    folder, statistics = shop
    truth = pq.read_table(folder / "truth.parquet")
    rows, _ = parsed(lines_of(folder / "reviews.json.gz"))
    assert len(set(truth["item_id"].to_pylist())) == statistics["items"]
    assert {row["asin"] for row in rows} <= set(truth["item_id"].to_pylist())


@pytest.mark.parametrize(("users", "items"), [(10, 10), (15, 40), (40, 12)])
def test_smallest_shops_stand(tmp_path, users, items):
    statistics = make(tmp_path / "shop", users=users, items=items)
    assert statistics["items"] == items and statistics["reviews"] >= users
    assert len(lines_of(tmp_path / "shop" / "reviews.json.gz")) == statistics["review_lines"]


@pytest.fixture(scope="module")
def demo_sized():
    """The demo's catalogue and reviews, with a seed of its own and without pictures."""
    catalogue = make_catalogue(600, stream(5, "catalogue"))
    return catalogue, make_reviews(catalogue, 1000, stream(5, "behaviour"))


def test_demo_size_survives_a_5_core(demo_sized):
    _, reviews = demo_sized
    assert 8_000 <= len(reviews) <= 15_000
    pairs = [(review.user, review.item) for review in reviews]
    assert len(set(pairs)) == len(pairs)
    while True:
        users, items = Counter(user for user, _ in pairs), Counter(item for _, item in pairs)
        left = [(user, item) for user, item in pairs if users[user] >= 5 and items[item] >= 5]
        if len(left) == len(pairs):
            break
        pairs = left
    assert len(users) > 800 and len(items) > 450


def test_nothing_is_bought_before_its_launch_or_reviewed_before_it_is_bought(demo_sized):
    catalogue, reviews = demo_sized
    for review in reviews:
        assert catalogue.items[review.item].launch_day <= review.bought <= review.written < DAYS
        assert 1 <= review.rating <= 5


def by_user(reviews):
    users = defaultdict(list)
    for review in reviews:
        users[review.user].append(review)
    return [sorted(mine, key=lambda review: review.bought) for mine in users.values()]


def test_accessories_follow_their_main_item_far_more_than_chance(demo_sized):
    catalogue, reviews = demo_sized
    types = {row.key: index for index, row in enumerate(TYPES)}
    fits = np.zeros((len(TYPES), len(TYPES)), dtype=bool)
    for index, row in enumerate(TYPES):
        fits[[types[key] for key in row.goes_with], index] = True
    kind_of = np.array([item.type_index for item in catalogue.items])
    pairs = np.array([(a.item, b.item) for mine in by_user(reviews) for a, b in itertools.pairwise(mine)])
    seen = fits[kind_of[pairs[:, 0]], kind_of[pairs[:, 1]]].mean()
    shuffled = np.random.default_rng(0).permutation(pairs[:, 1])
    chance = fits[kind_of[pairs[:, 0]], kind_of[shuffled]].mean()
    assert seen > 4 * chance


def test_substitutes_are_rarely_bought_together(demo_sized):
    catalogue, reviews = demo_sized
    mains = [
        [catalogue.items[r.item].type_index for r in mine if catalogue.items[r.item].type.kind == Kind.MAIN] for mine in by_user(reviews)
    ]
    pairs = [a == b for types in mains for i, a in enumerate(types) for b in types[i + 1 :]]
    pool = np.array([index for types in mains for index in types])
    rng = np.random.default_rng(0)
    chance = np.mean(rng.permutation(pool) == rng.permutation(pool))
    same_department = 1 / 4  # pairs of one user are mostly of a favourite department, where a type recurs far more often by chance
    assert np.mean(pairs) < chance / same_department


def test_users_keep_to_their_departments_and_drift(demo_sized):
    catalogue, reviews = demo_sized
    near, far = [], []
    for mine in by_user(reviews):
        departments = [catalogue.items[review.item].type.department for review in mine]
        near += [a == b for a, b in itertools.pairwise(departments)]
        far += [a == b for a, b in zip(departments, departments[10:], strict=False)]
    assert np.mean(near) > np.mean(far) > 1.5 / 8


def test_popularity_is_skewed_and_times_tie(demo_sized):
    _, reviews = demo_sized
    counts = np.sort(np.bincount([review.item for review in reviews], minlength=600))[::-1]
    assert 0.3 < counts[:120].sum() / counts.sum() < 0.8  # the upper fifth
    last = [sorted(review.written for review in mine)[-2:] for mine in by_user(reviews) if len(mine) > 1]
    assert 0.1 < np.mean([a == b for a, b in last]) < 0.7


def test_titles_and_materials_tell_of_the_item(demo_sized):
    catalogue, _ = demo_sized
    for item in catalogue.items:
        assert any(noun in item.title for noun in item.type.nouns)
        assert item.material in MATERIALS and item.material in item.type.materials
        assert catalogue.brands[item.brand].name in item.title
    assert np.mean([item.colour in item.title for item in catalogue.items]) > 0.7
    variants = [item for item in catalogue.items if item.variant_of >= 0]
    assert variants and all(catalogue.items[item.variant_of].look == item.look for item in variants)
    assert all(catalogue.items[item.variant_of].type_index == item.type_index for item in variants)


def test_every_outline_can_be_drawn():
    catalogue = make_catalogue(600, stream(5, "catalogue"))
    first = {item.type.key: item for item in reversed(catalogue.items)}
    assert first.keys() == {row.key for row in TYPES}
    blank = pictures.SIZE * pictures.SIZE
    for item in first.values():
        content = pictures.draw(item, catalogue.brands[item.brand], np.random.default_rng(0))
        assert content[:2] == b"\xff\xd8" and len(content) < blank
