"""What every tokenizer is to the stage, and what the baselines among them share. How any of them is fitted is in its own module."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from bbqrec_core import schema
from bbqrec_core.quantization.assign import EncodedCatalogue
from bbqrec_core.quantization.collisions import Codebooks
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.model import Features, Masks
from bbqrec_core.quantization.training import Curve
from bbqrec_core.stage import Statistics

FORMAT = "tokenizer 1"
"""Of saved baselines. BBQRec's own quantizer has a version of its own, see `assign.py`, and none reads the other's."""
IDS, HASHES, WEIGHTS = "catalogue/semantic_ids", "catalogue/listing_hashes", "weights/"


class Tokenizer(ABC):
    """A fitted tokenizer.

    Attributes:
        config: The profile's section that it was fitted with.
        widths: Dimensions of the features that it looks at, by modality.
        sizes: K_1..K_L.
        repairs: Whether colliding items are moved apart.
    """

    config: QuantizationConfig
    widths: dict[str, int]
    sizes: list[int]
    repairs: bool = True

    @abstractmethod
    def encode(self, features: Features, present: Masks, items: np.ndarray | None) -> EncodedCatalogue:
        """Codes before repair, with what repair measures its costs from.

        Args:
            features: Per modality float32 [n, d_m].
            present: Per modality bool [n].
            items: Their item_idx, int64 [n], if they are in the catalogue; None for new items.
        """

    @abstractmethod
    def codebooks(self) -> Codebooks:
        """What repair measures its costs with."""

    @abstractmethod
    def vectors(self, fused: np.ndarray, modality_codes: Mapping[str, np.ndarray], present: Masks) -> dict[str, torch.Tensor]:
        """The quantized vectors of given codes.

        Args:
            fused: int64 [n, L].
            modality_codes: Per modality int64 [n, L].
            present: Per modality bool [n], what `encode` was given.

        Returns:
            By source float32 [n, d] on the CPU; a modality's mean nothing where the item has no codes of it.
        """

    @abstractmethod
    def save(self, folder: Path, semantic_ids: np.ndarray, hashes: np.ndarray) -> None:
        """Write `quantizer.safetensors` and `quantizer.json`, with the catalogue's IDs int64 [n, L] and listing hashes int64 [n]."""

    def coded(self, present: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Which of the catalogue's items have codes of a modality, bool [n] each: those that have the modality, as a rule."""
        return dict(present)

    def statistics(self) -> Statistics:
        """What only this tokenizer has to say to the stage's statistics."""
        return {}


@dataclass(frozen=True)
class Fitted:
    """What fitting gives back.

    Attributes:
        tokenizer: In evaluation mode.
        curve: Of its training; without rows where there is none.
    """

    tokenizer: Tokenizer
    curve: Curve


class PlainCodebooks(Codebooks):
    """Codebooks of a chain whose last level quantizes the plain residual."""

    def last_costs(self, starts: np.ndarray, behaviour: np.ndarray, prefixes: np.ndarray) -> np.ndarray:
        """Squared distance of each item's last residual to every last-level code, float64 [n, K_L]; behaviour plays no part."""
        residual = starts - sum(level[prefixes[:, at]] for at, level in enumerate(self.levels[:-1]))
        last = self.levels[-1]
        return np.maximum((residual**2).sum(1)[:, None] - 2 * residual @ last.T + (last**2).sum(1), 0.0)


class Baseline(nn.Module, Tokenizer):
    """A tokenizer that is a torch module: what it knows is its state."""

    def __init__(self, config: QuantizationConfig, widths: Mapping[str, int], sizes: list[int], n_items: int) -> None:
        super().__init__()
        self.config, self.widths, self.sizes, self.n_items = config, dict(widths), list(sizes), n_items

    def save(self, folder: Path, semantic_ids: np.ndarray, hashes: np.ndarray) -> None:
        """Write state and meaning; see `Tokenizer.save`."""
        tensors = {WEIGHTS + name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        tensors[IDS] = torch.from_numpy(semantic_ids.astype(np.int16))
        tensors[HASHES] = torch.from_numpy(hashes)
        save_file(tensors, folder / "quantizer.safetensors")
        meaning = {
            "format_version": FORMAT,
            "tokenizer": self.config.tokenizer,
            "n_items": self.n_items,
            "codebook_sizes": self.sizes,
            "modalities": list(self.widths),
            "feature_dimensions": self.widths,
            "config": self.config.model_dump(mode="json"),
        }
        (folder / "quantizer.json").write_text(json.dumps(meaning, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def encoding(wished: np.ndarray, starts: np.ndarray, modality_codes: dict[str, np.ndarray]) -> EncodedCatalogue:
    """An encoding without behaviour: wished codes int64 [n, L], starts float [n, d], codes per modality int64 [n, L]."""
    return EncodedCatalogue(wished, starts, np.zeros((len(wished), 0), dtype=np.float32), modality_codes, {}, {})


def sources(modality_codes: Mapping[str, np.ndarray], fused: np.ndarray) -> dict[str, np.ndarray]:
    """All codes by source, the fused ones first."""
    return {schema.FUSED: fused, **modality_codes}
