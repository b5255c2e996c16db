"""Pictures of items and their encoder, an open_clip model."""

import hashlib
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from bbqrec_core.embedding.batches import Batches, Shard, unit_rows
from bbqrec_core.embedding.config import ImageEncoderConfig
from bbqrec_core.embedding.devices import quiet_libraries, state_sha256
from bbqrec_core.embedding.weights import OPEN_CLIP_MARK, EncoderFiles, find_image_encoder
from bbqrec_core.errors import StageError
from bbqrec_core.pictures import DECODER_ERRORS, MAX_FILE_BYTES, converted

log = logging.getLogger(__name__)

ROWS_PER_SHARD = 2_048
_WARNINGS_SHOWN = 5


class UnreadableImageError(Exception):
    """A picture that cannot be used, and why. Never leaves this package: the item's mask says it."""


class ImageEncoder:
    """A loaded open_clip model and its preprocessing.

    Attributes:
        name: What to call it.
        is_demo: Is it the project's own tiny encoder?
        dimensions: Of its vectors.
        weights_sha256: Of what was loaded.
    """

    def __init__(self, config: ImageEncoderConfig, device: torch.device, threads: int = 0) -> None:
        """Load it.

        Args:
            config: Which model and weights, and how large pictures may be.
            device: Where it runs.
            threads: Threads that decode pictures; 0 = one per core, eight at most.

        Raises:
            SourceError: A local path holds no model.
            StageError: The model cannot be had or cannot be loaded.
        """
        files = find_image_encoder(config)
        self.name, self.is_demo = files.name, files.is_demo
        self._model, self._preprocess = _load(config, files, device)
        self._device = device
        self._max_pixels = config.max_pixels
        self._threads = threads or min(8, os.cpu_count() or 1)
        self._batches = Batches(config.batch_size, "pictures", "embedding.image.batch_size")
        self._warned = 0
        self.weights_sha256 = state_sha256(self._model)
        with torch.inference_mode():
            probe = self._preprocess(Image.new("RGB", (8, 8))).unsqueeze(0).to(device)
            self.dimensions = int(self._model.encode_image(probe).shape[1])

    def encode(self, paths: Sequence[Path | None], digests: Sequence[str | None] | None = None) -> Shard:
        """Encode pictures; one that is missing, unreadable or another than it was is absent.

        Args:
            paths: A file per row, None where the item has no picture.
            digests: The SHA-256 that each file must have; None = any, here or for all.

        Returns:
            Vectors float16 [len(paths), dimensions] of unit length, zeros where absent.
        """
        present = np.zeros(len(paths), dtype=bool)
        known = digests or [None] * len(paths)
        with ThreadPoolExecutor(self._threads) as decoders:

            def run(size: int) -> np.ndarray:
                vectors = np.zeros((len(paths), self.dimensions), dtype=np.float16)
                for start in range(0, len(paths), size):
                    batch = paths[start : start + size]
                    pixels = list(decoders.map(self._pixels, batch, known[start : start + size]))
                    rows = [row for row, image in enumerate(pixels) if image is not None]
                    present[start : start + len(batch)] = [image is not None for image in pixels]
                    if rows:
                        vectors[[start + row for row in rows]] = self._encode([image for image in pixels if image is not None])
                return vectors

            vectors = self._batches.run(run)
        wanted = sum(path is not None for path in paths)
        return Shard(vectors, present, unreadable=wanted - int(present.sum()))

    @torch.inference_mode()
    def _encode(self, images: list[torch.Tensor]) -> np.ndarray:
        features = self._model.encode_image(torch.stack(images).to(self._device))
        return unit_rows(features.float().cpu().numpy())

    def _pixels(self, path: Path | None, sha256: str | None) -> torch.Tensor | None:
        if path is None:
            return None
        try:
            return self._preprocess(read_image(path, self._max_pixels, sha256))
        except UnreadableImageError as problem:
            if self._warned < _WARNINGS_SHOWN:
                self._warned += 1
                log.warning("picture %s: %s; the item goes without", path.name, problem)
            return None


def read_image(path: Path, max_pixels: int, sha256: str | None = None) -> Image.Image:
    """Verify and decode a picture.

    Args:
        path: The file.
        max_pixels: Larger pictures are refused before they are decoded.
        sha256: What the file must have; None = anything.

    Returns:
        The picture in RGB, the first frame of a moving one.

    Raises:
        UnreadableImageError: It is missing, no picture, cut off, damaged, too large, or another than `sha256` says.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels is our own bound
            size = path.stat().st_size
            if size > MAX_FILE_BYTES:
                raise UnreadableImageError(f"{size:,} bytes are more than {MAX_FILE_BYTES:,}")
            content = path.read_bytes()
            if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
                raise UnreadableImageError("has changed since it was read first")
            with Image.open(io.BytesIO(content)) as image:
                pixels = image.width * image.height
                if pixels > max_pixels:
                    raise UnreadableImageError(f"{pixels:,} pixels are more than embedding.image.max_pixels ({max_pixels:,})")
                image.verify()
            with Image.open(io.BytesIO(content)) as image:  # verify() leaves an image that cannot be decoded
                return converted(image, "RGB")
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError("is no picture that can be read") from None
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(str(error)) from error
    except DECODER_ERRORS as error:
        raise UnreadableImageError(f"cannot be decoded ({type(error).__name__}: {error})") from error


def _load(config: ImageEncoderConfig, files: EncoderFiles, device: torch.device) -> tuple[Any, Any]:
    import open_clip

    try:
        with quiet_libraries():
            if files.paths and files.paths[0].is_dir():
                model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{files.paths[0]}", device=device)
            elif len(files.paths) == 2:
                model, preprocess = _load_pair(*files.paths, device)
            else:
                pretrained = str(files.paths[0]) if files.paths else config.pretrained
                model, preprocess = open_clip.create_model_from_pretrained(config.model, pretrained=pretrained, device=device)
    except Exception as error:  # open_clip, the hub's client and torch each have failures of their own
        where = "loaded" if files.paths else "had from the hub, or is unknown to open_clip"
        raise StageError(
            f"The image encoder {files.name} cannot be {where}: {(str(error).strip().splitlines() or [type(error).__name__])[0]}",
            "Check embedding.image.model and embedding.image.pretrained (open_clip.list_pretrained() has all pairs); on a machine without "
            "internet name local files, use demo-clip, or set embedding.image to null to go without pictures.",
        ) from error
    return model.eval(), preprocess


def _load_pair(architecture: Path, weights: Path, device: torch.device) -> tuple[Any, Any]:
    """Load weights into the architecture of a JSON file, which open_clip itself only reads from a folder or its own list."""
    import open_clip

    config = json.loads(architecture.read_text(encoding="utf-8"))
    config = config if "model_cfg" in config else {"model_cfg": config}
    with tempfile.TemporaryDirectory(prefix="bbqrec-clip-") as folder:
        (Path(folder) / OPEN_CLIP_MARK).write_text(json.dumps(config), encoding="utf-8")
        (Path(folder) / f"open_clip_model{weights.suffix}").symlink_to(weights.resolve())
        return open_clip.create_model_from_pretrained(f"local-dir:{folder}", device=device)
