"""Says of what was measured how it stands to the targets, and writes it all as Markdown. Nothing is measured here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bbqrec_core.evaluation.significance import compare_with
from benchmarks import command
from benchmarks.codebooks.assignment import Assigned
from benchmarks.codebooks.contenders import NAMES, OURS, RQVAE
from benchmarks.codebooks.quality import Measured
from benchmarks.codebooks.steps import OUR_CODEBOOKS, OUR_STEP, PACKAGE_CODEBOOKS, PACKAGE_STEP, StepTimes
from benchmarks.machine import count_threads

SECONDS, SECONDS_ITEMS = 180.0, 12_101
"""Ours has so long for a catalogue as large as Beauty's, and for a larger one as long per item."""
MOST_COLLISIONS, LEAST_PERPLEXITY, MOST_IN_ONE_CODE = 0.01, 0.70, 0.03
CARRIED_BELOW = 0.05
"""How far ours may stay behind plain RQ-VAE in what its IDs carry of the features."""
SIGNIFICANCE = 0.05
LCP_MEASURES = ("difference", "ratio")
"""A tokenizer that puts most items under few codes has long common prefixes everywhere: that raises the difference and lowers the ratio."""
LEAST_OF_FLOOR, MEMORY = 0.80, 24 * 2**30
MOST_TIMES_PACKAGE = 1.5
_STEPS_BESIDE = {OUR_CODEBOOKS: PACKAGE_CODEBOOKS, OUR_STEP: PACKAGE_STEP}


@dataclass(frozen=True)
class Subject:
    """What was measured on.

    Attributes:
        profile: The profile's name.
        items, users: Of the catalogue, and ranked for.
        split: The part that users were ranked on.
        known_by: What IDs are made from, in words.
        sizes: K_1..K_L.
        passes: That every contender makes over the items, save the one that gets our seconds.
        seed: The first.
        published: Modalities that are known by published codes alone.
    """

    profile: str
    items: int
    users: int
    split: str
    known_by: str
    sizes: Sequence[int]
    passes: int
    seed: int
    published: Sequence[str]


def report(
    subject: Subject | None, measured: Mapping[str, Sequence[Measured]], assigned: Assigned | None, steps: StepTimes | None, machine: str
) -> str:
    """Everything as Markdown.

    Args:
        subject: What IDs were measured on; None if they were not asked for.
        measured: By contender, one per seed, in the order of seeds.
        assigned: The million items; None if they were not asked for.
        steps: The training steps; None if they were not asked for.
        machine: A line on what it ran on.
    """
    verdicts: list[str] = []
    parts = [f"# Codebooks, measured\n\n{machine}"]
    if subject is not None:
        parts.append(_contenders(subject, measured))
        verdicts += _verdicts_on_ids(subject, measured)
    if assigned is not None:
        parts.append(_assignment(assigned))
        verdicts += _verdicts_on_assignment(assigned)
    if steps is not None:
        parts.append(_steps(steps))
        verdicts += [
            command.verdict(
                (ratio := steps.milliseconds[ours] / steps.milliseconds[theirs]) <= MOST_TIMES_PACKAGE,
                f"{ours}: {ratio:.2f} times {theirs}, at most {MOST_TIMES_PACKAGE:g}",
            )
            for ours, theirs in _STEPS_BESIDE.items()
        ]
    return "\n\n".join([*parts, "## Targets\n\n" + "\n".join(verdicts)]) + "\n"


