"""Python literals: what they hold comes through, what is no literal is refused and never run."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbqrec_core.ingest import literals
from bbqrec_core.ingest.literals import LiteralConverter, to_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_literals_come_through(row):
    try:
        line = repr(row).encode()
    except UnicodeEncodeError:
        line = ascii(row).encode()
    converted, reason = to_json(line, None)
    assert reason is None and converted is not None and json.loads(converted) == row


def test_only_wanted_keys_are_kept():
    assert to_json(b"{'asin': 'B1', 'related': {'also_bought': ['B2']}}\n", frozenset({"asin"})) == (b'{"asin": "B1"}', None)


@pytest.mark.parametrize(
    "line",
    [
        b"__import__('pathlib').Path('evaluated').touch()",
        b"{'asin': __import__('pathlib').Path('evaluated').touch()}",
        b"{'asin': open('evaluated', 'w')}",
        b"{'asin': f'{open(\"evaluated\", \"w\")}'}",
        b"{'asin': (lambda: 1)()}",
        b"{'asin': 'B1'",
        b"{'price': nan}",
        b"{'price': 1e999}",
        b"{'asin': {1, 2}}",
        b"{'asin': b'B1'}",
        b"{'asin': 1j}",
        b"['asin']",
        b"3",
        b"None",
        b"'asin'",
        b"",
        b"(" * 100_000,
        b"{'a':" * 5_000 + b"1" + b"}" * 5_000,
        b"{'a': " + b"9" * 10_000 + b"}",
        b"{'a': '\\ud800'",
    ],
)
def test_anything_else_is_refused_and_never_run(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    converted, reason = to_json(line, None)
    assert converted is None and reason
    assert not (tmp_path / "evaluated").exists()


def test_processes_give_the_same_as_none(monkeypatch):
    lines = [f"{{'asin': 'B{number}'}}".encode() if number % 7 else b"broken" for number in range(2500)]
    alone = LiteralConverter(frozenset({"asin"}), workers=1).convert(lines)
    monkeypatch.setattr(literals, "LINES_WORTH_A_POOL", 1000)
    together = LiteralConverter(frozenset({"asin"}), workers=2)
    try:
        assert together.convert(lines) == alone
        assert together._pool is not None
    finally:
        together.close()
    assert [reason for _, reason in alone[:8]] == ["not a Python literal", *[None] * 6, "not a Python literal"]
