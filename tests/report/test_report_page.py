"""The report's page: self-contained, escaped, balanced, deterministic, and true to the tables."""

import itertools
import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from report_artifacts import HOSTILE, MODELS, N_ITEMS, REFITTED, Run, make_run
from written_page import Structure, report

from bbqrec_core import schema
from bbqrec_core.errors import ArtifactError, StageError
from bbqrec_core.refitted import NOTE
from bbqrec_core.report.checks import external_references
from bbqrec_core.report.stage import run


@pytest.fixture
def run_folders(tmp_path: Path) -> Run:
    return make_run(tmp_path / "artifacts")


def test_stage_writes_the_page_and_the_plots(run_folders, tmp_path):
    statistics = run(run_folders.context(tmp_path / "out"))
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {"report.html", "plots/metrics.png", "plots/codebook_usage.png", "plots/training_curves.png"} <= written
    assert len(written) == 1 + statistics["plots"]
    html, of_page = report(run_folders, tmp_path / "again")
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == html
    assert statistics.items() >= of_page.items()


def test_page_is_whole_and_accessible(run_folders, tmp_path):
    html, statistics = report(run_folders, tmp_path / "out")
    page = Structure(html)
    assert html.startswith("<!DOCTYPE html>")
    assert statistics["bytes"] == len(html.encode()) < 2_000_000
    identifiers = page.values("id")
    assert len(identifiers) == len(set(identifiers))
    anchors = [href[1:] for href in page.values("href")]
    assert set(anchors) <= set(identifiers) and len(anchors) == statistics["sections"] + 1  # and the link to the content
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert drawings and all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawings)
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings.count(1) == 1 and all(below - above <= 1 for above, below in itertools.pairwise(headings))


def test_nothing_is_loaded_from_elsewhere(run_folders, tmp_path):
    html, statistics = report(run_folders, tmp_path / "out")
    assert statistics["external_references"] == 0 and external_references(html) == []
    page = Structure(html)  # the same again, in a cruder way
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    assert all(value.startswith(("#", "data:")) for name in ("src", "href", "srcset", "action") for value in page.values(name))
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert all(target.startswith("data:image/jpeg;base64,") for style in styles for target in re.findall(r"url\(([^)]*)\)", style))
    assert statistics["pictures"] > 0 and not any("@import" in style for style in styles)


@pytest.mark.parametrize(
    "planted",
    [
        '<img src="https://a.example/x.png">',
        '<img srcset="data:x, //a.example/x.png 2x" src="data:x"><img srcset="//a.example/y">',
        '<script>alert("x")</script>',
        '<link rel="stylesheet" href="style.css">',
        "<style>@import 'x.css';</style>",
        "<style>p{background:url( 'http://a.example/x' )}</style>",
        '<p style="background:url(x.png)">',
        '<svg><use xlink:href="sprites.svg#a"/></svg>',
        '<svg><rect fill="url(http://a.example/x.svg#a)"/></svg>',
        '<meta http-equiv="refresh" content="0; url=https://a.example">',
        '<a href="https://a.example">out</a>',
        '<form action="/x">',
        '<video poster="x.jpg">',
    ],
)
def test_planted_references_are_found(planted):
    assert external_references(f"<!DOCTYPE html><body><p>before</p>{planted}<p>after</p>")


def test_references_inside_the_page_are_none():
    inside = '<a href="#x">x</a><style>p{background:url(data:image/png;base64,AA)}</style><rect fill="url(#g)"/>url(http://in.text/)'
    assert external_references(inside) == []


def test_hostile_titles_are_text(run_folders, tmp_path):
    html, _ = report(run_folders, tmp_path / "out")
    page = Structure(html)
    assert HOSTILE in page.plain
    assert "<script" not in html and "<img" not in html and "<b>" not in html


def test_hostile_names_everywhere_are_text(run_folders, tmp_path):
    """Whatever a table or a profile says: model names, reasons, encoders, curve names, descriptions."""
    bad = "<script>x</script>\"'&"
    for stage, name, columns in (
        ("evaluate", "metrics.parquet", ("model", "metric")),
        ("evaluate", "comparisons.parquet", ("baseline",)),
        ("ingest", "rejects.parquet", ("reason", "file")),
        ("ingest", "files.parquet", ("file", "format", "content")),
        ("ingest", "cleaning.parquet", ("field", "rule")),
        ("quantize", "curve.parquet", ("name",)),
        ("quantize", "codebook_health.parquet", ("name", "source")),
        ("quantize", "usage.parquet", ("source",)),
        ("train", "attention_bias.parquet", ("label", "source")),
        ("ingest", "statistics.parquet", ()),
    ):
        table_schema = pq.read_schema(run_folders.folder(stage) / name)
        rows = run_folders.read(stage, name)
        for row in rows:
            for column in columns:
                if row[column] not in ("BBQRec", "ndcg_at_10"):
                    row[column] = row[column] + bad
        run_folders.write(stage, name, rows, table_schema)
    html, statistics = report(run_folders, tmp_path / "out", {"description": bad, "source": {"note": bad}})
    Structure(html)
    assert "<script" not in html and statistics["external_references"] == 0


