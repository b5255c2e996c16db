"""`bbqrec status`: what stands, what stops a run, and what the registry has no more."""

import re
import shutil
from pathlib import Path

import pytest
from installation import TINY, Installation

from tasks.stages import STAGES

pytestmark = pytest.mark.slow
TOO_MANY = ("--set", "gates.min_users=100000")


def states(installation: Installation, *arguments: str) -> tuple[dict[str, str], str]:
    """By stage what is said of it behind its fingerprint, and all that was printed."""
    result = installation.bbqrec("status", TINY, *arguments)
    assert result.returncode == 0, result.stderr
    return dict(re.findall(r"^(\w+) +[0-9a-f]{12,} +(.+?) *$", result.stdout, re.MULTILINE)), result.stdout


def test_after_a_run_all_is_done_and_has_passed(tiny_home: Path) -> None:
    found, _ = states(Installation(tiny_home))
    assert list(found) == [stage.name for stage in STAGES]
    assert all(re.match("done +passed", said) for said in found.values()) and "champion" in found["register"]


def test_a_gate_that_stops_a_run_is_told(tiny_home: Path) -> None:
    installation = Installation(tiny_home)
    assert re.match("done +to judge", states(installation, *TOO_MANY)[0]["ingest"])
    assert installation.bbqrec("run", TINY, "--until", "ingest", *TOO_MANY).returncode == 1
    found, printed = states(installation, *TOO_MANY)
    assert re.match("done +stops it", found["ingest"])
    assert re.search(r"A run stops here: ING-\d+ \(critical\): users is \d+, must be at least 100000", printed)


def test_what_the_registry_does_not_have_is_to_do_again(tiny_home: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_home / "artifacts", tmp_path / "artifacts")
    assert states(Installation(tmp_path))[0]["register"].startswith("to do again")
