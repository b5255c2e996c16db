"""What every tokenizer is to the stage, and what the baselines among them share. How any of them is fitted is in its own module."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from bbqrec_core import schema
from bbqrec_core.quantization.assign import Codes, EncodedCatalogue
from bbqrec_core.quantization.collisions import Codebooks
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.curve import Curve
from bbqrec_core.quantization.model import Features, Masks
from bbqrec_core.stage import Statistics


class Tokenizer(ABC):
    """A fitted tokenizer.

    Attributes:
        config: The profile's section that it was fitted with.
        widths: Dimensions of the features that it looks at, by modality.
        sizes: K_1..K_L.
        n_items: Size of the catalogue that it was fitted on.
        module: All that it knows is this module's state; see `saved.py`.
        repairs: Whether colliding items are moved apart.
        codes_new_items: Whether it has anything to say of items that are not in its catalogue.
    """

    config: QuantizationConfig
    widths: dict[str, int]
    sizes: list[int]
    n_items: int
    repairs: bool = True
    codes_new_items: bool = True

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """The module that holds its state."""

    @abstractmethod
    def encode(self, features: Features, present: Masks, items: np.ndarray | None, n_items: int | None = None) -> EncodedCatalogue:
        """Codes before repair, with what repair measures its costs from.

        Args:
            features: Per modality float32 [n, d_m].
            present: Per modality bool [n].
            items: Their item_idx, int64 [n], if they are in the catalogue; None for new items.
            n_items: n, which must be told for new items where there is no modality.
        """

    def code_new_items(self, features: Features, present: Masks, n_items: int) -> Codes:
        """The codes of `encode` for new items, where it is cheaper to do without the vectors that come with them."""
        return self.encode(features, present, None, n_items)

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

    def coded(self, present: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Which of the catalogue's items have codes of a modality, bool [n] each: those that have the modality, as a rule."""
        return dict(present)

    def published_code_sizes(self) -> dict[str, list[int]]:
        """Codes per level of each modality that it knows by published codes alone; none, as a rule."""
        return {}

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


@dataclass(frozen=True)
class Earlier:
    """An earlier tokenizer of the same kind and settings, and the IDs it gave: what a warm start goes on from.

    Attributes:
        tokenizer: In evaluation mode, on the CPU.
        semantic_ids: IDs of its catalogue, int64 [m, L].
        rows: item_idx that each of today's items had in that catalogue, int64 [n_items]; -1 for new ones.
    """

    tokenizer: Tokenizer
    semantic_ids: np.ndarray
    rows: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Which of today's items had an ID, bool [n_items]."""
        return self.rows >= 0

    @property
    def ids(self) -> np.ndarray:
        """The IDs that today's items had, int64 [n_items, L]; zeros for new ones."""
        return np.where(self.known[:, None], self.semantic_ids[self.rows], 0)


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

    @property
    def module(self) -> nn.Module:
        """Itself."""
        return self


def encoding(wished: np.ndarray, starts: np.ndarray, modality_codes: dict[str, np.ndarray]) -> EncodedCatalogue:
    """An encoding without behaviour: wished codes int64 [n, L], starts float [n, d], codes per modality int64 [n, L]."""
    return EncodedCatalogue(wished, modality_codes, starts, np.zeros((len(wished), 0), dtype=np.float32), {}, {})


def sources(modality_codes: Mapping[str, np.ndarray], fused: np.ndarray) -> dict[str, np.ndarray]:
    """All codes by source, the fused ones first."""
    return {schema.FUSED: fused, **modality_codes}