def _contenders(subject: Subject, measured: Mapping[str, Sequence[Measured]]) -> str:
    seeds = len(next(iter(measured.values())))
    modalities = list(measured[OURS][0].carried)
    heads = ["", "seconds", "CPU seconds"]
    heads += [f"probe {'accuracy' if name in subject.published else 'R2'}, {name}" for name in modalities]
    heads += [
        "collisions before repair",
        "codes used",
        "perplexity of level 1",
        "largest code",
        "behaviour-LCP, difference",
        "behaviour-LCP, ratio",
        "NDCG@10",
    ]
    rows = []
    for name, runs in measured.items():
        rows.append(
            [
                NAMES[name],
                f"{_mean(_seconds(run) for run in runs):.1f}",
                f"{_mean(run.cpu_seconds for run in runs):.1f}",
                *(f"{_mean(run.carried[modality] for run in runs):.3f}" for modality in modalities),
                f"{_mean(run.collisions for run in runs):.2%}",
                f"{_mean(run.used_share for run in runs):.1%}",
                f"{_mean(run.perplexity_share for run in runs):.0%}",
                f"{_mean(run.largest_share for run in runs):.1%}",
                *(_lcp(runs, measure) for measure in LCP_MEASURES),
                f"{_mean(run.ndcg.mean() for run in runs):.4f}",
            ]
        )
    numbers = "seed" if seeds == 1 else "seeds"
    last = "" if seeds == 1 else f" to {subject.seed + seeds - 1}, means"
    return (
        f"## {subject.profile}: {subject.items:,} items, {subject.users:,} users, {subject.known_by}\n\n"
        f"Levels of {', '.join(map(str, subject.sizes))} codes, {subject.passes} passes over the items, {numbers} {subject.seed}{last}; "
        f"NDCG@10 of the fixed sequence model on {subject.split}, seen items masked. Seconds are those of fitting and of giving all items "
        f"their IDs.\n\n{_table(heads, rows)}"
    )


def _lcp(runs: Sequence[Measured], measure: str) -> str:
    """A mean over seeds with the hull of their intervals."""
    found = [vars(run.lcp) for run in runs if run.lcp is not None]
    if not found:
        return "no pair"
    low, high = min(lcp[f"{measure}_low"] for lcp in found), max(lcp[f"{measure}_high"] for lcp in found)
    return f"{_mean(lcp[measure] for lcp in found):.3f} ({low:.3f} to {high:.3f})"


def _verdicts_on_ids(subject: Subject, measured: Mapping[str, Sequence[Measured]]) -> list[str]:
    ours, plain = measured[OURS], measured[RQVAE]
    seconds, allowed = _mean(_seconds(run) for run in ours), SECONDS * max(1.0, subject.items / SECONDS_ITEMS)
    used, perplexity = min(run.used_share for run in ours), min(run.perplexity_share for run in ours)
    largest, collisions = max(run.largest_share for run in ours), max(run.collisions for run in ours)
    worst = " with the worst seed" if len(ours) > 1 else ""
    verdicts = [
        command.verdict(seconds <= allowed, f"ours takes {seconds:.0f} s for {subject.items:,} items, at most {allowed:.0f}"),
        command.verdict(used == 1.0, f"{used:.1%} of our codes are in use at the worst level, all of them wanted"),
        command.verdict(
            perplexity >= LEAST_PERPLEXITY, f"perplexity of level 1 is {perplexity:.0%} of its size{worst}, at least {LEAST_PERPLEXITY:.0%}"
        ),
        command.verdict(
            largest <= MOST_IN_ONE_CODE, f"the largest code holds {largest:.1%} of the items{worst}, at most {MOST_IN_ONE_CODE:.0%}"
        ),
        command.verdict(
            collisions < MOST_COLLISIONS, f"{collisions:.2%} of the items collide before repair{worst}, below {MOST_COLLISIONS:.0%}"
        ),
    ]
    for name in ours[0].carried:
        gap = _mean(run.carried[name] for run in plain) - _mean(run.carried[name] for run in ours)
        kind = "accuracy on" if name in subject.published else "R2 of"
        relation = "above" if gap <= 0 else "below"
        text = f"probe {kind} {name} is {abs(gap):.3f} {relation} that of {NAMES[RQVAE]}, at most {CARRIED_BELOW:g} below"
        verdicts.append(command.verdict(gap <= CARRIED_BELOW, text))
    pairs = [(vars(run.lcp), vars(other.lcp)) for run, other in zip(ours, plain, strict=True) if run.lcp and other.lcp]
    for measure in LCP_MEASURES if pairs else ():
        above = all(own[f"{measure}_low"] > other[f"{measure}_high"] for own, other in pairs)
        text = (
            f"behaviour-LCP as {measure} is {_lcp(ours, measure)}, that of {NAMES[RQVAE]} {_lcp(plain, measure)}: above it, intervals apart"
        )
        verdicts.append(command.verdict(above, text))
    return verdicts + _verdicts_on_ndcg(subject, measured)


