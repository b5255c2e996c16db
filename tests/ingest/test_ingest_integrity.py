"""Every way in which a file of lines is known to go wrong: what is used of it, and what is said of the rest."""

import gzip
from collections import Counter

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_raw import as_line, context, listing, make_profile, review

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.stage import run

GOOD = [as_line(review(f"U{n}", "I1", 86_400 * n)) for n in range(1, 4)]
LINE = GOOD[0]
WHOLE = b"".join(line + b"\n" for line in GOOD)


def between(line):
    """A file with a line among good ones."""
    return gzip.compress(GOOD[0] + b"\n" + line + b"\n" + GOOD[1] + b"\n" + GOOD[2] + b"\n")


def flipped(data):
    altered = bytearray(data)
    altered[len(altered) // 2] ^= 1
    return bytes(altered)


def ingest(tmp_path, content):
    raw = tmp_path / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "reviews.json.gz").write_bytes(content)
    (raw / "meta.json.gz").write_bytes(as_line(listing("I1")) + b"\n")
    stage = context(tmp_path, make_profile(raw))
    return run(stage), stage.out


USELESS = {
    "invalid UTF-8": (between(LINE.replace(b"secret", b"sec\xff\xferet")), "not UTF-8"),
    "overlong UTF-8": (between(LINE.replace(b"secret", b"\xc0\xaf")), "not UTF-8"),
    "NUL": (between(LINE.replace(b"secret", b"\0")), "NUL byte"),
    "bare CR between two objects": (between(LINE + b"\r" + LINE), "not JSON"),
    "bare CR in a text": (between(LINE.replace(b"secret", b"\r")), "not JSON"),
    "a 20 MB line": (between(LINE.replace(b"secret", b"x" * 20_000_000)), "longer than 16 MiB"),
    "NaN": (between(b"NaN"), "not a JSON object"),
    "NaN for a rating": (between(LINE.replace(b"5.0", b"NaN")), "overall is not between 0 and 5"),
    "Infinity for a time": (between(LINE.replace(b"86400", b"Infinity")), "unixReviewTime is out of range"),
    "a bare number": (between(b"12345678901234567890"), "not a JSON object"),
    "null": (between(b"null"), "not a JSON object"),
    "a text": (between(b'"reviewerID asin overall unixReviewTime"'), "not a JSON object"),
    "lone surrogate": (between(LINE.replace(b"secret", b"\\ud83d")), "not JSON"),
    "trailing garbage": (between(LINE + b" {"), "not JSON"),
    "missing key": (between(b'{"reviewerID": "U1", "asin": "I1", "overall": 5}'), "no unixReviewTime"),
    "wrong type": (between(LINE.replace(b'"I1"', b"1")), "asin is not text"),
    "object for a number": (between(LINE.replace(b"5.0", b'{"a": 1}')), "overall is not a number"),
    "empty line": (between(b""), "empty line"),
}


@pytest.mark.parametrize(("content", "reason"), USELESS.values(), ids=list(USELESS))
def test_a_line_that_cannot_be_used_is_a_reject_and_takes_no_other_with_it(tmp_path, content, reason):
    statistics, out = ingest(tmp_path, content)
    [reject] = pq.read_table(out / "rejects.parquet").to_pylist()
    assert (reject["line"], reject["byte"], reject["reason"], reject["text"]) == (2, len(GOOD[0]) + 1, reason, None)
    assert len(reject["sha256"]) == 64
    assert (statistics["lines_read"], statistics["lines_kept"], statistics["lines_rejected"]) == (4, 3, 1)
    assert statistics["interactions"] == 3 and statistics["accounting_difference"] == 0
    assert statistics["reject_reasons"] == f"{reason} (1 lines)"


HARMLESS = {
    "BOM": gzip.compress(b"\xef\xbb\xbf" + WHOLE),
    "CRLF": gzip.compress(WHOLE.replace(b"\n", b"\r\n")),
    "no last line feed": gzip.compress(WHOLE[:-1]),
    "CR and spaces around": gzip.compress(b" \t" + WHOLE.replace(b"\n", b" \r\n")),
    "multi-member gzip": b"".join(gzip.compress(WHOLE[start : start + 100]) for start in range(0, len(WHOLE), 100)),
    "empty members": gzip.compress(b"") + gzip.compress(WHOLE) + gzip.compress(b""),
    "not compressed": WHOLE,
}


@pytest.mark.parametrize("content", HARMLESS.values(), ids=list(HARMLESS))
def test_what_changes_nothing(tmp_path, content):
    statistics, out = ingest(tmp_path, content)
    assert (statistics["lines_read"], statistics["interactions"], statistics["lines_rejected"]) == (3, 3, 0)
    assert pq.read_table(out / "raw_interactions.parquet")["user_id"].to_pylist() == ["U1", "U2", "U3"]


UNTRUSTED = {
    "empty file": (b"", r"reviews\.json\.gz is empty"),
    "empty gzip": (gzip.compress(b""), r"holds no lines"),
    "one flipped bit": (
        flipped(gzip.compress(WHOLE * 50)),
        r"is altered: .* compressed bytes? .* last whole line before that is number",
    ),
    "cut gzip": (
        gzip.compress(WHOLE * 50)[:-40],
        r"is cut off: it ends at compressed byte \d+.* last whole line before that is number \d+",
    ),
    "cut in the checksum": (gzip.compress(WHOLE)[:-3], r"is cut off"),
    "HTML instead": (b"<html><body>404 Not Found</body></html>\n", r"none of its first 1 lines is a JSON object"),
    "zip": (b"PK\x03\x04rest", r"is a zip archive"),
}


@pytest.mark.parametrize(("content", "message"), UNTRUSTED.values(), ids=list(UNTRUSTED))
def test_a_file_that_cannot_be_trusted_gives_nothing(tmp_path, content, message):
    with pytest.raises(SourceError, match=message):
        ingest(tmp_path, content)
    assert not list((tmp_path / "out").iterdir())


BROKEN = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"null", b"3", b"{}", b"[]", b"", b"\r", b"\0", b"\xff", LINE[:-1], LINE + b"x"]),
    st.sampled_from(GOOD).flatmap(lambda line: st.integers(0, len(line)).map(lambda cut: line[:cut])),
)


@settings(max_examples=20, deadline=None)
@given(lines=st.lists(st.one_of(st.sampled_from(GOOD), BROKEN), max_size=30))
def test_whatever_the_lines_all_are_accounted_for(tmp_path_factory, lines):
    first = [GOOD[0]] * (len(lines) + 1)  # with fewer, lines without keys would leave it open what the file is
    content = b"\n".join([*first, *(line.replace(b"\n", b"") for line in lines), GOOD[1]]) + b"\n"
    statistics, out = ingest(tmp_path_factory.mktemp("any"), content)
    kept, rejected = (pq.read_table(out / f"{name}.parquet").to_pylist() for name in ("raw_interactions", "rejects"))
    assert statistics["lines_read"] == content.count(b"\n") == len(kept) + len(rejected)
    assert sorted([row["line"] for row in kept + rejected]) == list(range(1, content.count(b"\n") + 1))
    assert statistics["accounting_difference"] == 0
    assert statistics["interactions"] + statistics["duplicates"] == len(kept)
    physical = content.split(b"\n")
    for row in rejected:
        assert content[row["byte"] :].startswith(physical[row["line"] - 1])
    assert Counter(row["user_id"] for row in kept) == Counter(
        f"U{GOOD.index(line.strip()) + 1}" for line in physical if line.strip() in GOOD
    )
