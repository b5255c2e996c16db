"""A real HTTP server on loopback that behaves as badly as it is told to."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Handler)
        self.answers: dict[str, Answer | list[Answer]] = {}
        self.asked: Counter[str] = Counter()
        self.ranges: list[tuple[str, str | None]] = []
        self.at_once = 0
        self.most_at_once = 0
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def stop(self) -> None:
        self.ending.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path = self.path.lstrip("/").partition("?")[0]
        with self.server.lock:
            self.server.asked[path] += 1
            self.server.ranges.append((path, self.headers.get("Range")))
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
            answer = self.server.answers.get(path, status(404))
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
        try:
            answer(self)
        finally:
            with self.server.lock:
                self.server.at_once -= 1

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def begin(self, code: int, length: int | None, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def pause(self, seconds: float) -> None:
        self.server.ending.wait(seconds)


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.begin(code, len(body), **headers)
        handler.wfile.write(body)

    return answer


def content(body: bytes, **headers: str) -> Answer:
    return status(200, body, **headers)


def ranged(body: bytes, etag: str = '"one"', cut: int | None = None, knows_ranges: bool = True) -> Answer:
    """A file with an ETag, whose rest can be asked for; `cut` breaks off after so many bytes of an answer."""

    def answer(handler: Handler) -> None:
        start = 0
        asked = handler.headers.get("Range")
        if knows_ranges and asked and handler.headers.get("If-Range") == etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            handler.begin(206, len(body) - start, ETag=etag, Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            handler.begin(200, len(body), ETag=etag)
        handler.wfile.write(body[start:] if cut is None else body[start : start + cut])
        if cut is not None:
            handler.close_connection = True

    return answer


def lying(body: bytes, length: int | None, **headers: str) -> Answer:
    """Announces another length than it sends, or none."""

    def answer(handler: Handler) -> None:
        handler.begin(200, length, **headers)
        handler.wfile.write(body)
        handler.close_connection = True

    return answer


def stalling(body: bytes, sent: int, seconds: float) -> Answer:
    """Sends some bytes, then nothing for a while."""

    def answer(handler: Handler) -> None:
        handler.begin(200, len(body))
        handler.wfile.write(body[:sent])
        handler.pause(seconds)
        handler.close_connection = True

    return answer


def trickling(body: bytes, sent: int, pause: float) -> Answer:
    """A file with an ETag that comes in small pieces; its rest can be asked for, and comes at once."""

    def answer(handler: Handler) -> None:
        if handler.headers.get("Range"):
            ranged(body)(handler)
            return
        handler.begin(200, len(body), ETag='"one"')
        for place in range(0, len(body), sent):
            handler.wfile.write(body[place : place + sent])
            handler.pause(pause)

    return answer


def slow(body: bytes, seconds: float) -> Answer:
    def answer(handler: Handler) -> None:
        time.sleep(seconds)
        content(body)(handler)

    return answer


def redirect(location: str, code: int = 302) -> Answer:
    return status(code, Location=location)
