"""What the report says of codes: how the attention's buckets fill, and how far IDs moved since the last run."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_artifacts import make_run
from written_page import Structure, report

from bbqrec_core import schema
from bbqrec_core.report.about_codes import prefix_sizes
from bbqrec_core.report.code_charts import prefix_tree


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


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=60))
def test_prefixes_are_counted_as_by_hand_and_nest(ids):
    levels = prefix_sizes(np.array(ids))
    for level, sizes in enumerate(levels, start=1):
        prefixes = [code[:level] for code in ids]
        assert sorted(sizes) == sorted(prefixes.count(prefix) for prefix in set(prefixes))
    ends = [set(np.cumsum(sizes).tolist()) for sizes in levels]
    assert all(above <= below for above, below in pairwise(ends)), "no prefix reaches beyond its parent"
    assert levels[0] == sorted(levels[0], reverse=True), "the largest first"


def areas(svg, css):
    return [float(width) for path in re.findall(rf'd="([^"]*)" class="{css}"', svg) for width in re.findall(r"h([\d.]+)v", path)]


def test_a_block_is_as_wide_as_its_prefix_has_items_and_narrow_ones_share_one():
    svg = str(prefix_tree([[30, 10], [20, 10, 10]], "d"))
    assert "2 prefixes" in svg and "3 prefixes" in svg and "40 items" in svg
    widths = areas(svg, "area ours")
    assert len(widths) == 5 and widths[0] > 2.9 * widths[1] and not areas(svg, "area")
    many = str(prefix_tree([[1] * 100_000], "d"))
    assert sum(areas(many, "area")) == pytest.approx(498, abs=5) and len(many) < 40_000
    mixed = areas(str(prefix_tree([[1] * 9 + [40]], "d")), "area")
    assert len(mixed) == 9


def test_the_page_shows_the_tree_and_behaviour_lcp_with_its_interval(run_folders, tmp_path):
    rows = [row for row in run_folders.read("quantize", "codebook_health.parquet") if "behaviour_lcp" not in row["name"]]
    found = {"pairs": 420.0, "mean": 0.52, "random": 0.31, "difference": 0.21, "difference_low": 0.17, "difference_high": 0.26}
    rows += [{"source": schema.FUSED, "level": 0, "name": f"behaviour_lcp_{name}", "value": value} for name, value in found.items()]
    run_folders.write("quantize", "codebook_health.parquet", rows)
    ids = np.random.default_rng(0).integers(0, 5, (40, 3))
    run_folders.write("quantize", "semantic_ids.parquet", [{"item_idx": item, schema.FUSED: row.tolist()} for item, row in enumerate(ids)])
    plain = Structure(report(run_folders, tmp_path / "out")[0]).plain
    assert "0.520 levels in common, random pairs 0.310; 420 pairs" in plain and "+0.2100" in plain
    tree = plain.split("In the last row", 1)[1]
    for sizes in prefix_sizes(ids):
        assert f"{len(sizes):,} prefix" in tree
