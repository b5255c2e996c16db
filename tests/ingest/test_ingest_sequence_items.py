"""What is known of a published split's items: their names, their metadata, their published codes."""

import gzip
import hashlib
import json
import random
from typing import Any

import pyarrow.parquet as pq
import pytest
from published_split import EXPECTED, WRITTEN, Split

from bbqrec_core import schema
from bbqrec_core.errors import ProfileError, SourceError


def test_items_get_their_own_names(tmp_path):
    split = Split(tmp_path, WRITTEN["one JSON object"], item2id="A one\t0\nB\t1\r\nC\t2\n\nD\t3\n").ingest()
    names = dict(zip("0123", ["A one", "B", "C", "D"], strict=True))
    assert split.sequences == {user: [names[item] for item in items] for user, items in EXPECTED.items()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A 0\nA 1\n", "line 2: A is repeated"),
        ("A\t0\nB\t0\n", "line 2: 0 is repeated"),
        ("A\tzero\n", "line 1: 'A.tzero' is no name and number"),
        ("A\n", "is no name and number"),
        ("A\t0\n\t1\n", "line 2: .* is no name and number"),
        ("\n\n", "holds nothing"),
    ],
)
def test_broken_item2id(tmp_path, text, message):
    with pytest.raises(SourceError, match=message):
        Split(tmp_path, WRITTEN["text lines"], item2id=text).ingest()


def test_a_damaged_item2id_or_code_file_is_not_to_be_used_in_part(tmp_path):
    rng = random.Random(1)
    names = "".join(f"{rng.randbytes(9).hex()}\t{number}\n" for number in range(5_000)).encode()
    given_codes = json.dumps({str(number): [rng.randrange(256) for _ in range(3)] for number in range(5_000)}).encode()
    for key, data in (("item2id", names), ("text_codes", given_codes)):
        with pytest.raises(SourceError, match=r"is cut off.*Nothing of the file was used") as caught:
            Split(tmp_path / key, WRITTEN["text lines"], **{key: gzip.compress(data)[:-500]}).ingest(ingest={"use_cut_files": True})
        assert caught.value.way_out == "Get the file again."


ITEMS = {
    "0": {"title": "Zero", "brand": "B", "categories": "Guitars,Strings", "description": ["x", "y"], "price": 3},
    "B": {"title": "One", "categories": ["A", "B"], "item_id": "not this"},
    "9": {"title": "Nobody's"},
    "2": "Two",
}


@pytest.mark.parametrize("indent", [None, 2])
def test_items_from_an_object(tmp_path, indent):
    split = Split(tmp_path, WRITTEN["text lines"], items=json.dumps(ITEMS, indent=indent), item2id="A\t0\nB\t1\nC\t2\nD\t3\n").ingest()
    items = {row["item_id"]: row for row in split.read("items")}
    assert {name: row["title"] for name, row in items.items()} == {"A": "Zero", "B": "One", "C": None, "D": None}
    assert (items["A"]["categories"], items["A"]["description"], items["A"]["price"]) == (["Guitars,Strings"], "x y", 3.0)
    assert items["B"]["categories"] == ["A", "B"]
    text = json.dumps(ITEMS, indent=indent)
    nobody, two = text[text.index('"9"') : text.index("}", text.index("Nobody")) + 1], '"2": "Two"'
    places = [(text[: text.index(entry)].count("\n") + 1, text.index(entry)) for entry in (nobody, two)]
    rows = split.read("rejects")
    assert [row["reason"] for row in rows] == ["item is not in item2id", "not a JSON object"]
    assert [(row["line"], row["byte"]) for row in rows] == places
    assert [row["sha256"] for row in rows] == [hashlib.sha256(entry.encode()).hexdigest() for entry in (nobody, two)]
    assert (split.statistics["metadata_lines_read"], split.statistics["metadata_accounting_difference"]) == (4, 0)


