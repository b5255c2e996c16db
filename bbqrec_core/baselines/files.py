"""A baseline on disk: `model.json`, which says what it is, beside `model.safetensors`, its numbers. A folder each, self-contained."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bbqrec_core.errors import ArtifactError

DESCRIPTION = "model.json"
TENSORS = "model.safetensors"


def write_model(folder: Path, description: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a baseline.

    Args:
        folder: Made if it is not there.
        description: JSON-ready; `kind` names the loader in the registry.
        tensors: By name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / TENSORS)


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read what `write_model` wrote.

    Raises:
        ArtifactError: A file is missing or damaged.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        tensors = load_file(folder / TENSORS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtifactError(f"The baseline in {folder} cannot be read: {error}", "Run the stage `baselines` again.") from None
    if not isinstance(description, dict) or "kind" not in description:
        raise ArtifactError(f"{folder / DESCRIPTION} does not say what kind of baseline it is.", "Run the stage `baselines` again.")
    return description, tensors
