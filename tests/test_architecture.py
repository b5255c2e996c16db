"""The house's walls: imports run one way, orchestration stays light, versions stand for sources."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bbqrec_core.config import LOCAL, Section
from bbqrec_core.home import PROJECT
from bbqrec_core.ingest.config import SequencesConfig, SourceConfig, TablesConfig
from bbqrec_core.ingest.sources import image_folder, resolve_source
from bbqrec_core.profile import Profile
from tasks import stage_sources
from tasks.gates.rules import RULES
from tasks.stage_sources import PLUMBING, changed_stages, sources_of
from tasks.stages import BY_NAME, STAGES, Stage

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


ABSENT = ["prefect", "mlflow", "duckdb", "polars", "pandas", "great_expectations", "scipy", "sklearn", "psutil"]
STAGE_MODULES = [f"bbqrec_core.{package}.stage" for package in BARE_PACKAGES]


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (STAGE_MODULES, [*ABSENT, "yaml", "filelock", "jinja2"]),
        # The benchmark's transformers bring these three.
        (["benchmarks.gpu"], [*ABSENT, "lightning", "open_clip", "sentence_transformers", "typer"]),
    ],
    ids=["models", "benchmark"],
)
def test_what_a_bare_gpu_box_lacks_is_not_imported(modules, absent):
    code = f"import sys, importlib\nfor name in {absent}: sys.modules[name] = None\nfor name in {modules}: importlib.import_module(name)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("module", ["flows.retrain", "cli.main", "bbqrec_core.profile", "tasks.plan"])
def test_importing_the_orchestration_imports_nothing_heavy(module):
    heavy = "{'torch', 'great_expectations', 'mlflow', 'sentence_transformers', 'open_clip', 'duckdb', 'matplotlib'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_stage_versions_stand_for_their_sources():
    assert changed_stages() == []


FETCHING = "bbqrec_core/download/"
COMPARING = "bbqrec_core/leaderboard/"  # reads what stages wrote
"""Brings raw files before any stage runs: what they hold is in the fingerprint."""
NO_STAGE_READS = {
    "bbqrec_core/embedding/demo.py",  # makes the demo encoder, whose files are declared
    "bbqrec_core/evaluation/config.py",  # a section: its values are in the fingerprint
    "bbqrec_core/writing.py",  # errors' words
    "bbqrec_core/gate_config.py",
    "bbqrec_core/digests.py",  # the store's
}


def names(paths):
    return {path.relative_to(PROJECT).as_posix() for path in paths}


def test_every_file_that_can_change_an_output_is_some_stages_source():
    found = {name for stage in STAGES for name in names(sources_of(stage))}
    folders = [PROJECT / "bbqrec_core", PROJECT / "serving", PROJECT / "sql"]
    there = names(path for folder in folders for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert {name for name in there - found - set(PLUMBING) if not name.startswith((FETCHING, COMPARING))} == NO_STAGE_READS
    assert all((PROJECT / name).is_file() for name in PLUMBING)


@pytest.mark.parametrize(
    ("stage", "sources"),
    [
        ("train", {"evaluation/metrics.py", "evaluation/ranking.py", "recommender.py", "schema.py", "dataset.py", "sequence/windows.py"}),
        ("evaluate", {"baselines/registry.py", "sequence/model.py"}),  # the first is imported within a function
        ("embed", {"ingest/sources.py", "embedding/demo_clip/open_clip_model.safetensors"}),
        ("report", {"ingest/sources.py", "report/templates/page.html.j2"}),
    ],
)
def test_a_version_stands_for_what_is_imported(stage, sources):
    assert {f"bbqrec_core/{name}" for name in sources} <= names(sources_of(BY_NAME[stage]))


def test_the_registered_models_code_is_a_source_of_its_registration():
    assert {"tasks/tracking.py", "serving/model.py", "serving/recommendation.py", "bbqrec_core/sequence/recommender.py"} <= names(
        sources_of(BY_NAME["register"])
    )


def test_imports_are_followed_in_every_form(tmp_path, monkeypatch):
    files = {
        "serving/__init__.py": "",
        "serving/stage.py": """
from typing import TYPE_CHECKING
import os, serving.plain
from serving import aside
from serving.deep import within
from . import beside
from .deep.below import name
if TYPE_CHECKING:
    from serving import for_checkers
else:
    from serving import for_the_rest
def run():
    from serving import late
