"""One independent RQ-VAE per modality: the semantic IDs of MQL4GRec.

Zhai et al., Multimodal Quantitative Language for Generative Recommendation (MQL4GRec), ICLR 2025, arXiv:2504.05314, section 3.2: text and
image each have a quantizer of their own, `rqvae`'s equations in both, fitted on the items that have the modality and on nothing else.
There an item has two IDs, a recommender speaks both languages, and results are merged. Here a fused ID has L levels and there is one
per item, so it is taken from the first modality (`rqvae_per_modality.first`) where an item has it, and from the other elsewhere: a prefix
that a text-coded and an image-coded item share says nothing, and how many items are coded by the second modality is counted. The
modalities' own codes are what MQL4GRec is about; a sequence model gets them as sources `text` and `image`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from bbqrec_core import schema
from bbqrec_core.quantization.assign import EncodedCatalogue
from bbqrec_core.quantization.collisions import Codebooks
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.curve import Curve
from bbqrec_core.quantization.data import TrainingData
from bbqrec_core.quantization.model import Features, Masks
from bbqrec_core.quantization.tokenizers.inputs import only, widths_of
from bbqrec_core.quantization.tokenizers.interface import Baseline, Earlier, Fitted, PlainCodebooks, encoding
from bbqrec_core.quantization.tokenizers.rqvae import Rqvae, train
from bbqrec_core.stage import Statistics


@dataclass(frozen=True)
class SeparateCodebooks(Codebooks):
    """Several stacks of equal sizes; the last column of an item's start says which is its own.

    Attributes:
        stacks: The stacks.
    """

    stacks: tuple[Codebooks, ...] = ()

    def last_costs(self, starts: np.ndarray, behaviour: np.ndarray, prefixes: np.ndarray) -> np.ndarray:
        """As `PlainCodebooks`, each item in its own stack."""
        costs = np.empty((len(starts), self.sizes[-1]))
        for number, stack in enumerate(self.stacks):
            rows = starts[:, -1] == number
            costs[rows] = stack.last_costs(starts[rows, :-1], behaviour[rows], prefixes[rows])
        return costs

    def follow(self, starts: np.ndarray, behaviour: np.ndarray, paths: np.ndarray, tolerance: float) -> np.ndarray:
        """As `Codebooks`, each item in its own stack."""
        codes = np.empty_like(paths)
        for number, stack in enumerate(self.stacks):
            rows = starts[:, -1] == number
            codes[rows] = stack.follow(starts[rows, :-1], behaviour[rows], paths[rows], tolerance)
        return codes

    def nearest_prefixes(self, start: np.ndarray) -> Iterator[np.ndarray]:
        """As `Codebooks`, in the item's own stack."""
        yield from self.stacks[int(start[-1])].nearest_prefixes(start[:-1])


class PerModalityTokenizer(Baseline):
    """One RQ-VAE per modality."""

    def __init__(self, config: QuantizationConfig, widths: Mapping[str, int], sizes: list[int], n_items: int) -> None:
        super().__init__(config, widths, sizes, n_items)
        self.networks = torch.nn.ModuleDict({name: Rqvae({name: width}, sizes, config) for name, width in widths.items()})
        first = config.rqvae_per_modality.first
        self.order = sorted(widths, key=lambda name: (name != first, schema.MODALITIES.index(name)))
        self.by_second = 0

    def network(self, modality: str) -> Rqvae:
        """The network of a modality."""
        module = self.networks[modality]
        assert isinstance(module, Rqvae)
        return module

    def chosen(self, present: Masks) -> np.ndarray:
        """Place in `order` of the modality that an item's fused codes come from, int64 [n]; the first where it has none."""
        has = np.stack([present[name].cpu().numpy() for name in self.order], 1)
        return np.argmax(has, axis=1)

    def encode(self, features: Features, present: Masks, items: np.ndarray | None, n_items: int | None = None) -> EncodedCatalogue:
        """Codes per modality, and the fused ones chosen among them."""
        parts = {name: self.network(name).encode(features, only(name, present)) for name in self.order}
        chosen = self.chosen(present)
        rows = np.arange(len(chosen))
        wished = np.stack([parts[name][0] for name in self.order])[chosen, rows]
        starts = np.stack([parts[name][1] for name in self.order])[chosen, rows]
        return encoding(wished, np.concatenate([starts, chosen[:, None]], axis=1), {name: parts[name][0] for name in self.widths})

    def codebooks(self) -> Codebooks:
        """A stack per modality."""
        stacks = tuple(PlainCodebooks.of(self.network(name).quantizer) for name in self.order)
        return SeparateCodebooks(stacks[0].levels, stacks=stacks)

    def vectors(self, fused: np.ndarray, modality_codes: Mapping[str, np.ndarray], present: Masks) -> dict[str, torch.Tensor]:
        """Sums of the codes' vectors, the fused ones in the stack that an item's codes come from."""
        decoded = {}
        for name in self.order:
            quantizer = self.network(name).quantizer
            device = quantizer.codebooks[0].device
            decoded[name] = [quantizer.decode(torch.from_numpy(codes).to(device)).cpu() for codes in (fused, modality_codes[name])]
        chosen = torch.from_numpy(self.chosen(present))
        of_fused = torch.stack([decoded[name][0] for name in self.order])[chosen, torch.arange(len(chosen))]
        return {schema.FUSED: of_fused, **{name: decoded[name][1] for name in self.widths}}

    def statistics(self) -> Statistics:
        """How many items of the catalogue have fused codes of another modality than the first."""
        return {"items_coded_by_second_modality": self.by_second}


def fit(data: TrainingData, config: QuantizationConfig, seed: int, device: torch.device, earlier: Earlier | None = None) -> Fitted:
    """Fit a network per modality, one after the other, from scratch or from earlier ones.

    Raises:
        StageError: There are no features.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    tokenizer = PerModalityTokenizer(config, widths_of(data), config.codebook_sizes, data.n_items)
    if earlier is not None:
        tokenizer.load_state_dict(earlier.tokenizer.module.state_dict())
    warm, curve = earlier is not None, Curve()
    for name in tokenizer.widths:
        network = tokenizer.network(name)
        part = train(network, data, config, config.rqvae.start, generator, device, label=f"RQ-VAE of {name}", warm=warm)
        curve.rows += [(epoch, value_name.replace("train/", f"train/{name}_"), value) for epoch, value_name, value in part.rows]
    curve.rows.sort(key=lambda row: row[0])
    tokenizer.by_second = int((tokenizer.chosen(data.present) > 0).sum())
    return Fitted(tokenizer, curve)