def _verdicts_on_ndcg(subject: Subject, measured: Mapping[str, Sequence[Measured]]) -> list[str]:
    """Ours beside each other contender: differences by user, averaged over seeds; paired permutation tests, Holm's correction."""
    means = {name: np.mean([run.ndcg for run in runs], axis=0) for name, runs in measured.items()}
    return [
        command.verdict(
            difference < 0 and p <= SIGNIFICANCE,
            f"NDCG@10 is {0.0 - difference:+.4f} against {NAMES[name]}, p {p:.4f} (Holm): above it, p at most {SIGNIFICANCE:g}",
        )
        for name, (difference, p) in compare_with(OURS, means, subject.seed).items()
    ]


def _assignment(assigned: Assigned) -> str:
    rows = [
        [name, f"{seconds:.1f}", f"{assigned.items / seconds:,.0f}", f"{assigned.floor_seconds / seconds:.0%}"]
        for name, seconds in (
            ("floor: matrix products of both encoders, B and S", assigned.floor_seconds),
            ("those of B alone", assigned.aligned_seconds),
            ("features to codes", assigned.coding_seconds),
            ("hashes of the listings, to find identical ones", assigned.hashing_seconds),
            ("features to final IDs: checks, codes, hashes, repair", assigned.whole_seconds),
        )
    ]
    note = (
        f"{count_threads(assigned.threads)}, float32, greatest memory of the process {assigned.peak_bytes / 2**30:.1f} GiB, "
        f"{assigned.distinct:,} distinct IDs."
    )
    table = _table(["", "seconds", "items/s", "speed relative to the floor"], rows)
    return f"## {assigned.items:,} new items of {assigned.width}-d features\n\n{note}\n\n{table}"


def _verdicts_on_assignment(assigned: Assigned) -> list[str]:
    share, alone = (seconds / assigned.coding_seconds for seconds in (assigned.floor_seconds, assigned.aligned_seconds))
    peak = assigned.peak_bytes / 2**30
    return [
        command.verdict(assigned.distinct == assigned.items, f"{assigned.distinct:,} distinct IDs for {assigned.items:,} items"),
        command.verdict(
            assigned.peak_bytes <= MEMORY, f"{assigned.items:,} items take {peak:.1f} GiB of memory, at most {MEMORY / 2**30:.0f}"
        ),
        command.verdict(
            share >= LEAST_OF_FLOOR,
            f"features become codes at {share:.0%} of the speed of the encoders' own matrix products, at least {LEAST_OF_FLOOR:.0%} "
            f"(of those of B alone, which are all that codes depend on: {alone:.0%})",
        ),
    ]


def _steps(steps: StepTimes) -> str:
    alone = steps.milliseconds[PACKAGE_CODEBOOKS]
    rows = [[name, f"{milliseconds:.2f}", f"{milliseconds / alone:.2f}"] for name, milliseconds in steps.milliseconds.items()]
    return (
        f"## A training step\n\nBatches of {steps.batch} items, {steps.features}-d features, {len(steps.sizes)} levels of "
        f"{', '.join(map(str, steps.sizes))} codes of {steps.dimensions} dimensions; medians, steps taking turns.\n\n"
        + _table(["", "milliseconds", "times ResidualVQ alone"], rows)
    )


def _seconds(run: Measured) -> float:
    return run.fit_seconds + run.assign_seconds


def _mean(values: object) -> float:
    return float(np.mean(list(values)))  # type: ignore[call-overload]


def _table(heads: list[str], rows: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, rule, *rows))
