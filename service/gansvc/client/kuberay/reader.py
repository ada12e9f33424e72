"""Read files of a volume that this machine can't mount, through a short-lived pod."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gansvc.client.kuberay import archive, causes, connection, pods
from gansvc.client.kuberay.client import PODS, Client, RefusedError, warnings
from gansvc.client.kuberay.namespace import Namespace
from gansvc.errors import ClusterError
from gansvc.files import patience
from gansvc.files.plainfiles import refuse_large
from gansvc.spec.placement import Placement
from gansvc.store.folder import size_limit

_LIFE = 3600
"""Seconds after which a reader ends by itself, should its client be gone."""
_COMPONENT = "app.kubernetes.io/component=reader"


def read(space: Namespace, placement: Placement, path: str) -> bytes | None:
    """Return the content of a file of the volume, or None if there is none.

    Raises:
        ClusterError: the reader can't start, or the connection is lost.
    """
    api = connection.connect(space)
    with _reader(api, placement) as pod:
        try:
            content = b""
            for piece in api.run(pod, ["cat", f"{pods.STORAGE}/{path}"]):
                content += piece
                refuse_large(f"{path} on the volume", len(content), size_limit(path))
            return content
        except RefusedError as error:
            if "No such file" in str(error):
                return None
            raise


def fetch(space: Namespace, placement: Placement, job: str, put: archive.Put, skip: tuple[str, ...]) -> int:
    """Copy a job's files from the volume and return their number.

    Args:
        space: the namespace.
        placement: names the volume and the image.
        job: the job's id, which is its folder's name.
        put: takes each file.
        skip: files and sub-folders to leave out.

    Raises:
        ClusterError: the reader can't start, the volume has no such folder, or the connection is lost.
    """
    api = connection.connect(space)
    tar = ["tar", "-C", f"{pods.STORAGE}/{job}", *(f"--exclude=./{name}" for name in skip), "-cf", "-", "."]
    with _reader(api, placement) as pod:
        return archive.unpack(api.run(pod, tar), put, skip)


@contextmanager
def _reader(api: Client, placement: Placement) -> Iterator[str]:
    """Start a reader, and delete it whatever happens: Ctrl-C too."""
    name = f"gansvc-reader-{secrets.token_hex(4)}"
    try:
        for old in api.list_objects(PODS, labelSelector=_COMPONENT)[0]:
            if old.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                api.delete(PODS, old["metadata"]["name"])
        api.create(PODS, pods.reader(placement, name, _LIFE))
        _await_start(api, name)
        yield name
    finally:
        api.delete(PODS, name, grace=0)


def _await_start(api: Client, name: str) -> None:
    deadline, why = time.monotonic() + patience.READER, ""
    while time.monotonic() < deadline:
        pod = api.get(PODS, name)
        phase = (pod or {}).get("status", {}).get("phase", "Pending")
        if pod is not None and phase == "Running":
            return
        why = "; ".join(causes.problems(None, [pod] if pod else [], warnings(api, {name})))
        if pod is None or phase in ("Failed", "Succeeded") or "can't" in why:
            break
        time.sleep(1)
    raise ClusterError(f"the pod that reads the volume doesn't start: {why or 'nothing says why'}; try again")
