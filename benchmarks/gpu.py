"""Measures search and training steps on a GPU, each beside the floor of its own matrix products, and beside T5's search and SASRec's step.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --device cpu --items 300 --large 900 --users 64 --peer-users 8 --rounds 1

PyTorch, transformers, PyArrow and pydantic are all that it needs, no data and none of the pipeline. Weights, IDs and histories are random:
this says what the computing costs, not how good it is.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from bbqrec_core.baselines.sasrec import SasrecModel
from bbqrec_core.full_softmax import full_softmax_loss
from bbqrec_core.sequence.model import SequenceModel
from benchmarks import command
from benchmarks.floor import Products
from benchmarks.random_catalogue import CODES, HISTORY, LEVELS, K, make_model, parse_search, random_histories, random_ids, search
from benchmarks.t5 import T5_WITH_OUR_TRIE, generate, make_peer

BATCH, RATE = 256, 1e-3
Model = TypeVar("Model", bound=torch.nn.Module)


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
    arguments = parse_search(parser, users=4096, peer_users=256, rounds=5)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU here; --device cpu tries the benchmark without one")
    return command.run(lambda: (_benchmark(arguments), []), arguments.out)


def _benchmark(arguments: argparse.Namespace) -> str:
    device, seed, beams = arguments.device, arguments.seed, arguments.beams
    ids = random_ids(arguments.items, seed)
    ours = make_model(ids, seed).to(device)
    histories = random_histories(arguments.users, arguments.items, seed).to(device)
    peer = make_peer(ids, seed, device)
    few = histories[: arguments.peer_users]
    large = make_model(random_ids(arguments.large, seed), seed).to(device)
    wide = random_histories(arguments.users, arguments.large, seed).to(device)
    searches: dict[str, tuple[Callable[[], object], int]] = {
        "ours, beam": (lambda: search(ours, histories, beams), len(histories)),
        f"ours, beam, {arguments.large:,} items": (lambda: search(large, wide, beams), len(wide)),
        T5_WITH_OUR_TRIE: (lambda: generate(peer, few, beams, K), len(few)),
    }
    found = {name: (measure(run, device, arguments.rounds), users) for name, (run, users) in searches.items()}
    batch = random_histories(BATCH, arguments.items, seed + 1).to(device)
    steps = {
        "ours, both heads": training_step(make_model(ids, seed), our_loss, batch),
        "SASRec with codes": training_step(sasrec_with_codes(ids, arguments.items, seed), sasrec_loss, batch),
    }
    trained = {name: measure(run, device, arguments.rounds) for name, run in steps.items()}
    return report(arguments, found, trained)


def our_loss(model: SequenceModel, batch: torch.Tensor) -> torch.Tensor:
    """Of both heads; all positions foretell what follows."""
    return torch.stack(list(model(batch[:, :-1], batch[:, 1:]).values())).sum()


def sasrec_with_codes(ids: torch.Tensor, n_items: int, seed: int) -> SasrecModel:
    """A SASRec that is as wide and knows items by their codes too."""
    torch.manual_seed(seed)
    return SasrecModel(n_items, HISTORY, 64, 2, 2, 0.5, codes=ids + 1 + torch.arange(LEVELS) * CODES)


def sasrec_loss(model: SasrecModel, batch: torch.Tensor) -> torch.Tensor:
    """The same of SASRec."""
    return full_softmax_loss(model(batch[:, :-1]).flatten(0, 1), model.vectors(), batch[:, 1:].flatten())


def training_step(model: Model, loss_of: Callable[[Model, torch.Tensor], torch.Tensor], batch: torch.Tensor) -> Callable[[], None]:
    """A step of a model on a batch, optimizer included."""
    model.to(batch.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)

    def run() -> None:
        loss = loss_of(model, batch)
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
        "products outside attention, done again with nothing between them. Ours is what the shipped profiles have, with codes of text and "
        "image too and attention reweighted by both; its peers have the IDs alone.",
        "\n".join(searches),
        "\n".join(steps),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
