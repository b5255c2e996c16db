"""Standardised features, as every baseline that looks at features takes them."""

from collections.abc import Mapping

import torch
from torch import nn

from bbqrec_core.errors import StageError
from bbqrec_core.quantization.data import TrainingData
from bbqrec_core.quantization.model import Features, Masks

SMALLEST_SCALE = 1e-6


class Standardiser(nn.Module):
    """x~ = (x - mean) / scale per modality, zero where the item lacks it.

    One scale for all dimensions of a modality, as in BBQRec's own quantizer: it keeps distances within the modality. Constant features keep
    scale 1.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.widths = dict(widths)
        for name, width in widths.items():
            self.register_buffer(f"mean_{name}", torch.zeros(width))
            self.register_buffer(f"scale_{name}", torch.ones(()))

    @torch.no_grad()
    def fit(self, data: TrainingData) -> None:
        """Take means and scales from the items that occur in train and have the modality."""
        fitted = torch.from_numpy(data.fitted)
        for name in self.widths:
            values = data.features[name][fitted][data.present[name][fitted]]
            mean = values.mean(0)
            scale = float((values - mean).square().mean().sqrt())
            self.get_buffer(f"mean_{name}").copy_(mean)
            self.get_buffer(f"scale_{name}").fill_(scale if scale > SMALLEST_SCALE else 1.0)

    def forward(self, features: Features, present: Masks) -> dict[str, torch.Tensor]:
        """Standardise, float32 [n, d_m] per modality."""
        return {
            name: torch.where(
                present[name][:, None], (features[name] - self.get_buffer(f"mean_{name}")) / self.get_buffer(f"scale_{name}"), 0.0
            )
            for name in self.widths
        }


def only(name: str, present: Masks) -> dict[str, torch.Tensor]:
    """The masks with every modality but one taken away."""
    return {other: mask if other == name else torch.zeros_like(mask) for other, mask in present.items()}


def fitted_with_content(data: TrainingData, modalities: tuple[str, ...]) -> torch.Tensor:
    """item_idx of the items that occur in train and have one of the modalities, int64, sorted."""
    fitted = torch.from_numpy(data.fitted)
    return fitted[torch.stack([data.present[name] for name in modalities]).any(0)[fitted]]


def widths_of(data: TrainingData) -> dict[str, int]:
    """Dimensions by modality.

    Raises:
        StageError: There are no features.
    """
    if not data.features:
        raise StageError(
            "No item of the train part has any features, and this tokenizer quantizes nothing else.",
            "Choose `quantization: {tokenizer: bbqrec}`, which can live on behaviour, or `given` where the source has published codes.",
        )
    return {name: values.shape[1] for name, values in data.features.items()}
