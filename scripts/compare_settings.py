"""Compares settings of the sequence model on VALIDATION, over seeds, on what a profile's earlier stages made.

    .venv/bin/python scripts/compare_settings.py gift_cards --with "" --with "sequence.dropout=0.3 sequence.learning_rate=0.002"

Each `--with` is a set of overrides (empty = the profile as it is). The test part is never looked at: defaults are chosen here, and only
measured by the pipeline. Prints NDCG@10 with seen items masked, one row per set, one number per seed.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from bbqrec_core.home import home_folder
from bbqrec_core.profile import load_profile, merge
from bbqrec_core.sequence.stage import run
from bbqrec_core.stage import StageContext
from bbqrec_core.store import ArtifactStore
from cli.overrides import parse_overrides
from flows.parameters import given
from tasks.plan import make_plan


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile")
    parser.add_argument("--with", dest="settings", action="append", required=True, help="overrides, separated by blanks")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    store = ArtifactStore(home_folder())
    plan = make_plan(load_profile(arguments.profile), store)
    inputs = {name: store.require(plan[name].ref).path for name in ("ingest", "quantize")}
    for setting in arguments.settings:
        overrides = parse_overrides(setting.split())
        values = [
            _valid_ndcg(arguments.profile, inputs, given(overrides) if overrides else {}, seed) for seed in range(1, arguments.seeds + 1)
        ]
        shown = " ".join(f"{value:.4f}" for value in values)
        print(f"| {arguments.profile} | {setting or 'as shipped'} | {shown} | {statistics.mean(values):.4f} |", flush=True)


def _valid_ndcg(profile: str, inputs: dict[str, Path], overrides: dict[str, object], seed: int) -> float:
    changed = load_profile(profile, merge(overrides, {"seed": seed}))
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryDirectory() as scratch:
        return float(str(run(StageContext(changed, inputs, Path(out), Path(scratch)))["valid_ndcg_at_10"]))


if __name__ == "__main__":
    main()
