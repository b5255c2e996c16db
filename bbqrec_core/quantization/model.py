"""The quantizer: encoders, gated fusion, behaviour, codebooks, decoders.

What it takes to encode an item and to reconstruct it is here. What only training needs (CLUB's network, the sequence encoder) is in
`losses.py`, so that a saved quantizer carries nothing it does not use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from bbqrec_core.quantization.behaviour import turned_onto
from bbqrec_core.quantization.codebook import Quantized, ResidualQuantizer
from bbqrec_core.quantization.config import QuantizationConfig

Features = Mapping[str, torch.Tensor]
"""Per modality float32 [n, d_m]."""
Masks = Mapping[str, torch.Tensor]
"""Per modality bool [n]: whether the item has it."""
FirstLayer = tuple[torch.Tensor, torch.Tensor]
"""Weight, float32 [hidden, d_m], and bias, float32 [hidden]."""
BEHAVIOUR = "behaviour"
"""The chain of z, among those of the modalities."""


def mlp(inputs: int, hidden: int, outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """Two linear layers with GELU between."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))


def zero_outside(mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Rows, float32 [n, d], zero where the mask, bool [n], is false."""
    return rows if bool(mask.all()) else torch.where(mask[:, None], rows, 0.0)


class ModalityCoder(nn.Module):
    """Both encoders of a modality, its decoder and its gate.

    Attributes:
        aligned: B_m, what behaviour can use.
        specific: S_m, what only the modality has.
        decoder: D_m([q(b); s]): features, or where the modality is known by published codes alone the logits of those codes, a head
            per level side by side.
        code_sizes: Codes per level of such a modality; empty for any other.
        gate: Logit of the fusion, zero at first: the fusion starts as a plain mean.
        mean, scale: Standardise features: x~ = (x - mean) / scale, with one scale for all dimensions, which keeps distances.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, features: int, config: QuantizationConfig, code_sizes: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.code_sizes = code_sizes
        self.aligned = mlp(features, config.hidden, config.dimensions, config.encoder_dropout)
        self.specific = mlp(features, config.hidden, config.specific_dimensions)
        self.decoder = mlp(config.dimensions + config.specific_dimensions, config.hidden, sum(code_sizes) or features)
        self.gate = nn.Linear(config.dimensions, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def fit_standardisation(self, values: torch.Tensor) -> None:
        """Take mean and scale from the fitted items that have the modality, float32 [n, d_m]; constant features keep scale 1."""
        self.mean.copy_(values.mean(0))
        scale = float((values - self.mean).square().mean().sqrt())
        self.scale.fill_(scale if scale > 1e-6 else 1.0)

    def standardise(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Standardised features, zero where absent whatever was given there."""
        standardised = (values - self.mean).div_(self.scale)
        return zero_outside(present, standardised)

    def fold_standardisation(self) -> FirstLayer:
        """B_m's first layer for features as they come."""
        first = cast(nn.Linear, self.aligned[0])
        weight = first.weight / self.scale
        return weight, first.bias - weight @ self.mean

    def align(self, values: torch.Tensor, present: torch.Tensor, folded: FirstLayer | None = None) -> torch.Tensor:
        """B_m(x~) of features as they come, float32 [n, d], with the standardisation folded into B_m's first layer.

        That spares a pass over the features. Where some are absent, and might hold anything, they are standardised first.

        Args:
            values: float32 [n, d_m].
            present: bool [n].
            folded: What `fold_standardisation` gives, for who has many batches.
        """
        if not bool(present.all()):
            return self.aligned(self.standardise(values, present))
        return self.aligned[1:](F.linear(values, *(folded or self.fold_standardisation())))

    def reconstruction_error(self, inputs: torch.Tensor, standardised: torch.Tensor, codes: torch.Tensor | None = None) -> torch.Tensor:
        """What the decoder gets wrong, per item, float32 [n].

        Squared error of the features, mean over dimensions. Where published codes stand in for features, nothing can be learned from
        their vectors, which are random: then cross-entropy of the codes, mean over levels, in nats.

        Args:
            inputs: [q(b); s], float32 [n, d + s].
            standardised: x~, float32 [n, d_m].
            codes: The published codes, int64 [n, levels], of a modality that has them.
        """
        decoded = self.decoder(inputs)
        if codes is None:
            return (decoded - standardised).square().mean(1)
        heads = decoded.split(self.code_sizes, 1)
        return torch.stack([F.cross_entropy(head, codes[:, level], reduction="none") for level, head in enumerate(heads)]).mean(0)


@dataclass(frozen=True)
class Encoded:
    """A batch of items in the shared space.

    Attributes:
        standardised: x~ per modality, float32 [n, d_m]; empty where s was not wanted.
        aligned: b per modality, normalised, float32 [n, d]; zero where absent.
        specific: s per modality, float32 [n, s]; zero where absent; empty where it was not wanted.
        present: Masks.
        content: Normalised gated mean of the b that are present, float32 [n, d]; zero where none is.
        has_content: bool [n].
        predicted: z^ = Z(content), float32 [n, d]; zero where there is no content.
    """

    standardised: dict[str, torch.Tensor]
    aligned: dict[str, torch.Tensor]
    specific: dict[str, torch.Tensor]
    present: dict[str, torch.Tensor]
    content: torch.Tensor
    has_content: torch.Tensor
    predicted: torch.Tensor


class BehaviourQuantizer(nn.Module):
    """From frozen features and train-only behaviour to codes.

    Attributes:
        coders: One `ModalityCoder` per modality; none where the data is behaviour alone.
        behaviour: z, learnable, float32 [n_items, d].
        anchor: What z started from, float32 [n_items, d].
        has_behaviour: bool [n_items]; where false z is neither used nor learned.
        foretell: Z, the regression of z on content.
        quantizer: The fused chain's codebooks, which all chains share unless the profile says otherwise.
        own: By chain its own codebooks, where none are shared: the modalities and BEHAVIOUR.
    """

    anchor: torch.Tensor
    has_behaviour: torch.Tensor

    def __init__(
        self,
        config: QuantizationConfig,
        feature_dimensions: Mapping[str, int],
        n_items: int,
        code_sizes: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        super().__init__()
        sizes = code_sizes or {}
        self.config = config
        self.modalities = tuple(feature_dimensions)
        self.coders = nn.ModuleDict({name: ModalityCoder(size, config, sizes.get(name, ())) for name, size in feature_dimensions.items()})
        self.behaviour = nn.Parameter(torch.zeros(n_items, config.dimensions))
        self.register_buffer("anchor", torch.zeros(n_items, config.dimensions))
        self.register_buffer("has_behaviour", torch.zeros(n_items, dtype=torch.bool))
        self.foretell = mlp(config.dimensions, config.hidden, config.dimensions, config.encoder_dropout)
        self.quantizer = ResidualQuantizer(config.codebook_sizes, config.dimensions, config.behaviour_in_last_level, config.siblings_apart)
        chains = () if config.shared_codebooks else (*self.modalities, BEHAVIOUR)
        self.own = nn.ModuleDict({name: ResidualQuantizer(config.codebook_sizes, config.dimensions, 0.0) for name in chains})

    def coder(self, modality: str) -> ModalityCoder:
        """The coder of a modality."""
        module = self.coders[modality]
        assert isinstance(module, ModalityCoder)
        return module

    def quantizer_of(self, chain: str) -> ResidualQuantizer:
        """The codebooks of the plain chain of a modality or of BEHAVIOUR."""
        if chain not in self.own:
            return self.quantizer
        module = self.own[chain]
        assert isinstance(module, ResidualQuantizer)
        return module

    @property
    def modality_alone(self) -> bool:
        """Whether the fused chain is that of the one modality there is, up to its last level."""
        return len(self.modalities) == 1 and not self.own and not self.config.behaviour_in_fusion

    def codebooks(self) -> list[nn.Parameter]:
        """The codebooks of all chains."""
        return [*self.quantizer.parameters(), *self.own.parameters()]

    def normalise(self, vectors: torch.Tensor) -> torch.Tensor:
        """The one normalisation that b, z and the fusion share before level 1: LN without parameters, so that nothing can shrink it."""
        return F.layer_norm(vectors, (self.config.dimensions,))

    @torch.no_grad()
    def set_behaviour(self, vectors: torch.Tensor, has_behaviour: torch.Tensor) -> None:
        """Start z from train-only behaviour, and anchor it there.

        Args:
            vectors: float32 [n_items, d].
            has_behaviour: bool [n_items].
        """
        self.anchor.copy_(vectors)
        self.behaviour.copy_(vectors)
        self.has_behaviour.copy_(has_behaviour)

    @torch.no_grad()
    def continue_from(self, earlier: "BehaviourQuantizer", rows: torch.Tensor, vectors: torch.Tensor, has_behaviour: torch.Tensor) -> None:
        """Take over the layers and codebooks of a model of the same shape; z goes on from where it stood for the items that it knew.

        Args:
            earlier: The model.
            rows: item_idx that each item had in its catalogue, int64 [n_items]; -1 for those that it did not have.
            vectors: Train-only behaviour as it is now, float32 [n_items, d]: what z is anchored to, turned as it was then.
            has_behaviour: bool [n_items].
        """
        own = ("behaviour", "anchor", "has_behaviour")
        self.load_state_dict({name: value for name, value in earlier.state_dict().items() if name not in own}, strict=False)
        both = (rows >= 0) & has_behaviour & earlier.has_behaviour[rows]
        self.set_behaviour(turned_onto(vectors, earlier.anchor[rows], both), has_behaviour)
        self.behaviour[both] = earlier.behaviour[rows[both]]

    def encode(
        self,
        features: Features,
        present: Masks,
        n_items: int | None = None,
        with_specific: bool = True,
        folded: Mapping[str, FirstLayer] | None = None,
    ) -> Encoded:
        """Encode items from content. Features of a modality that an item lacks never matter.

        Args:
            features: Per modality float32 [n, d_m].
            present: Per modality bool [n].
            n_items: n, which must be told where there is no modality.
            with_specific: Whether s, which no code depends on, and x~ are wanted.
            folded: By modality what `fold_standardisation` gives, where they are not and there are many batches.
        """
        if not self.modalities:
            assert n_items is not None
            nothing = self.behaviour.new_zeros(n_items, self.config.dimensions)
            return Encoded({}, {}, {}, {}, nothing, torch.zeros(n_items, dtype=torch.bool, device=nothing.device), nothing)
        standardised, aligned, specific = {}, {}, {}
        masks = {name: present[name] for name in self.modalities}
        for name in self.modalities:
            coder = self.coder(name)
            if with_specific:
                standardised[name] = coder.standardise(features[name], masks[name])
                specific[name] = zero_outside(masks[name], coder.specific(standardised[name]))
                plain = coder.aligned(standardised[name])
            else:
                plain = coder.align(features[name], masks[name], None if folded is None else folded[name])
            aligned[name] = zero_outside(masks[name], self.normalise(plain))
        content, has_content = self._mix(aligned, masks)
        predicted = zero_outside(has_content, self.foretell(content))
        return Encoded(standardised, aligned, specific, masks, content, has_content, predicted)

    def _mix(self, aligned: Features, masks: Masks) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised gated mean of the b that are present, float32 [n, d], zero where none is; and where one is, bool [n]."""
        if len(self.modalities) == 1:  # the mean of one is itself
            return aligned[self.modalities[0]], masks[self.modalities[0]]
        logits = torch.cat(
            [torch.where(masks[name][:, None], self.coder(name).gate(aligned[name]), float("-inf")) for name in self.modalities], 1
        )
        has_content = torch.stack([masks[name] for name in self.modalities]).any(0)
        # All -inf would make NaN; such rows are zeroed right after.
        gates = torch.where(has_content[:, None], logits, 0.0).softmax(1)
        mixed = torch.stack([gates[:, [column]] * aligned[name] for column, name in enumerate(self.modalities)]).sum(0)
        return zero_outside(has_content, self.normalise(mixed)), has_content

    def fuse(self, encoded: Encoded, behaviour: torch.Tensor) -> torch.Tensor:
        """The fused f = LN(content + a LN(z')), a the profile's `behaviour_in_fusion`; LN(z') where there is no content. float32 [n, d]."""
        weight = self.config.behaviour_in_fusion
        mixed = self.normalise(encoded.content + weight * self.normalise(behaviour)) if weight else encoded.content
        if bool(encoded.has_content.all()):
            return mixed
        return torch.where(encoded.has_content[:, None], mixed, self.normalise(behaviour))

    def known_behaviour(
        self,
        encoded: Encoded,
        items: torch.Tensor | None,
        predict: torch.Tensor | None = None,
        z: torch.Tensor | None = None,
        known: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """z': an item's own z, or z^ where it has none, is new, or `predict` says so.

        Args:
            encoded: The items' encoding.
            items: item_idx, int64 [n]; None for new items.
            predict: bool [n], where to take z^ although z is known; ignored for items without content.
            z: The items' z, float32 [n, d], where it is not to be the model's as it stands; see `cross_fitting.py`.
            known: Who has one, bool [n]; None = all who have behaviour. The others get z^, with content or without.
        """
        if items is None:
            return encoded.predicted
        own = self.has_behaviour[items] if known is None else known
        if predict is not None:
            own = own & ~(predict & encoded.has_content)
        return torch.where(own[:, None], F.embedding(items, self.behaviour) if z is None else z, encoded.predicted)

    def quantize_fused(self, encoded: Encoded, behaviour: torch.Tensor) -> Quantized:
        """The fused chain."""
        return self.quantizer(self.fuse(encoded, behaviour), behaviour)
