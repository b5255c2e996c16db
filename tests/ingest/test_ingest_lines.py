"""Cutting into lines: every byte is accounted for, whatever the file holds and however it is cut into blocks."""

import gzip
import hashlib
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest import decompress
from bbqrec_core.ingest import lines as lines_module
from bbqrec_core.ingest.lines import BOM, TOO_LONG, LongLine, read_lines, screen

PIECES = st.sampled_from(
    [b"\n", b"\n", b"\r", b"\0", b"a", b"{}", b" ", b"\xff", b"\xc3", "é".encode(), "\u2028".encode(), b"\x0c", BOM, b"x" * 30]
)
MAX_LINE = 25


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("lines") / "file.json"


def naive(content: bytes) -> list[tuple[int, int, bytes, str | None]]:
    """Number, offset, bytes and problem of each line."""
    position = 3 if content.startswith(BOM) else 0
    found = []
    for number, line in enumerate(content[position:].split(b"\n"), start=1):
        if position == len(content) and not line:
            break  # nothing follows the last line feed
        found.append((number, position, line.removesuffix(b"\r"), naive_problem(line)))
        position += len(line) + 1
    return found


def naive_problem(line: bytes) -> str | None:
    if len(line) > MAX_LINE:
        return TOO_LONG
    if not line.strip():
        return "empty line"
    if b"\0" in line:
        return "NUL byte"
    try:
        line.decode()
    except UnicodeDecodeError:
        return "not UTF-8"
    return None


@given(
    content=st.lists(PIECES, min_size=1, max_size=40).map(b"".join),
    block=st.integers(1, 60),
    chunk=st.integers(1, 60),
    most=st.integers(1, 5),
)
@example(content=b"a\n\nb", block=1, chunk=1, most=2)
@example(content=b"x" * 100, block=10, chunk=7, most=2)
@example(content=BOM, block=10, chunk=1, most=2)
@example(content=b"x" * MAX_LINE + b"\n" + b"x" * MAX_LINE, block=1, chunk=MAX_LINE, most=2)
@example(content=b"x" * (MAX_LINE + 1) + b"\n" + b"x" * (MAX_LINE + 1), block=90, chunk=90, most=2)
def test_every_line_is_found_where_it_is(path, content, block, chunk, most):
    path.write_bytes(b"plain" if content[:2] == decompress.GZIP else content)
    content = path.read_bytes()
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decompress, "CHUNK_BYTES", chunk)
        patch.setattr(lines_module, "MOST_LINES", most)
        for part in read_lines(path, block, MAX_LINE):
            if isinstance(part, LongLine):
                found.append((part.number, part.byte, part.sha256, TOO_LONG))
                continue
            problems = screen(part, MAX_LINE)
            for index in range(len(part)):
                found.append((part.first_line + index, part.first_byte + int(part.starts[index]), part.line(index), problems.get(index)))
    expected = naive(content)
    assert [(number, byte) for number, byte, _, _ in found] == [(number, byte) for number, byte, _, _ in expected]
    for (_, _, line, problem), (_, _, wanted, reason) in zip(found, expected, strict=True):
        if isinstance(line, str):  # a line too long to be kept is known by its hash
            assert reason == TOO_LONG and line in {hashlib.sha256(wanted + end).hexdigest() for end in (b"", b"\r")}
        else:
            assert (line, problem) == (wanted, reason)


def test_cut_file_names_the_last_whole_line(path):
    lines = [f'{{"line": {number}, "noise": "{hashlib.sha256(str(number).encode()).hexdigest()}"}}\n'.encode() for number in range(5000)]
    whole = gzip.compress(b"".join(lines))
    path.write_bytes(whole[: len(whole) // 2])
    recovered = zlib.decompressobj(31).decompress(path.read_bytes()).count(b"\n")
    with pytest.raises(SourceError, match=rf"file\.json is cut off: it ends at compressed byte {len(whole) // 2:,}") as caught:
        list(read_lines(path, block_bytes=10_000))
    assert f"number {recovered:,};" in str(caught.value)
