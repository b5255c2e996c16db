"""Published splits, read as they are, in every form they are published in; their numbering gives nothing away."""

import gzip
import hashlib
import json
import os
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard
from ingest_raw import context

from bbqrec_core import schema
from bbqrec_core.errors import SourceError
from bbqrec_core.ingest import json_objects, sequences
from bbqrec_core.ingest.json_objects import is_one_object, read_entries
from bbqrec_core.ingest.stage import run
from bbqrec_core.ingest.tables import beginning
from bbqrec_core.profile import load_profile

PACK = {"plain": lambda data: data, "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor(write_checksum=True).compress}
SPLIT = {"0": [0, 1, 2, 1], "1": [3, 0], "2": [2], "7": [1, 2, 3]}
EXPECTED = {user: [str(item) for item in items] for user, items in SPLIT.items()}


def as_text(split: dict[str, list[Any]]) -> bytes:
    return "".join(f"{user} {' '.join(map(str, items))}\n" for user, items in split.items()).encode()


def as_lines(split: dict[str, list[Any]], user: str = "user", items: str = "items") -> bytes:
    return "".join(json.dumps({items: listed, user: name}) + "\n" for name, listed in split.items()).encode()


WRITTEN = {
    "one JSON object": json.dumps(SPLIT).encode(),
    "one JSON object, indented": json.dumps(SPLIT, indent=4).encode(),
    "JSON lines": as_lines(SPLIT),
    "text lines": as_text(SPLIT),
}


class Split:
    """A split on disk, and what the stage makes of it."""

    def __init__(self, folder: Path, data: bytes | str, **files: bytes | str) -> None:
        self.folder = folder
        (folder / "raw").mkdir(parents=True)
        self.config: dict[str, Any] = {"sequences": "sequences"}
        for name, content in {"sequences": data, **files}.items():
            (folder / "raw" / name).write_bytes(content.encode() if isinstance(content, str) else content)
            self.config[name] = name

    def ingest(self, *, seed: int = 1, ingest: dict[str, Any] | None = None, **config: Any) -> "Split":
        profile = self.folder / "split.yaml"
        source = {"kind": "sequences", "raw": str(self.folder / "raw"), "sequences": self.config | config}
        options = {"k_user": 1, "k_item": 1, "deduplicate": False, **(ingest or {})}
        profile.write_text(json.dumps({"source": source, "ingest": options, "seed": seed, "compute": {"threads": 1}}))
        stage = context(self.folder, load_profile(str(profile)))
        self.statistics = run(stage)
        self.out = stage.out
        return self

    def read(self, table: str) -> list[dict[str, Any]]:
        return pq.read_table(self.out / f"{table}.parquet").to_pylist()

    @property
    def sequences(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for row in self.read("interactions"):
            found[row["user_id"]].append(row["item_id"])
        return dict(found)

    @property
    def rejects(self) -> list[tuple[int | None, str]]:
        return [(row["line"], row["reason"]) for row in self.read("rejects")]


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("written", WRITTEN)
def test_the_same_split_however_it_is_written_and_packed(tmp_path, written, packed):
    split = Split(tmp_path, PACK[packed](WRITTEN[written])).ingest()
    assert split.sequences == EXPECTED and not split.rejects
    assert [row["timestamp"] for row in split.read("raw_interactions")] == [n for items in SPLIT.values() for n in range(len(items))]
    assert all(row["rating"] is None for row in split.read("interactions"))
    statistics = split.statistics
    assert (statistics["lines_read"], statistics["interactions"], statistics["accounting_difference"]) == (10, 10, 0)
    assert statistics["dialect"] == f"sequences, {written.split(',')[0]}"
    assert (statistics["has_times"], statistics["first_timestamp"]) == (False, None)


def test_many_blocks_give_what_one_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(sequences, "ENTRIES_PER_BLOCK", 2)
    monkeypatch.setattr("bbqrec_core.ingest.decompress.CHUNK_BYTES", 5)
    assert Split(tmp_path, WRITTEN["one JSON object, indented"]).ingest().sequences == EXPECTED


def test_items_get_their_own_names(tmp_path):
    split = Split(tmp_path, WRITTEN["one JSON object"], item2id="A one\t0\nB\t1\r\nC\t2\n\nD\t3\n").ingest()
    names = dict(zip("0123", ["A one", "B", "C", "D"], strict=True))
    assert split.sequences == {user: [names[item] for item in items] for user, items in EXPECTED.items()}


BAD: dict[str, list[Any]] = {
    "no items": [[]],
    "items are no list": [None, "1 2", {"a": 1}, 3],
}
BAD_ITEMS: dict[str, list[Any]] = {
    "item is not in item2id": [99, "E"],
    "item is neither text nor a whole number": [1.0, None, True, [1], {"a": 1}],
    "item is empty": [""],
    "item holds control characters": ["A\n"],
    "item is not Unicode text": ["\ud800"],
}


def test_every_reject_of_an_object(tmp_path):
    bad = [(reason, value) for reason, values in BAD.items() for value in values]
    parts = ['"u": [0, 1]'] + [f'"bad{n}": {json.dumps(value)}' for n, (_, value) in enumerate(bad)]
    parts += ['"u": [1, 0, 0]', '"": [0]', '"a\\u0000": [0]', '"\\ud800": [0]']
    items = [0, *(value for values in BAD_ITEMS.values() for value in values), "B"]
    parts.append(f'"v": {json.dumps(items)}')
    split = Split(tmp_path, "{" + ",\n".join(parts) + "}", item2id="A\t0\nB\t1\n").ingest(ingest={"keep_reject_text": True})
    reasons = [reason for reason, _ in bad] + [
        "user is repeated",
        "user is empty",
        "user holds control characters",
        "user is not Unicode text",
    ]
    item_reasons = [reason for reason, values in BAD_ITEMS.items() for _ in values]
    first = 3 + len(reasons) + 1
    assert split.rejects == [*enumerate(reasons, start=3), *enumerate(item_reasons, start=first)]
    assert split.sequences == {"u": ["A", "B"], "v": ["A", "B"]}
    assert [row["timestamp"] for row in split.read("raw_interactions") if row["user_id"] == "v"] == [0, len(items) - 1]
    assert split.statistics["lines_read"] == 4 + len(reasons) + len(item_reasons) and split.statistics["accounting_difference"] == 0
    [row] = [row for row in split.read("rejects") if row["reason"] == "user is repeated"]
    assert row["text"] == '{"u": [1, 0, 0]}' and row["sha256"] == hashlib.sha256(row["text"].encode()).hexdigest()


def test_every_reject_of_json_lines(tmp_path):
    bad = [
        ("not JSON", b'{"user": "x"'),
        ("not a JSON object", b"[1]"),
        ("empty line", b""),
        ("NUL byte", b'{"user": "\0"}'),
        ("not UTF-8", b'{"user": "\xff"}'),
        ("no user", b'{"items": [1]}'),
        ("no items", b'{"user": "x"}'),
        ("no items", b'{"user": "x", "items": []}'),
        ("items are no list", b'{"user": "x", "items": "1 2"}'),
        ("user is neither text nor a whole number", b'{"user": 1.5, "items": [1]}'),
        ("user is repeated", b'{"user": "u", "items": [1]}'),
        ("longer than 16 MiB", b'{"user": "' + b"x" * (1 << 24) + b'", "items": [1]}'),
    ]
    data = b"\n".join([b'{"user": "u", "items": [1, 2]}', *(line for _, line in bad), b'{"user": 5, "items": [2]}'])
    split = Split(tmp_path, data).ingest()
    assert split.rejects == [(3 + n, reason) for n, (reason, _) in enumerate(bad)]
    assert split.sequences == {"u": ["1", "2"], "5": ["2"]}
    for row, (_, line) in zip(split.read("rejects"), bad, strict=True):
        assert data[row["byte"] :].startswith(line) and row["sha256"] == hashlib.sha256(line).hexdigest()


def test_every_reject_of_text(tmp_path):
    data = b"u 1 2\n\nlonely\nx\xff 1\nu 3\n y\t3  4 \r\n"
    split = Split(tmp_path, data).ingest()
    assert split.rejects == [(3, "empty line"), (4, "no items"), (5, "not UTF-8"), (6, "user is repeated")]
    assert split.sequences == {"u": ["1", "2"], "y": ["3", "4"]}
    assert [row["byte"] for row in split.read("rejects")] == [6, 7, 14, 19]


def test_a_user_in_two_files_is_repeated(tmp_path):
    split = Split(tmp_path, "a 1 2\nb 1\n")
    (tmp_path / "raw" / "sequences2").write_text("b 2\nc 2\n")
    split.ingest(sequences="sequences*")
    assert split.sequences == {"a": ["1", "2"], "b": ["1"], "c": ["2"]} and split.rejects == [(1, "user is repeated")]


def test_fields_are_found_or_named(tmp_path):
    lines = json.dumps({"id": 7, "name": "u", "seen": [1, 2], "bought": [3]}) + "\n"
    with pytest.raises(SourceError, match=r"list, but it has 2 \(seen, bought\).*\n.*source\.sequences\.items_field"):
        Split(tmp_path / "1", lines).ingest(user_field="name")
    with pytest.raises(SourceError, match=r"text or number, but it has 2 \(id, name\).*\n.*source\.sequences\.user_field"):
        Split(tmp_path / "2", lines).ingest(items_field="seen")
    with pytest.raises(SourceError, match=r"has no field 'nam', which source\.sequences\.user_field names"):
        Split(tmp_path / "3", lines).ingest(user_field="nam", items_field="seen")
    assert Split(tmp_path / "4", lines).ingest(user_field="name", items_field="bought").sequences == {"u": ["3"]}
    with pytest.raises(SourceError, match="must have one field that is a list, but it has none"):
        Split(tmp_path / "5", '{"user": 1, "item": 2}\n').ingest()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (gzip.compress(b"", mtime=0), "holds no sequences"),
        (b"[[1, 2]]", "one JSON list"),
        (b"{}", "holds no sequences"),
        (b'{"0": [1, 2], "1": [3', "is not one JSON object"),
        (b'{"0": [1, 2] "1": [3]}', "instead of , or }"),
        (b'{"0": [1, 2]}\n[]', "something follows the object"),
        (b'{"0": [1, "\xff"]}', "not UTF-8"),
        (b'{\n"0": ' + b"[" * 100_000, "nested too deeply|is not one JSON object"),
        (b"{'0': [1]}", "is not one JSON object"),
        (b"PAR1....", "Parquet"),
    ],
)
def test_files_that_are_no_split(tmp_path, data, message):
    with pytest.raises(SourceError, match=message):
        Split(tmp_path, data).ingest()


