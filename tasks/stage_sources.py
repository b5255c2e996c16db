"""Remembers which sources each stage's version stands for, so that a change without a new version is noticed.

A stage's sources are the project's modules that its entry imports, and those that these import, within functions too; and the files that
its declaration names. `make stages` records; a test compares. Comments, docstrings and layout do not count: they change no output.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from bbqrec_core.home import PROJECT
from tasks.stages import STAGES, Stage

RECORD = Path(__file__).with_name("stage_sources.json")
PACKAGES = ("bbqrec_core", "serving", "tasks")
"""Where the modules of stages are. SQL lies in a package too, but is read, not imported: stages declare it."""

PLUMBING = {
    "bbqrec_core/__init__.py": "the project's version",
    "bbqrec_core/config.py": "how sections are declared; the values that a stage reads are in its fingerprint",
    "bbqrec_core/profile.py": "how profiles are found and merged; the same",
    "bbqrec_core/stage.py": "what a stage is handed",
    "bbqrec_core/errors.py": "classes of failures, and a failure leaves no output",
    "bbqrec_core/progress.py": "bars and log lines",
    "bbqrec_core/home.py": "where the state lies",
    "bbqrec_core/store.py": "how outputs are kept, whatever is in them",
    "tasks/plan.py": "which output is whose",
    "tasks/stages.py": "which stages there are; a version is in its stage's fingerprint",
    "tasks/runner.py": "how a stage is called",
    "tasks/gates/gate.py": "what is thought of a finished output",
    "tasks/services/addresses.py": "where servers are",
    "tasks/services/processes.py": "which processes live",
}
"""Modules that stages import and that cannot change an output, with the reason. They and what only they import are no sources."""


def digest_of_sources(stage: Stage) -> str:
    """Hash of what a stage's sources mean."""
    hasher = hashlib.sha256()
    for path in sources_of(stage):
        hasher.update(path.relative_to(PROJECT).as_posix().encode())
        hasher.update(_meaning(path))
    return hasher.hexdigest()[:16]


def changed_stages() -> list[str]:
    """Sentences on stages whose sources are not those recorded for their version."""
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    problems = []
    for stage in STAGES:
        known = recorded.get(stage.name)
        if known != {"version": stage.version, "sources": digest_of_sources(stage)}:
            problems.append(
                f"The sources of stage `{stage.name}` are not those recorded for version {stage.version}. If its output changes, raise the "
                "version in tasks/stages.py; then record with: make stages"
            )
    return problems


def record() -> None:
    """Record the sources as they are now."""
    table = {stage.name: {"version": stage.version, "sources": digest_of_sources(stage)} for stage in STAGES}
    RECORD.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def sources_of(stage: Stage) -> list[Path]:
    """Every file that a stage's version stands for, sorted.

    Raises:
        FileNotFoundError: The declaration names a file or folder that does not exist.
    """
    found: set[Path] = set()
    waiting = _modules(stage.entry.partition(":")[0]) + [path for source in stage.sources for path in _files(PROJECT / source)]
    while waiting:
        path = waiting.pop()
        if path in found or path.relative_to(PROJECT).as_posix() in PLUMBING:
            continue
        found.add(path)
        if path.suffix == ".py":
            waiting += _imported(path)
    return sorted(found)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"{path}, which a stage names among its sources")
    return [file for file in (path, *path.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]


@functools.cache
def _imported(path: Path) -> tuple[Path, ...]:
    """The project's modules that a module imports anywhere, other than for type checkers alone."""
    package = path.parent.relative_to(PROJECT).as_posix().replace("/", ".")
    found: dict[Path, None] = {}
    for node in _executed(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]  # a name may be a module of a package
        else:
            continue
        found |= dict.fromkeys(module for name in names for module in _modules(name))
    return tuple(found)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """A tree's nodes but for the bodies of `if TYPE_CHECKING:`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for statement in child.orelse:
                yield from _executed(statement)
        else:
            yield from _executed(child)


def _modules(name: str) -> list[Path]:
    """A module's file and those of the packages around it; none where the name is no module of the project."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return []
    found = []
    for length in range(1, len(parts) + 1):
        place = PROJECT.joinpath(*parts[:length])
        found += [file for file in (place / "__init__.py", place.with_suffix(".py")) if file.is_file()]
    return found


@functools.cache
def _meaning(path: Path) -> bytes:
    if path.suffix != ".py":
        return path.read_bytes()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body[0] = ast.Pass()  # a docstring
    return ast.dump(tree).encode()


if __name__ == "__main__":
    record()
