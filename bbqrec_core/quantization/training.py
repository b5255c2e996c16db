"""Training of stage 1: warm-up without codebooks, k-means, then everything together.

    L = w_rec L_rec + [L_codebook + beta L_commit] + w_reg L_reg + w_anchor L_anchor
        + l_shared L_shared + l_club L_club + l_beh (a) L_seq + l_beh (b) L_item + l_sem L_sem

with x^_m = D_m([q(b_m); s_m]), L_rec = mean ||x^_m - x~_m||^2 over present modalities (for a modality known by published codes alone, the
cross-entropy of those codes, mean over levels); L_codebook and L_commit summed over levels, averaged over the chains of the fusion, each
modality and z; L_reg = ||LN(Z(content)) - LN(sg(z))||^2; L_anchor = ||z - z_0||^2; the others as `losses.py` states them. During warm-up q
is the identity and the bracket is empty. Where the data is behaviour alone, what is left is the bracket, L_anchor and L_seq, and f = z.
"""

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from bbqrec_core.errors import StageError
from bbqrec_core.progress import track
from bbqrec_core.quantization.behaviour import behaviour_vectors, cooccurrence, shifted_ppmi
from bbqrec_core.quantization.codebook import CodeSearch, Quantized, ResidualQuantizer, masked_mean
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.cross_fitting import CrossFitting
from bbqrec_core.quantization.curve import Curve
from bbqrec_core.quantization.data import TrainingData, listing_hashes, representatives
from bbqrec_core.quantization.disentangling import Disentangling
from bbqrec_core.quantization.losses import SequenceContrast, info_nce, symmetric_info_nce
from bbqrec_core.quantization.model import BEHAVIOUR, BehaviourQuantizer, Encoded
from bbqrec_core.quantization.revival import fill_codebooks, move_unused

log = logging.getLogger(__name__)

ENCODE_BATCH = 8192
GRADIENT_NORM = 5.0
SIBLINGS_EVERY = 5
"""Epochs after which it is looked again which items share a prefix, and after the last."""
SETTLING_SHARE = 0.25
"""No code is revived in the last quarter of training, so that what is revived has time to settle."""


@dataclass(frozen=True)
class EarlierModel:
    """What a warm start goes on from.

    Attributes:
        model: On the CPU.
        rows: item_idx that each of today's items had in its catalogue, int64 [n_items]; -1 for new ones.
    """

    model: BehaviourQuantizer
    rows: np.ndarray


