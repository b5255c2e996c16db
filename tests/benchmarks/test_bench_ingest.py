import gzip
import json
import subprocess
import sys

import numpy as np
import pytest

from bbqrec_core.home import PROJECT
from benchmarks.ingest import main
from benchmarks.measure import Measurement
from benchmarks.raw_reviews import LENGTH_QUANTILES, Planted, line_lengths, write_reviews
from benchmarks.verdicts import disagreements, median, report


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    path = tmp_path_factory.mktemp("raw") / "reviews.json.gz"
    return path, write_reviews(path, 45_000)


def test_the_command_measures_compares_and_leaves_nothing_behind(tmp_path):
    out = tmp_path / "report.md"
    folder = tmp_path / "disk"
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks.ingest", "--lines", "3000", "--rounds", "1", "--folder", str(folder), "--out", str(out)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
    assert ran.returncode == 0, ran.stderr
    assert out.read_text(encoding="utf-8").strip() == ran.stdout.strip()
    for heading in (
        "## 3,000 lines",
        "| our ingest, whole |",
        "| DuckDB's floor",
        "| pure Python, eval |",
        "| Polars |",
        "| k-core |",
        "## Targets",
    ):
        assert heading in ran.stdout
    assert "with 1 broken lines" in ran.stderr
    assert list(folder.iterdir()) == []


def test_lines_are_as_long_as_real_ones(reviews):
    with gzip.open(reviews[0]) as file:
        lengths = [len(line) - 1 for line in file]
    assert len(lengths) == reviews[1].lines
    for share in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99):
        assert np.quantile(lengths, share) == pytest.approx(LENGTH_QUANTILES[share], rel=0.06)
    assert np.mean(lengths) == pytest.approx(1383, rel=0.02)
    assert line_lengths(np.array([0.0, 1.0])).tolist() == [225, 14548]


def test_files_compress_as_real_ones(reviews):
    assert 2.4 < reviews[1].text_bytes / reviews[0].stat().st_size < 3.2


def test_what_is_planted_is_there(reviews):
    pairs, broken = [], 0
    with gzip.open(reviews[0]) as file:
        for line in file:
            try:
                row = json.loads(line)
                pairs.append((row["reviewerID"], row["asin"]))
            except (ValueError, KeyError):
                broken += 1
    assert (broken, len(pairs) - len(set(pairs))) == (reviews[1].broken, reviews[1].duplicates)
    assert broken == 4
    assert 0.005 < reviews[1].duplicates / len(pairs) < 0.05


def test_the_same_seed_gives_the_same_text(tmp_path):
    once, again, other = tmp_path / "once.gz", tmp_path / "again.gz", tmp_path / "other.gz"
    assert write_reviews(once, 3000) == write_reviews(again, 3000)
    write_reviews(other, 3000, seed=1)
    texts = [gzip.decompress(path.read_bytes()) for path in (once, again, other)]
    assert texts[0] == texts[1] != texts[2]


def test_a_full_disk_is_said_before_anything_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ingest", "--lines", str(10**12), "--folder", str(tmp_path)])
    assert main() == 1
    assert "GB free, and 1,000,000,000,000 lines need" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def run_of(loader, lines, seconds, **more):
    return Measurement(loader, lines, seconds, **{"peak_bytes": 10**9, **more})


def test_targets_are_judged_plainly():
    runs = [
        run_of("ours", 10**6, 8.0),
        run_of("floor", 10**6, 5.0),
        run_of("json", 10**6, 20.0),
        run_of("ours", 10**7, 100.0, peak_bytes=5 * 10**9),
        run_of("floor", 10**7, 0.0, failure="stopped above 20 GB of memory"),
    ]
    text = report(runs, "4GB", "A machine.")
    assert "- passes: 1,000,000 lines: 1.60 times the floor" in text
    assert "- FALLS SHORT: 1,000,000 lines: 2.5 times faster than pure Python, json.loads" in text
    assert "- FALLS SHORT: 10,000,000 lines: 2.0 times faster than pure Python, json.loads (its cost per row at 1,000,000 lines" in text
    assert "- FALLS SHORT: 10,000,000 lines: peak memory 5.00 GB" in text
    assert "- FALLS SHORT: cost per million lines is flat: 8.00 s at 1,000,000, 10.00 s at 10,000,000; the dearest is 1.25 times" in text
    assert "nothing else: stopped above 20 GB of memory | 0.0 |" in text


def test_the_median_run_counts_and_its_worst_memory():
    middle = median([run_of("ours", 1, 3.0), run_of("ours", 1, 1.0, peak_bytes=7), run_of("ours", 1, 2.0)])
    assert (middle.seconds, middle.peak_bytes) == (2.0, 10**9)
    assert median([run_of("ours", 1, 3.0), run_of("ours", 1, 1.0, failure="died")]).failure == "died"


def test_wrong_counts_are_told():
    planted = Planted(lines=100, broken=2, duplicates=3, text_bytes=0)
    right = {"lines_read": 100, "lines_rejected": 2, "duplicates": 3, "users": 9}
    assert disagreements(planted, [run_of("ours", 100, 1.0, counts=right), run_of("floor", 100, 1.0, counts={"lines_read": 100})]) == []
    found = disagreements(
        planted,
        [run_of("json", 100, 1.0, counts={"users": 8}), run_of("ours", 100, 1.0, counts={**right, "lines_rejected": 1})],
    )
    assert found == [
        "our ingest, whole counts lines_rejected 1 at 100 lines, where 2 is right.",
        "pure Python, json.loads counts users 8 at 100 lines, where 9 is right.",
    ]
