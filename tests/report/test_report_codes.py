"""What the report says of codes: how the attention's buckets fill, and how far IDs moved since the last run."""

import pytest
from report_artifacts import make_run
from written_page import Structure, report

from bbqrec_core import schema


@pytest.fixture
def run_folders(tmp_path):
    return make_run(tmp_path / "artifacts")


def test_every_bucket_of_similarity_shows_its_share_of_train_pairs(run_folders, tmp_path):
    shares = {(row["source"], row["bucket"]): row["train_share"] for row in run_folders.read("train", "attention_bias.parquet")}
    page = Structure(report(run_folders, tmp_path / "out")[0])
    for source in schema.MODALITIES:
        printed = page.plain.split(f"Buckets of {source} similarity", 1)[1][:400]
        for bucket in range(5):
            assert f"{shares[source, bucket]:.1%}" in printed
    assert sum(shares["text", bucket] for bucket in range(5)) == pytest.approx(1)


def with_statistics(run_folders, **changes):
    [statistics] = run_folders.read("quantize", "statistics.parquet")
    run_folders.write("quantize", "statistics.parquet", [{**statistics, **changes}])
    return run_folders


def test_churn_is_told_where_items_had_an_id_before(run_folders, tmp_path):
    changes = {"started_from": "0a1b", "warm_start_refused": None, "known_items": 38, "churn_share": 0.125}
    plain = Structure(report(with_statistics(run_folders, **changes), tmp_path / "out")[0]).plain
    assert "12.5% of known items have another ID than before" in plain and "38 items had an ID; training went on from it" in plain


def test_a_refused_warm_start_says_why(run_folders, tmp_path):
    why = "They know 10% of the items that occur in train, and 50% are asked for."
    changes = {"started_from": "scratch", "warm_start_refused": why, "known_items": 4, "churn_share": 1.0}
    plain = Structure(report(with_statistics(run_folders, **changes), tmp_path / "out")[0]).plain
    assert "100% of known items have another ID than before" in plain and f"trained from scratch: {why}" in plain


def test_churn_is_not_told_of_a_first_run(run_folders, tmp_path):
    changes = {"started_from": "scratch", "warm_start_refused": None, "known_items": 0, "churn_share": None}
    assert "than before" not in Structure(report(with_statistics(run_folders, **changes), tmp_path / "out")[0]).plain
