"""A registered model in a process of its own, with the code that it carries: what it answers there, a server will answer.

In this process `bbqrec_core` and `serving` are the checkout's, and a version may have been made by others.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tasks.lifeline import tethered
from tasks.tracking import tracking_uri


class ModelFailure(Exception):
    """A model that does not load, fails, or whose process ended; says why."""


class ModelRefusal(ModelFailure):
    """A request that does not fit, in the model's own words."""


class ModelProcess:
    """The process's near end: one model at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def load(self, uri: str) -> None:
        """Load a model, in place of the one before.

        Args:
            uri: A model's address in MLflow, or its folder.

        Raises:
            ModelFailure: It does not load.
        """
        self._exchange({"load": uri})

    def ask(self, histories: Sequence[Sequence[str]], k: int) -> list[dict[str, Any]]:
        """Per history items, scores, unknown (see `serving/model.py`).

        Args:
            histories: Item IDs, most recent last.
            k: How many items each.

        Raises:
            ModelRefusal: The request does not fit.
            ModelFailure: The model fails, or its process ends.
        """
        return self._exchange({"histories": [list(history) for history in histories], "k": k})["answers"]

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):  # nothing, or half of an answer
            raise ModelFailure(f"its process ended with exit code {self._process.wait()}")
        answer = json.loads(line)
        if "problem" in answer:
            raise (ModelRefusal if answer["refused"] else ModelFailure)(answer["problem"])
        return answer


@contextmanager
def model_process() -> Iterator[ModelProcess]:
    """Start the process; it ends with this block, or with this process."""
    command = [sys.executable, "-m", "tasks.model_answers"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri()}
    with tethered(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        yield ModelProcess(process)
