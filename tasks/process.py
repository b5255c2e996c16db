"""Runs a stage in a process of its own, which dies with its parent and takes its children along.

C and CUDA code cannot be interrupted in a thread, and heavy imports stay out of the orchestrator.

The parent runs `run_stage_in_process`; the child is this module's `main`.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bbqrec_core import errors
from bbqrec_core.errors import BBQRecError, StageError
from bbqrec_core.profile import Profile
from bbqrec_core.stage import StageContext, Statistics
from tasks.lifeline import die_with_parent, tethered

log = logging.getLogger(__name__)
LOG_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class StageJob:
    """What a child is asked to do.

    Attributes:
        entry: "module:function" taking a StageContext.
        context: Its argument.
        environment: Variables for this child only.
    """

    entry: str
    context: StageContext
    environment: Mapping[str, str]


def run_stage_in_process(job: StageJob) -> Statistics:
    """Run a stage in a child and wait for it.

    Raises:
        BBQRecError: The stage's own expected error, of its own class.
        StageError: The stage crashed or was killed; its traceback is in the log.
    """
    with tempfile.TemporaryDirectory(prefix="bbqrec-") as folder:
        request, answer = Path(folder, "request.json"), Path(folder, "answer.json")
        request.write_text(json.dumps(_encode(job)), encoding="utf-8")
        command = [sys.executable, "-m", "tasks.process", str(request), str(answer)]
        environment = {**os.environ, **job.environment}
        with tethered(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment) as child:
            _forward_log(child)
            code = child.wait()
        return _decode_answer(answer, code, job.entry)


def _encode(job: StageJob) -> dict[str, Any]:
    context = job.context
    return {
        "entry": job.entry,
        "profile": context.profile.model_dump(mode="json"),
        "inputs": {name: str(path) for name, path in context.inputs.items()},
        "out": str(context.out),
        "scratch": str(context.scratch),
    }


def _forward_log(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        parts = line.rstrip("\n").split(LOG_SEPARATOR, 2)
        if len(parts) == 3 and parts[0].isdigit():
            logging.getLogger(parts[1]).log(int(parts[0]), "%s", parts[2])
        elif line.strip():
            log.info("%s", line.rstrip("\n"))


def _decode_answer(path: Path, code: int, entry: str) -> Statistics:
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        hint = "It may have run out of memory: see the log, and `bbqrec doctor`." if code == -signal.SIGKILL else "See the log above."
        raise StageError(
            f"The process of `{entry}` ended with {how} before it was done.", f"{hint} Run again: what is done stays done."
        ) from None
    if "statistics" in answer:
        return answer["statistics"]
    if "traceback" in answer:
        log.error("%s", answer["traceback"])
        raise StageError(f"`{entry}` crashed: {answer['problem']}", "This is a bug: its traceback is in the log above.")
    raise getattr(errors, answer["kind"])(answer["problem"], answer["way_out"])


def main(request_path: str, answer_path: str, lifeline: str) -> None:
    """The child: read the request, run the stage, write the answer."""
    die_with_parent(int(lifeline))
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    _log_to_parent()
    answer = _run(request)
    unfinished = Path(answer_path + ".part")
    unfinished.write_text(json.dumps(answer), encoding="utf-8")
    unfinished.rename(answer_path)


def _run(request: dict[str, Any]) -> dict[str, Any]:
    import importlib
    import traceback

    module, function = request["entry"].split(":")
    try:
        context = StageContext(
            profile=Profile.model_validate(request["profile"]),
            inputs={name: Path(path) for name, path in request["inputs"].items()},
            out=Path(request["out"]),
            scratch=Path(request["scratch"]),
        )
        return {"statistics": getattr(importlib.import_module(module), function)(context)}
    except BBQRecError as error:
        return {"kind": _kind(error), "problem": error.problem, "way_out": error.way_out}
    except OSError as error:
        if error.errno not in (28, 122):  # disk or quota full
            return {"problem": repr(error), "traceback": traceback.format_exc()}
        return {
            "kind": "StageError",
            "problem": f"The disk is full: {error}.",
            "way_out": "Free some space (`bbqrec gc` helps), then run again.",
        }
    except BaseException as error:
        return {"problem": repr(error), "traceback": traceback.format_exc()}


def _kind(error: BBQRecError) -> str:
    """The nearest class of the project's family that both processes know: a package may have a finer one of its own."""
    return next(kind.__name__ for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind)


def _log_to_parent() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("bbqrec_core", "tasks", "serving"):
        logging.getLogger(name).setLevel(logging.INFO)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).replace("\n", " | ")
        return LOG_SEPARATOR.join((str(record.levelno), record.name, text))


if __name__ == "__main__":
    main(*sys.argv[1:])