class Trainer:
    """Holds what changes while stage 1 is trained.

    After a warm start there is no warm-up and no k-means: layers and codebooks are there from the first step, features are standardised
    as they were, and training is short and slow (`config.WarmStartConfig`), so that codes stay where they can.
    """

    def __init__(
        self, data: TrainingData, config: QuantizationConfig, seed: int, device: torch.device, earlier: EarlierModel | None = None
    ) -> None:
        self.data, self.config, self.device = data, config, device
        self.warmup_epochs = config.warmup_epochs if earlier is None else 0
        self.epochs = config.epochs if earlier is None else config.warm_start.epochs
        self.generator = torch.Generator().manual_seed(seed)
        # Layers' initial weights and dropout masks come from torch's global generators, the rest from the one above.
        torch.manual_seed(seed)
        dimensions = {name: values.shape[1] for name, values in data.features.items()}
        self.model = BehaviourQuantizer(config, dimensions, data.n_items, data.code_sizes)
        self._start_from_data(earlier)
        self.cross_fitting: CrossFitting | None = None
        if config.behaviour_folds:
            fitted = CrossFitting.fit(data, config, self.model.anchor, self.model.has_behaviour, self.generator)
            self.cross_fitting = fitted.to(device)
        self.steps = 0
        self.model.to(device)
        self.disentangling = Disentangling(data.features, config, device)
        self.sequence = SequenceContrast(config.dimensions).to(device) if config.sequence_weight else None
        self.trained = [*self.model.parameters(), *(self.sequence.parameters() if self.sequence else [])]
        rate = config.learning_rate if earlier is None else config.learning_rate * config.warm_start.learning_rate_share
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), lr=rate)
        self.features = {name: values.to(device) for name, values in data.features.items()}
        self.present = {name: mask.to(device) for name, mask in data.present.items()}
        self.codes = {name: codes.to(device) for name, codes in data.codes.items()}
        self.fitted = torch.from_numpy(data.fitted)
        self.quantizing = earlier is not None
        total = (self.warmup_epochs + self.epochs) * math.ceil(len(data.fitted) / config.batch_size)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: 0.05 + 0.475 * (1 + math.cos(math.pi * step / total))
        )
        lengths = np.diff(data.offsets)
        self.sequences = np.flatnonzero(lengths >= 2)
        share = data.counts / max(1, data.counts.sum())
        self.log_share = torch.from_numpy(np.log(np.maximum(share, 1e-12))).float().to(device)

    def _start_from_data(self, earlier: EarlierModel | None) -> None:
        together = cooccurrence(self.data.offsets, self.data.items, self.data.n_items, self.config.cooccurrence_window)
        vectors, known = behaviour_vectors(shifted_ppmi(together, self.config.ppmi_shift), self.config.dimensions, self.generator)
        if not self.data.features and not known.any():
            raise StageError(
                "There are no features, and no two items go together in train more often than chance: nothing to make semantic IDs of.",
                "Lower `quantization.ppmi_shift`, or raise `quantization.cooccurrence_window`, in the profile.",
            )
        if earlier is not None:
            self.model.continue_from(earlier.model, torch.from_numpy(earlier.rows), vectors, known)
            return
        fitted = torch.from_numpy(self.data.fitted)
        for name, values in self.data.features.items():
            self.model.coder(name).fit_standardisation(values[fitted][self.data.present[name][fitted]])
        self.model.set_behaviour(vectors, known)

    def _parameter_groups(self) -> list[dict]:
        """Weight decay on the encoders only: on codes and z it would work against what they are to keep."""
        plain = [self.model.behaviour, *self.model.codebooks()]
        rest = [parameter for parameter in self.trained if all(parameter is not other for other in plain)]
        return [{"params": rest, "weight_decay": self.config.weight_decay}, {"params": plain, "weight_decay": 0.0}]

    def train(self) -> Curve:
        """Run all epochs."""
        curve = Curve()
        config = self.config
        total = self.warmup_epochs + self.epochs
        warm = self.quantizing
        if warm:
            self._look_for_siblings(keep=True)
        for epoch in track(range(1, total + 1), "quantizer, epochs", total=total, unit="epoch"):
            if epoch == self.warmup_epochs + 1 and not self.quantizing:
                self.start_codebooks()
            curve.rows += [(epoch, f"train/{name}", value) for name, value in sorted(self._epoch().items())]
            since = epoch - self.warmup_epochs
            if config.revive_every and since > 0 and since % config.revive_every == 0 and since <= self.epochs * (1 - SETTLING_SHARE):
                curve.rows.append((epoch, "train/revived_codes", float(self._revive())))
            if config.revive_every and epoch == total and not warm:  # a warm night lets a code rest rather than move an ID
                curve.rows.append((epoch, "train/revived_codes", float(self._fill_codebooks())))
            elif since > 0 and (since % SIBLINGS_EVERY == 0 or epoch == total):
                self._look_for_siblings(keep=warm)
        self.model.eval()
        return curve

    def _epoch(self) -> dict[str, float]:
        self.model.train()
        order = self.fitted[torch.randperm(len(self.fitted), generator=self.generator)]
        sums: dict[str, torch.Tensor] = {}
        batches = order.split(self.config.batch_size)
        for items in batches:
            for name, value in self.step(items.to(self.device)).items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value
        return {name: float(value) / len(batches) for name, value in sums.items()}

    def step(self, items: torch.Tensor) -> dict[str, torch.Tensor]:
        """One step of training on a batch of fitted items (item_idx, int64 [n]); the losses, each times its weight, and their sum."""
        self.steps += 1
        encoded = self._encode(items)
        losses = self._item_losses(encoded, items)
        losses.update(self.disentangling.losses(encoded, self.generator))
        sequences = self.sequences if self.cross_fitting is None else self.cross_fitting.of_step(self.steps, self.sequences)
        if self.sequence is not None and len(sequences):
            losses["sequence"] = self.config.sequence_weight * self._sequence_loss(sequences)
        if not losses:  # behaviour alone, still without codebooks, and every other weight 0
            return {"loss": torch.zeros((), device=self.device)}
        loss = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, GRADIENT_NORM)
        self.optimizer.step()
        self.schedule.step()
        return {"loss": loss.detach(), **{name: value.detach() for name, value in losses.items()}}

    def _encode(self, items: torch.Tensor, with_specific: bool = True) -> Encoded:
        return self.model.encode(
            {name: values[items] for name, values in self.features.items()},
            {name: mask[items] for name, mask in self.present.items()},
            len(items),
            with_specific,
        )

    def _training_behaviour(self, encoded: Encoded, items: torch.Tensor) -> torch.Tensor:
        predict = torch.rand(len(items), generator=self.generator).to(self.device) < self.config.predicted_behaviour_share
        z, known = self._in_this_step(F.embedding(items, self.model.behaviour), items)
        return self.model.known_behaviour(encoded, items, predict, z, known)

    def _in_this_step(self, own: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Items' z as this step takes it, float32 [n, d], and whether they have one in it, bool [n].

        Args:
            own: Their z, float32 [n, d].
            items: item_idx, int64 [n].
        """
        known = self.model.has_behaviour[items]
        if self.cross_fitting is None:
            return own, known
        shift, among_others = self.cross_fitting.of_items(self.steps, items)
        return own + shift, known & among_others

    def _item_losses(self, encoded: Encoded, items: torch.Tensor) -> dict[str, torch.Tensor]:
        config, model = self.config, self.model
        own = F.embedding(items, model.behaviour)
        z, known = self._in_this_step(own, items)
        losses: dict[str, torch.Tensor] = {}
        of_modality: dict[str, Quantized] = {}
        if self.quantizing:
            of_modality = {name: model.quantizer_of(name)(vectors, mask=encoded.present[name]) for name, vectors in encoded.aligned.items()}
            fused = model.quantize_fused(encoded, self._training_behaviour(encoded, items))
            chains = [fused, *of_modality.values(), model.quantizer_of(BEHAVIOUR)(model.normalise(z), mask=known)]
            losses["codebook"] = torch.stack([chain.codebook_loss for chain in chains]).mean()
            losses["commitment"] = config.commitment_weight * torch.stack([chain.commitment_loss for chain in chains]).mean()
        quantized = {name: chain.vectors for name, chain in of_modality.items()} if self.quantizing else encoded.aligned
        if config.reconstruction_weight and model.modalities:
            losses["reconstruction"] = config.reconstruction_weight * self._reconstruction(encoded, quantized, items)
        target = model.normalise(z.detach())
        if config.regression_weight and model.modalities:
            error = (model.normalise(encoded.predicted) - target).square().mean(1)
            losses["regression"] = config.regression_weight * masked_mean(error, known & encoded.has_content)
        if config.anchor_weight:
            losses["anchor"] = config.anchor_weight * F.mse_loss(own, model.anchor[items])
        if config.item_behaviour_weight and model.modalities:
            terms = []
            for name in model.modalities:
                both = known & encoded.present[name]
                terms.append(info_nce(quantized[name][both], target[both], config.temperature))
            losses["item_behaviour"] = config.item_behaviour_weight * torch.stack(terms).mean()
        if config.semantic_weight and len(model.modalities) == 2 and self.quantizing:
            losses["semantic"] = config.semantic_weight * self._semantic(encoded, of_modality)
        return losses

    def _reconstruction(self, encoded: Encoded, quantized: dict[str, torch.Tensor], items: torch.Tensor) -> torch.Tensor:
        terms = []
        for name in self.model.modalities:
            mask = encoded.present[name]
            keep = (torch.rand(len(mask), 1, generator=self.generator) >= self.config.specific_dropout).to(self.device)
            inputs = torch.cat([quantized[name], encoded.specific[name] * keep], 1)
            codes = self.codes[name][items] if name in self.codes else None
            terms.append(masked_mean(self.model.coder(name).reconstruction_error(inputs, encoded.standardised[name], codes), mask))
        return torch.stack(terms).mean()

    def _semantic(self, encoded: Encoded, chains: dict[str, Quantized]) -> torch.Tensor:
        first, second = self.model.modalities
        both = encoded.present[first] & encoded.present[second]
        if int(both.sum()) < 2:
            return encoded.content.sum() * 0.0
        left, right = (chains[name].from_level(self.config.semantic_from_level)[both] for name in (first, second))
        return symmetric_info_nce(left, right, self.config.temperature)

    def _sequence_loss(self, sequences: np.ndarray) -> torch.Tensor:
        """Of windows of some of the train sequences, int64 [n], each of which has at least two items."""
        assert self.sequence is not None
        data, width = self.data, self.config.sequence_length
        picked = torch.randint(len(sequences), (min(self.config.sequence_batch, len(sequences)),), generator=self.generator)
        rows = sequences[picked.numpy()]
        starts, lengths = data.offsets[rows], np.diff(data.offsets)[rows]
        shift = (torch.rand(len(rows), generator=self.generator).numpy() * (np.maximum(lengths - width, 0) + 1)).astype(np.int64)
        columns = np.arange(width)
        inside = columns[None, :] < np.minimum(lengths, width)[:, None]
        windows = np.full((len(rows), width), -1, dtype=np.int64)
        windows[inside] = data.items[((starts + shift)[:, None] + columns[None, :])[inside]]
        distinct = np.unique(windows[inside])
        candidates = np.unique(windows[:, 1:][inside[:, 1:]])
        lookup = np.full(data.n_items, -1, dtype=np.int64)
        lookup[distinct] = np.arange(len(distinct))
        place = np.full(data.n_items, -1, dtype=np.int64)
        place[candidates] = np.arange(len(candidates))
        row = np.repeat(np.arange(len(rows)), lengths)
        whole = place[data.items[np.repeat(starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths) + np.arange(lengths.sum())]]
        own = np.zeros((len(rows), len(candidates)), dtype=bool)
        own[row[whole >= 0], whole[whole >= 0]] = True
        items = torch.from_numpy(distinct).to(self.device)
        encoded = self._encode(items, with_specific=False)
        behaviour = self._training_behaviour(encoded, items)
        vectors = self.model.quantize_fused(encoded, behaviour).vectors if self.quantizing else self.model.fuse(encoded, behaviour)
        chosen = torch.from_numpy(candidates).to(self.device)
        return self.sequence(
            torch.from_numpy(windows).to(self.device),
            torch.from_numpy(lookup).to(self.device),
            vectors,
            chosen,
            torch.from_numpy(own).to(self.device),
            self.log_share[chosen],
            self.config.temperature,
        )

    @torch.no_grad()
    def _fused_inputs(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Fused vectors and z' of items as they will be encoded, in batches."""
        self.model.eval()
        parts = []
        for part in items.split(ENCODE_BATCH):
            part = part.to(self.device)
            encoded = self._encode(part, with_specific=False)
            behaviour = self.model.known_behaviour(encoded, part)
            parts.append((self.model.fuse(encoded, behaviour), behaviour))
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    @torch.no_grad()
    def _plain_inputs(self, chain: str, items: torch.Tensor) -> torch.Tensor:
        """What a chain of its own starts from, for the items that have it, float32 [n, d]."""
        if chain == BEHAVIOUR:
            items = items.to(self.device)
            known = items[self.model.has_behaviour[items]]
            return self.model.normalise(self.model.behaviour[known].detach())
        parts = []
        for part in items.split(ENCODE_BATCH):
            encoded = self._encode(part.to(self.device), with_specific=False)
            parts.append(encoded.aligned[chain][encoded.present[chain]])
        return torch.cat(parts)

    def _some_fitted(self) -> torch.Tensor:
        """The fitted items, or as many of them at random as k-means is to be given."""
        if len(self.fitted) <= self.config.kmeans_items:
            return self.fitted
        return self.fitted[torch.randperm(len(self.fitted), generator=self.generator)[: self.config.kmeans_items].sort().values]

    def start_codebooks(self) -> None:
        """Set the codebooks by k-means on fitted items as they are encoded now; from here on steps quantize."""
        items = self._some_fitted()
        start, behaviour = self._fused_inputs(items)
        self.model.quantizer.start_codebooks(start, behaviour, self.config.kmeans_iterations, self.generator)
        for chain in self.model.own:
            inputs = self._plain_inputs(chain, items)
            if not len(inputs):  # nobody has the modality, or behaviour: nothing is ever quantized there
                continue
            self.model.quantizer_of(chain).start_codebooks(inputs, None, self.config.kmeans_iterations, self.generator)
        self.quantizing = True

    @torch.no_grad()
    def _look_for_siblings(self, keep: bool) -> None:
        """Which fitted items share a prefix now, if the profile wants to know; after a warm start the means that are there stay.

        Of listings that may share an ID one alone counts.
        """
        quantizer = self.model.quantizer
        if quantizer.siblings is None:
            return
        items = self.fitted
        if self.config.share_identical:
            hashes = listing_hashes(*self.data.rows(items), len(items))
            items = items[torch.from_numpy(representatives(hashes) == np.arange(len(items)))]
        quantizer.siblings.fit(*CodeSearch(quantizer).prefix(self._fused_inputs(items)[0]), keep)

    @torch.no_grad()
    def _revive(self) -> int:
        """Move codes that no fitted item uses, or of a large catalogue none of a sample; return how many."""
        items = self._some_fitted()
        start, behaviour = self._fused_inputs(items)
        revived = self._revive_unused(self.model.quantizer, self.model.quantizer(start, behaviour))
        for name in self.model.own:
            quantizer = self.model.quantizer_of(name)
            revived += self._revive_unused(quantizer, quantizer(self._plain_inputs(name, items)))
        return revived

    def _revive_unused(self, quantizer: ResidualQuantizer, chain: Quantized) -> int:
        revived = 0
        for codebook, inputs in zip(quantizer.codebooks, chain.inputs, strict=True):
            moved = move_unused(codebook, inputs)
            for moment in ("exp_avg", "exp_avg_sq"):
                state = self.optimizer.state.get(codebook, {})
                if moment in state:
                    state[moment][moved] = 0.0
            revived += len(moved)
        return revived

    def _fill_codebooks(self) -> int:
        """Leave no code dead that some fitted item could use, once nothing is trained any more; return how often a code was moved.

        Siblings are looked for on the way, when what they share will not change any more.
        """
        start, behaviour = self._fused_inputs(self.fitted)
        moves = fill_codebooks(self.model.quantizer, start, behaviour, lambda: self._look_for_siblings(keep=False))
        for name in self.model.own:
            moves += fill_codebooks(self.model.quantizer_of(name), self._plain_inputs(name, self.fitted), None)
        return moves
