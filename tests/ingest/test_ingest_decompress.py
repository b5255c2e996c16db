"""Decompression: whole files come through unchanged, damaged ones never come through changed."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest import decompress
from bbqrec_core.ingest.decompress import DamagedFileError, read_chunks

CONTENT = b'{"asin": "B001", "overall": 5.0}\n' * 20


@pytest.fixture(params=[1, 7, 1 << 16], ids=lambda size: f"read{size}")
def read_bytes(request, monkeypatch):
    monkeypatch.setattr(decompress, "READ_BYTES", request.param)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("gzip") / "file.gz"


@given(members=st.lists(st.binary(max_size=300), min_size=1, max_size=4), padding=st.integers(0, 20), chunk=st.integers(1, 100))
def test_any_members_and_padding_come_through(path, members, padding, chunk):
    path.write_bytes(b"".join(gzip.compress(member) for member in members) + b"\0" * padding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decompress, "CHUNK_BYTES", chunk)
        patch.setattr(decompress, "READ_BYTES", chunk)
        assert b"".join(read_chunks(path)) == b"".join(members)


def test_chunks_are_bounded_however_much_a_few_bytes_unfold_into(path):
    path.write_bytes(gzip.compress(bytes(50_000_000)))
    assert path.stat().st_size < 100_000
    chunks = [len(chunk) for chunk in read_chunks(path)]
    assert sum(chunks) == 50_000_000 and max(chunks) <= decompress.CHUNK_BYTES


def test_plain_file_comes_through(path):
    path.write_bytes(CONTENT)
    assert b"".join(read_chunks(path)) == CONTENT


@pytest.mark.usefixtures("read_bytes")
def test_every_cut_is_noticed(path):
    whole = gzip.compress(CONTENT)
    for length in range(2, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError, match=f"ends at compressed byte {length:,}"):
            list(read_chunks(path))


@pytest.mark.usefixtures("read_bytes")
def test_every_cut_of_a_second_member_is_noticed(path):
    first, second = gzip.compress(CONTENT), gzip.compress(b"more\n")
    for length in range(1, len(second)):
        path.write_bytes(first + second[:length])
        with pytest.raises(DamagedFileError, match=r"cut off|foreign bytes"):
            list(read_chunks(path))


def test_no_flipped_bit_changes_what_is_read(path):
    whole = gzip.compress(CONTENT)
    noticed = 0
    for bit in range(2 * 8, 8 * len(whole)):  # the first two bytes say that it is gzip at all
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert b"".join(read_chunks(path)) == CONTENT  # time of change and the like
        except DamagedFileError as error:
            noticed += 1
            assert "compressed byte" in error.problem
    assert noticed >= 8 * (len(whole) - 10)  # all that is not header


def test_checksum_of_altered_content_is_named(path):
    # A stored block holds its bytes as they are: altering one breaks nothing but the checksum.
    packer = zlib.compressobj(0, wbits=31)
    whole = bytearray(packer.compress(CONTENT) + packer.flush())
    whole[whole.index(b"B001")] ^= 1
    path.write_bytes(whole)
    with pytest.raises(DamagedFileError, match="does not match its checksum"):
        list(read_chunks(path))


def test_foreign_bytes_after_the_end_are_refused(path):
    whole = gzip.compress(CONTENT)
    path.write_bytes(whole + b"garbage")
    with pytest.raises(DamagedFileError, match=f"foreign bytes .* at compressed byte {len(whole)}"):
        list(read_chunks(path))


@pytest.mark.parametrize(
    ("start", "what"),
    [(b"", "empty"), (b"PK\x03\x04", "zip archive"), (b"PAR1", "Parquet"), (b"BZh9", "bzip2"), (b"\x28\xb5\x2f\xfd", "zstandard")],
)
def test_other_formats_are_named(path, start, what):
    path.write_bytes(start and start + b"....")
    with pytest.raises(SourceError, match=what):
        list(read_chunks(path))
