"""What a command needs around it to run flows here and now: a Prefect server, logs, and a mark by which a killed run is known."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from cli import environment
from cli.console import err, show_logs


@contextmanager
def running_flows(module: str) -> Iterator[None]:
    """Run flows inside: on the Prefect server that is up, or on one of their own for as long as they take.

    Args:
        module: Where the flows are; imported while the server starts.
    """
    from tasks.services.temporary import temporary_prefect_server

    server = environment.running_prefect_server()
    if server is None:
        err.print("Starting a temporary Prefect server (`make up` keeps one running)")
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"  # what happens is said once, by us; Prefect's server gets it all
    show_logs()
    with nullcontext(server) if server else temporary_prefect_server(meanwhile=lambda: importlib.import_module(module)):
        from prefect import tags

        from tasks.services.orphans import PROCESS_TAG
        from tasks.services.processes import identity

        with tags(PROCESS_TAG + identity()):  # so that `bbqrec up` can tell a killed run from a living one
            yield
