"""Files that are one large JSON object are read entry by entry, each with its place."""

import json

import pytest

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest import json_objects
from bbqrec_core.ingest.damage import DamagedSourceError
from bbqrec_core.ingest.json_objects import is_one_object, read_entries
from bbqrec_core.ingest.tables import beginning


def test_an_object_is_read_entry_by_entry(tmp_path, monkeypatch):
    data = ' \n{"a": 12, "b":[1,\n2] ,"c" : {"d": "ä"}, "a": null}\n '.encode()
    (tmp_path / "file").write_bytes(data)
    for size in (1, 2, 3, 7, 1 << 22):
        monkeypatch.setattr("bbqrec_core.ingest.decompress.CHUNK_BYTES", size)
        entries = list(read_entries(tmp_path / "file"))
        assert [(entry.key, entry.value) for entry in entries] == [("a", 12), ("b", [1, 2]), ("c", {"d": "ä"}), ("a", None)]
        assert [entry.line for entry in entries] == [2, 2, 3, 3]
        assert all(data[entry.byte : entry.end] == entry.raw for entry in entries)
        assert [entry.raw.decode() for entry in entries] == ['"a": 12', '"b":[1,\n2]', '"c" : {"d": "ä"}', '"a": null']
    monkeypatch.setattr(json_objects, "MAX_ENTRY_CHARACTERS", 5)
    monkeypatch.setattr("bbqrec_core.ingest.decompress.CHUNK_BYTES", 2)
    with pytest.raises(SourceError, match=r"an entry is longer than 5 characters.*line 2"):
        list(read_entries(tmp_path / "file"))


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


def test_an_object_that_is_cut_anywhere_gives_its_whole_entries(tmp_path):
    value = {"ä": [1, 2], "b": {"x": "ö]}"}, "c": [True, None, -1.5e3], "d": "\\u00e9 \U0001f600", "e": [12]}
    text = json.dumps(value, ensure_ascii=False).replace("\\\\u", "\\u")
    data = text.encode()
    (tmp_path / "file").write_bytes(data)
    whole = list(read_entries(tmp_path / "file"))
    assert [entry.key for entry in whole] == list("äbcde")
    for size in range(1, len(data)):
        (tmp_path / "file").write_bytes(data[:size])
        with pytest.raises(DamagedSourceError) as caught:
            list(read_entries(tmp_path / "file"))
        assert caught.value.damage.usable_bytes == size
        assert list(read_entries(tmp_path / "file", size)) == [entry for entry in whole if entry.end <= size]
