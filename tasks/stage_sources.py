"""Remembers which sources each stage's version stands for, so that a change without a new version is noticed.

`make stages` records; a test compares. Comments, docstrings and layout do not count: they change no output.
"""

import ast
import hashlib
import json
from pathlib import Path

from bbqrec_core.home import PROJECT
from tasks.stages import STAGES, Stage

RECORD = Path(__file__).with_name("stage_sources.json")


def digest_of_sources(stage: Stage) -> str:
    """Hash of what a stage's sources mean."""
    hasher = hashlib.sha256()
    for path in _files(stage):
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


def _files(stage: Stage) -> list[Path]:
    found: set[Path] = set()
    for source in stage.sources:
        path = PROJECT / source
        found |= {path} if path.is_file() else {file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    return sorted(found)


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
