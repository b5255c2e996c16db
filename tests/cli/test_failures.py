"""Failures are told in words, bugs are told as bugs, and text of others is printed as it is."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from installation import BIN, TINY, Installation, free_port

from bbqrec_core.home import PROJECT
from cli.summary import print_summary
from tasks.summary import ModelLine, StageLine, Summary

HOSTILE = "[/x] [bold]not bold[/] :smile: \N{SNOWMAN}"


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    (tmp_path / "home").mkdir()
    return Installation(tmp_path / "home")


def refused(installation: Installation, *arguments: str, **environment: str) -> str:
    """What a command says on standard error that must fail with a message."""
    installation.environment |= environment
    result = installation.bbqrec(*arguments, timeout=60)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


def test_inspecting_without_the_raw_files_says_what_is_missing(installation: Installation) -> None:
    (installation.home / "artifacts" / "ingest" / "abc").mkdir(parents=True)
    installation.environment.pop("BBQREC_RAW", None)
    said = " ".join(refused(installation, "inspect", "gift_cards/ingest").split())
    assert "BBQREC_RAW=/path/to/raw bbqrec inspect gift_cards/ingest" in said and "ingest/abc" in said


@pytest.mark.parametrize("place", ["/dev/null/home", "/proc/home"])
def test_a_home_that_cannot_be_is_named(installation: Installation, place: str) -> None:
    said = refused(installation, "status", BBQREC_HOME=place)
    assert place in said and "BBQREC_HOME" in said


def test_an_unreachable_mlflow_is_told_at_once(installation: Installation) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    for command in ("recommend", "rollback"):
        said = refused(installation, command, "demo", MLFLOW_TRACKING_URI=address)
        assert "Service error" in said and address in said and "MLFLOW_TRACKING_URI" in said


def test_an_address_that_is_none_for_mlflow_is_told(installation: Installation) -> None:
    assert "nonsense://here" in refused(installation, "recommend", "demo", MLFLOW_TRACKING_URI="nonsense://here")


def test_a_place_that_cannot_take_the_recommendations_is_told_before_the_model_is_asked(installation: Installation, tmp_path: Path) -> None:
    said = refused(installation, "recommend", "demo", "--all", str(tmp_path / "none" / "all.parquet"))
    assert f"mkdir -p {tmp_path / 'none'}" in said
    assert f"{tmp_path} is a folder" in refused(installation, "recommend", "demo", "--all", str(tmp_path))


def test_a_wrong_port_stops_a_run_before_it_begins(installation: Installation) -> None:
    assert "BBQREC_MLFLOW_PORT is 'https'" in refused(installation, "run", TINY, BBQREC_MLFLOW_PORT="https")
    assert not list((installation.home / "artifacts").glob("*/*"))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("sequence.epochs=null", "--set sequence.epochs: null is no value"),
        ("sequence=", "--set sequence: null is no value"),
        ("embedding.image.model=null", "--set embedding.image.model: null is no value"),
        ("name=other", "--set name: there is no such field.\n"),
        ("tracking.model_name=a/b", "--set tracking.model_name"),
        ("tracking.model_name=it's", "--set tracking.model_name"),
        ("tracking.experiment='/'", "--set tracking.experiment"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(installation: Installation, setting: str, said: str) -> None:
    assert said in refused(installation, "status", "demo", "--set", setting)


def test_null_where_it_is_a_value_is_taken(installation: Installation) -> None:
    assert installation.bbqrec("status", TINY, "--set", "embedding.image=null").returncode == 0


def test_one_broken_profile_does_not_hide_the_others(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"extends: demo\ndescription: '{HOSTILE}'\n", encoding="utf-8")
    (tmp_path / "My Shop.yaml").write_text("extends: demo\n")
    installation.environment["BBQREC_PROFILES"] = str(tmp_path)
    listed = installation.bbqrec("profiles")
    assert listed.returncode == 0, listed.stderr
    assert HOSTILE in listed.stdout and "gift_cards" in listed.stdout
    assert "'My Shop' cannot be a name" in listed.stdout


def test_a_description_is_printed_as_it_is_when_a_run_begins(installation: Installation, tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text(f"extends: {PROJECT / TINY}\ndescription: '{HOSTILE}'\n", encoding="utf-8")
    installation.environment["PREFECT_API_URL"] = f"http://127.0.0.1:{free_port()}/api"
    result = installation.bbqrec("run", str(profile), timeout=60)
    assert HOSTILE in result.stdout
    assert result.returncode == 1 and "PREFECT_API_URL" in result.stderr and "Traceback" not in result.stderr


def test_users_of_others_are_printed_as_they_are(installation: Installation) -> None:
    assert "'[/x]'" in refused(installation, "inspect", "[/x]")


@pytest.mark.parametrize("argument", ["demo", "my profiles/shop.yaml"])
def test_the_summary_prints_text_as_it_is_and_names_the_profile_as_it_was_asked_for(capsys: pytest.CaptureFixture, argument: str) -> None:
    summary = Summary(
        profile="shop",
        profile_argument=argument,
        note=HOSTILE,
        stages=[StageLine(name="ingest", artifact="a/b", cached=False, seconds=1.0, headline=HOSTILE, warnings=[HOSTILE])],
        models=[
            ModelLine(
                name=HOSTILE,
                ndcg_at_10=0.1,
                ndcg_low=0.0,
                ndcg_high=0.2,
                recall_at_10=0.3,
                ndcg_at_10_unmasked=0.1,
                recall_at_10_unmasked=0.1,
            )
        ],
        report=Path("/[/x]/report.html"),
        model_name="bbqrec-shop",
        model_version=4,
        model_alias="challenger",
        champion_version=3,
        encoders=[f"image: demo encoder {HOSTILE}"],
    )
    print_summary(summary, 1.0, "http://127.0.0.1:5055 and http://127.0.0.1:4255")
    said = capsys.readouterr().out
    assert said.count(HOSTILE) == 5 and "/[/x]/report.html" in said
    assert "recommend demo " in said if argument == "demo" else "recommend 'my profiles/shop.yaml'" in said
    assert "models:/bbqrec-shop@challenger" in said and "version 3 is champion" in said
    assert "http://127.0.0.1:5055" in said


def test_a_bug_keeps_its_traceback_and_is_called_one() -> None:
    code = "from cli.failures import told\nwith told():\n    {}['nothing']"
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "KeyError: 'nothing'" in result.stderr and result.stderr.index("Traceback") < result.stderr.index("This is a bug in BBQRec")


def test_an_interrupted_run_says_how_to_go_on(installation: Installation) -> None:
    run = subprocess.Popen(
        [BIN / "bbqrec", "run", TINY],
        cwd=PROJECT,
        env=installation.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    assert "Starting a temporary Prefect server" in run.stderr.readline()
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 130
    assert "run the same command to go on" in said and "Traceback" not in said


def test_what_a_run_was_given_by_set_is_in_what_the_summary_suggests(capsys: pytest.CaptureFixture) -> None:
    """Without it they would speak of another artifact, or of none."""
    line = StageLine(name="ingest", artifact="a/b", cached=False, seconds=1.0, headline="", warnings=[])
    summary = Summary(profile="shop", profile_argument="shop", note="", stages=[line], models=[], encoders=[])
    print_summary(summary, 1.0, "", ["ingest.k_user=3", "quantization.codebook_sizes=[64, 64]"])
    said = capsys.readouterr().out
    options = "--set ingest.k_user=3 --set 'quantization.codebook_sizes=[64, 64]'"
    assert f"inspect shop/ingest {options} --rows 3" in said and f"run shop {options} " in said
