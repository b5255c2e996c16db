"""The artifact store: whole or nothing, verified on every hit."""

import json
import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bbqrec_core.digests import DigestMemory, fingerprint
from bbqrec_core.errors import ArtifactError
from bbqrec_core.store import ArtifactRef, ArtifactStore

REF = ArtifactRef(stage="ingest", fingerprint="abc123")


def make(store, ref=REF, value=1):
    with store.locked(ref), store.drafting(ref) as draft:
        pq.write_table(pa.table({"a": [value, 2, 3]}), draft.out / "table.parquet")
        (draft.out / "notes").mkdir()
        (draft.out / "notes" / "more.txt").write_text("more")
        return store.commit(draft, {"statistics": {"rows": 3}})


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path)


def test_manifest_describes_every_file(store):
    artifact = make(store)
    assert store.lookup(REF).manifest == artifact.manifest
    assert artifact.manifest["files"]["table.parquet"]["rows"] == 3
    assert set(artifact.manifest["files"]) == {"table.parquet", "notes/more.txt"}
    assert json.loads((artifact.path / "manifest.json").read_text()) == artifact.manifest


def test_nothing_is_found_before_it_is_made(store):
    assert store.lookup(REF) is None
    with pytest.raises(ArtifactError, match="ingest"):
        store.require(REF)


def test_same_size_corruption_with_the_old_time_is_noticed(store):
    artifact = make(store)
    assert store.lookup(REF) is not None  # its digests are remembered now
    path = artifact.path / "table.parquet"
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.lookup(REF) is None


@pytest.mark.parametrize("harm", ["delete file", "delete manifest", "alter manifest", "garble manifest", "empty directory"])
def test_damage_counts_as_absent_and_is_repaired(store, harm):
    artifact = make(store)
    manifest = artifact.path / "manifest.json"
    if harm == "delete file":
        (artifact.path / "notes" / "more.txt").unlink()
    elif harm == "delete manifest":
        manifest.unlink()
    elif harm == "alter manifest":
        manifest.write_text(manifest.read_text().replace('"rows": 3', '"rows": 4'))
    elif harm == "garble manifest":
        manifest.write_text("{")
    else:
        for path in sorted(artifact.path.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert store.lookup(REF) is None
    assert make(store).manifest["files"] == artifact.manifest["files"]
    assert store.lookup(REF) is not None


def test_an_error_while_writing_leaves_nothing(store):
    with pytest.raises(RuntimeError), store.drafting(REF) as draft:
        (draft.out / "half").write_text("half")
        (draft.scratch / "checkpoint").write_text("kept")
        raise RuntimeError
    assert store.lookup(REF) is None and store.entries() == []
    with store.drafting(REF) as draft:
        assert list(draft.out.iterdir()) == []
        assert (draft.scratch / "checkpoint").read_text() == "kept"


def test_a_stage_that_writes_nothing_is_an_error(store):
    with pytest.raises(ArtifactError, match="wrote no file"), store.drafting(REF) as draft:
        store.commit(draft, {})


KILLED_WRITER = """
import sys, time
from pathlib import Path
from bbqrec_core.store import ArtifactRef, ArtifactStore
store, ref = ArtifactStore(Path(sys.argv[1])), ArtifactRef(stage="ingest", fingerprint="abc123")
with store.locked(ref), store.drafting(ref) as draft:
    (draft.out / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_kill_while_writing_leaves_nothing_and_frees_the_lock(store):
    writer = subprocess.Popen([sys.executable, "-c", KILLED_WRITER, str(store.home)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "writing\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert store.lookup(REF) is None
    start = time.monotonic()
    assert "half" not in make(store).manifest["files"]
    assert time.monotonic() - start < 10


def test_fingerprints_do_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1}) != fingerprint({"a": 1, "b": [2, 1]})


def test_digest_memory_reads_changed_files_again(tmp_path):
    memory, path = DigestMemory(tmp_path / "digests.sqlite"), tmp_path / "file"
    path.write_text("one")
    first = memory.sha256([path])[path]
    assert memory.sha256([path])[path] == first
    path.write_text("two")
    assert memory.sha256([path])[path] != first
