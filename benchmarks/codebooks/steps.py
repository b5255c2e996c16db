"""The cost of a training step, ours beside ResidualVQ's, on the same batch: same width, levels and codes.

Twice: the codebooks alone (forward, backward into what was quantized, update of the codes), and the whole step that training makes, with
every loss off but reconstruction, codebook and commitment, beside the same encoder and decoder around ResidualVQ. Steps take turns, so
that what else the machine does falls on all of them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from bbqrec_core.quantization.codebook import ResidualQuantizer
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.data import TrainingData
from bbqrec_core.quantization.model import ModalityCoder
from bbqrec_core.quantization.training import Trainer
from benchmarks.codebooks.residual_vq import make_residual_vq

EXTRA_LOSSES = ("regression", "anchor", "item_behaviour", "sequence", "semantic", "shared_variance", "club")
OUR_CODEBOOKS, PACKAGE_CODEBOOKS = "our codebooks alone", "ResidualVQ alone"
OUR_STEP, PACKAGE_STEP = "our whole training step, extra losses off", "the same encoder and decoder around ResidualVQ"
SETTLING = 20
"""Steps of each that are not counted: ResidualVQ's first one runs k-means, and memory is still being asked for."""
FEATURE_WIDTH = 384
ITEMS = 4096

Step = Callable[[], object]


@dataclass(frozen=True)
class StepTimes:
    """Medians over the counted steps.

    Attributes:
        milliseconds: By what was timed.
        batch, features, dimensions, sizes: What all of them were given.
    """

    milliseconds: Mapping[str, float]
    batch: int
    features: int
    dimensions: int
    sizes: Sequence[int]


def time_steps(config: QuantizationConfig, steps: int, seed: int) -> StepTimes:
    """Time all four, turn by turn.

    Args:
        config: Sizes and batch, and how our step is optimised.
        steps: How many of each are counted.
        seed: Draws features, batches and weights.
    """
    config = without_extra_losses(config)
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(max(ITEMS, *config.codebook_sizes), FEATURE_WIDTH, generator=generator)
    trainer = Trainer(_catalogue(features), config, seed, torch.device("cpu"))
    trainer.model.train()
    trainer.start_codebooks()
    contenders = {
        OUR_CODEBOOKS: _our_codebooks(trainer.model.quantizer, config, generator),
        PACKAGE_CODEBOOKS: _package_codebooks(config, generator),
        OUR_STEP: lambda: trainer.step(_batch(len(features), config, generator)),
        PACKAGE_STEP: _package_step(features, config, generator),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(SETTLING + steps):
        for name, step in contenders.items():
            begin = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - begin)
    medians = {name: 1000 * float(np.median(times[SETTLING:])) for name, times in seconds.items()}
    return StepTimes(medians, config.batch_size, FEATURE_WIDTH, config.dimensions, config.codebook_sizes)


def without_extra_losses(config: QuantizationConfig) -> QuantizationConfig:
    """The same section with nothing to learn but reconstruction, codes and commitment."""
    return config.model_copy(update={f"{name}_weight": 0.0 for name in EXTRA_LOSSES})


def _catalogue(features: torch.Tensor) -> TrainingData:
    """Items with one modality, and train sequences of neighbours."""
    n = len(features)
    items = np.arange(n).repeat(2)
    return TrainingData(
        features={"text": features},
        present={"text": torch.ones(n, dtype=torch.bool)},
        fitted=np.arange(n),
        cold=np.arange(0),
        offsets=np.arange(0, len(items) + 1, 8),
        items=np.roll(items, 1),
        counts=np.full(n, 2),
    )


def _batch(n: int, config: QuantizationConfig, generator: torch.Generator) -> torch.Tensor:
    return torch.randperm(n, generator=generator)[: config.batch_size]


def _our_codebooks(trained: ResidualQuantizer, config: QuantizationConfig, generator: torch.Generator) -> Step:
    quantizer = ResidualQuantizer(config.codebook_sizes, config.dimensions, 0.0)
    quantizer.load_state_dict(trained.state_dict())
    optimizer = torch.optim.AdamW(quantizer.parameters(), lr=config.learning_rate, weight_decay=0.0)

    def step() -> None:
        vectors = _vectors(config, generator)
        chain = quantizer(vectors)
        loss = chain.vectors.square().mean() + chain.codebook_loss + config.commitment_weight * chain.commitment_loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def _package_codebooks(config: QuantizationConfig, generator: torch.Generator) -> Step:
    package = make_residual_vq(config.codebook_sizes, config.dimensions)

    def step() -> None:
        vectors, _, losses = package(_vectors(config, generator))
        (vectors.square().mean() + config.commitment_weight * losses.sum()).backward()

    return step


def _vectors(config: QuantizationConfig, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(config.batch_size, config.dimensions, generator=generator).requires_grad_()


def _package_step(features: torch.Tensor, config: QuantizationConfig, generator: torch.Generator) -> Step:
    """B, ResidualVQ and D in a plain loop. There is no s: the package's step is not charged for what it does not have."""
    coder = ModalityCoder(features.shape[1], config)
    decoder = nn.Sequential(nn.Linear(config.dimensions, config.hidden), nn.GELU(), nn.Linear(config.hidden, features.shape[1]))
    package = make_residual_vq(config.codebook_sizes, config.dimensions)
    optimizer = torch.optim.AdamW([*coder.aligned.parameters(), *decoder.parameters()], lr=config.learning_rate)

    def step() -> None:
        inputs = features[_batch(len(features), config, generator)]
        vectors, _, losses = package(nn.functional.layer_norm(coder.aligned(inputs), (config.dimensions,)))
        loss = (decoder(vectors) - inputs).square().mean() + config.commitment_weight * losses.sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step
