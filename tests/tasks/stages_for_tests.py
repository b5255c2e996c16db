"""Small stages for tests of the runner: each does one thing that a stage can do."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

from bbqrec_core.errors import SourceError


def counts(context):
    (context.out / "count.txt").write_text(str(context.profile.seed))
    return {"users": 7, "share": 0.5, "seen": len(context.inputs)}


def empty_handed(context):
    (context.out / "count.txt").write_text("0")
    return {"users": None}


def finds_its_source_growing(context):
    (context.out / "count.txt").write_text("7")
    with Path(os.environ["GROWING"]).open("a") as file:
        file.write("one more line")
    return {"users": 7, "share": 1.0}


def refuses(context):
    raise SourceError("The file is bad.", "Bring a good one.")


def crashes(context):
    (context.out / "half").write_text("half")
    return 1 / 0


def dies(context):
    (context.scratch / "checkpoint").write_text("kept")
    os.kill(os.getpid(), signal.SIGKILL)


def _sleep():
    time.sleep(120)


def sleeps_with_a_child(context):
    child = multiprocessing.get_context("spawn").Process(target=_sleep)
    child.start()
    (context.scratch / "pids").write_text(f"{os.getpid()} {child.pid}")
    time.sleep(120)


def tells_how_threads_wait(context):
    (context.out / "waiting").write_text(os.environ["OMP_WAIT_POLICY"])
    return {"users": 7, "share": 1.0}
