"""What cannot be used of published splits is rejected in its place, or stops the stage."""

import gzip
import hashlib
import json
import random
from typing import Any

import pytest
from published_split import Split, as_lines, as_text

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest import sequence_records

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


@pytest.mark.parametrize("between", [", ", ",\n", ",\r\n\r\n    "], ids=["one line", "lines", "spaced lines"])
def test_every_reject_of_an_object(tmp_path, between):
    bad = [(reason, value) for reason, values in BAD.items() for value in values]
    parts = ['"u": [0, 1]'] + [f'"bad{n}": {json.dumps(value)}' for n, (_, value) in enumerate(bad)]
    parts += ['"u": [1, 0, 0]', '"": [0]', '"a\\u0000": [0]', '"\\ud800": [0]']
    items = [0, *(value for values in BAD_ITEMS.values() for value in values), "B"]
    parts.append(f'"v": {json.dumps(items)}')
    data = ("\ufeff{" + between.join(parts) + "}").encode()
    split = Split(tmp_path, data, item2id="A\t0\nB\t1\n").ingest(ingest={"keep_reject_text": True})
    reasons = [reason for reason, _ in bad] + [
        "user is repeated",
        "user is empty",
        "user holds control characters",
        "user is not Unicode text",
    ]
    item_reasons = [reason for reason, values in BAD_ITEMS.items() for _ in values]
    assert sorted(reason for _, reason in split.rejects) == sorted(reasons + item_reasons)
    assert split.sequences == {"u": ["A", "B"], "v": ["A", "B"]}
    assert [row["timestamp"] for row in split.read("raw_interactions") if row["user_id"] == "v"] == [0, len(items) - 1]
    assert split.statistics["lines_read"] == 4 + len(reasons) + len(item_reasons) and split.statistics["accounting_difference"] == 0
    # Each is at the line and byte where its user's entry begins, and has that entry's hash; the text is kept once.
    places = [(reason, part) for reason, part in zip(reasons, parts[1:-1], strict=True)] + [(reason, parts[-1]) for reason in item_reasons]
    expected = []
    for reason, part in places:
        byte = data.index(part.encode())
        expected.append((data[:byte].count(b"\n") + 1, byte, reason, hashlib.sha256(part.encode()).hexdigest()))
    rows = split.read("rejects")
    assert sorted(tuple(row[key] for key in ("line", "byte", "reason", "sha256")) for row in rows) == sorted(expected)
    assert sorted(row["text"] for row in rows if row["text"] is not None) == sorted(parts[1:])


def test_a_user_with_many_bad_items_is_hashed_once(tmp_path, monkeypatch):
    digests = []
    digest = sequence_records.Record.digest
    monkeypatch.setattr(sequence_records.Record, "digest", lambda record: digests.append(record.user) or digest(record))
    split = Split(tmp_path, json.dumps({"u": [1, *[None] * 5_000], "v": [2]})).ingest()
    assert digests == ["u"] and len({row["sha256"] for row in split.read("rejects")}) == 1
    assert split.statistics["lines_rejected"] == 5_000 and split.statistics["accounting_difference"] == 0


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
    assert split.rejects == [(2 + n, reason) for n, (reason, _) in enumerate(bad)]
    assert split.sequences == {"u": ["1", "2"], "5": ["2"]}
    for row, (_, line) in zip(split.read("rejects"), bad, strict=True):
        assert data[row["byte"] :].startswith(line) and row["sha256"] == hashlib.sha256(line).hexdigest()


def test_every_reject_of_text(tmp_path):
    data = b"u 1 2\n\nlonely\nx\xff 1\nu 3\n y\t3  4 \r\n"
    split = Split(tmp_path, data).ingest()
    assert split.rejects == [(2, "empty line"), (3, "no items"), (4, "not UTF-8"), (5, "user is repeated")]
    assert split.sequences == {"u": ["1", "2"], "y": ["3", "4"]}
    assert [row["byte"] for row in split.read("rejects")] == [6, 7, 14, 19]


def test_a_user_in_two_files_is_repeated(tmp_path):
    split = Split(tmp_path, "a 1 2\nb 1\n")
    (tmp_path / "raw" / "sequences2").write_text("b 2\nc 2\n")
    split.ingest(sequences="sequences*")
    assert split.sequences == {"a": ["1", "2"], "b": ["1"], "c": ["2"]} and split.rejects == [(1, "user is repeated")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (gzip.compress(b"", mtime=0), "holds no sequences"),
        (b"[[1, 2]]", "one JSON list"),
        (b"{}", "holds no sequences"),
        (b'{"0": [1, 2], "1": [3', r"is cut off: it ends at byte 21 of its text.*last whole entry before that is number 1;"),
        (b'{"0": [1, 2], "1": [3,, 4]', r"is not one JSON object: Expecting value, at or after line 1, byte 19"),
        (b'{"0": [1, 2],\n"1": [3]} x', r"something follows the object, at or after line 2, byte 24"),
        (b'{"0": [1], "1": ' + b"1" * 5_000 + b"}", r"is not one JSON object: Exceeds the limit"),
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


def test_damaged_files(tmp_path):
    rng = random.Random(1)
    users = {f"u{n}": [rng.randrange(10**6) for _ in range(20)] for n in range(3_000)}
    for name, data in {"object": json.dumps(users, indent=1).encode(), "lines": as_lines(users), "text": as_text(users)}.items():
        packed = gzip.compress(data)
        with pytest.raises(SourceError, match="is cut off"):
            Split(tmp_path / name, packed[:-1000]).ingest()
        split = Split(tmp_path / f"{name}-used", packed[:-1000]).ingest(ingest={"use_cut_files": True})
        assert split.statistics["partial"] and 0 < 20 * len(users) - split.statistics["interactions"] < 20 * 1000
        assert split.statistics["accounting_difference"] == 0
        found = split.sequences
        assert all(items == [str(item) for item in users[user]] for user, items in found.items())
        assert list(found) == sorted(found, key=list(found).index) and set(found) == set(list(users)[: len(found)])
        [cut] = [row for row in split.read("rejects") if row["line"] is None]
        assert cut["reason"].startswith("the file is cut off")
        last = list(users)[len(found) - 1]
        assert data[: cut["byte"]].rstrip().endswith((f"{users[last][-1]}\n ]" if name == "object" else str(users[last][-1])).encode()) or (
            name == "lines" and data[: cut["byte"]].endswith(b"}\n")
        )


def test_an_altered_object_is_told_from_one_that_is_no_json(tmp_path):
    first = json.dumps({f"u{n}": [n, n + 1] for n in range(2_000)})[:-1].encode()
    second = b", " + json.dumps({f"v{n}": [n, n + 1] for n in range(2_000)})[1:].encode()
    altered = bytearray(gzip.compress(second))
    altered[len(altered) // 2] ^= 4
    data = gzip.compress(first) + bytes(altered)
    with pytest.raises(SourceError, match="is altered"):
        Split(tmp_path / "1", data).ingest()
    split = Split(tmp_path / "2", data).ingest(ingest={"use_cut_files": True})
    # What the sound member holds, and nothing of the altered one.
    assert split.statistics["users"] == 2_000 and all(user.startswith("u") for user in split.sequences)
    with pytest.raises(SourceError, match="is not one JSON object"):
        Split(tmp_path / "3", gzip.compress(first + b"; " + second)).ingest(ingest={"use_cut_files": True})
