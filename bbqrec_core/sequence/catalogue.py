"""What the model knows of each item beforehand: codes, quantized vectors, whether it occurs in train. No parameters, no behaviour."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from bbqrec_core import schema
from bbqrec_core.dataset import load_semantic_ids
from bbqrec_core.errors import ArtifactError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Catalogue:
    """The items as the sequence model is given them.

    Attributes:
        codes: Per source, int64 [n_items, levels]; zeros where absent. Always holds "fused".
        present: Per source, bool [n_items].
        vectors: Per source, quantized vectors, float32 [n_items, d]; zeros where absent.
        warm: Items that occur in what is trained on, bool [n_items]. The others have no vector of their own and are never fitted on.
    """

    codes: dict[str, torch.Tensor]
    present: dict[str, torch.Tensor]
    vectors: dict[str, torch.Tensor]
    warm: torch.Tensor

    @property
    def n_items(self) -> int:
        """Catalogue size."""
        return len(self.warm)

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources that at least one item has, in the schema's order."""
        return tuple(self.codes)

    def code_counts(self, source: str) -> list[int]:
        """Size of the code table that each level of a source needs."""
        return [int(column.max()) + 1 for column in self.codes[source].T]

    def digest(self) -> str:
        """SHA-256 of all codes: what a checkpoint is bound to."""
        return codes_digest(self.codes, self.present)


def codes_digest(codes: dict[str, torch.Tensor], present: dict[str, torch.Tensor]) -> str:
    """SHA-256 over the codes of all sources and who has them, in hexadecimal."""
    digest = hashlib.sha256()
    for source in sorted(codes):
        shape = json.dumps([source, *codes[source].shape])
        digest.update(shape.encode())
        digest.update(np.ascontiguousarray(codes[source].cpu().numpy().astype("<i8")).tobytes())
        digest.update(np.ascontiguousarray(present[source].cpu().numpy().astype("u1")).tobytes())
    return digest.hexdigest()


def load_catalogue(quantize: Path, train_counts: np.ndarray) -> Catalogue:
    """Read a quantize artifact.

    Args:
        quantize: The artifact's directory.
        train_counts: Interactions per item in train, int64 [n_items], from the ingest artifact.

    Raises:
        ArtifactError: The two artifacts are of different catalogues, or an item has no fused codes.
    """
    n_items = len(train_counts)
    loaded = load_semantic_ids(quantize)
    rerun = "Run the stage `quantize` again on this `ingest` artifact."
    if schema.FUSED not in loaded or not loaded[schema.FUSED][1].all():
        raise ArtifactError(f"Some items in {quantize / 'semantic_ids.parquet'} have no fused codes.", rerun)
    for source, (codes, _) in loaded.items():
        if len(codes) != n_items:
            raise ArtifactError(f"{quantize} holds {source} codes of {len(codes)} items, the catalogue has {n_items}.", rerun)
        if codes.min(initial=0) < 0:
            raise ArtifactError(f"{quantize} holds negative {source} codes.", rerun)
    path = quantize / "quantized.safetensors"
    tensors = load_file(path) if path.exists() else {}
    vectors = {}
    for source in loaded:
        if source not in tensors or len(tensors[source]) != n_items:
            raise ArtifactError(f"{path} has no quantized vectors named '{source}' for the {n_items} items.", rerun)
        vectors[source] = tensors[source].float().contiguous()
        if not vectors[source].isfinite().all():
            raise ArtifactError(f"The quantized vectors named '{source}' in {path} are not all finite.", rerun)
    return Catalogue(
        codes={source: torch.from_numpy(codes) for source, (codes, _) in loaded.items()},
        present={source: torch.from_numpy(present.copy()) for source, (_, present) in loaded.items()},
        vectors=vectors,
        warm=torch.from_numpy(np.asarray(train_counts) > 0),
    )
