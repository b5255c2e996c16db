"""The artifact store: whole or nothing, verified on every hit."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

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


HARMS = ["delete file", "delete manifest", "alter manifest", "garble manifest", "empty directory", "stray file", "stray file below"]


@pytest.mark.parametrize("harm", HARMS)
def test_damage_counts_as_absent_and_is_repaired(store, harm):
    artifact = make(store)
    manifest = artifact.path / "manifest.json"
    if harm == "delete file":
        (artifact.path / "notes" / "more.txt").unlink()
    elif harm == "delete manifest":
        manifest.unlink()
    elif harm == "alter manifest":
        manifest.write_text(manifest.read_text().replace('"rows": 3', '"rows": 4'))
    elif harm == "stray file":
        (artifact.path / "table2.parquet").write_text("")
    elif harm == "stray file below":
        (artifact.path / "notes" / "link").symlink_to("more.txt")
    elif harm == "garble manifest":
        manifest.write_text("{")
    else:
        for path in sorted(artifact.path.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert store.lookup(REF) is None
    assert make(store).manifest["files"] == artifact.manifest["files"]
    assert store.lookup(REF) is not None


def test_an_artifact_under_anothers_name_is_damaged(store):
    artifact = make(store)
    for other in (ArtifactRef(stage="ingest", fingerprint="abc124"), ArtifactRef(stage="embed", fingerprint="abc123")):
        shutil.copytree(artifact.path, store.path(other))
        assert store.lookup(other) is None
        with pytest.raises(ArtifactError, match="is that of ingest/abc123"):
            store.examine(other)


def test_what_is_found_counts_as_used_with_all_it_was_made_from_but_not_what_is_examined(store):
    shop, ingest, other = (ArtifactRef(stage=stage, fingerprint="f") for stage in ("shop", "ingest", "other"))
    for ref, inputs in ((shop, {}), (ingest, {"shop": "f", "gone": "g"}), (other, {})):
        with store.locked(ref), store.drafting(ref) as draft:
            (draft.out / "file").write_text("x")
            store.commit(draft, {"inputs": inputs})
    used = {ref: store.path(ref).stat().st_mtime for ref in (shop, ingest, other)}

    def age():
        for ref in used:
            os.utime(store.path(ref), (1000, 1000))

    def used_lately():
        return {ref for ref in used if store.path(ref).stat().st_mtime > 1000}

    age()
    assert store.examine(ingest) is not None and store.peek(ingest) is not None and used_lately() == set()
    assert store.lookup(ingest) is not None and used_lately() == {ingest, shop}
    age()
    with store.locked(REF), store.drafting(REF) as draft:
        (draft.out / "file").write_text("x")
        store.commit(draft, {"inputs": {"ingest": "f"}})
    assert used_lately() == {ingest, shop}


def test_use_does_not_make_files_be_read_again(store, monkeypatch):
    make(store)
    store.lookup(REF)
    monkeypatch.setattr("bbqrec_core.digests.sha256_of_file", lambda path: pytest.fail(f"{path} is read again"))
    assert store.lookup(REF) is not None


def test_a_removal_that_is_interrupted_leaves_no_half_artifact(store, monkeypatch):
    make(store)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="pulled"):
        patch.setattr(shutil, "rmtree", lambda path: (_ for _ in ()).throw(OSError("pulled")))
        store.remove(REF)
    assert store.entries() == [] and store.unfinished() == [REF]
    make(store)
    store.remove(REF)
    assert list((store.home / "artifacts" / "ingest").iterdir()) == []


def test_nothing_is_held_by_two_at_once_although_the_lock_files_are_deleted(store):
    inside, most, done = 0, 0, 0

    def work(tidy):
        nonlocal inside, most, done
        for _ in range(40):
            with store.locked_if_free(REF, tidy=True) if tidy else store.locked(REF) as ours:
                if tidy and not ours:
                    continue
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1
                done += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [True, False, True, False]))
    assert most == 1 and done >= 80


@pytest.mark.parametrize("where", ["a file", "below a file"])
def test_a_home_that_cannot_be_is_told_with_the_way_out(tmp_path, where):
    home = tmp_path / "home"
    home.write_text("")
    with pytest.raises(ArtifactError, match="home") as caught:
        ArtifactStore(home if where == "a file" else home / "deeper")
    assert "BBQREC_HOME" in caught.value.way_out


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


def rubbish(database):
    database.write_bytes(b"no database at all " * 1000)


def torn_pages(database):
    content = bytearray(database.read_bytes())
    content[1000:] = b"x" * (len(content) - 1000)
    database.write_bytes(bytes(content))


def other_tables(database):
    database.unlink()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE digests (something TEXT)")


@pytest.mark.parametrize("when", ["before it is opened", "while it is open"])
@pytest.mark.parametrize("harm", [rubbish, torn_pages, other_tables])
def test_damaged_digest_memory_is_begun_again(tmp_path, harm, when, caplog):
    database, path = tmp_path / "digests.sqlite", tmp_path / "file"
    path.write_text("one")
    memory = DigestMemory(database)
    right = memory.sha256([path])
    harm(database)
    if when == "before it is opened":
        memory = DigestMemory(database)
    assert memory.sha256([path]) == right == memory.sha256([path])
    assert "begun again" in caplog.text
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM digests").fetchone() == (1,)


def test_digests_are_computed_while_others_hold_the_memory(tmp_path, monkeypatch, caplog):
    database, path = tmp_path / "digests.sqlite", tmp_path / "file"
    path.write_text("one")
    memory = DigestMemory(database)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda database, timeout: connect(database, timeout=0.1))
    with closing(connect(database)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert len(memory.sha256([path])[path]) == 64
    assert "locked" in caplog.text and database.exists()


def test_a_digest_memory_that_cannot_be_opened_is_told(tmp_path):
    (tmp_path / "digests.sqlite").mkdir()
    with pytest.raises(ArtifactError, match=r"digests\.sqlite"):
        DigestMemory(tmp_path / "digests.sqlite")
