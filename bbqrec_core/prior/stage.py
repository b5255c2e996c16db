"""The stage `prior`: tunes the co-occurrence kNN, which is a baseline by itself and what our model and SASRec are mixed with."""

import json
import logging
from dataclasses import asdict

from bbqrec_core.curves import write_curve
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.prior.tuning import as_row, tune_knn
from bbqrec_core.stage import StageContext, Statistics

log = logging.getLogger(__name__)


def run(context: StageContext) -> Statistics:
    """Tune the kNN on validation.

    Files: `co_occurrence/model.json`, `co_occurrence/model.safetensors`, `trials.json`, `curve.parquet` whose step is the number of the
    trial.
    """
    config, max_history = context.profile.baselines.knn, context.profile.baseline_history
    data = SequenceDataset.load(context.input("ingest"), max_history)
    knn, trials = tune_knn(data, config, max_history, context.profile.seed)
    knn.save(context.out / knn.kind)
    (context.out / "trials.json").write_text(json.dumps([as_row(trial) for trial in trials], indent=1) + "\n", encoding="utf-8")
    write_curve(context.out, [(number, f"{knn.kind}/valid/ndcg_at_10", trial.ndcg_at_10) for number, trial in enumerate(trials, start=1)])
    settings = asdict(knn.settings)
    log.info("co-occurrence kNN: best of %d trials: %s", len(trials), ", ".join(f"{name} {value:g}" for name, value in settings.items()))
    return {
        "valid_users": len(data.valid),
        "valid_ndcg_at_10": max(trial.ndcg_at_10 for trial in trials if trial.users == len(data.valid)),
        "trials": len(trials),
        "non_finite": sum(int((~tensor.isfinite()).sum()) for tensor in knn.tensors().values()),
        **settings,
    }