def test_an_object_is_read_entry_by_entry(tmp_path, monkeypatch):
    (tmp_path / "file").write_text(' \n{"a": 12, "b":[1,\n2] ,"c" : {"d": "ä"}, "a": null}\n ')
    for size in (1, 2, 3, 7, 1 << 22):
        monkeypatch.setattr("bbqrec_core.ingest.decompress.CHUNK_BYTES", size)
        assert list(read_entries(tmp_path / "file")) == [("a", 12), ("b", [1, 2]), ("c", {"d": "ä"}), ("a", None)]
    monkeypatch.setattr(json_objects, "MAX_ENTRY_CHARACTERS", 5)
    monkeypatch.setattr("bbqrec_core.ingest.decompress.CHUNK_BYTES", 2)
    with pytest.raises(SourceError, match="an entry is longer than 5 characters"):
        list(read_entries(tmp_path / "file"))


def test_damaged_files(tmp_path):
    rng = random.Random(1)
    users = {f"u{n}": [rng.randrange(10**6) for _ in range(20)] for n in range(3_000)}
    for name, data in {"object": json.dumps(users, indent=1).encode(), "lines": as_lines(users), "text": as_text(users)}.items():
        packed = gzip.compress(data)
        with pytest.raises(SourceError, match="is cut off"):
            Split(tmp_path / name, packed[:-1000]).ingest()
        if name != "object":
            split = Split(tmp_path / f"{name}-used", packed[:-1000]).ingest(ingest={"use_cut_files": True})
            assert split.statistics["partial"] and 0 < 20 * len(users) - split.statistics["interactions"] < 20 * 1000
            assert split.statistics["accounting_difference"] == 0
            found = split.sequences
            assert all(found[user] == [str(item) for item in users[user]] for user in list(users)[:100])


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


