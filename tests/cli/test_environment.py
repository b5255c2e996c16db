"""The environment that everything is started in."""

import os

from bbqrec_core.home import home_folder
from cli import environment


def test_folders_named_from_where_a_command_is_given_are_the_same_from_elsewhere(tmp_path, monkeypatch):
    """Servers and workers are started in the project's folder."""
    monkeypatch.chdir(tmp_path)
    for name in environment.FOLDERS:
        monkeypatch.setenv(name, "state")
    monkeypatch.delenv("BBQREC_RAW")
    for name in (*environment.QUIET, "PREFECT_HOME", "BBQREC_PROJECT"):  # restored afterwards, since `apply` sets them
        monkeypatch.setenv(name, "")
    environment.apply()
    monkeypatch.chdir("/")
    assert home_folder() == tmp_path / "state"
    assert {os.environ[name] for name in environment.FOLDERS if name != "BBQREC_RAW"} == {str(tmp_path / "state")}
    assert "BBQREC_RAW" not in os.environ, "what is not set stays so"
