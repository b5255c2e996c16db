"""The stage `refit`: the chosen model once more, with validation among what it learns from.

`train` holds validation back to pick the epoch and to fit the mix, so what it makes has learned nothing of what came last but test. Once
both are picked, validation has done its work: as many epochs of the same schedule on train and validation together, the kNN with the
same settings on the same, and the mix as it was. The test part stays out, so this model can still be measured.
"""

import logging
from pathlib import Path

import pyarrow.parquet as pq

from bbqrec_core.curves import write_curve
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.prior.cooccurrence import fit_knn
from bbqrec_core.sequence.artifact import load_model, save_model
from bbqrec_core.sequence.catalogue import load_catalogue
from bbqrec_core.sequence.prior import BehaviourPrior
from bbqrec_core.sequence.similarity import similarity_spec
from bbqrec_core.sequence.stage import nan_parameters, train_model
from bbqrec_core.sequence.windows import Windows
from bbqrec_core.stage import StageContext, Statistics

log = logging.getLogger(__name__)


def run(context: StageContext) -> Statistics:
    """Train anew and write `model.safetensors`, `model.json` and `curve.parquet`, as `train` does."""
    profile, config = context.profile, context.profile.sequence
    epochs = best_epoch(context.input("train"))
    data = SequenceDataset.load_refit(context.input("ingest"), config.max_history, profile.ingest.split.max_history)
    catalogue = load_catalogue(context.input("quantize"), data.train_counts)
    chosen = load_model(context.input("train"), catalogue.digest(), catalogue.n_items)
    windows = Windows.cut(data.train_offsets, data.train_items, config.max_history)
    similarity = similarity_spec(config.similarity, catalogue, profile.seed)
    log.info("%d epochs on train and validation together, %d interactions", epochs, len(data.train_items))
    model, progress = train_model(profile, windows, data.valid, catalogue, similarity, context.scratch, epochs)
    prior = None
    if chosen.prior is not None:
        knn = fit_knn(data, chosen.prior.knn.settings, chosen.prior.knn.max_history)
        prior = BehaviourPrior(knn, chosen.prior.smoothing)
    save_model(context.out, model.cpu(), catalogue, similarity, chosen.mixture, prior, chosen.content, profile.seed)
    write_curve(context.out, progress.curve)
    return {
        "epochs_run": progress.epoch,
        "interactions": len(data.train_items),
        "nan_parameters": nan_parameters(model),
        "items_new_to_train": int((catalogue.warm & ~chosen.model.items.warm).sum()),
    }


def best_epoch(train: Path) -> int:
    """Which epoch validation picked, from a `train` artifact's statistics."""
    return int(pq.read_table(train / "statistics.parquet", columns=["best_epoch"])["best_epoch"][0].as_py())
