"""Measures training: seconds an epoch, and seconds to equal quality, of ours beside SASRec with codes and TIGER's T5.

Then search by what was trained. All of it on the CPU: `benchmarks.gpu` is for a GPU.

    python -m benchmarks.train
    BBQREC_RAW=/path/to/sequences python -m benchmarks.train instruments_2018 --budget 600 --judges 500

Semantic IDs come through a profile's stages up to `quantize`, which are run in the home folder (BBQREC_HOME) if they do not stand there;
nothing of that is timed. Only the order of things belongs here.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from bbqrec_core.baselines.tiger import TigerModel
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.evaluation.ranking import sample_users
from bbqrec_core.home import home_folder
from bbqrec_core.sequence.model import SequenceModel
from bbqrec_core.store import ArtifactStore
from benchmarks import command
from benchmarks.codebooks.catalogue import SHOP
from benchmarks.machine import count_threads, describe_machine
from benchmarks.t5 import T5, beside_t5
from benchmarks.trained_search import OURS as SEARCHER
from benchmarks.trained_search import K, search_quality, search_rates
from benchmarks.training import (
    BEAMS,
    Subject,
    Training,
    batches_as_they_come,
    train_ours,
    train_sasrec_with_codes,
    train_tiger,
)
from cli import environment
from cli.overrides import parse_overrides
from flows.parameters import resolve
from tasks.plan import make_plan
from tasks.runner import run_stage

STAGES = ("shop", "ingest", "embed", "quantize")
OURS, DENSE_ALONE, SASREC, TIGER = "ours", "ours, dense head alone", "SASRec with codes", "TIGER (T5)"
PUBLIC_TIGER = "TIGER (T5), batches as public code has them"
TARGET_SASREC, TARGET_TIGER, LOSS = 1.5, 100.0, 0.005
TARGET_SEARCH = 100.0
SEARCHERS = 5000
"""Validation users for whom beams are compared with exact scoring."""


@dataclass(frozen=True)
class Searched:
    """Search by what was trained.

    Attributes:
        exact: NDCG@10 of our generative head by exact scoring, of the searchers.
        beams: The same by beams of some widths.
        judged: Of the judges, by a beam as wide as T5's.
        rates: Users a second, from `search_rates`.
    """

    exact: float
    beams: dict[int, float]
    judged: float
    rates: dict[str, float]


def main() -> int:
    """Measure and print; the exit status says whether everything could be measured, not whether targets were met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", nargs="?", default=str(SHOP), help="a profile (default: a synthetic shop of 3,000 items, no download)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="FIELD=VALUE", help="override a profile's field")
    parser.add_argument("--budget", type=float, default=300, metavar="S", help="seconds of training for T5 (default: %(default)s)")
    parser.add_argument("--points", type=int, default=4, metavar="N", help="moments at which T5 is judged (default: %(default)s)")
    parser.add_argument("--judges", type=int, default=300, metavar="N", help="validation users who judge (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of timing, medians count (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="file for the report, beside printing it")
    arguments = parser.parse_args()
    if min(arguments.budget, arguments.points, arguments.judges, arguments.rounds) <= 0:
        parser.error("--budget, --points, --judges and --rounds must be positive")
    environment.apply()
    return command.run(lambda: (_benchmark(arguments), []), arguments.out)


def _benchmark(arguments: argparse.Namespace) -> str:
    profile = resolve(arguments.profile, parse_overrides(arguments.overrides))
    store = ArtifactStore(home_folder())
    made = {name: run_stage(stage, profile, store).artifact.path for name, stage in make_plan(profile, store).items() if name in STAGES}
    if profile.compute.threads:
        torch.set_num_threads(profile.compute.threads)
    data = SequenceDataset.load(made["ingest"], profile.sequence.max_history)
    subject = Subject(profile, data, made["quantize"], sample_users(data.valid, arguments.judges, profile.seed))
    trainings = {
        OURS: train_ours(subject, arguments.rounds),
        DENSE_ALONE: train_ours(subject, arguments.rounds, {"generative_weight": 0.0}),
        SASREC: train_sasrec_with_codes(subject, arguments.rounds),
        TIGER: train_tiger(subject, arguments.budget, arguments.points),
        PUBLIC_TIGER: train_tiger(subject, arguments.budget / arguments.points, 1, batches_as_they_come),
    }
    return report(subject, trainings, arguments.budget, _search(subject, trainings, arguments.rounds))


def _search(subject: Subject, trainings: dict[str, Training], rounds: int) -> Searched | None:
    """None where the profile has no generative head."""
    ours, peer, profile = trainings[OURS].model, trainings[TIGER].model, subject.profile
    if not isinstance(ours, SequenceModel) or ours.decoder is None or not isinstance(peer, TigerModel):
        return None
    searchers = sample_users(subject.data.valid, SEARCHERS, profile.seed)
    exact, beams = search_quality(ours, searchers, sorted({BEAMS, profile.search.beam_width}))
    judged = search_quality(ours, subject.judges, [BEAMS])[1][BEAMS]
    return Searched(exact, beams, judged, search_rates(ours, peer, searchers, BEAMS, rounds))


def report(subject: Subject, trainings: dict[str, Training], budget: float, searched: Searched | None) -> str:
    """Everything as Markdown."""
    ours, sasrec, tiger = (trainings[name] for name in (OURS, SASREC, TIGER))
    lines = [
        "| | seconds an epoch | times SASRec | best NDCG@10 | seconds to TIGER's best | seconds to SASRec's best |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, training in trainings.items():
        reached = [_seconds(training.seconds_to(other.best)) for other in (tiger, sasrec)]
        lines.append(
            f"| {name} | {training.epoch_seconds:,.1f} | {training.epoch_seconds / sasrec.epoch_seconds:,.1f} | {training.best:.4f} "
            f"| {reached[0]} | {reached[1]} |"
        )
    curve = [
        "| seconds of training | NDCG@10 |",
        "| ---: | ---: |",
        *(f"| {seconds:,.0f} | {value:.4f} |" for seconds, value in tiger.curve),
    ]
    over_sasrec = ours.epoch_seconds / sasrec.epoch_seconds
    verdicts = [
        command.verdict(
            over_sasrec <= TARGET_SASREC, f"an epoch of ours takes {over_sasrec:.2f} times SASRec's, at most {TARGET_SASREC:g}"
        ),
    ]
    for name, called in (
        (PUBLIC_TIGER, "TIGER's, with batches as public code has them,"),
        (TIGER, "TIGER's, with batches of like length,"),
    ):
        times = trainings[name].epoch_seconds / ours.epoch_seconds
        verdicts.append(command.verdict(times >= TARGET_TIGER, f"{called} takes {times:,.0f} times ours, at least {TARGET_TIGER:g}"))
    search = []
    if searched is not None:
        for width, beam in searched.beams.items():
            said = f"the generative head has NDCG@10 {beam:.4f} by a beam of {width}, {searched.exact:.4f} by exact scoring"
            verdicts.append(command.verdict(abs(beam - searched.exact) <= LOSS * searched.exact, f"{said}, at most {LOSS:.1%} apart"))
        times = searched.rates[SEARCHER] / searched.rates[T5]
        said = f"a beam of {BEAMS} answers {times:,.0f} times as many users as T5's, at least {TARGET_SEARCH:g}"
        good = f"with NDCG@10 {searched.judged:.4f} to the judges, T5 with {tiger.best:.4f} at best"
        fulfilled = times >= TARGET_SEARCH and searched.judged >= tiger.best
        verdicts.append(command.verdict(fulfilled, f"{said}, {good}"))
        search = [
            f"Search by what was trained, {K} items by beams of {BEAMS}; ours leaves out what users have, T5 does not:",
            beside_t5(searched.rates),
        ]
    interactions = int(subject.data.train_offsets[-1])
    parts = [
        f"# Training, measured\n\n{describe_machine(count_threads(torch.get_num_threads()))}",
        f"{subject.profile.name}: {subject.data.n_items:,} items, {interactions:,} train interactions. NDCG@10 is of "
        f"{len(subject.judges):,} validation users, seen items masked, no prior. TIGER's epoch is told from the examples that it was "
        f"trained on in {budget:,.0f} seconds, and the padded one's in {tiger.curve[0][0]:,.0f}, since a whole one takes too long.",
        "\n".join(lines),
        "TIGER, on its way, with batches of like length:",
        "\n".join(curve),
        *search,
        "## Targets",
        "\n".join(verdicts),
    ]
    return "\n\n".join(parts) + "\n"


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
