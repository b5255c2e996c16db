"""A tokenizer on disk: `quantizer.safetensors` (its state, the catalogue's IDs and listing hashes) beside `quantizer.json` (their meaning).

One format for all tokenizers; which class reads a state back is `registry.py`'s to know.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bbqrec_core.errors import ArtifactError
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.tokenizers.interface import Tokenizer

FORMAT_VERSION = 3
_IDS, _HASHES, _WEIGHTS = "catalogue/semantic_ids", "catalogue/listing_hashes", "weights/"


@dataclass(frozen=True)
class SavedTokenizer:
    """A tokenizer as a stage saved it.

    Attributes:
        tokenizer: In evaluation mode, on the CPU.
        semantic_ids: IDs of the catalogue, int64 [n_items, L].
        listing_hashes: int64 [n_items].
    """

    tokenizer: Tokenizer
    semantic_ids: np.ndarray
    listing_hashes: np.ndarray


@dataclass(frozen=True)
class SavedFiles:
    """What the two files hold.

    Attributes:
        config: The profile's section that the tokenizer was fitted with.
        meaning: `quantizer.json`, whole.
        state: Of the tokenizer's module.
        semantic_ids, listing_hashes: As in `SavedTokenizer`.
    """

    config: QuantizationConfig
    meaning: dict[str, Any]
    state: dict[str, torch.Tensor]
    semantic_ids: np.ndarray
    listing_hashes: np.ndarray


def save(folder: Path, saved: SavedTokenizer) -> None:
    """Write both files."""
    tokenizer = saved.tokenizer
    tensors = {_WEIGHTS + name: value.detach().cpu().contiguous() for name, value in tokenizer.module.state_dict().items()}
    tensors[_IDS] = torch.from_numpy(saved.semantic_ids.astype(np.int16))
    tensors[_HASHES] = torch.from_numpy(saved.listing_hashes)
    save_file(tensors, folder / "quantizer.safetensors")
    meaning = {
        "format_version": FORMAT_VERSION,
        "tokenizer": tokenizer.config.tokenizer,
        "n_items": tokenizer.n_items,
        "codebook_sizes": tokenizer.sizes,
        "modalities": list(tokenizer.widths),
        "feature_dimensions": tokenizer.widths,
        "published_code_sizes": tokenizer.published_code_sizes(),
        "config": tokenizer.config.model_dump(mode="json"),
    }
    (folder / "quantizer.json").write_text(json.dumps(meaning, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read(folder: Path) -> SavedFiles:
    """Read both files.

    Raises:
        ArtifactError: One is missing, damaged, or of another format version.
    """
    try:
        meaning = json.loads((folder / "quantizer.json").read_text(encoding="utf-8"))
        version = meaning["format_version"]
        if version != FORMAT_VERSION:
            raise unreadable(folder, f"its format version is {version}, and this code reads {FORMAT_VERSION}")
        tensors = load_file(folder / "quantizer.safetensors")
        return SavedFiles(
            QuantizationConfig.model_validate(meaning["config"]),
            meaning,
            {name.removeprefix(_WEIGHTS): value for name, value in tensors.items() if name.startswith(_WEIGHTS)},
            tensors[_IDS].numpy().astype(np.int64),
            tensors[_HASHES].numpy(),
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise unreadable(folder, repr(error) if isinstance(error, KeyError) else str(error)) from None


def unreadable(folder: Path, why: str) -> ArtifactError:
    """The error that says so."""
    return ArtifactError(f"No readable tokenizer in {folder}: {why}.", "Run the stage `quantize` again.")
