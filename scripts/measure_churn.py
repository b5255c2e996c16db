"""Measures how far semantic IDs move from one night to the next, and what stability costs: a cold start against a warm one.

    BBQREC_RAW=/path/to/raw .venv/bin/python scripts/measure_churn.py gift_cards
    .venv/bin/python scripts/measure_churn.py demo --seeds 1 --warm "" --warm "tolerance=0" --set compute.threads=1

"Today" is a profile's data as it is, "yesterday" the same without its last interactions in time. Yesterday's IDs are made from scratch;
today's from scratch, and from yesterday's with each set of fields of `quantization.warm_start` (empty = as the profile has them). Prints a
row per start, means over seeds: churn by prefix of 1, 2, ... levels, and the health of the codes. For sources of kind amazon and the
synthetic shop; everything is made in a temporary folder.
"""

import argparse
import gzip
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from bbqrec_core.embedding.stage import run as embed
from bbqrec_core.ingest.shop.stage import run as shop
from bbqrec_core.ingest.sources import SHOP_IMAGES, SHOP_METADATA, SHOP_REVIEWS, resolve_source
from bbqrec_core.ingest.stage import run as ingest
from bbqrec_core.profile import Profile, merge
from bbqrec_core.quantization.config import PREVIOUS, PREVIOUS_INGEST
from bbqrec_core.quantization.stage import run as quantize
from bbqrec_core.stage import StageContext, Statistics
from cli.overrides import parse_overrides
from flows.parameters import resolve

FIGURES = (
    "collision_share_before",
    "collision_share",
    "fused_r2_text",
    "fused_r2_image",
    "fused_r2_behaviour",
    "behaviour_lcp_ratio",
    "behaviour_lcp_difference",
    "perplexity_level_1",
    "used_code_share",
)


def main() -> None:
    """Make both days, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="an override of the profile, as `bbqrec run --set`")
    parser.add_argument("--warm", action="append", help="fields of quantization.warm_start, separated by blanks")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--drop", type=float, default=0.05, help="share of the interactions, the last ones in time, that yesterday lacks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        days = make_days(resolve(arguments.profile, parse_overrides(arguments.overrides)), Path(name), arguments.drop)
        print(f"| profile | start | churn by prefix | {' | '.join(FIGURES)} |", flush=True)
        found: dict[str, list[Statistics]] = {}
        for seed in range(1, arguments.seeds + 1):

            def measure(day: str, warm: list[str], earlier: Mapping[str, Path], seed: int = seed) -> tuple[Path, Statistics]:
                fields = [*arguments.overrides, f"seed={seed}", *(f"quantization.warm_start.{field}" for field in warm)]
                profile = resolve(arguments.profile, parse_overrides(fields))
                return run_stage(quantize, profile, {**days[day], **earlier}, Path(name))

            before, _ = measure("yesterday", ["start=scratch"], {})
            earlier = {PREVIOUS: before, PREVIOUS_INGEST: days["yesterday"]["ingest"]}
            for start in ("start=scratch", *(arguments.warm or [""])):
                found.setdefault(start or "as shipped", []).append(measure("today", start.split(), earlier)[1])
        for start, runs in found.items():
            levels = range(1, int(str(runs[0]["levels"])) + 1)
            churn = " / ".join(f"{100 * mean(runs, f'churn_share_level_{level}'):.1f}" for level in levels)
            figures = " | ".join(f"{mean(runs, figure):.3f}" for figure in FIGURES)
            print(f"| {arguments.profile} | {start} | {churn} | {figures} |", flush=True)


def make_days(profile: Profile, folder: Path, drop: float) -> dict[str, dict[str, Path]]:
    """Ingest and embed a profile's data with and without its last interactions; artifacts by day and stage."""
    made = {"shop": run_stage(shop, profile, {}, folder)[0]} if profile.source.kind == "synthetic" else {}
    files = resolve_source(profile.source, made.get("shop"))
    (reviews,), (metadata,) = files.of("reviews"), files.of("metadata")
    with gzip.open(reviews, "rb") as file:
        lines = file.readlines()
    times = np.array([time_of(line) for line in lines])
    days = {}
    for day, moment in (("yesterday", np.quantile(times, 1 - drop, method="higher")), ("today", np.inf)):
        raw = folder / day
        raw.mkdir()
        (raw / SHOP_REVIEWS).write_bytes(gzip.compress(b"".join(line for line, time in zip(lines, times, strict=True) if time < moment)))
        (raw / SHOP_METADATA).symlink_to(metadata)
        source = {"kind": "amazon", "raw": str(raw), "reviews": SHOP_REVIEWS, "metadata": SHOP_METADATA, "images": None}
        if files.image_folder is not None:
            (raw / SHOP_IMAGES).symlink_to(files.image_folder)
            source["images"] = SHOP_IMAGES
        changed = Profile.model_validate(merge(profile.model_dump(), {"source": source}))
        days[day] = {"ingest": run_stage(ingest, changed, {}, folder)[0]}
        days[day]["embed"] = run_stage(embed, changed, days[day], folder)[0]
    return days


def time_of(line: bytes) -> float:
    """When a review was written, seconds since 1970; minus infinity for a line that is none, which is left for ingest to refuse."""
    try:
        return float(json.loads(line)["unixReviewTime"])
    except (ValueError, KeyError, TypeError):
        return -np.inf


def run_stage(
    stage: Callable[[StageContext], Statistics], profile: Profile, inputs: Mapping[str, Path], folder: Path
) -> tuple[Path, Statistics]:
    """Run a stage into a folder of its own."""
    out, scratch = (Path(tempfile.mkdtemp(dir=folder)) for _ in range(2))
    return out, stage(StageContext(profile, inputs, out, scratch))


def mean(runs: list[Statistics], figure: str) -> float:
    """Mean of a statistic over runs; NaN where a run has none."""
    return statistics.mean(float("nan") if one[figure] is None else float(str(one[figure])) for one in runs)


if __name__ == "__main__":
    main()
