"""The Kubernetes API of one namespace: objects, watches, logs and commands; every failure becomes one sentence.

The official client brings kubeconfig, in-cluster credentials, TLS and web sockets; objects stay plain data.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gansvc.client.kuberay.namespace import Namespace
from gansvc.errors import ClusterError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Item = dict[str, Any]
PODS, EVENTS = "api/v1/pods", "api/v1/events"
RAYJOBS, RAYCLUSTERS = "apis/ray.io/v1/rayjobs", "apis/ray.io/v1/rayclusters"
TIMEOUT = (10, 60)
"""Seconds to connect and between two pieces of an answer."""
_MAX_COMPLAINT = 64 * 1024
"""Bytes of what a command in a pod complains of that are kept."""
WATCH_SECONDS = 10
"""A watch that saw nothing ends after that long."""
_WORDS = {"GET": "read", "POST": "create", "DELETE": "delete"}


class RefusedError(ClusterError):
    """The API server's refusal, with its status: 404, 409, ..."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Client:
    """The API of one namespace."""

    space: Namespace
    """With the context's own namespace filled in."""
    api: ApiClient

    def get(self, kind: str, name: str) -> Item | None:
        """Return an object, or None if there is none of that name."""
        try:
            return self._json("GET", kind, name)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    def list_objects(self, kind: str, **query: Any) -> tuple[list[Item], str]:
        """Return the objects that fit a query, and the version of the store that a watch goes on from."""
        found = self._json("GET", kind, **query)
        return found.get("items", []), found.get("metadata", {}).get("resourceVersion", "")

    def create(self, kind: str, manifest: Item) -> Item:
        """Create an object and return it as it is stored."""
        return self._json("POST", kind, body=manifest)

    def delete(self, kind: str, name: str, grace: int | None = None) -> bool:
        """Delete an object with all that belongs to it; return whether there was one."""
        body: Item = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        try:
            self._json("DELETE", kind, name, body=body | ({} if grace is None else {"gracePeriodSeconds": grace}))
        except RefusedError as error:
            if error.status == 404:
                return False
            raise
        return True

    def watch(self, kind: str, version: str, **query: Any) -> Iterator[tuple[str, Item]]:
        """Yield the changes after a version of the store, as type and object, for some seconds.

        Raises:
            RefusedError: among others with status 410, where the version is too old: list again.
        """
        query |= {"watch": True, "resourceVersion": version, "timeoutSeconds": WATCH_SECONDS}
        with self._explain_errors("watch", kind):
            response = self._call("GET", kind, query=query)
            for line in _lines(response):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise RefusedError(_sentence(self, "watch", kind, status["code"], status), status["code"])
                yield event["type"], event["object"]

    def log(self, pod: str, **query: Any) -> Iterator[str]:
        """Yield the lines of a pod's log, each with its newline."""
        with self._explain_errors("read the log of", "api/v1/pods"):
            for line in _lines(self._call("GET", PODS, f"{pod}/log", query=query)):
                yield line.decode(errors="replace") + "\n"

    def run(self, pod: str, command: list[str]) -> Iterator[bytes]:
        """Run a command in a pod and yield what it writes.

        Raises:
            ClusterError: it fails, or its end is lost: what came so far may be a part only.
        """
        from kubernetes.client import CoreV1Api
        from kubernetes.stream import stream

        with self._explain_errors("run a command in", "api/v1/pods"):
            socket = stream(
                CoreV1Api(self.api).connect_get_namespaced_pod_exec,
                *(pod, self.space.name),
                command=command,
                **{"stdout": True, "stderr": True, "stdin": False, "tty": False},
                **{"_preload_content": False, "binary": True, "_request_timeout": TIMEOUT},
            )
            complaint, verdict, heard, more = b"", b"", time.monotonic(), True
            # What comes with the end is read after it; a minute's silence is a lost connection.
            while more and time.monotonic() - heard < TIMEOUT[1]:
                more = socket.is_open()
                socket.update(timeout=TIMEOUT[1])
                data, said, ended = (socket.read_channel(channel) for channel in (1, 2, 3))
                complaint, verdict = (complaint + said)[:_MAX_COMPLAINT], (verdict + ended)[:_MAX_COMPLAINT]
                if data or said or ended:
                    heard, more = time.monotonic(), True
                if data:
                    yield data
        if not verdict:
            raise ClusterError(f"the connection to pod {pod} was lost before its command ended; try again")
        if json.loads(verdict).get("status") != "Success":
            said = complaint.decode(errors="replace").strip() or json.loads(verdict).get("message", "it says nothing")
            raise RefusedError(f"{command[0]} in pod {pod} failed ({said[:300]})", 500)

    def _json(self, verb: str, kind: str, name: str = "", body: Item | None = None, **query: Any) -> Item:
        with self._explain_errors(_WORDS[verb], kind):
            return dict(json.loads(self._call(verb, kind, name, body, query).read()))

    def _call(self, verb: str, kind: str, name: str = "", body: Item | None = None, query: Item | None = None) -> Any:
        root, _, plural = kind.rpartition("/")
        path = f"/{root}/namespaces/{self.space.name}/{plural}" + (f"/{name}" if name else "")
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        given = [
            (key, str(value).lower() if isinstance(value, bool) else value) for key, value in (query or {}).items()
        ]
        request = self.api.param_serialize(
            verb, path, query_params=given, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        response = self.api.call_api(*request, _request_timeout=TIMEOUT)
        if not 200 <= response.status <= 299:
            raise RefusedError(_refusal(self, verb, kind, response), response.status)
        return response

    @contextmanager
    def _explain_errors(self, what: str, kind: str) -> Iterator[None]:
        """Turn what the official client may raise into a sentence."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError
        from websocket import WebSocketException

        try:
            yield
        except ApiException as error:
            status = int(error.status or 0)
            raise RefusedError(_sentence(self, what, kind, status, {"message": str(error.reason)}), status) from None
        except (HTTPError, WebSocketException, OSError) as error:
            # The innermost cause names it: urllib3 wraps it in words about its pools.
            reason = type(getattr(error, "reason", None) or error).__name__
            raise ClusterError(
                f"the API server {self.api.configuration.host} can't be reached ({reason}); check the network and the "
                "kubeconfig"
            ) from None
        except (ValueError, RecursionError):  # an answer that is no JSON: a proxy's page
            raise ClusterError(
                f"{self.api.configuration.host} doesn't answer as a Kubernetes API server; check the kubeconfig"
            ) from None


def warnings(api: Client, about: set[str]) -> list[Item]:
    """Return the warnings that Kubernetes wrote about objects of those names, within the last hour or so.

    Raises:
        ClusterError: the API server can't be reached or refuses.
    """
    events, _ = api.list_objects(EVENTS, fieldSelector="type=Warning")
    return [event for event in events if event.get("involvedObject", {}).get("name") in about]


def _lines(response: Any) -> Iterator[bytes]:
    rest = b""
    try:
        for piece in response.response.stream(amt=2**16, decode_content=True):
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if rest:
            yield rest
    finally:
        response.response.close()


def _refusal(client: Client, verb: str, kind: str, response: Any) -> str:
    try:
        said = json.loads(response.read())
    except ValueError:
        said = {}
    return _sentence(client, _WORDS.get(verb, verb), kind, response.status, said if isinstance(said, dict) else {})


def _sentence(client: Client, what: str, kind: str, status: int, said: Item) -> str:
    """Return what an answer other than a success means and what to do."""
    host, plural, space = client.api.configuration.host, kind.rpartition("/")[2], client.space.name
    message = str(said.get("message") or "no reason given")[:300]
    if status == 401:
        return f"the API server {host} refuses the credentials; log in again, or name another context"
    if status == 403 and any(words in message for words in ("exceeded quota", "failed quota", "unknown for quota")):
        return f"the quota of namespace {space} refuses it ({message}); lower cluster's resources, or ask for more"
    if status == 403:
        return f"you may not {what} {plural} in namespace {space}; ask for the role in k8s/base/role.yaml ({message})"
    if status == 404 and not said.get("details", {}).get("name") and kind.startswith("apis/ray.io"):
        return f"the cluster at {host} doesn't know {plural}; install KubeRay's operator"
    if status == 409:
        return f"there is one of that name in namespace {space} already ({message}); submit again"
    if status == 410:
        return f"the API server {host} no longer has what this started from; try again"
    if status in (400, 422):
        return f"Kubernetes refuses it ({message}); mend the cluster section"
    if status == 429 or status >= 500:
        return f"the API server {host} fails ({status}: {message}); try again in a while"
    return f"the API server {host} refuses ({status}: {message})"
