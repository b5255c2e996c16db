"""The scripts behind the tables of `docs/experiments/`, run on the smallest pipeline: each must still find what the stages made."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from installation import TINY, Installation

from bbqrec_core.home import PROJECT


@pytest.mark.parametrize(
    ("script", "arguments", "rows"),
    [
        ("compare_settings.py", ["--seeds", "2", "--with", "", "--with", "sequence.similarity.sources=[]"], 2),
        ("ablate_model.py", ["--without", "sequence.generative_weight=0"], 7),
        ("ablate_codebooks.py", ["--without", "quantization.shared_variance_weight=0"], 3),
        ("tune_knn.py", ["--set", "baselines.knn.trials=6"], 4),
        ("attention_weights.py", [], 4),
        ("measure_churn.py", ["--seeds", "1", "--set", "ingest.k_user=4"], 2),
    ],
)
def test_a_script_prints_its_table(tiny_home: Path, script: str, arguments: list[str], rows: int) -> None:
    command = [sys.executable, f"scripts/{script}", TINY, *arguments]
    environment = Installation(tiny_home).environment
    result = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    measured = [line for line in result.stdout.splitlines() if line.startswith("| ") and re.search(r"\d\.\d", line)]
    assert len(measured) == rows, result.stdout