@pytest.mark.parametrize("count", [50_000, 1_000_000, 3_000_000])
def test_a_long_first_line_is_a_line(tmp_path, count):
    long = json.dumps({"user": "a", "items": ["X"] * count}, separators=(",", ":"))
    others = '\n{"user": "b", "items": ["X", "Y", "Z"]}\n'
    for name, text in {"lines": long + others, "a line": long, "blank before": f"\n  {long}{others}"}.items():
        path = tmp_path / f"{name}.json"
        path.write_text(text)
        assert not is_one_object(beginning(path, whole_line=True))
    for name, text in {"line": json.dumps({"a": ["X"] * count, "b": ["Y"]}), "lines": json.dumps({"a": ["X"] * count}, indent=0)}.items():
        path = tmp_path / f"object of {name}.json"
        path.write_text(text)
        assert is_one_object(beginning(path, whole_line=True))


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
    assert split.rejects == [(3, "item is not in item2id"), (4, "not a JSON object")]
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
    with pytest.raises(SourceError, match=f"text_codes, {message}"):
        split.ingest()


def test_codes_that_do_not_belong(tmp_path):
    both = {"text_codes": json.dumps(codes("abc")), "image_codes": json.dumps(codes("abcd", levels=4))}
    with pytest.raises(SourceError, match=r"differ in their number of levels: .*text_codes has 3, .*image_codes has 4"):
        Split(tmp_path / "1", WRITTEN["text lines"], **both).ingest()
    with pytest.raises(SourceError, match=r"codes for none of the 4 items"):
        Split(tmp_path / "2", WRITTEN["text lines"], text_codes='{"x": [1]}').ingest()
    with pytest.raises(SourceError, match="holds no codes"):
        Split(tmp_path / "3", WRITTEN["text lines"], text_codes="{}").ingest()


