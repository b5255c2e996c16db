"""Charts, scales and plots: legible on awkward numbers, the same bytes for the same numbers."""

import itertools
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_artifacts import make_run

from bbqrec_core import schema
from bbqrec_core.report import charts, data_charts
from bbqrec_core.report.about_codes import items_per_code
from bbqrec_core.report.about_training import read_curves, shown_name, step_unit, validation_race
from bbqrec_core.report.naming import decimals, metric_name, quantity, readable, share, without_folder
from bbqrec_core.report.plots import write_plots
from bbqrec_core.report.svg import Scale, nice_ticks, number, thin_out, tick_label

FINITE = st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False)


@given(FINITE, st.floats(1e-3, 1e6), st.integers(1, 12))
def test_ticks_lie_inside_and_apart(low, width, about):
    high = low + width
    ticks = nice_ticks(low, high, about)
    slack = width * 1e-6
    assert len(ticks) <= 2 * about + 2
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    steps = {round((after - before) / width, 5) for before, after in itertools.pairwise(ticks)}
    assert len(steps) <= 1 and all(step > 0 for step in steps)


@given(st.lists(st.tuples(st.integers(0, 200), FINITE), min_size=1, max_size=40))
def test_lines_stay_inside_the_drawing(points):
    ordered = sorted({float(x): y for x, y in points}.items())
    svg = str(charts.lines([charts.Series("a", ordered, "ours")], "y", "x", "d"))
    _, _, width, height = map(float, re.search(r'viewBox="([^"]+)"', svg)[1].split())
    for path in re.findall(r' d="M([^"]+)"', svg):
        for x, y in (map(float, point.split()) for point in path.replace("M", "L").split("L")):
            assert -0.1 <= x <= width + 0.1 and -0.1 <= y <= height + 0.1
    assert "nan" not in svg and "inf" not in svg.replace("infinity", "")


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [5.0, 5.0, 5.0], [1e-9, 2e-9], [-3.0, -2.0], [1e12, 2e12]])
def test_lines_of_degenerate_values(values):
    svg = str(charts.lines([charts.Series("a", list(enumerate(values)), "ours"), charts.Series("b", [(0, 1.0)], "other0")], "y", "x", "d"))
    assert "nan" not in svg and svg.count("<svg") == 1


def test_labels_of_close_lines_do_not_cover_each_other():
    series = [charts.Series(f"model {place}", [(0, 0.0), (9, 0.5 + place / 1e4)], f"other{place % 4}") for place in range(5)]
    svg = str(charts.lines(series, "y", "x", "d", wide=True))
    heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)" class="label text-', svg))
    assert len(heights) == 5 and all(below - above >= 12.9 for above, below in itertools.pairwise(heights))


def test_bars_are_as_long_as_their_values():
    bars = [charts.Bar("a", 0.2, 0.1, 0.3, True), charts.Bar("b", 0.1, None, None, False), charts.Bar("c", 0.0, 0.0, 0.0, False)]
    svg = str(charts.interval_bars(bars, "x", "d"))
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="22" class="(?:ours|neutral)"', svg)]
    assert len(widths) == 3 and widths[0] == pytest.approx(2 * widths[1], rel=1e-3) and widths[2] == 0
    assert "95 % interval 0.1000 to 0.3000" in svg


def test_names_in_charts_are_escaped():
    bad = '<script>"x"</script>'
    svg = str(charts.interval_bars([charts.Bar(bad, 0.2, 0.1, 0.3, True)], bad, bad))
    svg += str(data_charts.stacked_bar([(bad, 3, "kept")], bad))
    column, mark = data_charts.Column(bad, bad, [3]), data_charts.Mark(bad, 0.5)
    svg += str(data_charts.stacked_columns([column], [(bad, "train")], bad, bad, bad, [mark]))
    svg += str(data_charts.shares_left([(bad, [1.0, 0.5], "other0")], [bad, bad], bad, bad))
    assert "<script" not in svg and "&lt;script&gt;" in svg


def test_charts_of_nothing():
    assert data_charts.popularity_curve([0, 0], "d") == ""
    bar = data_charts.stacked_bar([("a", 0, "kept")], "d")
    left = data_charts.shares_left([("a", [1.0], "other0"), ("b", [0.0], "other1")], ["before"], "x", "d")
    for svg in (data_charts.columns([], "x", "y", "d"), charts.usage_panel([0, 0], True, "d"), bar, left):
        assert str(svg).startswith("<svg") and "nan" not in svg


