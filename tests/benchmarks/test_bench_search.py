"""The search benchmark: its T5 and our trie agree, and the command measures and prints."""

import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.random_catalogue import random_ids
from benchmarks.t5 import allowed_by_prefix, generate, make_peer

PROJECT = Path(__file__).parents[2]


def test_t5_finds_the_same_real_items_with_either_trie():
    peer = make_peer(random_ids(300, 3), 3)
    histories = torch.arange(12).view(3, 4)
    by_function, by_tensors = (generate(peer, histories, 12, 10, allowed) for allowed in (allowed_by_prefix(peer), None))
    assert torch.equal(by_function, by_tensors)
    assert int(by_function.min()) >= 0
    assert all(len(set(row)) == 10 for row in by_function.tolist())


def test_the_command_measures_and_prints_what_it_writes(tmp_path):
    out = tmp_path / "report.md"
    command = [sys.executable, "-m", "benchmarks.search", "--items", "300", "--large", "900", "--users", "6", "--peer-users", "2"]
    ran = subprocess.run([*command, "--rounds", "1", "--out", str(out)], capture_output=True, text=True, cwd=PROJECT, check=False)
    assert ran.returncode == 0, ran.stderr
    assert out.read_text(encoding="utf-8").strip() == ran.stdout.strip()
    assert "| T5 generate, prefix_allowed_tokens_fn |" in ran.stdout
    assert "900 items cost" in ran.stdout


def test_a_beam_too_narrow_for_the_wanted_items_is_refused():
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.search", "--beams", "5"], capture_output=True, text=True, cwd=PROJECT, check=False
    )
    assert ran.returncode == 2
    assert "--beams at least 10" in ran.stderr
