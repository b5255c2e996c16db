"""The training benchmark: its clock, its beam, and the command."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bbqrec_core.dataset import EvalSplit
from benchmarks.random_catalogue import make_model, random_ids
from benchmarks.trained_search import search_quality
from benchmarks.training import Training, batches_as_they_come, seconds_an_epoch

PROJECT = Path(__file__).parents[2]
TINY = PROJECT / "tests" / "tiny.yaml"


def split(histories: list[list[int]], targets: list[int]) -> EvalSplit:
    flat = np.array([item for row in histories for item in row], dtype=np.int64)
    offsets = np.cumsum([0, *map(len, histories)])
    return EvalSplit(np.arange(len(targets), dtype=np.int32), np.array(histories), np.array(targets), offsets, flat)


def test_the_clock_tells_what_one_more_epoch_costs(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("benchmarks.training.time.perf_counter", lambda: now[0])

    def run(epochs):
        now[0] += 5.0 + 0.1 * epochs  # what is there to prepare does not count

    assert seconds_an_epoch(run, 3) == pytest.approx(0.1)


def test_when_a_quality_was_reached():
    training = Training(1.0, [(1.0, 0.1), (2.0, 0.3), (3.0, 0.2)])
    assert training.best == 0.3
    assert training.seconds_to(0.2) == 2.0 and training.seconds_to(0.4) is None


def test_a_beam_as_wide_as_the_catalogue_has_the_exact_quality():
    model, rng = make_model(random_ids(20, 1), 1), np.random.default_rng(2)
    histories = rng.integers(20, size=(300, 4))
    judges = split(histories.tolist(), rng.integers(20, size=300).tolist())  # some targets were seen, some items twice
    exact, beams = search_quality(model, judges, [20])
    beam = beams[20]
    assert beam == pytest.approx(exact, abs=1e-12) and exact > 0
    exact, beams = search_quality(make_model(random_ids(300, 1), 1), judges, [10, 300])
    assert beams[300] == pytest.approx(exact, abs=1e-12) and beams[10] != beams[300]


def test_batches_as_they_come_hold_every_example_once_whatever_its_length():
    lengths = np.arange(70) % 20 + 1
    batches = batches_as_they_come(lengths, 32, np.random.default_rng(3))
    assert [len(rows) for rows in batches] == [32, 32, 6]
    assert sorted(np.concatenate(batches).tolist()) == list(range(70))
    assert all(len(set(lengths[rows])) > 3 for rows in batches)


@pytest.mark.slow
def test_the_command_measures_and_prints_what_it_writes(tmp_path):
    out = tmp_path / "report.md"
    command = [sys.executable, "-m", "benchmarks.train", str(TINY), "--budget", "2", "--points", "2", "--judges", "5", "--rounds", "1"]
    ran = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, cwd=PROJECT, check=False)
    assert ran.returncode == 0, ran.stderr
    assert out.read_text(encoding="utf-8").strip() == ran.stdout.strip()
    assert "| TIGER (T5) |" in ran.stdout and "| TIGER (T5), batches as public code has them |" in ran.stdout
    assert "times SASRec's, at most 1.5" in ran.stdout
    assert "by exact scoring" in ran.stdout
    assert "| T5 generate, prefix_allowed_tokens_fn |" in ran.stdout and "times as many users as T5's, at least 100" in ran.stdout