def test_scale_and_numbers():
    assert Scale(0, 10, 100, 0)(2.5) == 75
    assert Scale(1, 100, 0, 10, log=True)(10) == pytest.approx(5)
    assert Scale(3, 3, 7, 9)(3) == 7
    assert [number(value) for value in (1.0, 1.005, -0.001, 2.5)] == ["1", "1", "0", "2.5"]
    assert [tick_label(value) for value in (0.0, 0.25, 1000.0, 12345.0)] == ["0", "0.25", "1,000", "12,345"]


@given(st.integers(2, 5000), st.integers(2, 400))
def test_thinning_keeps_both_ends(length, most):
    points = [(float(place), 0.0) for place in range(length)]
    kept = thin_out(points, most)
    assert kept[0] == points[0] and kept[-1] == points[-1] and len(kept) <= most + 1


def test_names_for_people():
    assert [metric_name(name) for name in ("ndcg_at_10", "recall_at_5", "mrr", "cold_ndcg_at_10")] == [
        "NDCG@10",
        "Recall@5",
        "MRR",
        "Cold NDCG@10",
    ]
    assert readable("r2_text") == "R² text"
    assert [share(value) for value in (0.0, 0.0004, 0.1234, 1.0, None)] == ["0%", "0.04%", "12.3%", "100%", "–"]
    assert [quantity(value) for value in (None, True, 1234, 0.5, -0.25, 3.0, "/home/me/model")] == [
        "–",
        "yes",
        "1,234",
        "0.5000",
        "−0.2500",
        "3",
        "model",
    ]
    assert quantity(0.25, "reject_share") == "25.0%" and quantity(0, "first_timestamp") == "1970-01-01"
    assert decimals(math.nan) == "–" and decimals(-0.5) == "−0.5000"
    assert [without_folder(name) for name in ("a/b", "/a/b", "C:\\a\\b", "BBQRec")] == ["a/b", "b", "b", "BBQRec"]


def test_curves_are_told_apart_by_model_split_and_metric():
    rows = [
        {"step": step, "name": name, "value": value}
        for name in ("train/loss", "sasrec/train/loss", "sasrec/valid/ndcg_at_10", "co_occurrence/valid/ndcg_at_10", "temperature")
        for step, value in ((2, 0.2), (1, 0.1), (3, math.nan))
    ]
    curves = read_curves(rows)
    assert [(curve.model, curve.split, curve.metric) for curve in curves] == [
        ("", "train", "loss"),
        ("sasrec", "train", "loss"),
        ("sasrec", "valid", "ndcg_at_10"),
        ("co_occurrence", "valid", "ndcg_at_10"),
        ("", "", "temperature"),
    ]
    assert all(curve.points == [(1.0, 0.1), (2.0, 0.2)] for curve in curves)
    models = ["BBQRec", "SASRec", "SASRec + codes", "co-occurrence kNN"]
    assert [shown_name(kind, models) for kind in ("", "sasrec", "co_occurrence", "other")] == [
        "BBQRec",
        "SASRec",
        "co-occurrence kNN",
        "other",
    ]
    budgeted = read_curves([{"step": 1, "name": f"tiger/{name}", "value": 0.1} for name in ("train/loss", "valid/ndcg_at_10")])
    assert list(validation_race([], [*curves, *budgeted], models)) == ["SASRec"]  # the kNN's steps are trials, TIGER's checks
    assert [step_unit(kind, [*curves, *budgeted]) for kind in ("sasrec", "co_occurrence", "tiger")] == ["epoch", "trial", "check"]


def test_codes_that_the_usage_table_leaves_out_are_unused():
    rows = [{"source": "text", "level": 2, "code": 3, "items": 5}, {"source": "fused", "level": 1, "code": 1, "items": 7}]
    assert items_per_code(rows) == {("fused", 1): [0, 7], ("text", 2): [0, 0, 0, 5]}


def test_plots_are_written_and_the_same_every_time(tmp_path):
    made = make_run(tmp_path / "a")
    names = ["metrics", "interactions_over_time", "k_core", "codebook_usage", "training_curves", "quantizer_curves", "attention"]
    written = write_plots(made.folders, tmp_path / "plots")
    assert [path.name for path in written] == [f"{name}.png" for name in names]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    again = write_plots(made.folders, tmp_path / "again")
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in again]


def test_missing_tables_cost_only_their_plot(tmp_path):
    made = make_run(tmp_path / "a")
    made.remove("evaluate", "metrics.parquet")
    made.remove("ingest", "interactions.parquet")
    made.write("quantize", "usage.parquet", [], schema.USAGE)
    made.folders.pop("baselines")
    names = [path.name for path in write_plots(made.folders, tmp_path / "plots")]
    assert names == ["k_core.png", "training_curves.png", "quantizer_curves.png", "attention.png"]
    assert write_plots({}, tmp_path / "none") == []
