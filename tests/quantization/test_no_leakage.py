"""Nothing of validation or test reaches stage 1, whatever is known of the items."""

import ast
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from artificial_catalogue import Catalogue, run_stage
from other_catalogues import behaviour_alone, published_codes

from bbqrec_core.quantization import lcp, probes

MEASURED_ON_VALIDATION = "behaviour_lcp"
KINDS = {"features": lambda catalogue: catalogue, "behaviour alone": behaviour_alone, "published codes": published_codes}
SHORT = {"epochs": 4, "warmup_epochs": 2}


@pytest.fixture(scope="module", autouse=True)
def brief_probes(quantized):
    """The probe of what s and b share takes most of a small run, and nothing here looks at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "MLP_STEPS", 5)
        yield


@pytest.fixture(scope="module", params=KINDS)
def before(request, catalogue, tmp_path_factory):
    """A kind of catalogue, and the stage's output on it."""
    torch.set_num_threads(1)
    kind = KINDS[request.param](catalogue)
    return kind, *run_stage(kind, tmp_path_factory.mktemp("before"), **SHORT)


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def health_of(folder):
    rows = pq.read_table(folder / "codebook_health.parquet").to_pylist()
    return {(row["source"], row["level"], row["name"]): row["value"] for row in rows}


def unmeasured(values):
    names = {name: name[-1] if isinstance(name, tuple) else name for name in values}
    return {name: value for name, value in values.items() if not names[name].startswith(MEASURED_ON_VALIDATION)}


def assert_only_its_own_measurement_moved(before, after):
    (out, statistics), (other, changed) = before, after
    one, two = digests(out), digests(other)
    assert {name for name in one if one[name] != two[name]} == {"codebook_health.parquet"} and one.keys() == two.keys()
    assert unmeasured(health_of(out)) == unmeasured(health_of(other))
    assert unmeasured(statistics) == unmeasured(changed) and statistics != changed


def planted(catalogue: Catalogue) -> Catalogue:
    """The first twenty items go together in pairs on validation and test: 0 and 19, 1 and 18 and so on, fifteen users each."""
    users = np.arange(len(catalogue.train))
    first = users % 10
    return replace(catalogue, valid=first.tolist(), test=(19 - first).tolist())


def test_a_pattern_on_validation_and_test_moves_nothing_but_its_own_measurement(before, tmp_path):
    kind, out, statistics = before
    assert_only_its_own_measurement_moved((out, statistics), run_stage(planted(kind), tmp_path, **SHORT))


def test_a_pattern_on_test_moves_nothing_at_all(before, tmp_path):
    kind, out, statistics = before
    permuted = np.random.default_rng(0).permutation(kind.test).tolist()
    strong = [max(row) for row in kind.train]  # the largest number of the history
    targets = [strong[user] if user % 2 else permuted[user] for user in range(len(strong))]
    other, same = run_stage(replace(kind, test=targets), tmp_path, **SHORT)
    assert digests(other) == digests(out) and same == statistics


def test_the_same_pattern_in_train_does_move_codes(catalogue, quantized, tmp_path):
    """What the tests above plant would be seen, were it looked at."""
    pairs = [[first, 19 - first] for first in range(10) for _ in range(15)]
    other, _ = run_stage(replace(catalogue, train=[row + pair for row, pair in zip(catalogue.train, pairs, strict=True)]), tmp_path)
    assert digests(other)["semantic_ids.parquet"] != digests(quantized[0])["semantic_ids.parquet"]


def test_nothing_but_the_stage_reads_what_is_measured_on_validation():
    """No module that trains or assigns IDs may import behaviour-LCP, or look at the splits that are ranked."""
    folder = Path(lcp.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        if path.name in ("lcp.py", "stage.py"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert not any(name.endswith("lcp") for name in imported), path
        looked_at = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not looked_at & {"valid", "test", "targets", "seen_items"}, path
