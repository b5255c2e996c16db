"""The house's walls: imports run one way, orchestration stays light, versions stand for sources."""

import ast
import subprocess
import sys

import pytest

from bbqrec_core.home import PROJECT
from tasks.gates.rules import RULES
from tasks.stage_sources import changed_stages
from tasks.stages import STAGES

LAYERS = ["bbqrec_core", "serving", "tasks", "flows", "cli"]
BARE_PACKAGES = ["quantization", "sequence", "baselines", "evaluation"]
ALLOWED_ON_A_BARE_BOX = {
    "torch", "numpy", "pyarrow", "safetensors", "pydantic", "tqdm", "rich", "lightning_fabric", "transformers", "bbqrec_core",
}  # fmt: skip


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_one_way(layer):
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    for path in (PROJECT / layer).rglob("*.py"):
        assert not above & set(imports(path)), f"{path} imports a layer above it"


def test_the_core_knows_no_orchestration():
    for path in (PROJECT / "bbqrec_core").rglob("*.py"):
        assert not {"prefect", "mlflow", "great_expectations"} & set(imports(path)), path


@pytest.mark.parametrize("package", BARE_PACKAGES)
def test_models_run_on_a_bare_gpu_box(package):
    for path in (PROJECT / "bbqrec_core" / package).rglob("*.py"):
        foreign = {name for name in imports(path) if name not in sys.stdlib_module_names} - ALLOWED_ON_A_BARE_BOX
        assert not foreign, f"{path} imports {foreign}"


@pytest.mark.parametrize("module", ["flows.retrain", "cli.main", "bbqrec_core.profile", "tasks.plan"])
def test_importing_the_orchestration_imports_nothing_heavy(module):
    heavy = "{'torch', 'great_expectations', 'mlflow', 'sentence_transformers', 'open_clip', 'duckdb', 'matplotlib'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_stage_versions_stand_for_their_sources():
    assert changed_stages() == []


def test_every_stage_has_a_gate_and_comes_after_its_inputs():
    names = [stage.name for stage in STAGES]
    for place, stage in enumerate(STAGES):
        assert RULES[stage.name]
        assert set(stage.inputs) <= set(names[:place])


def test_rule_codes_are_unique():
    codes = [rule.code for rules in RULES.values() for rule in rules]
    assert len(codes) == len(set(codes))
