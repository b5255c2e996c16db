"""Measures search and training steps on a GPU, each beside the floor of its own matrix products, and beside T5's search and SASRec's step.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --device cpu --items 300 --large 900 --users 64 --peer-users 8 --rounds 1

PyTorch and transformers are all that it needs, no data and none of the pipeline. Weights, IDs and histories are random: this says what the
computing costs, not how good it is.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from bbqrec_core.baselines.sasrec import SasrecModel
from bbqrec_core.sequence.model import SequenceModel
from benchmarks import command
from benchmarks.floor import Products
from benchmarks.random_catalogue import CODES, HISTORY, LEVELS, K, make_model, random_histories, random_ids, search
from benchmarks.t5 import T5Recommender

BATCH, RATE = 256, 1e-3


@dataclass(frozen=True)
class Measured:
    """Medians over rounds.

    Attributes:
        seconds: Of the computation.
        floor: Seconds of its matrix products alone.
        operations: Multiplications and additions of those.
    """

    seconds: float
    floor: float
    operations: int


def main() -> int:
    """Measure and print; the exit status says whether everything could be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="where to compute; cpu serves to try it (default: %(default)s)")
    parser.add_argument("--items", type=int, default=10_000, metavar="N", help="catalogue (default: %(default)s)")
    parser.add_argument("--large", type=int, default=1_000_000, metavar="N", help="catalogue that ours searches too (default: %(default)s)")
    parser.add_argument("--users", type=int, default=4096, metavar="N", help="histories that ours answers (default: %(default)s)")
    parser.add_argument("--peer-users", type=int, default=256, metavar="N", help="histories that T5 answers (default: %(default)s)")
    parser.add_argument("--beams", type=int, default=20, metavar="N", help="beam width of all (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds, medians count (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the report, beside printing it")
    arguments = parser.parse_args()
    if min(arguments.items, arguments.large, arguments.users, arguments.peer_users, arguments.rounds) < 1 or arguments.beams < K:
        parser.error(f"numbers must be positive, and --beams at least {K}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU here; --device cpu tries the benchmark without one")
    return command.run(lambda: (_benchmark(arguments), []), arguments.out)


def _benchmark(arguments: argparse.Namespace) -> str:
    device, seed, beams = arguments.device, arguments.seed, arguments.beams
    ids = random_ids(arguments.items, seed)
    ours = make_model(ids, seed).to(device)
    histories = random_histories(arguments.users, arguments.items, seed).to(device)
    peer = T5Recommender(ids, CODES, seed, device)
    few = histories[: arguments.peer_users]
    large = make_model(random_ids(arguments.large, seed), seed).to(device)
    wide = random_histories(arguments.users, arguments.large, seed).to(device)
    searches: dict[str, tuple[Callable[[], object], int]] = {
        "ours, beam": (lambda: search(ours, histories, beams), len(histories)),
        f"ours, beam, {arguments.large:,} items": (lambda: search(large, wide, beams), len(wide)),
        "T5 generate, our trie of tensors": (lambda: peer.generate(few, beams, K, tensors=True), len(few)),
    }
    found = {name: (measure(run, device, arguments.rounds), users) for name, (run, users) in searches.items()}
    batch = random_histories(BATCH, arguments.items, seed + 1).to(device)
    steps = {
        "ours, both heads": training_step(make_model(ids, seed).to(device), batch),
        "SASRec with codes": sasrec_step(ids, arguments.items, seed, batch),
    }
    trained = {name: measure(run, device, arguments.rounds) for name, run in steps.items()}
    return report(arguments, found, trained)


def training_step(model: SequenceModel, batch: torch.Tensor) -> Callable[[], None]:
    """A step of ours, optimizer included: all positions foretell what follows."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)

    def run() -> None:
        loss = torch.stack(list(model(batch[:, :-1], batch[:, 1:]).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def sasrec_step(ids: torch.Tensor, n_items: int, seed: int, batch: torch.Tensor) -> Callable[[], None]:
    """The same of a SASRec that is as wide and knows items by their codes too."""
    torch.manual_seed(seed)
    rows = ids + 1 + torch.arange(LEVELS) * CODES
    model = SasrecModel(n_items, HISTORY, 64, 2, 2, 0.5, codes=rows).to(batch.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)

    def run() -> None:
        targets = batch[:, 1:].flatten()
        loss = F.cross_entropy(model.logits(model(batch[:, :-1]).flatten(0, 1)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def measure(run: Callable[[], object], device: str, rounds: int) -> Measured:
    """Time a computation and its products, turn by turn; once of each goes unmeasured."""
    with Products() as products:
        run()
    floor = products.again(device)
    floor()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for place, compute in enumerate((run, floor)):
            _finish(device)
            begun = time.perf_counter()
            compute()
            _finish(device)
            seconds[place].append(time.perf_counter() - begun)
    command.tell(f"{statistics.median(seconds[0]):.3f} s, its products {statistics.median(seconds[1]):.3f} s")
    return Measured(statistics.median(seconds[0]), statistics.median(seconds[1]), products.operations)


def _finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def report(arguments: argparse.Namespace, found: dict[str, tuple[Measured, int]], trained: dict[str, Measured]) -> str:
    """Everything as Markdown."""
    machine = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else f"CPU, {torch.get_num_threads()} threads"
    searches = ["| search | users/s | times T5 | times the floor's seconds |", "| --- | ---: | ---: | ---: |"]
    slowest = next(users / measured.seconds for name, (measured, users) in found.items() if name.startswith("T5"))
    for name, (measured, users) in found.items():
        rate = users / measured.seconds
        searches.append(f"| {name} | {rate:,.0f} | {rate / slowest:,.1f} | {measured.seconds / measured.floor:,.1f} |")
    steps = ["| training step | ms | floor, ms | times the floor | GFLOP |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, measured in trained.items():
        times = measured.seconds / measured.floor
        cells = f"{measured.seconds * 1e3:,.1f} | {measured.floor * 1e3:,.1f} | {times:,.1f} | {measured.operations / 1e9:,.1f}"
        steps.append(f"| {name} | {cells} |")
    parts = [
        f"# Search and training steps, measured\n\n{machine}, PyTorch {torch.__version__}.",
        f"{arguments.items:,} items, {LEVELS} levels of {CODES} codes; histories of {HISTORY}, beams of {arguments.beams}, {K} items "
        f"wanted; training steps of {BATCH} histories; medians of {arguments.rounds} rounds. The floor is a computation's own matrix "
        "products outside attention, done again with nothing between them.",
        "\n".join(searches),
        "\n".join(steps),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
