"""Published splits, read as they are, in every form they are published in; their numbering gives nothing away."""

import json
import os
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from ingest_raw import context
from published_split import EXPECTED, PACK, SPLIT, WRITTEN, Split

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest import sequences
from bbqrec_core.ingest.stage import run
from bbqrec_core.profile import load_profile


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
        ("instruments_2018_lcrec_codes", 24_772, 9_922, 206_153, 0, 0),
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
    elif name == "instruments_2018_lcrec_codes":
        given = pq.read_table(stage.out / "given_codes.parquet").to_pylist()
        for modality in ("text", "image"):
            assert sum(row[modality] is not None for row in given) == 6_250
    else:
        assert not (stage.out / "given_codes.parquet").exists()
