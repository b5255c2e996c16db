"""z cross-fitted over folds of users: the co-occurrences of who is to be foretold are taken out of the behaviour that foretells him.

z starts from the co-occurrence of train, and a train pair always co-occurs in train: the sequence-to-item loss finds its targets' answer in
z, which no validation pair gives it. With K folds of users, a step of training looks at one fold k alone and takes

    z_i + (z_i^(-k) - z_i^0)      in place of z_i,

z^0 being what z is anchored to, z^(-k) the same made without the users of fold k and turned onto z^0. An item that only they have counts as
one without behaviour in that step. What z learns by gradient is shared by all folds, and IDs are made from z itself.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from bbqrec_core.quantization.behaviour import behaviour_vectors, cooccurrence, shifted_ppmi, turned_onto
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.data import TrainingData


@dataclass(frozen=True)
class CrossFitting:
    """What a step takes in place of z, by fold.

    Attributes:
        shifts: z^(-k) - z^0, float32 [K, n_items, d]; zero for items that nobody outside of fold k has.
        known: Whether somebody has, bool [K, n_items].
        folds: Fold of each train sequence, int64 [n_sequences].
    """

    shifts: torch.Tensor
    known: torch.Tensor
    folds: np.ndarray

    @classmethod
    def fit(
        cls, data: TrainingData, config: QuantizationConfig, anchor: torch.Tensor, has_behaviour: torch.Tensor, generator: torch.Generator
    ) -> "CrossFitting":
        """Draw the folds, and make z without each of them.

        Args:
            data: Train sequences.
            config: `behaviour_folds`, and how z is made.
            anchor: z^0, float32 [n_items, d], on the CPU as all that is drawn here.
            has_behaviour: bool [n_items].
            generator: Draws the folds and starts the decompositions.
        """
        n, k = len(data.offsets) - 1, config.behaviour_folds
        folds = (torch.randperm(n, generator=generator) % k).numpy()
        lengths = np.diff(data.offsets)
        of_item = np.repeat(folds, lengths)
        shifts, known = [], []
        for fold in range(k):
            others = folds != fold
            offsets = np.concatenate([[0], np.cumsum(lengths[others])])
            together = cooccurrence(offsets, data.items[of_item != fold], data.n_items, config.cooccurrence_window)
            vectors, has = behaviour_vectors(shifted_ppmi(together, config.ppmi_shift), config.dimensions, generator)
            known.append(has & has_behaviour)
            shifts.append(torch.where(known[-1][:, None], turned_onto(vectors, anchor, known[-1]) - anchor, 0.0))
        return cls(torch.stack(shifts), torch.stack(known), folds)

    def to(self, device: torch.device) -> "CrossFitting":
        """The same with its tensors on a device."""
        return replace(self, shifts=self.shifts.to(device), known=self.known.to(device))

    def of_items(self, step: int, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What a step adds to the z of some items, float32 [n, d], and whether they have one in it, bool [n].

        Steps take the folds in turn.
        """
        fold = step % len(self.shifts)
        return self.shifts[fold, items], self.known[fold, items]

    def of_step(self, step: int, sequences: np.ndarray) -> np.ndarray:
        """Those of some train sequences, int64 [n], that a step foretells."""
        return sequences[self.folds[sequences] == step % len(self.shifts)]
