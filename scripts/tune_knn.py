"""Tunes the co-occurrence kNN on a profile's `ingest` artifact and says what it comes to; no other stage is needed.

    BBQREC_RAW=/path/to/sequences .venv/bin/bbqrec run instruments_2018 --until ingest
    BBQREC_RAW=/path/to/sequences .venv/bin/python scripts/tune_knn.py instruments_2018

Settings are chosen on validation; the test part is ranked once, by the chosen ones. Prints NDCG@10 and Recall@10, masked and not.
"""

import argparse
import time

from bbqrec_core.dataset import EvalSplit, SequenceDataset
from bbqrec_core.evaluation.metrics import expected_ndcg, expected_recall
from bbqrec_core.evaluation.ranking import rank_split
from bbqrec_core.home import home_folder
from bbqrec_core.prior.tuning import tune_knn
from bbqrec_core.recommender import Recommender
from bbqrec_core.store import ArtifactStore
from cli.overrides import parse_overrides
from flows.parameters import resolve
from tasks.plan import make_plan


def main() -> None:
    """Parse, tune, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="a field to override, such as baselines.knn.trials=300")
    arguments = parser.parse_args()
    profile = resolve(arguments.profile, parse_overrides(arguments.settings))
    store = ArtifactStore(home_folder())
    ingest = store.require(make_plan(profile, store)["ingest"].ref).path
    data = SequenceDataset.load(ingest, profile.baseline_history)
    begun = time.process_time()
    knn, trials = tune_knn(data, profile.baselines.knn, profile.baseline_history, profile.seed)
    print(f"{len(trials)} trials in {time.process_time() - begun:.0f} CPU seconds: {knn.settings}")
    for name, split in (("valid", data.valid), ("test", data.test)):
        for masked, (ndcg, recall) in _quality(knn, split).items():
            print(f"| {arguments.profile} | {name} | {'masked' if masked else 'unmasked'} | {ndcg:.4f} | {recall:.4f} |")


def _quality(recommender: Recommender, split: EvalSplit) -> dict[bool, tuple[float, float]]:
    """NDCG@10 and Recall@10 by "seen items masked?"."""
    return {
        masked: (
            float(expected_ndcg(ranking.ranks.above, ranking.ranks.tied, 10).mean()),
            float(expected_recall(ranking.ranks.above, ranking.ranks.tied, 10).mean()),
        )
        for masked, ranking in rank_split(recommender, split).items()
    }


if __name__ == "__main__":
    main()