def test_items_from_json_lines(tmp_path):
    lines = '{"item_id": 0, "title": "Zero"}\n{"item_id": "B", "title": "One"}\n{"item_id": 9}\nbroken\n'
    split = Split(tmp_path / "1", WRITTEN["text lines"], items=lines, item2id="A\t0\nB\t1\nC\t2\nD\t3\n").ingest()
    titles = {row["item_id"]: row["title"] for row in split.read("items")}
    assert titles == {"A": "Zero", "B": "One", "C": None, "D": None} and split.rejects == [(4, "not JSON")]
    amazon = '{"asin": "1", "title": "One", "categories": [["A", "B"]], "salesRank": {"A": 1}, "price": 5.04}\n'
    split = Split(tmp_path / "2", WRITTEN["text lines"], items=amazon).ingest()
    [item] = [row for row in split.read("items") if row["item_id"] == "1"]
    assert (item["title"], item["categories"], item["price"]) == ("One", ["A", "B"], 5.04)
    with pytest.raises(SourceError, match=r"source\.sequences\.items, holds neither"):
        Split(tmp_path / "3", WRITTEN["text lines"], items='{"sku": 1}\n').ingest()


def codes(letters: str, count: int = 4, levels: int = 3) -> dict[str, Any]:
    return {str(n): [f"<{letters[level]}_{(7 * n + level) % 256}>" for level in range(levels)] for n in range(count)}


def test_published_codes(tmp_path):
    image = {key: [int(token[3:-1]) for token in value] for key, value in codes("ABC", 3).items()}  # item 3 has none
    split = Split(
        tmp_path,
        WRITTEN["text lines"],
        item2id="A\t0\nB\t1\nC\t2\nD\t3\nE\t4\n",
        text_codes=gzip.compress(json.dumps(codes("abc", 5), indent=4).encode()),
        image_codes=json.dumps(image),
    ).ingest()
    assert pq.read_schema(split.out / "given_codes.parquet").equals(schema.GIVEN_CODES)
    names = [row["item_id"] for row in split.read("items")]
    given = {names[row["item_idx"]]: (row["text"], row["image"]) for row in split.read("given_codes")}
    lists = {key: [int(token[3:-1]) for token in value] for key, value in codes("abc").items()}
    assert given == {name: (lists[str(n)], image.get(str(n))) for n, name in enumerate("ABCD")}


def test_codes_of_one_modality(tmp_path):
    split = Split(tmp_path, WRITTEN["text lines"], image_codes=json.dumps(codes("abc"))).ingest()
    assert all(row["text"] is None and len(row["image"]) == 3 for row in split.read("given_codes"))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"2": ["<a_1>", "<b_2>"]}, "item '2': it has 2 levels, the items before it have 3"),
        ({"2": ["<b_1>", "<a_2>", "<c_3>"]}, "item '2': its levels are b, a, c, not a, b, c"),
        ({"2": ["<a_1>", "<b_2>", "c_3"]}, "item '2': 'c_3' is no code"),
        ({"2": ["<a_1>", "<b_2>", "<c_-3>"]}, "item '2': '<c_-3>' is no code"),
        ({"2": ["<a_1>", "<b_2>", None]}, "item '2': None is no code"),
        ({"2": ["<a_1>", "<b_2>", "<c_99999>"]}, "item '2': code 99999 is not between 0 and 32,767"),
        ({"2": []}, "item '2': it has no list of codes"),
        ({"2": "<a_1><b_2><c_3>"}, "item '2': it has no list of codes"),
        ({"99": ["<a_1>", "<b_2>", "<c_3>"]}, "item '99': item is not in item2id"),
        ({"A": ["<a_1>", "<b_2>", "<c_3>"]}, "item 'A': it is there twice"),
    ],
)
def test_broken_codes_stop_the_stage(tmp_path, broken, message):
    text = json.dumps(codes("abc") | broken)
    split = Split(tmp_path, WRITTEN["text lines"], item2id="A\t0\nB\t1\nC\t2\nD\t3\n", text_codes=text)
    with pytest.raises(SourceError, match=rf"text_codes, line \d, {message}"):
        split.ingest()


