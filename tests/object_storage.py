"""S3 for tests: moto's server, a process on the loopback interface, and a gate before it that can make it falter."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY, SECRET = "AKIAGANSVCTESTS00000", "the-secret-that-must-not-be-seen-anywhere"

Answer = tuple[int, str]
"""HTTP status and S3's name for an error."""
SLOW_DOWN: Answer = (503, "SlowDown")
DENIED: Answer = (403, "AccessDenied")
RESET: Answer = (0, "")
"""The connection is closed without an answer."""


def environment(url: str) -> dict[str, str]:
    """Return the variables that lead to a server; no profile of whoever runs the tests comes in between."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }


@contextmanager
def served(log: Path) -> Iterator[str]:
    """Run moto's server and give its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "import sys; from moto.server import main; main(sys.argv[1:])"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(port)], stdout=file, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            with suppress(OSError), opener.open(f"{url}/moto-api/", timeout=5):
                break
            time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


def request(url: str, method: str, path: str, data: bytes = b"") -> bytes:
    """Send one plain S3 request: what pyarrow can't do, or does in its own way."""
    host = url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=30)
    headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request"}
    connection.request(method, path, data, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status < 300, (answer.status, content)
    return content


class Gate:
    """Stands before a server and passes requests on, unless it was told what to answer instead.

    Args:
        behind: the server's URL.
    """

    def __init__(self, behind: str) -> None:
        self.behind = behind
        self.seen: list[str] = []
        """Every request: its method and path."""
        self._answers: list[tuple[re.Pattern[str], Answer]] = []
        self._before: tuple[re.Pattern[str], Callable[[], object]] | None = None
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                gate._handle(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, answer: Answer, times: int = 1, to: str = "") -> None:
        """Give that answer to the next so many requests that a pattern fits: ``METHOD /path?query``."""
        self._answers += [(re.compile(to), answer)] * times

    def planned(self) -> int:
        """Return how many answers are still to be given."""
        return len(self._answers)

    def before(self, to: str, do: Callable[[], object]) -> None:
        """Do something once, before the next fitting request is passed on."""
        self._before = (re.compile(to), do)

    def clear(self) -> None:
        """Pass everything on from now."""
        self._answers, self.seen = [], []

    def close(self) -> None:
        """End the gate."""
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body, line = _body(handler), f"{handler.command} {handler.path}"
        self.seen.append(line)
        if self._before and self._before[0].search(line):
            do, self._before = self._before[1], None
            do()
        planned = next((item for item in self._answers if item[0].search(line)), None)
        if planned is None:
            self._pass_on(handler, body)
            return
        self._answers.remove(planned)
        status, name = planned[1]
        if status == 0:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        text = f"<?xml version='1.0'?><Error><Code>{name}</Code><Message>as the test wants it</Message></Error>"
        _reply(handler, status, {"Content-Type": "application/xml"}, text.encode())

    def _pass_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        connection = http.client.HTTPConnection(self.behind.removeprefix("http://"), timeout=60)
        dropped = ("transfer-encoding", "content-length", "connection", "expect")
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in dropped}
        connection.request(handler.command, handler.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in dropped}
        if handler.command == "HEAD":
            kept["Content-Length"] = answer.getheader("Content-Length") or "0"
        connection.close()
        _reply(handler, answer.status, kept, content)


def _reply(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes) -> None:
    handler.send_response_only(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    if "Content-Length" not in headers:
        handler.send_header("Content-Length", "0" if handler.command == "HEAD" else str(len(content)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content)


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    parts = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        parts.append(handler.rfile.read(size))
        handler.rfile.readline()
    while handler.rfile.readline().strip():
        pass
    return b"".join(parts)
