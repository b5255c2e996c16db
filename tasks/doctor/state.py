"""Checks of what an installation keeps: home folder, databases, artifact store, raw files and profiles."""

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

from filelock import FileLock, Timeout

from bbqrec_core.digests import DigestMemory
from bbqrec_core.errors import ArtifactError, BBQRecError
from bbqrec_core.home import home_folder
from bbqrec_core.ingest.sources import RAW_VARIABLE, resolve_source
from bbqrec_core.profile import available_profiles, load_profile
from bbqrec_core.store import ArtifactStore
from tasks.doctor.finding import Finding


def check_home() -> Finding:
    """The home folder can be written, and has not been moved: MLflow's database holds absolute addresses."""
    home = home_folder()
    if not home.exists():
        return Finding("Home", "ok", f"{home} does not exist yet: the first run makes it")
    if not home.is_dir():
        return Finding("Home", "problem", f"{home} is no folder", "Set BBQREC_HOME to a folder.")
    if not os.access(home, os.W_OK):
        return Finding("Home", "problem", f"{home} cannot be written", "Change its owner, or set BBQREC_HOME to another folder.")
    strangers = _elsewhere(home / "mlflow" / "mlflow.db", home)
    if strangers:
        return Finding(
            "Home",
            "problem",
            f"{home} was moved or copied: MLflow's database speaks of {strangers[0]}",
            "Move it back or set a symbolic link there; or keep it for reading, and begin a new one by setting BBQREC_HOME.",
        )
    return Finding("Home", "ok", str(home))


def _elsewhere(database: Path, home: Path) -> list[str]:
    """Artifact folders that MLflow's experiments name outside a home. Experiment 0 is MLflow's own, and unused."""
    if not database.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            rows = connection.execute("SELECT artifact_location FROM experiments WHERE experiment_id != 0").fetchall()
    except sqlite3.Error:  # the next check tells
        return []
    paths = [unquote(urlparse(location).path) for (location,) in rows if location and urlparse(location).scheme in ("", "file")]
    return [path for path in paths if not Path(path).resolve().is_relative_to(home)]


def check_databases() -> list[Finding]:
    """SQLite's own check of every database of the home."""
    home = home_folder()
    findings = []
    remedies = {
        home / "mlflow" / "mlflow.db": "Stop the servers and restore a backup; or move the file away: runs and versions are lost.",
        home / "prefect" / "prefect.db": "Stop the servers and move the file away: run history is lost, deployments are applied again.",
        home / "digests.sqlite": "Delete the file: it only remembers digests.",
    }
    for path, way_out in remedies.items():
        if path.exists():
            problem = _damage(path)
            about = f"Database {path.name}"
            size = f"{path.stat().st_size / 1e6:.1f} MB"
            findings.append(Finding(about, "problem", problem, way_out) if problem else Finding(about, "ok", f"readable, {size}"))
    return findings


def _damage(path: Path) -> str:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        return f"{path} cannot be read: {error}"
    return "" if answer == "ok" else f"{path} is damaged: {answer}"


def check_store(thorough: bool = False) -> list[Finding]:
    """Every artifact against its manifest, and what crashed runs left.

    Args:
        thorough: Read every byte again; otherwise only of files that changed since they were last read.
    """
    home = home_folder()
    if not (home / "artifacts").exists():
        return [Finding("Artifacts", "ok", "none yet")]
    damaged = []
    with tempfile.TemporaryDirectory() as folder:
        store = ArtifactStore(home)
        if thorough:
            store.digests = DigestMemory(Path(folder, "digests.sqlite"))
        refs = store.entries()
        for ref in refs:
            try:
                store.examine(ref)
            except ArtifactError as error:
                damaged.append(error.problem)
    way_out = "Run the profile again: it rebuilds what it needs and is damaged."
    findings = [Finding("Artifacts", "problem", problem, way_out) for problem in damaged]
    whole = len(refs) - len(damaged)
    how = "read whole" if thorough else "verified"
    findings.append(Finding("Artifacts", "ok", f"{whole} of {len(refs)} {how}, {_size(home / 'artifacts') / 1e6:.0f} MB"))
    drafts = [draft for draft in sorted((home / "artifacts").glob("*/.*.draft")) if _abandoned(draft, home)]
    if drafts:
        names = ", ".join(f"{draft.parent.name}/{draft.name}" for draft in drafts[:3])
        way_out = "The stage's next run clears it; if none is to come: bbqrec gc --yes deletes it, and whatever else nothing needs."
        findings.append(Finding("Drafts", "warning", f"{len(drafts)} left by killed runs: {names}", way_out))
    return findings


def _abandoned(draft: Path, home: Path) -> bool:
    """Whether nobody holds the lock of a draft's fingerprint."""
    fingerprint = draft.name.removeprefix(".").removesuffix(".draft")
    try:
        with FileLock(home / "locks" / f"{draft.parent.name}-{fingerprint}.lock").acquire(timeout=0):
            return True
    except Timeout:
        return False


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check_profiles() -> list[Finding]:
    """Every shipped profile is valid, and the raw files it reads are there."""
    findings = []
    raw = os.environ.get(RAW_VARIABLE)
    if raw and not Path(raw).expanduser().is_dir():
        findings.append(
            Finding(RAW_VARIABLE, "problem", f"{raw} is no folder", f"Set {RAW_VARIABLE} to the raw files' folder, or unset it.")
        )
    for name in available_profiles():
        about = f"Profile {name}"
        try:
            profile = load_profile(name)
        except BBQRecError as error:
            findings.append(Finding(about, "problem", error.problem, error.way_out))
            continue
        if profile.source.kind == "synthetic":
            findings.append(Finding(about, "ok", "makes its own input"))
            continue
        try:
            files = resolve_source(profile.source, None)
            findings.append(Finding(about, "ok", f"raw files in {files.root}"))
        except BBQRecError as error:
            findings.append(Finding(about, "warning", error.problem, error.way_out))
    return findings
