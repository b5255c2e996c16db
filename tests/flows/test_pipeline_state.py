"""The state of an installation: what is done is not done again, what is damaged or killed is made whole, and exactly that."""

import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import mlflow
import pytest
from installation import BIN, TINY, Installation

from bbqrec_core.home import PROJECT
from bbqrec_core.sequence.config import SearchConfig
from bbqrec_core.store import ArtifactStore
from tasks.services.temporary import temporary_prefect_server
from tasks.stages import STAGES

pytestmark = pytest.mark.slow
NAMES = [stage.name for stage in STAGES]


@pytest.fixture(scope="module")
def prefect_api(tmp_path_factory):
    """One Prefect server for the module's many short runs."""
    before = os.environ.get("PREFECT_HOME")
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    try:
        with temporary_prefect_server() as address:
            yield address
    finally:
        os.environ["PREFECT_HOME"] = before


@pytest.fixture(scope="module", autouse=True)
def undisturbed(tiny_home):
    """Data files of an uninterrupted run, before any test touches them."""
    return data_files(tiny_home)


def environment(home, prefect_api):
    return {**Installation(home).environment, "PREFECT_API_URL": prefect_api}


def run(home, prefect_api, *arguments, profile=TINY, fails=False):
    result = subprocess.run(
        [BIN / "bbqrec", "run", profile, *arguments],
        cwd=PROJECT,
        env=environment(home, prefect_api),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == int(fails), result.stdout[-3000:] + result.stderr[-3000:]
    return result


def made(result):
    """Stages that a run made, by what it said of each."""
    return [name for name in NAMES if f"] {name}: made" in result.stderr]


def cached(result):
    return [name for name in NAMES if f"] {name}: cached" in result.stderr]


def data_files(home):
    """SHA-256 of every data file of every stage."""
    store = ArtifactStore(home)
    found = {}
    for ref in store.entries():
        if ref.stage in NAMES:
            artifact = store.require(ref)
            found |= {f"{ref}/{name}": entry["sha256"] for name, entry in artifact.manifest["files"].items()}
    return found


def mlflow_rows(home, query):
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as connection:
        return connection.execute(query).fetchall()


def registry(home):
    """Fingerprints of the registered versions, and the aliases."""
    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow' / 'mlflow.db'}")
    versions = client.search_model_versions("name = 'bbqrec-tiny'")
    return sorted(version.tags["bbqrec.fingerprint"] for version in versions), dict(client.get_registered_model("bbqrec-tiny").aliases)


def forget(home, *, alias=None, version=None):
    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow' / 'mlflow.db'}")
    if alias:
        client.delete_registered_model_alias("bbqrec-tiny", alias)
    if version:
        client.delete_model_version("bbqrec-tiny", version)


def test_a_second_run_redoes_nothing_and_says_so(tiny_home, prefect_api):
    before, runs = data_files(tiny_home), mlflow_rows(tiny_home, "SELECT count(*) FROM runs")
    result = run(tiny_home, prefect_api)
    assert cached(result) == NAMES and made(result) == []
    assert "0 stages made, 11 cached" in result.stdout
    assert data_files(tiny_home) == before
    assert mlflow_rows(tiny_home, "SELECT count(*) FROM runs") == runs


def test_changing_the_learning_rate_retrains_and_embeds_nothing(tiny_home, prefect_api):
    result = run(tiny_home, prefect_api, "--set", "sequence.learning_rate=0.004")
    assert cached(result) == ["shop", "ingest", "embed", "quantize", "prior", "baselines"]
    assert made(result) == ["train", "refit", "evaluate", "register", "report"]


def test_what_is_registered_has_learned_from_validation_too_unless_the_profile_says_no(tiny_home, prefect_api):
    store = ArtifactStore(tiny_home)
    registered = set(registry(tiny_home)[0])
    assert registered & {ref.fingerprint for ref in store.entries() if ref.stage == "refit"}
    trained = {ref.fingerprint for ref in store.entries() if ref.stage == "train"}
    assert not registered & trained
    result = run(tiny_home, prefect_api, "--set", "refit.enabled=false")
    assert cached(result) == ["shop", "ingest", "embed", "quantize", "prior", "train", "baselines"]
    assert made(result) == ["evaluate", "register", "report"] and "refitted" not in result.stdout
    assert len(set(registry(tiny_home)[0]) & trained) == 1


def test_another_way_to_search_is_another_version_of_the_same_model(tiny_home, prefect_api, monkeypatch):
    before, _ = registry(tiny_home)
    result = run(tiny_home, prefect_api, "--set", "search.beam_width=7")
    assert made(result) == ["register"]
    versions, aliases = registry(tiny_home)
    assert set(versions) == set(before) and len(versions) == len(before) + 1 and aliases["champion"] == len(versions)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tiny_home / 'mlflow' / 'mlflow.db'}")
    uri = f"models:/bbqrec-tiny/{len(versions)}"
    assert searches_by(uri) == SearchConfig(beam_width=7)
    assert searches_by(uri, {"beam_width": 5, "exact_limit": 0}) == SearchConfig(beam_width=5, exact_limit=0)
    with pytest.raises(mlflow.MlflowException, match=r"(?s)model_config does not fit.*beam_width.*greater than or equal to 1"):
        searches_by(uri, {"beam_width": 0})
    assert made(run(tiny_home, prefect_api, "--set", "search.beam_width=7")) == []
    assert made(run(tiny_home, prefect_api)) == ["register"], "the profile's own settings serve again"
    assert registry(tiny_home) == (versions, {**aliases, "champion": aliases["previous"], "previous": aliases["champion"]})


