"""Measures generative search: users a second of ours beside transformers' T5, on one catalogue, with one beam width.

    python -m benchmarks.search
    python -m benchmarks.search --items 10000 --large 1000000 --users 512 --peer-users 32 --out search.md

Weights are random, since the work of a search hardly depends on them: this says what a search costs, not how good it is. Every result must
be an item of the catalogue, and both T5 must return the same items, or the benchmark fails. Only the order of things belongs here.
"""

import argparse
import sys
from collections.abc import Callable

import torch

from bbqrec_core.sequence.config import SearchConfig
from benchmarks import command
from benchmarks.machine import count_threads, describe_machine
from benchmarks.random_catalogue import (
    AT_A_TIME,
    CODES,
    HISTORY,
    LEVELS,
    K,
    make_model,
    parse_search,
    random_histories,
    random_ids,
    score_all,
    search,
)
from benchmarks.t5 import T5, T5_WITH_OUR_TRIE, allowed_by_prefix, beside_t5, generate, make_peer
from benchmarks.turns import seconds_in_turns
from cli import environment

TARGET_TIMES, TARGET_SCALE = 100.0, 2.0
DEFAULT_BEAMS = SearchConfig().beam_width
OURS, LARGE = "ours, beam", "ours, beam, {:,} items"


def main() -> int:
    """Measure and print; the exit status says whether everything could be measured, not whether targets were met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments = parse_search(parser, users=512, peer_users=32, rounds=3)
    environment.apply()
    return command.run(lambda: _benchmark(arguments), arguments.out)


def _benchmark(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    codes = random_ids(arguments.items, arguments.seed)
    ours = make_model(codes, arguments.seed)
    histories = random_histories(arguments.users, arguments.items, arguments.seed)
    few = histories[: arguments.peer_users]
    peer = make_peer(codes, arguments.seed)
    allowed = allowed_by_prefix(peer)
    large = make_model(random_ids(arguments.large, arguments.seed), arguments.seed)
    wide = random_histories(arguments.users, arguments.large, arguments.seed)

    contenders: dict[str, tuple[Callable[[], torch.Tensor], int]] = {
        OURS: (lambda: search(ours, histories, arguments.beams), len(histories)),
        "ours, every item scored": (lambda: score_all(ours, histories), len(histories)),
        f"ours, beam of {DEFAULT_BEAMS}, the default": (lambda: search(ours, histories, DEFAULT_BEAMS), len(histories)),
        LARGE.format(arguments.large): (lambda: search(large, wide, arguments.beams), len(wide)),
        T5: (lambda: generate(peer, few, arguments.beams, K, allowed), len(few)),
        T5_WITH_OUR_TRIE: (lambda: generate(peer, few, arguments.beams, K), len(few)),
    }
    seconds, results = seconds_in_turns({name: run for name, (run, _) in contenders.items()}, arguments.rounds)
    rates = {name: users / seconds[name] for name, (_, users) in contenders.items()}
    wrong = _check(results, histories)
    return report(rates, arguments, peer.trie.n_nodes), wrong


def _check(results: dict[str, torch.Tensor], histories: torch.Tensor) -> list[str]:
    """What must hold for the times to mean anything."""
    wrong = [f"{name} returned something that is no item" for name, items in results.items() if bool((items < 0).any())]
    if not torch.equal(results[T5], results[T5_WITH_OUR_TRIE]):
        wrong.append("the two T5 found different items: the tries disagree")
    if bool((results[OURS][:, :, None] == histories[:, None, :]).any()):
        wrong.append("our beam returned an item of the history")
    return wrong


def report(rates: dict[str, float], arguments: argparse.Namespace, nodes: int) -> str:
    """Everything as Markdown."""
    times, scale = rates[OURS] / rates[T5], rates[OURS] / rates[LARGE.format(arguments.large)]
    verdicts = [
        command.verdict(times >= TARGET_TIMES, f"ours answers {times:,.0f} times as many users as T5 generate, at least {TARGET_TIMES:g}"),
        command.verdict(
            scale <= TARGET_SCALE,
            f"{arguments.large:,} items cost {scale:.2f} times what {arguments.items:,} do, at most {TARGET_SCALE:g}",
        ),
    ]
    parts = [
        f"# Search, measured\n\n{describe_machine(count_threads(torch.get_num_threads()))}",
        f"{arguments.items:,} items, {LEVELS} levels of {CODES} codes, {nodes:,} nodes; histories of {HISTORY}, "
        f"beams of {arguments.beams}, {K} items wanted; {arguments.users:,} users in batches of {AT_A_TIME}, of T5 "
        f"{arguments.peer_users:,} at once; medians of {arguments.rounds} rounds. "
        "Ours is what the shipped profiles have, with codes of text and image too and attention reweighted by both; T5 has the IDs alone.",
        beside_t5(rates),
        "## Targets",
        "\n".join(verdicts),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
