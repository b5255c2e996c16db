"""BBQRec's own quantizer as one tokenizer among others. What it does is in `model.py`, `training.py` and `assign.py`."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from bbqrec_core.quantization.assign import Codes, EncodedCatalogue, code_new_items, encode_items
from bbqrec_core.quantization.collisions import Codebooks
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.data import TrainingData
from bbqrec_core.quantization.model import BehaviourQuantizer, Features, Masks
from bbqrec_core.quantization.tokenizers.interface import Earlier, Fitted, Tokenizer, sources
from bbqrec_core.quantization.training import EarlierModel, Trainer


class BbqrecTokenizer(Tokenizer):
    """Wraps a trained `BehaviourQuantizer`."""

    def __init__(self, model: BehaviourQuantizer) -> None:
        self.model = model
        self.config, self.sizes = model.config, model.config.codebook_sizes
        self.widths = {name: len(model.coder(name).mean) for name in model.modalities}
        self.n_items = len(model.behaviour)

    @property
    def module(self) -> nn.Module:
        """The quantizer."""
        return self.model

    def encode(self, features: Features, present: Masks, items: np.ndarray | None, n_items: int | None = None) -> EncodedCatalogue:
        """Fused and modality chains; behaviour is the items' own, and foretold for new ones."""
        return encode_items(self.model, features, present, items, n_items)

    def code_new_items(self, features: Features, present: Masks, n_items: int) -> Codes:
        """Codes alone."""
        return code_new_items(self.model, features, present, n_items)

    def published_code_sizes(self) -> dict[str, list[int]]:
        """Those that the decoders' heads were made for."""
        sizes = {name: list(self.model.coder(name).code_sizes) for name in self.model.modalities}
        return {name: levels for name, levels in sizes.items() if levels}

    def codebooks(self) -> Codebooks:
        """The fused chain's stack, with behaviour in its last level."""
        return Codebooks.of(self.model.quantizer)

    def vectors(self, fused: np.ndarray, modality_codes: Mapping[str, np.ndarray], present: Masks) -> dict[str, torch.Tensor]:
        """Sums of the codes' vectors."""
        device = self.model.behaviour.device
        return {
            source: self.model.quantizer_of(source).decode(torch.from_numpy(codes).to(device)).cpu()
            for source, codes in sources(modality_codes, fused).items()
        }


def fit(data: TrainingData, config: QuantizationConfig, seed: int, device: torch.device, earlier: Earlier | None = None) -> Fitted:
    """Train BBQRec's own quantizer, from scratch or from an earlier one."""
    begun = None
    if earlier is not None:
        assert isinstance(earlier.tokenizer, BbqrecTokenizer)
        begun = EarlierModel(earlier.tokenizer.model, earlier.rows)
    trainer = Trainer(data, config, seed, device, begun)
    curve = trainer.train()
    return Fitted(BbqrecTokenizer(trainer.model), curve)
