"""BBQRec's own quantizer as one tokenizer among others. What it does is in `model.py`, `training.py` and `assign.py`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from bbqrec_core.quantization.assign import EncodedCatalogue, TrainedQuantizer, encode_items
from bbqrec_core.quantization.collisions import Codebooks
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.data import TrainingData
from bbqrec_core.quantization.model import BehaviourQuantizer, Features, Masks
from bbqrec_core.quantization.tokenizers.interface import Fitted, Tokenizer, sources
from bbqrec_core.quantization.training import Trainer


class BbqrecTokenizer(Tokenizer):
    """Wraps a trained `BehaviourQuantizer`."""

    def __init__(self, model: BehaviourQuantizer) -> None:
        self.model = model
        self.config, self.sizes = model.config, model.config.codebook_sizes
        self.widths = {name: len(model.coder(name).mean) for name in model.modalities}

    def encode(self, features: Features, present: Masks, items: np.ndarray | None) -> EncodedCatalogue:
        """Fused and modality chains; behaviour is the items' own, and foretold for new ones."""
        return encode_items(self.model, features, present, items)

    def codebooks(self) -> Codebooks:
        """The shared stack, with behaviour in its last level."""
        return Codebooks.of(self.model.quantizer)

    def vectors(self, fused: np.ndarray, modality_codes: Mapping[str, np.ndarray], present: Masks) -> dict[str, torch.Tensor]:
        """Sums of the codes' vectors."""
        device = self.model.behaviour.device
        return {
            source: self.model.quantizer.decode(torch.from_numpy(codes).to(device)).cpu()
            for source, codes in sources(modality_codes, fused).items()
        }

    def save(self, folder: Path, semantic_ids: np.ndarray, hashes: np.ndarray) -> None:
        """Write what `assign.TrainedQuantizer` loads."""
        TrainedQuantizer(self.model, semantic_ids, hashes).save(folder)


def fit(data: TrainingData, config: QuantizationConfig, seed: int, device: torch.device) -> Fitted:
    """Train BBQRec's own quantizer."""
    trainer = Trainer(data, config, seed, device)
    curve = trainer.train()
    return Fitted(BbqrecTokenizer(trainer.model), curve)
