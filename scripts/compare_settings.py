"""Compares settings of the sequence model on VALIDATION, over seeds, on what a profile's earlier stages made.

    BBQREC_RAW=/path/to/raw .venv/bin/python scripts/compare_settings.py gift_cards \\
      --with "" --with "sequence.dropout=0.3 sequence.learning_rate=0.002"

Each `--with` is a set of overrides (empty = the profile as it is), beside those of all that `--set` gives. The test part is never looked
at: defaults are chosen here, only measured by the pipeline. Prints NDCG@10 with seen items masked, one row per set, one number per seed.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from bbqrec_core.home import home_folder
from bbqrec_core.profile import Profile
from bbqrec_core.sequence.stage import run
from bbqrec_core.stage import StageContext
from bbqrec_core.store import ArtifactStore
from cli.overrides import parse_overrides
from flows.parameters import resolve
from tasks.plan import make_plan


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="an override of all, as `bbqrec run --set`")
    parser.add_argument("--with", dest="settings", action="append", required=True, help="overrides of one row, separated by blanks")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    profile = resolve(arguments.profile, parse_overrides(arguments.overrides))
    store = ArtifactStore(home_folder())
    inputs = {name: store.require(ref).path for name, ref in make_plan(profile, store)["train"].inputs.items()}
    for setting in arguments.settings:
        changed = resolve(arguments.profile, parse_overrides([*arguments.overrides, *setting.split()]))
        values = [_valid_ndcg(changed.model_copy(update={"seed": seed}), inputs) for seed in range(1, arguments.seeds + 1)]
        shown = " ".join(f"{value:.4f}" for value in values)
        print(f"| {arguments.profile} | {setting or 'as shipped'} | {shown} | {statistics.mean(values):.4f} |", flush=True)


def _valid_ndcg(profile: Profile, inputs: dict[str, Path]) -> float:
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryDirectory() as scratch:
        return float(str(run(StageContext(profile, inputs, Path(out), Path(scratch)))["valid_ndcg_at_10"]))


if __name__ == "__main__":
    main()
