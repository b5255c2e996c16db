"""One HTTP client for all downloads: guarded addresses, followed redirects, bounded parallelism, and one kind of failure.

What is done with an answer's body does not belong here, and no second try.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType

import httpcore
import httpx

from bbqrec_core import __version__
from bbqrec_core.download.failures import FailedDownload, failure_of_status, failure_of_transport, retry_after
from bbqrec_core.download.guard import GuardedNetwork
from bbqrec_core.ingest.config import DownloadConfig

MOST_REDIRECTS = 5
LONGEST_PAUSE = 120.0
"""Seconds that a host is left alone when it asks for it, at most."""
SILENCES_TO_ANSWER = 4
"""An answer's head must be there within so many of the silences allowed: a server that sends it byte by byte is silent never."""
BUSY = (429, 503)
HEADERS = {
    "User-Agent": f"bbqrec/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # bytes as they are: a checksum is of the file, and nothing unpacks into memory
}


class Client:
    """Asks for addresses; use it as an asynchronous context.

    No proxy of the environment is used: behind one nobody could tell what a request is connected to.

    Args:
        config: The profile's section `source.download`.
        pictures: Whether pictures are asked for. Their addresses come from data, so another setting than that of raw files, whose addresses
            the profile names, says whether private ones are asked.
    """

    def __init__(self, config: DownloadConfig, pictures: bool = False) -> None:
        setting = "allow_private_pictures" if pictures else "allow_private_addresses"
        self._silence = config.timeout_seconds
        self._slots = _Slots(config.connections, config.connections_per_host)
        self._http = httpx.AsyncClient(
            transport=_Transport(GuardedNetwork(getattr(config, setting), setting), config.connections),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(config.timeout_seconds, pool=None),
            headers=HEADERS,
        )

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.aclose()

    @asynccontextmanager
    async def get(
        self, url: str, wanted: tuple[int, ...] = (200,), headers: Mapping[str, str] | None = None, deadline: float | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Ask for an address and give the answer, its body unread.

        Args:
            url: With http or https.
            wanted: Statuses to give; others are failures.
            headers: To send besides `HEADERS`.
            deadline: Seconds for answer and body together, once it is the request's turn; None for any time, as long as it goes on.

        Raises:
            FailedDownload: Whatever the server, or the way to it, did wrong, while the body is read too.
        """
        target = _address(url)
        for _ in range(MOST_REDIRECTS + 1):
            async with self._slots.take(target.host):
                try:
                    async with asyncio.timeout(deadline), self._ask(target, headers) as answer:
                        if not answer.has_redirect_location or answer.status_code in wanted:
                            if answer.status_code not in wanted:
                                raise self._unwanted(answer, target.host)
                            yield answer
                            return
                        target = _redirect(target, answer)
                except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, TimeoutError) as error:
                    raise failure_of_transport(error, self._silence) from error
                except (httpx.RequestError, httpx.InvalidURL, UnicodeError) as error:  # httpx reads the head, and Location, on its own
                    raise FailedDownload("an answer that makes no sense", str(error)) from error
        raise FailedDownload(f"more than {MOST_REDIRECTS} redirects")

    @asynccontextmanager
    async def _ask(self, target: httpx.URL, headers: Mapping[str, str] | None) -> AsyncIterator[httpx.Response]:
        request = self._http.build_request("GET", target, headers=dict(headers or {}))
        async with asyncio.timeout(SILENCES_TO_ANSWER * self._silence):
            answer = await self._http.send(request, stream=True)
        try:
            yield answer
        finally:
            await answer.aclose()

    def _unwanted(self, answer: httpx.Response, host: str) -> FailedDownload:
        wait = retry_after(answer.headers)
        if answer.status_code in BUSY and wait is not None:
            self._slots.pause(host, min(wait, LONGEST_PAUSE))  # what is asked of it meanwhile would only be refused
        return failure_of_status(answer.status_code, answer.headers)


def _address(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url.strip())
        host = parsed.host
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        raise FailedDownload("no address", str(error)) from None
    if parsed.scheme not in ("http", "https"):
        raise FailedDownload("only http and https are fetched", f"not {parsed.scheme or 'an address without either'}")
    if not host:
        raise FailedDownload("no address", "it names no host")
    return parsed


def _redirect(target: httpx.URL, answer: httpx.Response) -> httpx.URL:
    """Where an answer sends us. The new address is checked as the first was, here and when it is connected to."""
    try:
        new = _address(str(target.join(answer.headers["location"])))
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        raise FailedDownload("a redirect to no address", str(error)) from None
    if target.scheme == "https" and new.scheme == "http":
        raise FailedDownload("a redirect from https to http", str(new))
    return new


class _Slots:
    """Bounds requests at once, over all and to each host, and lets a host be left alone for a while."""

    def __init__(self, total: int, per_host: int) -> None:
        self._total = asyncio.Semaphore(total)
        self._per_host = per_host
        self._hosts: dict[str, asyncio.Semaphore] = {}
        self._paused: dict[str, float] = {}

    @asynccontextmanager
    async def take(self, host: str) -> AsyncIterator[None]:
        """Wait for one's turn. Those who wait for a host take no place from the requests to others."""
        clock = asyncio.get_running_loop().time
        async with self._hosts.setdefault(host, asyncio.Semaphore(self._per_host)):
            while (left := self._paused.get(host, 0.0) - clock()) > 0:
                await asyncio.sleep(left)
            async with self._total:
                yield

    def pause(self, host: str, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        self._paused[host] = max(until, self._paused.get(host, 0.0))


class _Transport(httpx.AsyncBaseTransport):
    """httpx on a pool whose connections go through the guard. Its errors stay httpcore's: `Client` speaks for them."""

    def __init__(self, network: GuardedNetwork, connections: int) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),  # SSL_CERT_FILE counts: a company's own authority is no way round the guard
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=15.0,
            network_backend=network,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            extensions=request.extensions,
        )
        answer = await self._pool.handle_async_request(asked)
        assert not isinstance(answer.stream, bytes)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions)

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._answer.aiter_stream():
            yield chunk

    async def aclose(self) -> None:
        await self._answer.aclose()