def by_first_appearance(users: int, items: int) -> dict[str, list[int]]:
    """A split as published: items are numbered in the order in which a reader meets them, user after user, test part included."""
    rng = random.Random(3)
    drawn = [[int(items * rng.random() ** 2) for _ in range(rng.randrange(3, 12))] for _ in range(users)]
    numbers: dict[int, int] = {}
    return {str(n): [numbers.setdefault(item, len(numbers)) for item in sequence] for n, sequence in enumerate(drawn)}


def test_renumbering_a_named_split_changes_nothing(tmp_path):
    split = by_first_appearance(200, 300)
    items = sorted({item for sequence in split.values() for item in sequence})
    rng = random.Random(4)
    renumbered = dict(zip(items, rng.sample(items, len(items)), strict=True))
    order = rng.sample(list(split), len(split))

    def files(number: dict[int, int]) -> dict[str, str]:
        pairs = sorted((number[item], f"NAME{item}") for item in items)
        listed = {str(number[item]): [item % 256, item // 256] for item in items}
        return {"item2id": "".join(f"{name}\t{n}\n" for n, name in pairs), "text_codes": json.dumps(listed)}

    one = Split(tmp_path / "1", json.dumps(split), **files({item: item for item in items})).ingest()
    other = {user: [renumbered[item] for item in split[user]] for user in order}
    two = Split(tmp_path / "2", json.dumps(other), **files(renumbered)).ingest()
    for table in ("interactions", "items", "train", "valid", "test", "given_codes"):
        assert (one.out / f"{table}.parquet").read_bytes() == (two.out / f"{table}.parquet").read_bytes(), table


def rank_correlation(a: list[int], b: list[int]) -> float:
    """Spearman's, of numbers without ties."""
    return float(np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])


def leak(pairs: list[tuple[list[int], int]]) -> float:
    """Share of targets that are one above the largest number in the history before them, or above everything seen by then."""
    return float(np.mean([target == max(history) + 1 for history, target in pairs]))


def test_the_published_numbering_does_not_survive(tmp_path):
    split = by_first_appearance(400, 3000)
    published = [(items[:-1], items[-1]) for items in split.values()]
    assert leak(published) > 0.5  # whoever knows the numbers knows the answers
    stage = Split(tmp_path, json.dumps(split)).ingest()
    rows = stage.read("items")
    item_idx, numbers = [row["item_idx"] for row in rows], [int(row["item_id"]) for row in rows]
    assert abs(rank_correlation(item_idx, numbers)) < 4 / np.sqrt(len(rows))
    assert leak([(row["history"], row["target"]) for row in stage.read("test")]) < 0.01
    users = {row["user_idx"]: int(row["user_id"]) for row in stage.read("interactions")}
    assert abs(rank_correlation(list(users), list(users.values()))) < 4 / np.sqrt(len(users))
    other = Split(tmp_path / "other", json.dumps(split)).ingest(seed=2).read("items")
    assert [row["item_id"] for row in other] != [row["item_id"] for row in rows]


def published_folder() -> Path | None:
    raw = os.environ.get("BBQREC_RAW")
    folder = Path(raw).parent / "sequences" if raw else None
    return folder if folder and folder.is_dir() else None


@pytest.mark.real_data
@pytest.mark.skipif(published_folder() is None, reason="no folder of published splits lies beside the one that BBQREC_RAW names")
@pytest.mark.parametrize(
    ("name", "users", "items", "interactions", "titles", "brands"),
    [
        ("beauty_2014", 22_363, 12_101, 198_502, 12_094, 10_003 - 46),  # 46 brands are "Generic" or "Unknown", which is none,
        ("instruments_2018", 17_112, 6_250, 136_226, 0, 0),
        ("instruments_2018_lcrec", 24_772, 9_922, 206_153, 0, 0),
    ],
)
def test_counts_of_the_published_splits(tmp_path, name, users, items, interactions, titles, brands):
    stage = context(tmp_path, load_profile(name, {"source": {"raw": str(published_folder())}}))
    statistics = run(stage)
    assert [statistics[key] for key in ("users", "items", "interactions")] == [users, items, interactions]
    assert statistics["lines_read"] == interactions and statistics["test_rows"] == users
    assert statistics["lines_rejected"] == statistics["duplicates"] == statistics["filtered"] == statistics["metadata_rejected"] == 0
    assert statistics["accounting_difference"] == statistics["metadata_accounting_difference"] == 0
    catalogue = pq.read_table(stage.out / "items.parquet").to_pylist()
    assert sum(row["title"] is not None for row in catalogue) == titles
    assert sum(row["brand"] is not None for row in catalogue) == brands
    if name == "instruments_2018":
        given = pq.read_table(stage.out / "given_codes.parquet").to_pylist()
        for modality in ("text", "image"):
            assert all(len(row[modality]) == 4 and all(0 <= code < 256 for code in row[modality]) for row in given)
        assert len({tuple(row["text"]) for row in given}) == 5_988
        first = Counter(row["text"][0] for row in given)
        shares = np.array(list(first.values())) / items
        assert len(first) == 126 and np.exp(-(shares * np.log(shares)).sum()) == pytest.approx(15.8, abs=0.05)
    else:
        assert not (stage.out / "given_codes.parquet").exists()
