"""The GPU benchmark, tried on the CPU: its floor, and the command."""

import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.floor import Products

PROJECT = Path(__file__).parents[2]


def test_the_floor_holds_every_product_forward_and_back():
    layer, x = torch.nn.Linear(6, 4), torch.randn(5, 6, requires_grad=True)
    with Products() as products:
        layer(x).sum().backward()
    assert products.operations == 2 * 5 * 6 * 4 * 3, "the output, the gradient of x, the gradient of the weights"
    with Products() as repeated:
        products.again("cpu")()
    assert [func for func, _ in repeated.calls] == [func for func, _ in products.calls] and repeated.operations == products.operations


def test_batched_products_count_as_many_times():
    with Products() as products:
        torch.bmm(torch.ones(3, 2, 5), torch.ones(3, 5, 7))
    assert products.operations == 2 * 3 * 2 * 5 * 7


def test_the_command_measures_and_prints_what_it_writes(tmp_path):
    out = tmp_path / "report.md"
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--items", "300", "--large", "900", "--users", "6"]
    ran = subprocess.run([*command, "--peer-users", "2", "--rounds", "1", "--out", str(out)], capture_output=True, text=True, cwd=PROJECT)
    assert ran.returncode == 0, ran.stderr
    assert out.read_text(encoding="utf-8").strip() == ran.stdout.strip()
    assert "| ours, both heads |" in ran.stdout and "| T5 generate, our trie of tensors |" in ran.stdout
