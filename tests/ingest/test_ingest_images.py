"""Looking at pictures."""

import hashlib
import io
import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bbqrec_core.ingest.images import find_images
from bbqrec_core.ingest.pictures import picture_path
from bbqrec_core.ingest.sources import picture_files
from bbqrec_core.pictures import converted


def picture(kind: str = "JPEG", size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def boast(side: int) -> bytes:
    """A PNG of a few bytes that claims to be large."""
    data = bytearray(picture("PNG"))
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def without_palette() -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = (4).to_bytes(4, "big") * 2 + bytes([8, 3, 0, 0, 0])  # 4 x 4, 8 bits, palette
    rows = zlib.compress(b"\x00\x00\x01\x02\x03" * 4)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"tRNS", b"\x00") + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.mark.parametrize(("kind", "extension"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("PNG", "jpg")])
def test_readable_pictures(folder, kind, extension):
    data = picture(kind)
    (folder / f"B1.{extension}").write_bytes(data)
    [found] = find_images(folder, [("B1", None), ("B2", None)], 10_000, 1)
    assert (found.item_id, found.file, found.problem) == ("B1", f"B1.{extension}", None)
    assert found.sha256 == hashlib.sha256(data).hexdigest()


def test_a_name_that_is_not_utf8_is_nobodys_picture(folder):
    (folder / "B1.jpg").write_bytes(picture())
    (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg"))).write_bytes(picture())
    assert [found.file for found in find_images(folder, [("B1", None), ("caf", None)], 10_000, 1)] == ["B1.jpg"]
    assert [path.name for path in picture_files(folder)] == ["B1.jpg"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty"),
        (b"<html>404</html>", "not a picture"),
        (picture()[:300], "cannot be decoded"),
        (picture("PNG")[:300], "cannot be decoded"),
        (picture(size=(300, 200)), "300 x 200 pixels are more than 10,000"),
        (picture("BMP"), "not a picture"),
        # Refused by the size that it claims, before anything is decoded.
        (boast(60_000), "60000 x 60000 pixels are more than 10,000|more than 10,000 pixels"),
    ],
)
def test_unreadable_pictures_are_explained(folder, data, problem):
    (folder / "B1.jpg").write_bytes(data)
    [found] = find_images(folder, [("B1", None)], 10_000, 1)
    assert found.problem is not None and re.search(problem, found.problem)


def test_no_file_outside_the_folder_is_looked_at(folder):
    (folder.parent / "secret.jpg").write_bytes(picture())
    (folder / "sub.jpg").mkdir()
    names = ["../secret", str(folder.parent / "secret"), "sub", "", ".", ".."]
    assert find_images(folder, [(name, None) for name in names], 10_000, 1) == []
    paths = ["../secret.jpg", str(folder.parent / "secret.jpg"), "sub.jpg", "x/../../secret.jpg"]
    found = find_images(folder, [("B1", path) for path in paths], 10_000, 1)
    assert [image.sha256 for image in found] == [None] * 4 and all("no picture" in str(image.problem) for image in found)
    assert find_images(folder, [("B1", "")], 10_000, 1) == []


def test_a_picture_that_the_source_names_is_found_as_cameras_write_it_or_told(folder):
    (folder / "a").mkdir()
    for name in ("a/B1.JPG", "B2.JPG", "B3.gif"):
        (folder / name).write_bytes(picture())
    named = [("B1", "a//B1.jpg"), ("B2", None), ("B3", "B3.gif"), ("B4", "a/B4.jpg"), ("B5", None)]
    found = {image.item_id: (image.file, image.problem) for image in find_images(folder, named, 10_000, 2)}
    assert found["B1"] == ("a/B1.JPG", None) and found["B2"] == ("B2.JPG", None) and "B5" not in found
    for item, name in (("B3", "B3.gif"), ("B4", "a/B4.jpg")):
        assert found[item] == (name, "the folder has no picture (.jpg, .jpeg, .png, .webp) of that name")


def test_damage_that_shows_only_in_colour_is_found(folder):
    """A PNG whose palette is missing: Pillow loads it, and fails when it becomes RGB."""
    (folder / "B1.png").write_bytes(without_palette())
    [found] = find_images(folder, [("B1", None)], 10_000, 1)
    assert found.problem is not None and "cannot be decoded" in found.problem


def test_deep_grey_is_scaled_and_not_cut_at_white():
    values = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    with Image.open(io.BytesIO(buffer.getvalue())) as image:
        np.testing.assert_array_equal(np.asarray(converted(image, "RGB"))[:, :, 0], values >> 8)


def test_order_is_that_of_the_items(folder):
    for name in ("B3", "B1", "B2"):
        (folder / f"{name}.jpg").write_bytes(picture())
    assert [found.item_id for found in find_images(folder, [(name, None) for name in ("B2", "B9", "B3", "B1")], 10_000, 4)] == [
        "B2",
        "B3",
        "B1",
    ]


@pytest.mark.parametrize("place", ["B1.jpg", picture_path("B1", ".jpg")])
def test_flat_and_sharded_folders_are_read(folder, place):
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).write_bytes(picture())
    [found] = find_images(folder, [("B1", None)], 10_000, 1)
    assert (found.file, found.problem) == (place, None)


def test_a_path_that_the_source_names_goes_before_the_name(folder):
    (folder / "photos").mkdir()
    for place in ("photos/front.png", "B1.jpg"):
        (folder / place).write_bytes(picture())
    found = find_images(folder, [("B1", "photos/front.png"), ("B1", "photos/gone.png")], 10_000, 1)
    assert [(image.file, image.problem is None) for image in found] == [("photos/front.png", True), ("photos/gone.png", False)]