def test_codes_that_do_not_belong(tmp_path):
    both = {"text_codes": json.dumps(codes("abc")), "image_codes": json.dumps(codes("abcd", levels=4))}
    with pytest.raises(SourceError, match=r"differ in their number of levels: .*text_codes has 3, .*image_codes has 4"):
        Split(tmp_path / "1", WRITTEN["text lines"], **both).ingest()
    with pytest.raises(SourceError, match=r"codes for none of the 4 items"):
        Split(tmp_path / "2", WRITTEN["text lines"], text_codes='{"x": [1]}').ingest()
    with pytest.raises(SourceError, match="holds no codes"):
        Split(tmp_path / "3", WRITTEN["text lines"], text_codes="{}").ingest()


def test_codes_of_another_split_are_matched_by_name(tmp_path):
    """There E is item 0, D item 1 and B item 2; D has no codes, and this split has no E."""
    files = {
        "item2id": "A\t0\nB\t1\nC\t2\nD\t3\n",
        "codes_item2id": "E\t0\nD\t1\nB\t2\n",
        "text_codes": json.dumps({key: value for key, value in codes("abc").items() if key in "02"}),
    }
    split = Split(tmp_path / "1", WRITTEN["text lines"], **files).ingest()
    names = [row["item_id"] for row in split.read("items")]
    given = {names[row["item_idx"]]: row["text"] for row in split.read("given_codes")}
    assert given == {"A": None, "B": [14, 15, 16], "C": None, "D": None}
    with pytest.raises(SourceError, match="item '2': item is not in codes_item2id"):
        Split(tmp_path / "2", WRITTEN["text lines"], **{**files, "codes_item2id": "E\t0\nD\t1\n"}).ingest()
    with pytest.raises(SourceError, match=r"codes_item2id, line 1: .* is no name and number"):
        Split(tmp_path / "3", WRITTEN["text lines"], **{**files, "codes_item2id": "nonsense\n"}).ingest()
    with pytest.raises(SourceError, match="codes for none of the 4 items"):
        Split(tmp_path / "4", WRITTEN["text lines"], **{**files, "codes_item2id": "X\t0\nY\t2\n"}).ingest()
    with pytest.raises(ProfileError, match="neither is given"):
        Split(tmp_path / "5", WRITTEN["text lines"], item2id=files["item2id"], codes_item2id=files["codes_item2id"]).ingest()


def test_every_file_of_a_split_is_in_the_table_of_files(tmp_path):
    files = {"item2id": "A\t0\nB\t1\n\nC\t2\nD\t3\n", "items": json.dumps(ITEMS), "text_codes": json.dumps(codes("abc"))}
    split = Split(tmp_path, WRITTEN["text lines"], **files).ingest()
    assert [(row["file"], row["content"], row["format"], row["lines"], row["rejected"]) for row in split.read("files")] == [
        ("item2id", "item names", "item names, text lines", 5, 0),
        ("sequences", "interactions", "sequences, text lines", 10, 0),
        ("items", "items", "items, one JSON object", 4, 2),
        ("text_codes", "codes", "codes, one JSON object", 4, 0),
    ]
    assert split.statistics["files_read"] == 4
    assert split.statistics["accounting_difference"] == split.statistics["metadata_accounting_difference"] == 0


def test_items_of_a_cut_object(tmp_path):
    rng = random.Random(1)
    items = {str(number): {"title": f"T{number} {rng.randbytes(9).hex()}"} for number in range(3_000)}
    packed = gzip.compress(json.dumps(items).encode())
    with pytest.raises(SourceError, match=r"items is cut off.*\n.*use_cut_files"):
        Split(tmp_path / "1", WRITTEN["text lines"], items=packed[:-1000]).ingest()
    split = Split(tmp_path / "2", WRITTEN["text lines"], items=packed[:-1000]).ingest(ingest={"use_cut_files": True})
    read = split.statistics["metadata_lines_read"]
    assert 1_000 < read < 3_000 and split.statistics["partial"] and f"only the {read:,} whole items before" in split.statistics["damage"]
    assert {row["item_id"]: row["title"] for row in split.read("raw_items")} == {key: items[key]["title"] for key in list(items)[:read]}
