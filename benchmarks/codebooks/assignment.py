"""IDs for a million new items, in a process of their own: greatest memory, and speed beside the encoders' own matrix products.

The floor is what whoever encodes has to do: the products of both encoders' weights with the same batches of the same features, by the
same threads, and nothing else. It takes turns with assignment, which itself needs B alone: B's own products are told beside it. Run as a
module this is that process.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import torch

from bbqrec_core.dataset import ItemFeatures
from bbqrec_core.errors import BBQRecError
from bbqrec_core.quantization.assign import BATCH, code_new_items
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.data import listing_hashes
from bbqrec_core.quantization.model import BehaviourQuantizer
from bbqrec_core.quantization.tokenizers.bbqrec import BbqrecTokenizer
from bbqrec_core.quantization.tokenizers.registry import assign
from bbqrec_core.quantization.tokenizers.saved import SavedTokenizer
from benchmarks.measure import own_peak

WIDTH = 768
CENTRES = 4096
"""Features lie around so many centres, as those of a catalogue do around its kinds of things."""
SPREAD = 0.7
STARTING_ITEMS = 16384
MODALITY = "text"


@dataclass(frozen=True)
class Assigned:
    """What a million items cost.

    Attributes:
        items, width, threads: What was done, and by how many threads.
        floor_seconds: The matrix products of both encoders, B and S; the median of the rounds, as all that follows.
        aligned_seconds: Those of B alone. A new item's codes need no S, and assignment does not compute it.
        coding_seconds: Features to codes.
        hashing_seconds: Hashes of the listings.
        whole_seconds: Features to final IDs: checks, codes, hashes, repair.
        peak_bytes: Greatest memory of the process, features included.
        distinct: IDs given; as many as items unless something is wrong.
    """

    items: int
    width: int
    threads: int
    floor_seconds: float
    aligned_seconds: float
    coding_seconds: float
    hashing_seconds: float
    whole_seconds: float
    peak_bytes: int
    distinct: int


def measure_assignment(config: QuantizationConfig, items: int, rounds: int, threads: int, seed: int) -> Assigned:
    """Measure in a fresh process.

    Raises:
        BBQRecError: The process died, of too little memory for instance.
    """
    given = json.dumps([config.model_dump(mode="json"), items, rounds, threads, seed])
    ran = subprocess.run([sys.executable, "-m", __name__, given], capture_output=True, text=True, check=False)
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or [f"it ended with status {ran.returncode}, as a process does that memory ran out for"]
        raise BBQRecError(f"Assigning {items:,} items failed: {said[-1]}", "Ask for fewer with --assign.")
    return Assigned(**json.loads(ran.stdout))


def _measure(config: QuantizationConfig, items: int, rounds: int, threads: int, seed: int) -> Assigned:
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = BehaviourQuantizer(config, {MODALITY: WIDTH}, 1).eval()
    features = ItemFeatures(_features(items, generator), np.ones(items, dtype=bool))
    tensors, masks = {MODALITY: torch.from_numpy(features.values)}, {MODALITY: torch.from_numpy(features.present)}
    _start(model, tensors[MODALITY], generator)
    saved = SavedTokenizer(BbqrecTokenizer(model), np.empty((0, config.levels), np.int64), np.empty(0, np.int64))
    seconds: dict[str, list[float]] = {}
    distinct = 0
    for _ in range(rounds):
        with _timed(seconds, "floor"):
            multiply(model, tensors[MODALITY], ("aligned", "specific"))
        with _timed(seconds, "aligned"):
            multiply(model, tensors[MODALITY], ("aligned",))
        with _timed(seconds, "coding"):
            code_new_items(model, tensors, masks, items)
        with _timed(seconds, "hashing"):
            listing_hashes(tensors, masks, items)
        with _timed(seconds, "whole"):
            assigned = assign(saved, {MODALITY: features})
        distinct = len(np.unique(assigned.fused, axis=0))
    middle = {name: float(np.median(taken)) for name, taken in seconds.items()}
    return Assigned(
        items=items,
        width=WIDTH,
        threads=threads,
        floor_seconds=middle["floor"],
        aligned_seconds=middle["aligned"],
        coding_seconds=middle["coding"],
        hashing_seconds=middle["hashing"],
        whole_seconds=middle["whole"],
        peak_bytes=own_peak(),
        distinct=distinct,
    )


@contextmanager
def _timed(seconds: dict[str, list[float]], name: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds.setdefault(name, []).append(time.perf_counter() - begin)


@torch.no_grad()
def multiply(model: BehaviourQuantizer, features: torch.Tensor, encoders: Sequence[str]) -> None:
    """The products of encoders' weights with features, batch by batch as `code_new_items` makes them; what comes out is thrown away.

    Args:
        model: Whose encoders.
        features: float32 [n, d_m].
        encoders: Their names in `ModalityCoder`.
    """
    coder = model.coder(MODALITY)
    for batch in features.split(BATCH):
        for name in encoders:
            product = batch
            for layer in getattr(coder, name):
                if isinstance(layer, torch.nn.Linear):
                    product = product @ layer.weight.T


def _features(items: int, generator: torch.Generator) -> np.ndarray:
    """float32 [items, WIDTH], part after part, so that nothing of the same size lies beside it."""
    centres = torch.randn(CENTRES, WIDTH, generator=generator)
    features = np.empty((items, WIDTH), dtype=np.float32)
    for low in range(0, items, STARTING_ITEMS):
        part = features[low : low + STARTING_ITEMS]
        nearby = centres[torch.randint(CENTRES, (len(part),), generator=generator)]
        part[:] = (nearby + SPREAD * torch.randn(len(part), WIDTH, generator=generator)).numpy()
    return features


@torch.no_grad()
def _start(model: BehaviourQuantizer, features: torch.Tensor, generator: torch.Generator) -> None:
    """Standardisation and codebooks from the first items, as training starts them; weights stay random, which costs the same."""
    first = features[:STARTING_ITEMS]
    model.coder(MODALITY).fit_standardisation(first)
    encoded = model.encode({MODALITY: first}, {MODALITY: torch.ones(len(first), dtype=torch.bool)})
    model.quantizer.start_codebooks(encoded.content, encoded.predicted, model.config.kmeans_iterations, generator)


def _run(given: str) -> None:
    section, *numbers = json.loads(given)
    try:
        print(json.dumps(asdict(_measure(QuantizationConfig.model_validate(section), *numbers))))
    except BBQRecError as error:
        sys.exit(error.problem)


if __name__ == "__main__":
    _run(sys.argv[1])
