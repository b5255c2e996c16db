"""Prefect's server, as the project starts it: on loopback, and for those who call this machine by a name of its own.

    python -m tasks.services.prefect_server PORT

Prefect looks at the origin of a request and not at the host that it is for. A page whose name is made to stand for 127.0.0.1 is of the
server's own origin then, and could have any command run.
"""

import sys
from typing import TYPE_CHECKING

from tasks.services.addresses import HOST

if TYPE_CHECKING:
    from starlette.types import ASGIApp

HOSTS = (HOST, "localhost")


def serve(port: int, log_level: str = "warning") -> None:
    """Serve until the process is told to end.

    Args:
        port: On loopback.
        log_level: Uvicorn's.
    """
    import uvicorn

    uvicorn.run(_app(), host=HOST, port=port, log_level=log_level)


def _app() -> "ASGIApp":
    """Prefect's application, for requests to HOSTS alone."""
    from prefect.server.api.server import create_app
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    return TrustedHostMiddleware(create_app(final=True), allowed_hosts=list(HOSTS))


if __name__ == "__main__":
    serve(int(sys.argv[1]))
