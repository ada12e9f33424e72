"""The API servers that tests of the Kubernetes client run against: the small one here, and a real one if asked for.

``GANSVC_KUBE_APISERVER`` names a program that starts a real one: ``PROGRAM start DIR`` prints its kubeconfig,
``PROGRAM stop DIR`` ends it. ``make test-kubernetes`` sets it.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from gansvc.client.kuberay import connection
from gansvc.client.kuberay.client import PODS, RAYJOBS, Client
from gansvc.client.kuberay.namespace import Namespace

from .kube_server import Server

PROGRAM = os.environ.get("GANSVC_KUBE_APISERVER", "")
KINDS = ["small", "real"] if PROGRAM else ["small"]


@dataclass
class Cluster:
    """A cluster without kubelet and operator: a test plays KubeRay."""

    kubeconfig: Path
    space: Namespace
    small: Server | None = None
    folder: Path | None = None
    names: list[str] = field(default_factory=list)

    @property
    def api(self) -> Client:
        return connection.connect(self.space)

    def put(self, kind: str, name: str, **changes: Any) -> None:
        """Change an object: ``status`` through its own sub-resource, ``metadata`` in part."""
        item = self.api.get(kind, name)
        assert item is not None
        path = f"{name}/status" if "status" in changes else name
        changes = {key: item.get(key, {}) | value if key == "metadata" else value for key, value in changes.items()}
        self.api._call("PUT", kind, path, item | changes)

    def play(self, name: str, deployed: str, job: str = "", **status: Any) -> None:
        """Write a RayJob's status as KubeRay does."""
        status = {"jobDeploymentStatus": deployed, "jobStatus": job} | status
        self.put(RAYJOBS, name, status={key: value for key, value in status.items() if value})

    def pod(self, name: str, labels: dict[str, str], status: dict[str, Any]) -> None:
        """Make a pod in some state."""
        spec = {"containers": [{"name": "ray", "image": "x"}]}
        self.api.create(
            PODS, {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}, "spec": spec}
        )
        self.put(PODS, name, status=status)

    def restart(self) -> None:
        """End the API server and start it again on what it had stored."""
        if self.small:
            self.small.stop()
            time.sleep(0.3)
            self.small.start()
            return
        assert self.folder is not None
        pid = int((self.folder / "apiserver.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        os.kill(pid, 9)
        with (self.folder / "apiserver.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)
        (self.folder / "apiserver.pid").write_text(str(process.pid))


@pytest.fixture(scope="module")
def real_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start the real API server once a module, and end it."""
    folder = tmp_path_factory.mktemp("kube")
    try:
        subprocess.run([PROGRAM, "start", str(folder)], check=True, timeout=300, stdout=subprocess.DEVNULL)
        yield folder
    finally:
        subprocess.run([PROGRAM, "stop", str(folder)], check=False, timeout=60)
        _await_end(folder)


def _await_end(folder: Path) -> None:
    """Wait until the server that was told to stop has ended: without its store it may take its time."""
    try:
        process = psutil.Process(int((folder / "apiserver.pid").read_text()))
        process.wait(10)
    except psutil.TimeoutExpired:
        process.kill()
    except (OSError, psutil.NoSuchProcess):
        pass


def kubectl(cluster: Cluster, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = ["kubectl", "--kubeconfig", str(cluster.kubeconfig), *words]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)


def namespaces() -> Iterator[str]:
    count = 0
    while True:
        count += 1
        yield f"gan-{os.getpid()}-{count}"


_NAMES = namespaces()


@pytest.fixture(params=KINDS)
def cluster(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Return a cluster with an empty namespace, and point the kubeconfig at it."""
    if request.param == "small":
        server = Server(tmp_path / "volume")
        server.start()
        path = server.kubeconfig(tmp_path / "kubeconfig")
        monkeypatch.setenv("KUBECONFIG", str(path))
        try:
            yield Cluster(path, Namespace("test", "gansvc"), small=server)
        finally:
            server.stop()
        return
    folder, name = request.getfixturevalue("real_folder"), next(_NAMES)
    path = folder / "admin.kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(path))
    found = Cluster(path, Namespace("test", name), folder=folder)
    made = kubectl(found, "create", "namespace", name)
    assert made.returncode == 0, made.stderr
    yield found


@pytest.fixture
def small(cluster: Cluster) -> Server:
    """Return the small server, for what needs a kubelet or faults on demand."""
    if cluster.small is None:
        pytest.skip("a real API server without kubelets has no logs and runs no commands, and fails only when it likes")
    return cluster.small


def config_with(cluster: Cluster, path: Path, **user: Any) -> Path:
    """Write a kubeconfig for the same cluster with another user, or another server."""
    command = ["kubectl", "config", "view", "--raw", "-o", "json", "--kubeconfig", str(cluster.kubeconfig)]
    config = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    if "server" in user:
        config["clusters"][0]["cluster"]["server"] = user.pop("server")
    if user:
        config["users"][0]["user"] = user
    path.write_text(json.dumps(config))
    return path