def searches_by(uri, given=None):
    """How a registered model searches, loaded with a configuration of its user's."""
    return mlflow.pyfunc.load_model(uri, model_config=given).unwrap_python_model().catalogue.recommender.search


def test_a_run_ends_after_the_stage_it_is_told_to(prefect_api, tmp_path):
    result = run(tmp_path, prefect_api, "--until", "ingest")
    assert made(result) == ["shop", "ingest"] and cached(result) == []
    assert "2 stages made" in result.stdout and "Model" not in result.stdout and "inspect tests/tiny.yaml/ingest" in result.stdout


PARTIAL = """
extends: {tiny}
source: {{kind: amazon, raw: {raw}, reviews: reviews.json.gz, metadata: meta.json.gz, note: Half a shop.}}
ingest: {{use_cut_files: true, k_user: 1, k_item: 1}}
"""


def test_a_partial_data_set_says_so_wherever_it_appears(tiny_home, prefect_api, tmp_path):
    store = ArtifactStore(tiny_home)
    [shop, *_] = [ref for ref in store.entries() if ref.stage == "shop"]
    for name in ("reviews.json.gz", "meta.json.gz"):
        data = (store.path(shop) / name).read_bytes()
        (tmp_path / name).write_bytes(data[: -len(data) // 8] if name.startswith("reviews") else data)
    profile = tmp_path / "partial.yaml"
    profile.write_text(PARTIAL.format(tiny=PROJECT / TINY, raw=tmp_path))
    refused = run(tiny_home, prefect_api, "--until", "ingest", "--set", "ingest.use_cut_files=false", profile=str(profile), fails=True)
    assert "reviews.json.gz is cut off" in refused.stderr and "ingest.use_cut_files: true" in refused.stderr
    assert "Traceback" not in refused.stderr and "bug" not in refused.stderr
    result = run(tiny_home, prefect_api, "--until", "ingest", profile=str(profile))
    assert "About this data: Partial data: reviews.json.gz is cut off" in result.stdout and "Half a shop." in result.stdout
    assert "ING-016" in result.stdout
    status = subprocess.run(
        [BIN / "bbqrec", "status", str(profile)], env=environment(tiny_home, prefect_api), capture_output=True, text=True, check=True
    )
    assert "Partial data: reviews.json.gz is cut off" in status.stdout
    tagged = "SELECT value FROM tags JOIN runs USING (run_uuid) WHERE key = 'bbqrec.partial' ORDER BY runs.start_time"
    assert mlflow_rows(tiny_home, tagged) == [("true",), ("true",)]  # the pipeline's run and the stage's
    assert mlflow_rows(tiny_home, "SELECT DISTINCT value FROM input_tags WHERE name = 'bbqrec.partial'") == [("true",)]


@pytest.mark.parametrize(("stage", "harm"), [("quantize", "corrupt"), ("embed", "delete")])
def test_a_lost_artifact_is_made_again_the_same_and_nothing_else(tiny_home, prefect_api, stage, harm):
    store, before = ArtifactStore(tiny_home), data_files(tiny_home)
    (ref,) = [ref for ref in store.entries() if ref.stage == stage]
    if harm == "delete":
        store.remove(ref)
    else:
        victim = store.path(ref) / "semantic_ids.parquet"
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 0xFF
        victim.write_bytes(bytes(content))
    result = run(tiny_home, prefect_api)
    assert made(result) == [stage]
    assert data_files(tiny_home) == before


@pytest.mark.parametrize("lost", [{"alias": "champion"}, {"version": "1"}])
def test_a_lost_registration_is_made_again(tiny_home, prefect_api, lost):
    before, _ = registry(tiny_home)
    forget(tiny_home, **lost)
    result = run(tiny_home, prefect_api)
    assert made(result)[0] == "register"
    versions, aliases = registry(tiny_home)
    assert versions == before and "champion" in aliases


def kill_in(stage, home, prefect_api):
    """Start a run, and kill -9 its whole session a moment after a stage began to work."""
    process = subprocess.Popen(
        [BIN / "bbqrec", "run", TINY],
        cwd=PROJECT,
        env=environment(home, prefect_api),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said = []
    for line in process.stderr:
        said.append(line)
        if f"] {stage}: working" in line:
            break
    else:
        pytest.fail(f"{stage} never began: {''.join(said)[-2000:]}")
    time.sleep(1.5 if stage in ("train", "refit", "register") else 0.3)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()


def test_kill_in_every_stage_ends_in_the_same_state(undisturbed, prefect_api, tmp_path):
    for stage in NAMES:
        kill_in(stage, tmp_path, prefect_api)
    result = run(tmp_path, prefect_api)
    assert "report" in made(result)
    assert data_files(tmp_path) == undisturbed
    versions, aliases = registry(tmp_path)
    assert len(versions) == 1 and aliases == {"champion": 1}
    states = [status for (status,) in mlflow_rows(tmp_path, "SELECT status FROM runs")]
    assert "RUNNING" not in states and states.count("KILLED") >= len(NAMES)
    assert [path.name for path in (tmp_path / "artifacts").glob("*/.*")] == []
