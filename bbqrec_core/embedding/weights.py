"""Finds encoders' files and says what weights they are, before anything heavy is imported.

Only paths and hashes belong here: every run asks for them to know whether there is anything to embed. Loading is `text.py`'s and
`image.py`'s.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from bbqrec_core.embedding.config import DEMO_CLIP, EmbeddingConfig, ImageEncoderConfig, TextEncoderConfig
from bbqrec_core.errors import SourceError

DEMO_FOLDER = Path(__file__).parent / "demo_clip"
"""The demo encoder as an open_clip folder: configuration, weights, vocabulary."""
SENTENCE_TRANSFORMER_MARK = "modules.json"
OPEN_CLIP_MARK = "open_clip_config.json"
_WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".npz", ".npy")
_WITHOUT_EFFECT = (".md", ".py", ".pyc", ".txt.license")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class EncoderFiles:
    """Where an encoder comes from.

    Attributes:
        name: What to call it, without any path of this machine.
        paths: Its local files or folders; empty when a hub has to be asked.
        is_demo: Is it the project's own tiny encoder?
    """

    name: str
    paths: tuple[Path, ...]
    is_demo: bool = False


def encoder_identity(config: EmbeddingConfig) -> dict[str, str]:
    """What weights the configured encoders have, for fingerprints.

    Returns:
        Per modality: "sha256:<digest>" over names and contents of local files; the name, and tag where there is one, of what a hub
        keeps.

    Raises:
        SourceError: A local path does not exist.
    """
    identity = {}
    if config.text is not None:
        identity["text"] = _identity(find_text_encoder(config.text))
    if config.image is not None:
        identity["image"] = _identity(find_image_encoder(config.image))
    return identity


def find_text_encoder(config: TextEncoderConfig) -> EncoderFiles:
    """Find a sentence-transformers model: in an installed package, in a local folder, or leave it to the hub.

    Raises:
        SourceError: The name is a path, and no model is there.
    """
    folder = _model_in_package(config.model)
    if folder is not None:
        return EncoderFiles(config.model, (folder,))
    path = Path(config.model).expanduser()
    if path.is_dir():
        if not (path / SENTENCE_TRANSFORMER_MARK).is_file() and not (path / "config.json").is_file():
            raise SourceError(
                f"embedding.text.model is the folder {path}, which holds neither {SENTENCE_TRANSFORMER_MARK} nor config.json.",
                "Name a folder saved by sentence-transformers or transformers.",
            )
        return EncoderFiles(path.resolve().name, (path,))
    if _looks_like_path(config.model):
        raise SourceError(f"embedding.text.model is {config.model}, and there is no such folder.", "Correct the path, or name a model.")
    return EncoderFiles(config.model, ())


def find_image_encoder(config: ImageEncoderConfig) -> EncoderFiles:
    """Find an open_clip model: the demo encoder, a local folder, a local JSON configuration with weights, or leave it to open_clip.

    Raises:
        SourceError: A path does not exist or holds no model, or an architecture is named without weights.
    """
    if config.model == DEMO_CLIP:
        return EncoderFiles("demo encoder (tiny open_clip, trained on synthetic pictures)", (DEMO_FOLDER,), is_demo=True)
    if config.model.startswith("hf-hub:"):
        return EncoderFiles(f"open_clip {config.model}", ())
    path = Path(config.model.removeprefix("local-dir:")).expanduser()
    if path.is_dir():
        if not (path / OPEN_CLIP_MARK).is_file() or not any(file.suffix in _WEIGHT_SUFFIXES for file in path.iterdir()):
            raise SourceError(
                f"embedding.image.model is the folder {path}, which lacks {OPEN_CLIP_MARK} or weights.", "Name a folder saved by open_clip."
            )
        return EncoderFiles(f"open_clip {path.resolve().name}", (path,))
    weights = _weights_file(config.pretrained)
    if path.suffix == ".json" or _looks_like_path(config.model):
        if not path.is_file():
            raise SourceError(f"embedding.image.model is {config.model}, and there is no such file or folder.", "Correct the path.")
        if weights is None:
            raise SourceError(
                f"embedding.image.model is the configuration {path}, which brings no weights.",
                "Set embedding.image.pretrained to their path.",
            )
        return EncoderFiles(f"open_clip {path.stem} with {weights.name}", (path, weights))
    if config.pretrained is None:
        raise SourceError(
            f"embedding.image.model is {config.model}, an architecture without weights.",
            "Set embedding.image.pretrained to one of open_clip's tags, such as laion2b_s34b_b79k for ViT-B-32, or to a path of weights.",
        )
    if weights is not None:
        return EncoderFiles(f"open_clip {config.model} with {weights.name}", (weights,))
    return EncoderFiles(f"open_clip {config.model} {config.pretrained}", ())


def files_sha256(paths: tuple[Path, ...]) -> str:
    """SHA-256 over the contents of files and folders, and the names within folders, in sorted order.

    Documentation, code and hidden files do not count.
    """
    digest = hashlib.sha256()
    for root in paths:
        files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        for file in files:
            name = file.name if file == root else file.relative_to(root).as_posix()
            if name.endswith(_WITHOUT_EFFECT) or any(part.startswith((".", "__pycache__")) for part in name.split("/")):
                continue
            own = hashlib.sha256()
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    own.update(chunk)
            digest.update(("" if file == root else name).encode() + b"\0" + own.digest())
    return digest.hexdigest()


def _identity(files: EncoderFiles) -> str:
    return f"sha256:{files_sha256(files.paths)}" if files.paths else f"hub:{files.name}"


def _model_in_package(name: str) -> Path | None:
    """Folder of a sentence-transformers model inside an installed package of that name; the package is not imported."""
    module = name.replace("-", "_")
    if not module.isidentifier():
        return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    for location in (spec.submodule_search_locations or []) if spec else []:
        marks = sorted(Path(location).glob(f"**/{SENTENCE_TRANSFORMER_MARK}"))
        if marks:
            return marks[0].parent
    return None


def _weights_file(pretrained: str | None) -> Path | None:
    if pretrained is None:
        return None
    path = Path(pretrained).expanduser()
    if path.is_file():
        return path
    if _looks_like_path(pretrained) or path.suffix in _WEIGHT_SUFFIXES:
        raise SourceError(f"embedding.image.pretrained is {pretrained}, and there is no such file.", "Correct the path.")
    return None


def _looks_like_path(name: str) -> bool:
    return name.startswith(("/", "./", "../", "~", "local-dir:"))