""",
        "serving/late.py": "import serving.stage, serving.later",  # a circle
        "serving/deep/__init__.py": "from serving import of_package\nwithin = 1",
        "serving/data/table.sql": "SELECT 1",
        "serving/data/script.py": "import serving.of_script",
        "serving/unused.py": "",
    }
    found = ["plain", "aside", "beside", "deep/below", "for_the_rest", "later", "of_package", "of_script"]
    files |= {f"serving/{name}.py": "" for name in [*found, "for_checkers"]}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(stage_sources, "PROJECT", tmp_path)
    stage = Stage("x", 1, "serving.stage:run", (), (), ("serving/data",), "")
    got = {path.relative_to(tmp_path).as_posix() for path in sources_of(stage)}
    assert got == set(files) - {"serving/unused.py", "serving/for_checkers.py"}
    with pytest.raises(FileNotFoundError, match="gone"):
        sources_of(Stage("x", 1, "serving.stage:run", (), (), ("serving/gone",), ""))


PICTURES = {"source.kind", "source.images"}
RESOLVING = {
    "resolve_source": {*PICTURES, "source.reviews", "source.metadata", "source.tables", "source.sequences"},
    "image_folder": PICTURES,
    "picture_folder": PICTURES,
}
"""Functions that are handed the whole section `source`, and what they read of it that is not local."""
NOT_READ = {"report": {"gates"}}  # it shows their judgements, which depend on the thresholds


def attributes(node):
    """`a.b.c` as a list; what is before an attribute and no name, such as a call, is an empty string."""
    if isinstance(node, ast.Attribute):
        return [*attributes(node.value), node.attr]
    return [node.id if isinstance(node, ast.Name) else ""]


def profile_reads(path):
    """Dotted fields of the profile that a module or template reads, such as `source.note`."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".j2":
        yield from re.findall(r"\bprofile\.([a-z_.]+)", text)
        return
    tree = ast.parse(text)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not isinstance(parents[node], ast.Attribute):
            chain = attributes(node)
            if "profile" in chain[:-1] and chain[0] != "bbqrec_core":
                dotted = ".".join(chain[chain.index("profile") + 1 :])
                if dotted == "source":
                    call = parents[node]
                    assert isinstance(call, ast.Call) and ast.unparse(call.func) in RESOLVING, f"{path}: name the fields of `source`"
                    yield from RESOLVING[ast.unparse(call.func)]
                else:
                    yield dotted


PROPERTIES = {
    "model_name": {"tracking.model_name", "name"},
    "experiment": {"tracking.experiment", "name"},
    "baseline_history": {"baselines.max_history", "sequence.max_history"},
}
"""Fields that the properties of a profile read."""


def fields_read(dotted):
    """The fields a chain of attributes stands for: none where they are local, a property's own where it is one."""
    model, kept = Profile, []
    for part in dotted.split("."):
        if not (isinstance(model, type) and issubclass(model, Section)):
            break  # attributes of a value
        if isinstance(getattr(model, part, None), property):
            assert model is Profile, dotted
            return PROPERTIES[part]
        info = model.model_fields[part]
        if (info.json_schema_extra or {}).get(LOCAL):
            return set()
        kept.append(part)
        model = info.annotation
    everything_is_local = kept == ["compute"]
    return set() if everything_is_local else {".".join(kept)}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_reads_only_the_sections_it_declares(stage):
    modules = [
        path for path in sources_of(stage) if path.suffix in (".py", ".j2") and path.name != "tracking.py"
    ]  # it needs `connect` only
    read = {field for path in modules for dotted in profile_reads(path) for field in fields_read(dotted)}
    assert read
    undeclared = {field for field in read if not any(f"{field}.".startswith(f"{section}.") for section in stage.sections)}
    assert not undeclared, "its artifact would be found again although they changed"
    unread = {section for section in stage.sections if not any(f"{field}.".startswith(f"{section}.") for field in read)}
    assert unread == NOT_READ.get(stage.name, set()), "its artifact would be made again for nothing"


def test_all_of_compute_is_local():
    assert Profile.model_fields["compute"].annotation().fingerprint_fields() == {}


@pytest.mark.parametrize("kind", ["synthetic", "amazon", "tables", "sequences"])
@pytest.mark.parametrize("find", [resolve_source, image_folder], ids=lambda find: find.__name__)
def test_a_source_is_found_by_the_fields_that_stages_declare(kind, find, tmp_path):
    read = set()

    class Recording(SourceConfig):
        def __getattribute__(self, name):
            if name in SourceConfig.model_fields:
                read.add(name)
            return super().__getattribute__(name)

    for name in ("reviews.json.gz", "meta.json.gz"):
        (tmp_path / name).touch()
    (tmp_path / "images").mkdir()
    tables, sequences = TablesConfig(interactions="*.gz"), SequencesConfig(sequences="reviews.json.gz")
    source = Recording(
        kind=kind,
        raw=str(tmp_path),
        reviews="reviews.json.gz",
        metadata="meta.json.gz",
        images="images",
        tables=tables,
        sequences=sequences,
    )
    read.clear()
    find(source, Path(tmp_path))
    assert {f"source.{name}" for name in read} <= RESOLVING[find.__name__] | {"source.raw"}  # the last is local


def test_every_stage_has_a_gate_and_comes_after_its_inputs():
    names = [stage.name for stage in STAGES]
    for place, stage in enumerate(STAGES):
        assert RULES[stage.name]
        assert set(stage.inputs) <= set(names[:place])


def test_rule_codes_are_unique():
    codes = [rule.code for rules in RULES.values() for rule in rules]
    assert len(codes) == len(set(codes))
