"""What the report says where no features stand behind the semantic IDs."""

import pytest
from report_artifacts import make_run
from written_page import Structure, report

from bbqrec_core.embedding.codes import NAME


@pytest.fixture
def run_folders(tmp_path):
    return make_run(tmp_path / "artifacts")


def test_published_codes_are_said_to_have_no_features_behind_them(run_folders, tmp_path):
    facts = {"name": NAME, "dimensions": 4, "is_demo_encoder": False, "weights_sha256": ""}
    run_folders.write_json("embed", "encoders.json", {"text": {**facts, "name": "mini"}, "image": facts})
    page = Structure(report(run_folders, tmp_path / "one")[0])
    assert "Of image only published semantic IDs are known: no features stood behind them." in page.plain
    run_folders.write_json("embed", "encoders.json", {"text": facts, "image": facts})
    page = Structure(report(run_folders, tmp_path / "both")[0])
    assert "Of text and image only published semantic IDs are known" in page.plain and page.plain.count(NAME) == 2


def test_ordinary_features_need_no_such_words(run_folders, tmp_path):
    assert "stood behind them" not in Structure(report(run_folders, tmp_path / "out")[0]).plain


def test_behaviour_alone_is_said_and_blank_items_are_counted(run_folders, tmp_path):
    run_folders.write_json("embed", "encoders.json", {})
    for modality in ("text", "image"):
        run_folders.remove("embed", f"{modality}_embedding.parquet")
    html, statistics = report(run_folders, tmp_path / "one")
    assert "semantic IDs rest on the train part's behaviour alone" in Structure(html).plain and statistics["sections"] == 10
    assert "have none there either" not in html
    run_folders.write("quantize", "statistics.parquet", [{"items": 40, "repair_only_items": 7}])
    page = Structure(report(run_folders, tmp_path / "two")[0])
    assert "Items that have none there either: 7; their IDs are only different from all others." in page.plain