def test_same_artifacts_elsewhere_give_the_same_bytes(tmp_path):
    html, _ = report(make_run(tmp_path / "here"), tmp_path / "out1")
    again, _ = report(make_run(tmp_path / "a longer way from here"), tmp_path / "out2")
    assert html == again


def test_no_machine_and_no_clock_shows(run_folders, tmp_path):
    html, _ = report(run_folders, tmp_path / "out")
    assert str(tmp_path) not in html and "/home/" not in html
    assert "12.345" not in html and "12.35" not in html  # the seconds a stage took
    assert "demo-clip (demo encoder)" in Structure(html).plain


def test_every_metric_printed_equals_the_table(run_folders, tmp_path):
    html, _ = report(run_folders, tmp_path / "out")
    printed = Counter(Structure(html).data)
    wanted: Counter[tuple[float, str]] = Counter()
    for row in run_folders.read("evaluate", "metrics.parquet"):
        wanted.update((value, f"{value:.4f}") for value in (row["value"], row["low"], row["high"]) if value is not None)
    assert wanted and wanted <= printed
    # What is left over is the comparisons.
    left = {value for value, _ in printed - wanted}
    compared = run_folders.read("evaluate", "comparisons.parquet")
    assert left <= {row[name] for row in compared for name in ("difference", "low", "high", "p", "p_holm")}


def test_metrics_stand_in_the_right_cells(run_folders, tmp_path):
    html, _ = report(run_folders, tmp_path / "out")
    values = {
        (row["split"], row["masked"], row["metric"], row["model"]): row["value"] for row in run_folders.read("evaluate", "metrics.parquet")
    }
    found, bold = {}, set()
    for caption, body in re.findall(r"<caption>(.*?)</caption>(.*?)</table>", html, re.DOTALL):
        match = re.fullmatch(r"(Test|Validation) split, seen items (not )?masked", caption)
        if match:
            models = re.findall(r'<th scope="col"[^>]*>([^<]+)</th>', body)
            assert sorted(models) == sorted([*MODELS, *REFITTED] if match[1] == "Test" else MODELS)
            assert match[1] != "Test" or models[-2:] == list(REFITTED), "below the others, however good it is"
            for row in re.findall(r"<tr>(.*?)</tr>", body.split("<tbody>")[1], re.DOTALL):
                metric = re.search(r'<th scope="row">(?:<span[^>]*>)?([^<]+)<', row)[1].lower().replace("@", "_at_")
                cells = re.findall(r'<td[^>]*><data value="([^"]+)"', row)
                classes = re.findall(r'<td class="([^"]*)"', row)
                bold |= {model for model, css in zip(models, classes, strict=True) if "best" in css.split()}
                for model, value in zip(models, cells, strict=True):
                    found["test" if match[1] == "Test" else "valid", match[2] is None, metric, model] = float(value)
    assert found == values
    assert bold and not bold & set(REFITTED), "what has learned from validation too is nobody's rival"


def test_refitted_models_are_told_from_the_others(run_folders, tmp_path):
    page = Structure(report(run_folders, tmp_path / "out")[0])
    assert NOTE in page.plain and "Sequence model, refitted" in page.plain
    assert "co-occurrence kNN: NDCG@10, validation" in page.plain and "refitted: NDCG@10" not in page.plain


OPTIONAL = {
    ("evaluate", "comparisons.parquet"): None,
    ("evaluate", "examples.parquet"): "examples",
    ("evaluate", "ranks.parquet"): None,
    ("ingest", "rejects.parquet"): None,
    ("ingest", "kcore_rounds.parquet"): None,
    ("ingest", "statistics.parquet"): None,
    ("ingest", "files.parquet"): None,
    ("ingest", "cleaning.parquet"): None,
    ("embed", "encoders.json"): "embeddings",
    ("embed", "image_embedding.parquet"): None,
    ("quantize", "curve.parquet"): None,
    ("quantize", "usage.parquet"): None,
    ("quantize", "codebook_health.parquet"): None,
    ("train", "attention_bias.parquet"): "similarity",
    ("train", "curve.parquet"): None,
    ("prior", "curve.parquet"): None,
    ("baselines", "curve.parquet"): None,
    ("gate_ingest", "result.json"): "gates",
}


