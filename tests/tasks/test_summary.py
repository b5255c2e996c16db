"""What a run's summary becomes in MLflow, and the order of its models."""

import pytest
from mlflow.utils.validation import _validate_metric_name

from bbqrec_core.refitted import ranking_key, refitted
from tasks.summary import slug

NAMES = ("co-occurrence kNN", "SASRec with codes, reweighted", "SASRec with codes and prior and content", "TIGER (T5)")


@pytest.mark.parametrize("name", [*NAMES, *map(refitted, NAMES)])
def test_every_model_has_a_metric_name_that_mlflow_takes(name):
    _validate_metric_name(f"test/{slug(name)}/ndcg_at_10")


def test_names_are_those_that_dashboards_know():
    assert [slug(name) for name in ("co-occurrence kNN", "SASRec", "BBQRec without prior")] == [
        "co_occurrence_knn",
        "sasrec",
        "bbqrec_without_prior",
    ]
    assert slug("SASRec with codes, reweighted") == "sasrec_with_codes_reweighted"


def test_what_was_refitted_stands_below_the_others():
    values = {"B refitted": 0.9, "A": 0.1, "C": 0.2, "A refitted": 0.3, "B": 0.2}
    assert sorted(values, key=lambda model: ranking_key(model, values[model])) == ["B", "C", "A", "B refitted", "A refitted"]
