"""Measures tokenizers beside one another: what their IDs cost and what they are worth, and how fast ours assigns and trains.

    python -m benchmarks.quantize
    BBQREC_RAW=/path/to/sequences python -m benchmarks.quantize beauty_2014 --seeds 3

Features come through a profile's stages `ingest` and `embed`, which are run in the home folder (BBQREC_HOME) if they do not stand there
yet; nothing of that is timed. Only the order of things belongs here.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from bbqrec_core.determinism import choose_device, deterministic
from bbqrec_core.home import home_folder
from bbqrec_core.profile import Profile
from bbqrec_core.store import ArtifactStore
from benchmarks import command
from benchmarks.codebooks.assignment import Assigned, measure_assignment
from benchmarks.codebooks.catalogue import SHOP, load_catalogue
from benchmarks.codebooks.contenders import NAMES, OURS, RQVAE, Budget, contenders_for
from benchmarks.codebooks.fixed_model import Recipe
from benchmarks.codebooks.quality import Measured, measure
from benchmarks.codebooks.steps import StepTimes, time_steps
from benchmarks.codebooks.verdicts import Subject, report
from benchmarks.machine import count_threads, describe_machine
from cli import environment
from cli.overrides import parse_overrides
from flows.parameters import resolve

PARTS = ("ids", "assignment", "steps")


def main() -> int:
    """Measure and print; the exit status says whether everything could be measured, not whether targets were met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", nargs="?", default=str(SHOP), help="a profile (default: a synthetic shop of 3,000 items, no download)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="FIELD=VALUE", help="override a profile's field")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure (default: all)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds from the profile's on (default: %(default)s)")
    parser.add_argument("--split", choices=("test", "valid"), default="test", help="whom the model ranks for (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs, help="of the sequence model (default: %(default)s)")
    parser.add_argument("--assign", type=int, default=1_000_000, metavar="N", help="new items to assign (default: a million)")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="training steps counted of each kind (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of assignment, medians count (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="file for the report, beside printing it; written after every seed")
    arguments = parser.parse_args()
    if min(arguments.seeds, arguments.epochs, arguments.assign, arguments.steps, arguments.rounds) < 1:
        parser.error("--seeds, --epochs, --assign, --steps and --rounds must be positive")
    if arguments.out is not None and not arguments.out.parent.is_dir():
        parser.error(f"--out: there is no folder {arguments.out.parent}")
    environment.apply()
    return command.run(lambda: (_benchmark(arguments), []), arguments.out)


def _benchmark(arguments: argparse.Namespace) -> str:
    profile = resolve(arguments.profile, parse_overrides(arguments.overrides))
    threads = profile.compute.threads or os.cpu_count() or 1
    machine = describe_machine(count_threads(threads))

    def seed_done(subject: Subject, measured: dict[str, list[Measured]]) -> None:
        if arguments.out is not None:
            arguments.out.write_text(report(subject, measured, None, None, machine), encoding="utf-8")

    subject, measured = _measure_ids(arguments, profile, seed_done) if "ids" in arguments.parts else (None, {})
    assigned: Assigned | None = None
    if "assignment" in arguments.parts:
        assigned = measure_assignment(profile.quantization, arguments.assign, arguments.rounds, threads, profile.seed)
        command.tell(f"assignment: {assigned.coding_seconds:.1f} s beside a floor of {assigned.floor_seconds:.1f} s")
    steps: StepTimes | None = None
    if "steps" in arguments.parts:
        with deterministic(threads):
            steps = time_steps(profile.quantization, arguments.steps, profile.seed)
        command.tell("training steps: " + ", ".join(f"{name} {value:.1f} ms" for name, value in steps.milliseconds.items()))
    return report(subject, measured, assigned, steps, machine)


def _measure_ids(
    arguments: argparse.Namespace, profile: Profile, seed_done: Callable[[Subject, dict[str, list[Measured]]], None]
) -> tuple[Subject, dict[str, list[Measured]]]:
    recipe = Recipe(epochs=arguments.epochs)
    catalogue = load_catalogue(profile, ArtifactStore(home_folder()), recipe.max_history)
    split = getattr(catalogue.dataset, arguments.split)
    section = profile.quantization
    subject = Subject(
        profile=profile.name,
        items=catalogue.data.n_items,
        users=len(split),
        split={"test": "the test part", "valid": "the validation part"}[arguments.split],
        known_by=catalogue.data.known_by,
        sizes=section.codebook_sizes,
        passes=section.warmup_epochs + section.epochs,
        seed=profile.seed,
        published=tuple(catalogue.data.codes),
    )
    measured: dict[str, list[Measured]] = {name: [] for name in contenders_for(catalogue)}
    with deterministic(profile.compute.threads):
        device = choose_device(profile.compute.device)
        for seed in range(profile.seed, profile.seed + arguments.seeds):
            for name in measured:
                budget = None
                if measured[OURS] and measured[RQVAE]:
                    budget = Budget(measured[OURS][-1].fit_seconds, measured[RQVAE][-1].fit_seconds)
                run = measure(name, catalogue, split, recipe, seed, device, budget)
                measured[name].append(run)
                command.tell(
                    f"seed {seed}, {NAMES[name]}: {run.fit_seconds:.1f} s, {run.collisions:.2%} collide before repair, "
                    f"NDCG@10 {run.ndcg.mean():.4f}"
                )
            seed_done(subject, measured)
    return subject, measured


if __name__ == "__main__":
    sys.exit(main())
