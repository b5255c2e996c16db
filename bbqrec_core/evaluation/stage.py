"""The stage `evaluate`: ranks the whole catalogue for every user of valid and test, ours beside the baselines."""

import logging
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bbqrec_core.baselines import load_recommenders
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.determinism import choose_device, deterministic_on
from bbqrec_core.errors import StageError
from bbqrec_core.evaluation.ranking import Ranking, rank_split
from bbqrec_core.evaluation.tables import (
    HEADLINE,
    HEADLINE_K,
    Rankings,
    best_baseline,
    comparisons_table,
    examples_table,
    metrics_table,
    ranks_table,
)
from bbqrec_core.progress import track
from bbqrec_core.recommender import Recommender
from bbqrec_core.refitted import is_refitted, refitted
from bbqrec_core.sequence.recommender import load_recommender, load_refitted
from bbqrec_core.stage import StageContext, Statistics

log = logging.getLogger(__name__)


def run(context: StageContext) -> Statistics:
    """Evaluate the trained model, the same without its prior, every baseline, and what was refitted, if that stage ran.

    Files: `metrics.parquet`, `ranks.parquet`, `comparisons.parquet`, `examples.parquet`.

    Raises:
        StageError: A model belongs to another catalogue, gives scores that are not numbers, or there is nobody to rank for.
    """
    place = choose_device(context.profile.compute.device)
    device = str(place)
    ours = load_recommender(context.input("train"), device)
    parts = [ours.without_prior()] if ours.has_helpers else []
    baselines = load_recommenders(context.input("baselines"), device)
    known = {refitted(recommender.name) for recommender in (ours, *baselines)}
    again = load_refitted(context.input("refit"), device) if "refit" in context.inputs else []
    with deterministic_on(place):
        return evaluate(context, [ours, *baselines], parts, [recommender for recommender in again if recommender.name in known])


def evaluate(
    context: StageContext, recommenders: Sequence[Recommender], parts: Sequence[Recommender] = (), again: Sequence[Recommender] = ()
) -> Statistics:
    """Evaluate recommenders, of which the first is ours; see `run`.

    Args:
        context: The stage's.
        recommenders: Ours, then baselines.
        parts: Ours with something switched off: shown and compared like baselines, but never the best of them.
        again: What has learned from validation too, ours first: on test alone, and nobody's rival.
    """
    baselines = [recommender.name for recommender in recommenders[1:]]
    recommenders = [recommenders[0], *parts, *recommenders[1:], *again]
    config, seed = context.profile.evaluation, context.profile.seed
    data = SequenceDataset.load(context.input("ingest"), max(1, *(recommender.max_history for recommender in recommenders)))
    _check(recommenders, data)
    ours = recommenders[0].name
    ks = sorted({*config.ks, HEADLINE_K})

    rankings: dict[str, dict[str, dict[bool, Ranking]]] = {"valid": {}, "test": {}}
    for recommender in track(recommenders, "ranking the catalogue, models", unit="models"):
        for name, split in (("valid", data.valid), ("test", data.test)):
            if name == "test" or not is_refitted(recommender.name):
                rankings[name][recommender.name] = rank_split(recommender, split, HEADLINE_K)
    test = rankings["test"]
    opponent = best_baseline(baselines, test)

    metrics = pa.concat_tables(
        metrics_table(name, split, data, rankings[name], ks, seed, config.bootstrap_samples)
        for name, split in (("valid", data.valid), ("test", data.test))
    )
    rivals = {name: ranked for name, ranked in test.items() if not is_refitted(name)}
    comparisons = comparisons_table(ours, rivals, seed, config.bootstrap_samples, config.permutation_samples)
    shown = [ours, opponent] if opponent else [ours]
    pq.write_table(metrics, context.out / "metrics.parquet")
    pq.write_table(ranks_table(data.test, test), context.out / "ranks.parquet")
    pq.write_table(comparisons, context.out / "comparisons.parquet")
    pq.write_table(examples_table(data.test, test, shown, config.examples, seed), context.out / "examples.parquet")
    return _statistics(ours, again[0].name if again else ours, opponent, metrics, comparisons, data, test)


def _check(recommenders: Sequence[Recommender], data: SequenceDataset) -> None:
    for recommender in recommenders:
        if recommender.n_items != data.n_items:
            raise StageError(
                f"{recommender.name} knows {recommender.n_items} items, the catalogue has {data.n_items}.",
                "It was fitted on another catalogue: run the stages from `ingest` on again.",
            )
    names = [recommender.name for recommender in recommenders]
    if len(set(names)) != len(names):
        raise StageError(f"Two models have one name: {', '.join(names)}.", "Give each a name of its own.")


def _statistics(
    ours: str, registered: str, opponent: str | None, metrics: pa.Table, comparisons: pa.Table, data: SequenceDataset, test: Rankings
) -> Statistics:
    values: Mapping[tuple[str, str, bool, str], float] = {
        (row["split"], row["model"], row["masked"], row["metric"]): row["value"] for row in metrics.to_pylist()
    }
    own = values["test", ours, True, HEADLINE]
    statistics: Statistics = {
        "users_evaluated": len(data.test),
        "valid_users_evaluated": len(data.valid),
        "models_evaluated": len(test),
        "ndcg_at_10": own,
        "recall_at_10": values["test", ours, True, "recall_at_10"],
        "mrr": values["test", ours, True, "mrr"],
        "ndcg_at_10_unmasked": values["test", ours, False, HEADLINE],
        "recall_at_10_unmasked": values["test", ours, False, "recall_at_10"],
        "valid_ndcg_at_10": values["valid", ours, True, HEADLINE],
        "coverage_at_10": values["test", ours, True, "coverage_at_10"],
        "popularity_percentile_at_10": values["test", ours, True, "popularity_percentile_at_10"],
        "cold_targets": int(values["test", ours, True, "cold_targets"]),
    }
    popularity = values.get(("test", "popularity", True, HEADLINE))
    best = values["test", opponent, True, HEADLINE] if opponent else None
    p_holm = [row["p_holm"] for row in comparisons.to_pylist() if row["baseline"] == opponent]
    statistics |= {
        "popularity_ndcg_at_10": popularity,
        "best_baseline": opponent,
        "best_baseline_ndcg_at_10": best,
        "best_baseline_p_holm": p_holm[0] if p_holm else None,
        "ndcg_over_popularity": own / popularity if popularity else None,  # against nothing no ratio says anything
        "ndcg_over_best_baseline": own / best if best else None,
        "registered_ndcg_at_10": values["test", registered, True, HEADLINE],
        "registered_ndcg_over_ours": values["test", registered, True, HEADLINE] / own if own else 1.0,
        "null_metrics": pc.sum(pc.or_kleene(pc.is_null(metrics["value"]), pc.is_nan(metrics["value"]))).as_py(),
    }
    log.info("test NDCG@10: %s %.4f, best baseline %s %s", ours, own, opponent, "-" if best is None else f"{best:.4f}")
    return statistics
