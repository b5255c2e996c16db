"""The counts that the real files must give, read from the folder that BBQREC_RAW names."""

import os
from pathlib import Path

import pytest
from ingest_raw import context

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.stage import run
from bbqrec_core.profile import load_profile

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif("BBQREC_RAW" not in os.environ, reason="BBQREC_RAW does not name a folder of raw files"),
]


def test_gift_cards(tmp_path):
    statistics = run(context(tmp_path, load_profile("gift_cards")))
    assert [statistics[key] for key in ("users", "items", "interactions")] == [453, 147, 2941]
    assert [statistics[key] for key in ("lines_read", "lines_rejected", "duplicates", "filtered")] == [2972, 0, 7, 24]
    assert statistics["accounting_difference"] == statistics["metadata_accounting_difference"] == 0
    assert statistics["metadata_lines_read"] == 1547 and statistics["items_without_metadata"] == 0
    assert statistics["items_with_image"] == 114 and statistics["images_unreadable"] == 0
    assert statistics["tied_target_share"] == pytest.approx(289 / 453)


def test_digital_music_fragment(tmp_path):
    statistics = run(context(tmp_path, load_profile("digital_music")))
    assert [statistics[key] for key in ("users", "items", "interactions")] == [268, 206, 2480]
    assert statistics["lines_read"] == 6908 and statistics["accounting_difference"] == 0
    assert statistics["metadata_lines_read"] == 7419 and statistics["metadata_rejected"] == 0
    assert statistics["dialect"] == "Amazon 2014 reviews, JSON"
    assert statistics["metadata_dialect"] == "Amazon 2014 metadata, Python literals"


def test_truncated_file_is_refused(tmp_path):
    broken = "broken/truncated_reviews_Digital_Music_5.json.gz"
    size = (Path(os.environ["BBQREC_RAW"]) / broken).stat().st_size
    stage = context(tmp_path, load_profile("digital_music", {"source": {"reviews": broken}}))
    with pytest.raises(SourceError, match=rf"cut off: it ends at compressed byte {size:,}.* whole line before that is number 2,138;"):
        run(stage)
    assert not list(stage.out.iterdir())
    ingest = {"use_cut_files": True, "k_user": 1, "k_item": 1}
    statistics = run(context(tmp_path, load_profile("digital_music", {"source": {"reviews": broken}, "ingest": ingest}), "partial"))
    assert (statistics["lines_read"], statistics["partial"], statistics["accounting_difference"]) == (2138, True, 0)
    assert f"cut off: it ends at compressed byte {size:,}" in statistics["damage"]
