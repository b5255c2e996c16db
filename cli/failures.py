"""How a command fails: what can be expected in words, with the way out and without a traceback; a bug with its traceback, as a bug."""

import errno
import shutil
import sqlite3
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from bbqrec_core.errors import ArtifactError, BBQRecError, ServiceError
from bbqrec_core.home import home_folder
from cli.console import err

INTERRUPTED = 130
SERVERS_WORDS = ("mlflow.exceptions", "requests.exceptions", "httpx", "httpcore")
"""Modules of the exceptions by which MLflow and Prefect say that a server does not answer or refuses."""
FULL = {errno.ENOSPC, errno.EDQUOT}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_PLACE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}


class FileError(BBQRecError):
    """The machine refuses a file: no place, no permission, no room."""


@contextmanager
def told() -> Iterator[None]:
    """Turn what escapes a command into a message and an exit code: 1, or 130 when interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # Typer's word for Ctrl-C
            _interrupted()
        raise
    except Exception as error:
        expected = in_words(error)
        if expected is None:
            traceback.print_exc()
            err.print("\nThis is a bug in BBQRec, not a mistake of yours: please report it with the lines above.", style="bold red")
        else:
            err.print(f"\n{type(expected).__name__.removesuffix('Error')} error", style="bold red")
            err.print(expected.problem, soft_wrap=True)
            if expected.way_out:
                err.print(expected.way_out, style="green", soft_wrap=True)
        sys.exit(1)


def in_words(error: Exception) -> BBQRecError | None:
    """The expected failure that an exception is, or None for a bug."""
    if isinstance(error, BBQRecError):
        return error
    if any(kind.__module__.startswith(SERVERS_WORDS) for kind in type(error).__mro__):
        return ServiceError(f"A server does not answer as it should: {error}", "Which one, and whether it is up, tells `bbqrec doctor`.")
    if isinstance(error, sqlite3.OperationalError):
        return ArtifactError(
            f"A database in {home_folder()} cannot be used: {error}.", "Check the room on that disk and the permissions: `bbqrec doctor`."
        )
    if isinstance(error, shutil.SameFileError):
        return FileError(f"{error}.", "Choose another place.")
    if isinstance(error, OSError) and error.errno is not None:
        return _file_error(error)
    return None


def _file_error(error: OSError) -> FileError:
    paths = " -> ".join(str(path) for path in (error.filename, error.filename2) if path is not None)
    reason = error.strerror or str(error)
    problem = f"{paths}: {reason}." if paths else f"{reason}."
    if error.errno in FULL:
        return FileError(problem, "Free some space, such as with `bbqrec gc --yes`, or set BBQREC_HOME to a folder on another disk.")
    if error.errno in FORBIDDEN:
        return FileError(problem, "Give yourself the permission, or choose another place; BBQREC_HOME names the folder of all state.")
    if error.errno in NO_PLACE:
        return FileError(problem, "Check the path: the folder it is in must be there.")
    return FileError(problem, "Check the disk and the permissions: `bbqrec doctor`.")


def _interrupted() -> None:
    err.print("\nInterrupted. What was finished stays; run the same command to go on.")
    sys.exit(INTERRUPTED)
