"""Trainings that are measured: each gives seconds an epoch and a curve of validation NDCG@10 over seconds of training.

Ours and SASRec are trained by the pipeline's own code; TIGER's T5 by its own steps, for as long as it is given.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bbqrec_core.baselines.sasrec import code_rows
from bbqrec_core.baselines.sasrec_training import train_sasrec
from bbqrec_core.baselines.tiger import Tiger, TigerModel
from bbqrec_core.baselines.tiger_training import batches_of_like_length, training_examples, training_step
from bbqrec_core.checkpoints import NDCG
from bbqrec_core.dataset import PADDING, EvalSplit, SequenceDataset, load_semantic_ids
from bbqrec_core.determinism import reproducible
from bbqrec_core.evaluation.ranking import sample_users, validation_metrics
from bbqrec_core.profile import Profile
from bbqrec_core.schema import FUSED
from bbqrec_core.sequence.catalogue import load_catalogue
from bbqrec_core.sequence.model import SequenceModel
from bbqrec_core.sequence.similarity import similarity_spec
from bbqrec_core.sequence.train import identity_of, make_fabric, train
from bbqrec_core.sequence.windows import Windows
from benchmarks import command
from benchmarks.t5 import make_peer

BEAMS = 20
Batching = Callable[[np.ndarray, int, np.random.Generator], list[np.ndarray]]
"""From lengths, int64 [n], and a batch's size the rows of every batch."""


@dataclass(frozen=True)
class Training:
    """How a training went.

    Attributes:
        epoch_seconds: A pass over all train interactions.
        curve: Seconds of training so far, and NDCG@10 of the judges, seen items masked.
        model: What came of it: of ours the best epoch's, of T5 the last; None of SASRec.
    """

    epoch_seconds: float
    curve: list[tuple[float, float]]
    model: SequenceModel | TigerModel | None = None

    @property
    def best(self) -> float:
        """The best NDCG@10 on the way."""
        return max((value for _, value in self.curve), default=0.0)

    def seconds_to(self, value: float) -> float | None:
        """When an NDCG@10 was reached first; None = never."""
        return next((seconds for seconds, reached in self.curve if reached >= value), None)


@dataclass(frozen=True)
class Subject:
    """What all are trained on.

    Attributes:
        profile: Its settings.
        data: Its sequences.
        quantize: Its semantic IDs.
        judges: Validation users.
    """

    profile: Profile
    data: SequenceDataset
    quantize: Path
    judges: EvalSplit


def seconds_an_epoch(run: Callable[[int], object], rounds: int) -> float:
    """Median over rounds of what one more epoch costs: a training of two epochs less a training of one, judged by a single user each."""
    differences = []
    for _ in range(rounds):
        marks = [time.perf_counter()]
        for epochs in (1, 2):
            run(epochs)
            marks.append(time.perf_counter())
        differences.append(marks[2] - 2 * marks[1] + marks[0])
    return float(np.median(differences))


def train_ours(subject: Subject, rounds: int, fields: dict[str, object] | None = None) -> Training:
    """The sequence model, as the profile has it but for `fields`; judged without prior."""
    profile = subject.profile
    catalogue = load_catalogue(subject.quantize, subject.data.train_counts)
    windows = Windows.cut(subject.data.train_offsets, subject.data.train_items, profile.sequence.max_history)

    def run(epochs: int, judges: EvalSplit) -> tuple[SequenceModel, list[tuple[int, str, float]]]:
        config = profile.sequence.model_copy(update={"epochs": epochs, **(fields or {})})
        similarity = similarity_spec(config.similarity, catalogue, profile.seed)
        fabric = make_fabric("cpu", config.precision)
        with reproducible(profile.seed):
            model = SequenceModel(config, catalogue, similarity)
        with tempfile.TemporaryDirectory() as scratch:
            identity = identity_of(config, profile.seed, catalogue.digest(), windows, judges)
            return model, train(model, windows, judges, config, profile.seed, fabric, Path(scratch), identity).curve

    one = sample_users(subject.data.valid, 1, profile.seed)
    seconds = seconds_an_epoch(lambda epochs: run(epochs, one), rounds)
    command.tell(f"ours: {seconds:.1f} s an epoch")
    model, curve = run(profile.sequence.epochs, subject.judges)
    return Training(seconds, [(epoch * seconds, value) for epoch, name, value in curve if name == NDCG], model.eval())


def train_sasrec_with_codes(subject: Subject, rounds: int) -> Training:
    """SASRec with codes, as the profile has it."""
    profile, data = subject.profile, subject.data
    section, codes = profile.baselines, code_rows(load_semantic_ids(subject.quantize))

    def run(epochs: int, users: int) -> list[tuple[int, str, float]]:
        config = section.sasrec.model_copy(update={"epochs": epochs, "selection_users": users})
        return train_sasrec(data, config, profile.baseline_history, profile.seed, codes=codes)[1].curve

    seconds = seconds_an_epoch(lambda epochs: run(epochs, 1), rounds)
    command.tell(f"SASRec with codes: {seconds:.1f} s an epoch")
    curve = run(section.sasrec.epochs, len(subject.judges))
    return Training(seconds, [(epoch * seconds, value) for epoch, name, value in curve if name == NDCG])


def batches_as_they_come(lengths: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """A pass over all rows in random order, as public code has it: every batch is padded to the longest that it happens to hold."""
    order = rng.permutation(len(lengths))
    return [order[low : low + size] for low in range(0, len(order), size)]


def train_tiger(subject: Subject, budget: float, points: int, batching: Batching = batches_of_like_length) -> Training:
    """TIGER's T5 over all examples for `budget` seconds; judged at `points` moments."""
    profile, data, width = subject.profile, subject.data, subject.profile.sequence.max_history
    section, rng = profile.baselines.tiger, np.random.default_rng(profile.seed)
    peer = make_peer(torch.from_numpy(load_semantic_ids(subject.quantize)[FUSED][0]), profile.seed)
    recommender = Tiger(peer, torch.from_numpy(data.train_counts), width, BEAMS)
    histories, targets = (torch.from_numpy(part) for part in training_examples(data, width))
    lengths = (histories != PADDING).sum(1).numpy()
    optimizer = torch.optim.AdamW(peer.parameters(), lr=section.learning_rate)
    trained, samples = 0.0, 0
    waiting: list[np.ndarray] = []
    curve: list[tuple[float, float]] = []
    while len(curve) < points:
        peer.train()
        while trained < budget * (len(curve) + 1) / points:
            waiting = waiting or batching(lengths, section.batch_size, rng)
            rows = waiting.pop()
            begun = time.perf_counter()
            training_step(peer, optimizer, histories[rows][:, -int(lengths[rows].max()) :], targets[rows])
            trained += time.perf_counter() - begun
            samples += len(rows)
        peer.eval()
        curve.append((trained, validation_metrics(recommender, subject.judges)["ndcg_at_10"]))
        command.tell(f"TIGER: {trained:.0f} s, {samples:,} examples, NDCG@10 {curve[-1][1]:.4f}")
    return Training(trained / samples * len(targets), curve, peer)
