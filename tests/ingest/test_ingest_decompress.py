"""Decompression: whole files come through unchanged, damaged ones never come through changed."""

import gzip
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest import decompress
from bbqrec_core.ingest.decompress import DamagedFileError, read_chunks

CONTENT = b'{"asin": "B001", "overall": 5.0}\n' * 20


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


PACKERS = pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])


@pytest.fixture(params=[1, 7, 1 << 16], ids=lambda size: f"read{size}")
def read_bytes(request, monkeypatch):
    monkeypatch.setattr(decompress, "READ_BYTES", request.param)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("gzip") / "file.gz"


@PACKERS
@given(members=st.lists(st.binary(max_size=300), min_size=1, max_size=4), padding=st.integers(0, 20), chunk=st.integers(1, 100))
def test_any_parts_and_padding_come_through(path, pack, members, padding, chunk):
    path.write_bytes(b"".join(map(pack, members)) + b"\0" * padding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decompress, "CHUNK_BYTES", chunk)
        patch.setattr(decompress, "READ_BYTES", chunk)
        assert b"".join(read_chunks(path)) == b"".join(members)


@PACKERS
def test_chunks_are_bounded_however_much_a_few_bytes_unfold_into(path, pack):
    path.write_bytes(pack(bytes(50_000_000)))
    assert path.stat().st_size < 100_000
    chunks = [len(chunk) for chunk in read_chunks(path)]
    assert sum(chunks) == 50_000_000 and max(chunks) <= decompress.CHUNK_BYTES


def test_plain_file_comes_through(path):
    path.write_bytes(CONTENT)
    assert b"".join(read_chunks(path)) == CONTENT


@PACKERS
@pytest.mark.usefixtures("read_bytes")
def test_every_cut_is_noticed(path, pack):
    whole = pack(CONTENT)
    for length in range(4, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError, match=f"ends at compressed byte {length:,}") as caught:
            list(read_chunks(path))
        given_out, usable = _read_until_damage(path), caught.value.usable_bytes
        assert len(given_out) == usable and CONTENT.startswith(given_out)


def _read_until_damage(path):
    content = b""
    with pytest.raises(DamagedFileError):
        for chunk in read_chunks(path):
            content += chunk
    return content


@PACKERS
@pytest.mark.usefixtures("read_bytes")
def test_every_cut_of_a_second_part_is_noticed(path, pack):
    first, second = pack(CONTENT), pack(b"more\n")
    for length in range(1, len(second)):
        path.write_bytes(first + second[:length])
        with pytest.raises(DamagedFileError, match=r"cut off|foreign bytes") as caught:
            list(read_chunks(path))
        assert caught.value.usable_bytes >= len(CONTENT)


@PACKERS
def test_of_an_altered_file_only_the_parts_before_are_usable(path, pack):
    first, second = pack(CONTENT), bytearray(pack(CONTENT * 2))
    second[-2] ^= 1  # in the checksum, or the length
    path.write_bytes(first + second)
    with pytest.raises(DamagedFileError, match="is altered") as caught:
        list(read_chunks(path))
    assert caught.value.usable_bytes == len(CONTENT)


@PACKERS
def test_no_flipped_bit_changes_what_is_read(path, pack):
    whole = pack(CONTENT)
    noticed = 0
    for bit in range(4 * 8, 8 * len(whole)):  # the first bytes say that it is compressed at all
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert b"".join(read_chunks(path)) == CONTENT  # time of change and the like
        except DamagedFileError as error:
            noticed += 1
            assert "compressed byte" in error.problem
    assert noticed >= 8 * (len(whole) - 12)  # all that is not header


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
    [(b"", "empty"), (b"PK\x03\x04", "zip archive"), (b"PAR1", "Parquet"), (b"BZh9", "bzip2")],
)
def test_other_formats_are_named(path, start, what):
    path.write_bytes(start and start + b"....")
    with pytest.raises(SourceError, match=what):
        list(read_chunks(path))


def skippable(content: bytes, kind: int = 0) -> bytes:
    return (0x184D2A50 + kind).to_bytes(4, "little") + len(content).to_bytes(4, "little") + content


@pytest.mark.usefixtures("read_bytes")
@pytest.mark.parametrize("kind", [0, 15])
def test_frames_to_skip_are_skipped(path, kind):
    parts = [CONTENT[:100], CONTENT[100:101], CONTENT[101:]]
    pzstd = b"".join(skippable(len(zstd(part)).to_bytes(4, "little"), kind) + zstd(part) for part in parts)
    seekable = b"".join(map(zstd, parts)) + skippable(bytes(8 * len(parts)) + b"\x03\0\0\0\0\xb1\xea\x92\x8f", kind)
    for packed in (pzstd, seekable, skippable(b"", kind) + seekable, skippable(b"\0" * 100) * 2 + zstd(CONTENT) + b"\0" * 3):
        path.write_bytes(packed)
        assert b"".join(read_chunks(path)) == CONTENT


@pytest.mark.usefixtures("read_bytes")
def test_a_frame_to_skip_that_is_cut_is_noticed(path):
    whole = skippable(b"first") + zstd(CONTENT)
    packed = whole + skippable(b"x" * 50)
    for end in range(1, len(packed)):
        if end in (len(whole), len(skippable(b"first"))):
            continue
        path.write_bytes(packed[:end])
        if end < 4:
            assert b"".join(read_chunks(path)) == packed[:end]  # too short to be told from text
            continue
        with pytest.raises(DamagedFileError) as damage:
            list(read_chunks(path))
        assert damage.value.usable_bytes == (len(CONTENT) if end > len(whole) else damage.value.usable_bytes)


def test_a_frame_to_skip_is_none_in_gzip(path):
    path.write_bytes(gzip.compress(CONTENT) + skippable(b"x"))
    with pytest.raises(DamagedFileError, match="foreign bytes"):
        list(read_chunks(path))
