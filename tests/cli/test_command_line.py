"""The command line: help to work from, messages instead of tracebacks."""

import subprocess

import pytest
from installation import BIN

from bbqrec_core.home import PROJECT
from cli.main import COMMANDS


def bbqrec(*arguments, **environment):
    import os

    return subprocess.run(
        [BIN / "bbqrec", *arguments],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    result = bbqrec(command, "--help")
    assert result.returncode == 0 and "Usage: bbqrec " + command in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "giftcards"], "Did you mean 'gift_cards'"),
        (["run", "demo", "--set", "sequence.epochz=3"], "Did you mean 'sequence.epochs'"),
        (["run", "demo", "--set", "sequence.epochs=0"], "greater than or equal to 1"),
        (["run", "demo", "--set", "nonsense"], "is no assignment"),
        (["inspect", "ingest/none"], "0 artifacts begin with"),
        (["report", "demo"], "does not exist"),
        (["report", "demo", "--set", "seed=3"], "bbqrec run demo --set seed=3"),
        (["inspect", "demo/ingest", "--set", "ingest.k_user=4"], "bbqrec run demo --set ingest.k_user=4 --until ingest"),
        (["recommend", "demo"], "bbqrec run demo"),
        (["recommend", "demo", "--set", "tracking.model_name=trial"], "bbqrec run demo --set tracking.model_name=trial"),
        (["rollback", "demo"], "no previous champion"),
        (["rollback", "demo", "--set", "tracking.model_name=trial"], "trial has no previous champion"),
        (["fetch", "demo"], "nothing to fetch"),
    ],
)
def test_what_does_not_fit_is_explained_without_a_traceback(arguments, said):
    result = bbqrec(*arguments)
    assert result.returncode == 1
    assert said in result.stderr and "Traceback" not in result.stderr


def test_an_unknown_stage_is_a_mistake_of_usage():
    result = bbqrec("run", "demo", "--until", "gift_wrap")
    assert result.returncode == 2 and "'gift_wrap' is not one of 'shop', 'ingest'" in result.stderr


def test_missing_raw_files_are_named_with_their_place_and_source(tmp_path):
    result = bbqrec("run", "gift_cards", BBQREC_RAW=str(tmp_path))
    assert result.returncode == 1 and "Traceback" not in result.stderr
    flat = result.stderr.replace("\n", "")
    assert str(tmp_path / "amazon_2018/Gift_Cards/Gift_Cards_5.json.gz") in flat
    assert "https://" in flat


def test_profiles_are_listed_and_shown():
    assert "gift_cards" in bbqrec("profiles").stdout
    assert "learning_rate" in bbqrec("profiles", "--show", "demo").stdout