@pytest.mark.parametrize(("file", "section"), OPTIONAL.items(), ids=lambda value: "/".join(value) if isinstance(value, tuple) else value)
def test_optional_tables_may_be_missing(run_folders, tmp_path, file, section):
    run_folders.remove(*file)
    html, statistics = report(run_folders, tmp_path / "out")
    assert statistics["sections"] == 10 - (section is not None)
    assert section is None or f'id="{section}"' not in html
    Structure(html)


def test_whole_stages_may_be_missing(run_folders, tmp_path):
    run_folders.folders = {stage: run_folders.folder(stage) for stage in ("ingest", "evaluate")}
    html, _ = report(run_folders, tmp_path / "out")
    Structure(html)


@pytest.mark.parametrize(
    ("stage", "name"), [("evaluate", "metrics.parquet"), ("ingest", "items.parquet"), ("ingest", "interactions.parquet")]
)
def test_required_tables_are_asked_for(run_folders, tmp_path, stage, name):
    run_folders.remove(stage, name)
    with pytest.raises(ArtifactError, match=f"{name} of stage `{stage}`"):
        report(run_folders, tmp_path / "out")


def test_empty_tables_are_shown_as_such(run_folders, tmp_path):
    for stage, name, table_schema in (
        ("evaluate", "examples.parquet", schema.EXAMPLES),
        ("evaluate", "comparisons.parquet", schema.COMPARISONS),
        ("ingest", "rejects.parquet", schema.REJECTS),
        ("ingest", "files.parquet", schema.FILES),
        ("ingest", "cleaning.parquet", schema.CLEANING),
        ("train", "attention_bias.parquet", schema.SIMILARITY_WEIGHTS),
        ("train", "curve.parquet", schema.CURVE),
        ("quantize", "usage.parquet", schema.USAGE),
        ("quantize", "codebook_health.parquet", schema.HEALTH),
    ):
        run_folders.write(stage, name, [], table_schema)
    html, statistics = report(run_folders, tmp_path / "out")
    assert "No line and no picture was rejected" in Structure(html).plain
    assert statistics["example_users"] == 0


def test_our_model_must_be_there(run_folders, tmp_path):
    rows = [row for row in run_folders.read("evaluate", "metrics.parquet") if row["model"] != "BBQRec"]
    run_folders.write("evaluate", "metrics.parquet", rows, schema.METRICS)
    with pytest.raises(StageError, match="no model named BBQRec"):
        report(run_folders, tmp_path / "out")


@pytest.mark.parametrize(
    ("difference", "low", "high", "words"),
    [
        (0.05, 0.01, 0.09, "BBQRec is ahead of the best baseline"),
        (-0.05, -0.09, -0.01, "BBQRec loses to the best baseline"),
        (0.01, -0.02, 0.04, "No clear difference between BBQRec and the best baseline"),
        (0.0, 0.0, 0.0, "No clear difference between BBQRec and the best baseline"),
    ],
)
def test_verdict_says_what_the_interval_says(run_folders, tmp_path, difference, low, high, words):
    rows = run_folders.read("evaluate", "comparisons.parquet")
    run_folders.write(
        "evaluate", "comparisons.parquet", [row | {"difference": difference, "low": low, "high": high} for row in rows], schema.COMPARISONS
    )
    page = Structure(report(run_folders, tmp_path / "out")[0])
    headline = {
        row["model"]: row["value"]
        for row in run_folders.read("evaluate", "metrics.parquet")
        if (row["split"], row["masked"], row["metric"]) == ("test", True, "ndcg_at_10") and row["model"] in {*MODELS} - {"BBQRec"}
    }
    best = max(headline, key=headline.__getitem__)
    assert f"{words}, {best}" in page.plain
    signs = [f"{value:+.4f}".replace("-", "−") for value in (difference, low, high)]
    assert f"a difference of {signs[0]}, 95 % interval {signs[1]} to {signs[2]}" in page.plain


def test_no_baseline_no_claim(run_folders, tmp_path):
    for name, table_schema in (("metrics.parquet", schema.METRICS), ("examples.parquet", schema.EXAMPLES)):
        rows = [row for row in run_folders.read("evaluate", name) if row["model"] == "BBQRec"]
        run_folders.write("evaluate", name, rows, table_schema)
    run_folders.write("evaluate", "comparisons.parquet", [], schema.COMPARISONS)
    page = Structure(report(run_folders, tmp_path / "out")[0])
    assert "no baseline was evaluated" in page.plain


def test_without_comparisons_no_certainty_is_claimed(run_folders, tmp_path):
    run_folders.remove("evaluate", "comparisons.parquet")
    assert "how certain that is was not measured" in Structure(report(run_folders, tmp_path / "out")[0]).plain


