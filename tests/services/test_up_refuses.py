"""`bbqrec up` says what is in its way before it starts anything."""

import socket
from pathlib import Path

import pytest
from installation import Installation


@pytest.mark.parametrize("which", ["BBQREC_PREFECT_PORT", "BBQREC_MLFLOW_PORT"])
def test_a_taken_port_is_named_with_its_holder_and_the_way_out(tmp_path: Path, which: str) -> None:
    installation = Installation(tmp_path)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", int(installation.environment[which])))
        holder.listen()
        refused = installation.bbqrec("up", timeout=60)
    assert refused.returncode == 1
    assert f"Port {installation.environment[which]}" in refused.stderr
    assert which in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_port_that_is_none_is_refused(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.environment["BBQREC_MLFLOW_PORT"] = "https"
    refused = installation.bbqrec("up", timeout=60)
    assert refused.returncode == 1
    assert "BBQREC_MLFLOW_PORT is 'https'" in refused.stderr
