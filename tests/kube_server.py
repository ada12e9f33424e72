"""A small Kubernetes API server for tests: a store with versions, watches and sub-resources, on 127.0.0.1.

It knows no kinds: what is posted is kept. Logs, commands and faults are what a test says they are.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Item = dict[str, Any]
_PATH = re.compile(
    r"/(?P<root>api/v1|apis/[^/]+/[^/]+)/namespaces/(?P<space>[^/]+)/(?P<plural>[^/]+)"
    r"(/(?P<name>[^/]+)(/(?P<sub>[^/]+))?)?"
)
_ACCEPT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Server:
    """The server; ``stop`` and ``start`` keep its store and its port."""

    def __init__(self, volume: Path) -> None:
        self.volume, self.port = volume, 0
        """What pods see as /storage."""
        self.store: dict[tuple[str, str, str], Item] = {}
        self.events: list[tuple[int, tuple[str, str], str, Item]] = []
        self.version, self.changed = 1, threading.Condition()
        self.logs: dict[str, list[str]] = {}
        """Pod to its log's lines; the lines None end a connection."""
        self.faults: list[tuple[str, int, Item]] = []
        """Requests that fail: a pattern of ``VERB path``, a status, the answer; each once."""
        self.pause = 0.0
        """Seconds after the first piece of a command's output, and before its end."""
        self.kubelet = True
        """Whether pods run as soon as they are made."""
        self.asked: list[str] = []

    def start(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self.up = True
        self._thread.start()

    def stop(self) -> None:
        self.up = False
        with self.changed:
            self.changed.notify_all()
        self._http.shutdown()
        self._http.server_close()

    def kubeconfig(self, path: Path, token: str = "good") -> Path:
        cluster = {"server": f"http://127.0.0.1:{self.port}"}
        config = {
            **{"apiVersion": "v1", "kind": "Config", "current-context": "test"},
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "me", "namespace": "gansvc"}}],
        }
        path.write_text(json.dumps(config))
        return path

    def keep(self, verb: str, kind: tuple[str, str], item: Item) -> Item:
        """Store, replace or drop an object, under a new version."""
        with self.changed:
            self.version += 1
            item["metadata"]["resourceVersion"] = str(self.version)
            key = (*kind, item["metadata"]["name"])
            if verb == "DELETED":
                self.store.pop(key, None)
            else:
                self.store[key] = item
            self.events.append((self.version, kind, verb, copy.deepcopy(item)))
            self.changed.notify_all()
            return item


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def do_PUT(self) -> None:
            self._answer("PUT")

        def do_DELETE(self) -> None:
            self._answer("DELETE")

        def _answer(self, verb: str) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            server.asked.append(f"{verb} {self.path}")
            for fault in server.faults:
                if re.search(fault[0], f"{verb} {self.path}"):
                    server.faults.remove(fault)
                    return self._fault(fault[1], fault[2])
            if self.headers.get("Authorization") != "Bearer good":
                return self._refuse(401, "Unauthorized")
            parts = urlsplit(self.path)
            match = _PATH.fullmatch(parts.path)
            if match is None:
                return self._send(404, b"404 page not found\n", "text/plain")
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            kind, name, sub = (match["root"], match["plural"]), match["name"], match["sub"]
            if sub == "log":
                return self._log(name, query)
            if sub == "exec":
                return self._exec(parse_qs(parts.query)["command"])
            if name is None:
                return self._list(kind, query) if verb == "GET" else self._create(kind, body, match["space"])
            return self._one(verb, kind, name, sub, body)

        def _one(self, verb: str, kind: tuple[str, str], name: str, sub: str | None, body: Item) -> None:
            known = server.store.get((*kind, name))
            if known is None:
                return self._refuse(404, f'{kind[1]} "{name}" not found', {"name": name})
            if verb == "PUT":
                if body["metadata"].get("resourceVersion") not in (None, known["metadata"]["resourceVersion"]):
                    return self._refuse(409, "the object has been modified")
                item = known | {"status": body.get("status", {})} if sub == "status" else body
                gone = "deletionTimestamp" in item["metadata"] and not item["metadata"].get("finalizers")
                return self._json(200, server.keep("DELETED" if gone else "MODIFIED", kind, copy.deepcopy(item)))
            if verb == "DELETE":
                held = bool(known["metadata"].get("finalizers"))
                if held:
                    known["metadata"]["deletionTimestamp"] = _now()
                server.keep("MODIFIED" if held else "DELETED", kind, copy.deepcopy(known))
            return self._json(200, known)

        def _create(self, kind: tuple[str, str], body: Item, space: str) -> None:
            name = body["metadata"]["name"]
            if (*kind, name) in server.store:
                return self._refuse(409, f'{kind[1]} "{name}" already exists', {"name": name})
            body["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": _now(), "namespace": space}
            if kind[1] == "pods" and server.kubelet:
                body["status"] = {"phase": "Running"}
            return self._json(201, server.keep("ADDED", kind, body))

        def _list(self, kind: tuple[str, str], query: dict[str, str]) -> None:
            if query.get("watch") == "true":
                return self._watch(kind, query)
            items = [item for key, item in list(server.store.items()) if key[:2] == kind and _fits(item, query)]
            return self._json(200, {"items": items, "metadata": {"resourceVersion": str(server.version)}})

        def _watch(self, kind: tuple[str, str], query: dict[str, str]) -> None:
            seen, deadline = int(query["resourceVersion"]), time.monotonic() + int(query["timeoutSeconds"])
            self._begin("application/json")
            if server.events and seen < server.events[0][0] - 1:
                self._chunk(
                    json.dumps({"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}).encode() + b"\n"
                )
                return self._chunk(b"")
            while server.up and time.monotonic() < deadline:
                with server.changed:
                    new = [event for event in server.events if event[0] > seen and event[1] == kind]
                    if not new:
                        server.changed.wait(0.1)
                for version, _, verb, item in new:
                    seen = version
                    if _fits(item, query):
                        self._chunk(json.dumps({"type": verb, "object": item}).encode() + b"\n")
            if server.up:
                self._chunk(b"")
            self.close_connection = True
            return None

        def _log(self, pod: str, query: dict[str, str]) -> None:
            if pod not in server.logs:
                return self._refuse(404, f'container in pod "{pod}" not found')
            self._begin("text/plain")
            shown = max(0, len(server.logs[pod]) - int(query.get("tailLines", 10**9)))
            while True:
                lines = server.logs[pod][shown:]
                for line in lines:
                    shown += 1
                    if line == "CUT":  # the connection ends here, once
                        server.logs[pod].remove("CUT")
                        self.close_connection = True
                        self.connection.shutdown(2)
                        return None
                    self._chunk(f"{line}\n".encode())
                phase = server.store.get(("api/v1", "pods", pod), {}).get("status", {}).get("phase")
                if query.get("follow") != "true" or phase != "Running" or not server.up:
                    return self._chunk(b"")
                time.sleep(0.02)

        def _exec(self, command: list[str]) -> None:
            """Run the command on this machine, with the volume's folder for /storage, over a web socket."""
            key = base64.b64encode(hashlib.sha1((self.headers["Sec-WebSocket-Key"] + _ACCEPT).encode()).digest())
            self.send_response(101)
            headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": key.decode()}
            for name, value in (headers | {"Sec-WebSocket-Protocol": "v4.channel.k8s.io"}).items():
                self.send_header(name, value)
            self.end_headers()
            here = [word.replace("/storage", str(server.volume), 1) for word in command]
            done = subprocess.run(here, capture_output=True, timeout=60)
            for start in range(0, len(done.stdout), 50_000):
                self._frame(1, done.stdout[start : start + 50_000])
                time.sleep(0 if start else server.pause)
            self._frame(2, done.stderr)
            time.sleep(server.pause)
            if not any(fault[0] == "LOST" for fault in server.faults):
                code = {"causes": [{"reason": "ExitCode", "message": str(done.returncode)}]}
                ended = {"status": "Failure", "details": code} if done.returncode else {"status": "Success"}
                self._frame(3, json.dumps(ended).encode())
            self.wfile.write(b"\x88\x02\x03\xe8")
            self.wfile.flush()
            self.close_connection = True

        def _frame(self, channel: int, data: bytes) -> None:
            payload = bytes([channel]) + data
            size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack(">H", len(payload))
            self.wfile.write(b"\x82" + size + payload)

        def _fault(self, status: int, answer: Item) -> None:
            if status == 0:  # the connection breaks
                self.close_connection = True
                self.connection.shutdown(2)
                return None
            return self._json(status, answer)

        def _refuse(self, code: int, message: str, details: Item | None = None) -> None:
            self._json(code, {"kind": "Status", "code": code, "message": message, "details": details or {}})

        def _json(self, code: int, data: Item) -> None:
            self._send(code, json.dumps(data).encode(), "application/json")

        def _send(self, code: int, body: bytes, form: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", form)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _begin(self, form: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", form)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

    return Handler


def _fits(item: Item, query: dict[str, str]) -> bool:
    labels, known = item["metadata"].get("labels", {}), item | {"metadata.name": item["metadata"]["name"]}
    wanted = [part.split("=") for part in query.get("labelSelector", "").split(",") if part]
    fields = [part.split("=") for part in query.get("fieldSelector", "").split(",") if part]
    return all(labels.get(key) == value for key, value in wanted) and all(
        known.get(key) == value for key, value in fields
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def running(volume: Path) -> Iterator[Server]:
    """Yield a running server and stop it."""
    server = Server(volume)
    server.start()
    try:
        yield server
    finally:
        server.stop()