def test_demo_encoder_is_named_where_it_was_used_and_only_there(run_folders, tmp_path):
    notice = "Pictures were embedded by a demo encoder trained on synthetic pictures; no gain from images is claimed."
    page = Structure(report(run_folders, tmp_path / "out")[0])
    assert page.plain.count(notice) == 2
    assert page.plain.index(notice) < page.plain.index("NDCG@10 on the test split")  # in the header, before any result
    facts = {modality: {"name": "x", "dimensions": 4, "is_demo_encoder": False, "weights_sha256": "00"} for modality in ("text", "image")}
    run_folders.write_json("embed", "encoders.json", facts)
    assert "demo encoder" not in Structure(report(run_folders, tmp_path / "again")[0]).plain.lower()


def test_accounting_adds_up_or_says_so(run_folders, tmp_path):
    [statistics] = run_folders.read("ingest", "statistics.parquet")
    kept = statistics["interactions"]
    page = Structure(report(run_folders, tmp_path / "out")[0])
    assert f"{kept + 40} lines read = {kept} kept + 31 filtered by the k-core + 5 duplicates + 4 rejected" in page.plain
    run_folders.write("ingest", "statistics.parquet", [statistics | {"lines_read": kept + 47}])
    assert "Not accounted for: 7" in Structure(report(run_folders, tmp_path / "again")[0]).plain


def test_examples_mark_target_and_hit(run_folders, tmp_path):
    html, statistics = report(run_folders, tmp_path / "out", {"report": {"example_users": 2}})
    page = Structure(html)
    assert statistics["example_users"] == 2 and html.count('<article class="example">') == 2
    assert page.plain.count("✓ hit at place 4") == 2
    assert html.count('class="hit-item"') == 2
    assert page.plain.count("missed, target") == 2  # the best baseline, beside ours
    order = [page.plain.index(f"User {number}") for number in (1, 2)]
    assert order == sorted(order)


def test_catalogue_without_pictures(run_folders, tmp_path):
    rows = [row | {"image_file": None, "image_sha256": None} for row in run_folders.read("ingest", "items.parquet")]
    run_folders.write("ingest", "items.parquet", rows, schema.ITEMS)
    html, statistics = report(run_folders, tmp_path / "out")
    assert statistics["pictures"] == 0 and "data:image" not in html and 'class="thumb' not in html
    Structure(html)


def test_pictures_can_be_switched_off(run_folders, tmp_path):
    html, statistics = report(run_folders, tmp_path / "out", {"report": {"thumbnails": False}})
    assert statistics["pictures"] == 0 and "data:image" not in html


def test_lost_source_folder_costs_only_the_pictures(run_folders, tmp_path, monkeypatch):
    monkeypatch.delenv("BBQREC_RAW", raising=False)
    html, statistics = report(run_folders, tmp_path / "out", name="gift_cards")
    assert statistics["pictures"] == 0 and statistics["example_users"] == 3
    Structure(html)


def test_damaged_and_changed_pictures_are_left_out(run_folders, tmp_path):
    _, before = report(run_folders, tmp_path / "out")
    folder = run_folders.folder("shop") / "images"
    rows = run_folders.read("ingest", "items.parquet")
    shown = [row for row in rows if row["image_file"]]
    for row in shown:
        path = folder / row["image_file"]
        path.write_bytes(path.read_bytes()[:200])  # no longer what ingest saw
    _, changed = report(run_folders, tmp_path / "changed")
    assert before["pictures"] > 0 and changed["pictures"] == 0
    run_folders.write("ingest", "items.parquet", [row | {"image_sha256": None} for row in rows], schema.ITEMS)
    html, damaged = report(run_folders, tmp_path / "damaged")  # and no picture either
    assert damaged["pictures"] == 0
    Structure(html)


def test_size_is_bounded_and_what_is_left_out_is_said(run_folders, tmp_path):
    full, _ = report(run_folders, tmp_path / "full")
    limit = max(200_000, len(full.encode()) - 20_000)
    html, statistics = report(run_folders, tmp_path / "out", {"report": {"max_bytes": limit}})
    assert statistics["pictures_left_out"] > 0 and statistics["bytes"] <= limit
    assert f"{statistics['pictures_left_out']} pictures are left out" in Structure(html).plain


def test_unknown_items_in_examples_do_not_break_the_page(run_folders, tmp_path):
    rows = run_folders.read("evaluate", "examples.parquet")
    rows[0]["recommended"] = [N_ITEMS + 7, 1, 2]
    run_folders.write("evaluate", "examples.parquet", rows, schema.EXAMPLES)
    assert f"unknown item {N_ITEMS + 7}" in Structure(report(run_folders, tmp_path / "out")[0]).plain


def test_broken_json_is_an_expected_error(run_folders, tmp_path):
    (run_folders.folder("embed") / "encoders.json").write_text("{", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"encoders\.json of stage `embed` is no valid JSON"):
        report(run_folders, tmp_path / "out")
