"""The local cluster: one Ray head on the loopback interface, started when a job needs it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from gansvc.cluster import processes
from gansvc.errors import ClusterError

DASHBOARD_PORT = 8265
START_SECONDS = 120
_LOGS = "ray/session_*/logs"
_FOREIGN = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "OMP_NUM_THREADS")


class Cluster(BaseModel):
    """What is known of the local cluster (cluster.json in the home folder)."""

    model_config = ConfigDict(frozen=True)

    mark: str
    """Drawn at the start; the cluster's processes carry it in their environment."""
    pid: int
    """The head's process, which leads a session of its own."""
    created: float
    """Creation time of that process: a process id alone may be given out again."""
    dashboard: str
    """URL of the Jobs API."""
    temp: str
    """Folder of its logs and sockets."""
    gcs: str = ""
    """Address that drivers connect to; empty until the head is up."""

    def alive(self) -> bool:
        """Return whether the head's process runs."""
        return processes.alive(self.pid, self.created)

    def environment(self) -> dict[str, str]:
        """Return the environment that the cluster's processes were started with; empty if it can't be read."""
        try:
            return psutil.Process(self.pid).environ()
        except psutil.Error:
            return {}


def home() -> Path:
    """Return the folder of the local cluster's state: GANSVC_HOME, or ``~/.gansvc``."""
    return Path(os.environ.get("GANSVC_HOME") or "~/.gansvc").expanduser().absolute()


def recorded(folder: Path | None = None) -> Cluster | None:
    """Return the cluster that a home folder tells of, running or not, or None."""
    try:
        return Cluster.model_validate_json(((folder or home()) / "cluster.json").read_bytes())
    except (OSError, ValidationError):
        return None


def token(folder: Path | None = None) -> str | None:
    """Return the token of the cluster of a home folder, or None if there is none to read."""
    try:
        return ((folder or home()) / "auth_token").read_text().strip()
    except OSError:
        return None


def running() -> Cluster | None:
    """Return the local cluster if its head runs and its Jobs API answers, else None."""
    cluster = recorded()
    return cluster if cluster and cluster.alive() and _answers(cluster.dashboard) else None


def start(say: Callable[[str], None]) -> Cluster:
    """Return the running local cluster, starting one first where there is none.

    Args:
        say: gets a sentence on what takes a while.

    Raises:
        ClusterError: Ray doesn't start, or a cluster runs and doesn't answer.
    """
    home().mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked():
        cluster = recorded()
        if cluster and cluster.alive():
            if not _answers(cluster.dashboard):
                raise ClusterError(
                    f"the local cluster (process {cluster.pid}) doesn't answer at {cluster.dashboard}; "
                    "end it with `gansvc down` and submit again"
                )
            return cluster
        if cluster:
            _end(cluster)
        say("starting Ray on this machine")
        return _launch()


def down() -> int:
    """End the local cluster and return how many processes that took; 0 if there was none.

    Only processes that the cluster started are ended. The drivers' logs are kept in the home folder.
    """
    if recorded() is None:  # nor a folder to lock, perhaps
        return 0
    with _locked():
        return _end(cluster) if (cluster := recorded()) else 0


def kept_log(driver: str, folder: Path | None = None) -> str | None:
    """Return the log of a driver whose cluster has ended, as it was kept, or as it lies there still; or None."""
    name, cluster = f"job-driver-{driver}.log", recorded(folder)
    left = Path(cluster.temp).glob(f"{_LOGS}/{name}") if cluster else ()
    found = next((path for path in ((folder or home()) / "logs" / name, *left) if path.is_file()), None)
    return found.read_text(errors="replace") if found else None


def _launch() -> Cluster:
    port = _free_port(DASHBOARD_PORT)
    # Ray opens its own folder to everyone: the one around it stays closed. It is short because a socket's path ends
    # at 107 characters, and not Ray's usual one because there a second cluster's drivers would find the first.
    temp = tempfile.mkdtemp(prefix="gansvc-", dir="/tmp")
    mark = secrets.token_hex(8)
    _write_private("auth_token", secrets.token_hex(32))
    with (home() / "head.log").open("w") as log:
        process = subprocess.Popen(
            _command(port, f"{temp}/ray"),
            env=_environment(mark),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    created = psutil.Process(process.pid).create_time()
    url = f"http://127.0.0.1:{port}"
    cluster = Cluster(mark=mark, pid=process.pid, created=created, dashboard=url, temp=temp)
    _write_private("cluster.json", cluster.model_dump_json(indent=2))
    try:
        cluster = cluster.model_copy(update={"gcs": _await_head(cluster, process)})
    except BaseException:  # Ctrl-C too: a head that nobody waits for is ended
        _end(cluster)
        raise
    _write_private("cluster.json", cluster.model_dump_json(indent=2))
    return cluster


def _command(port: int, temp: str) -> list[str]:
    ray = Path(sys.executable).with_name("ray")
    return [
        *([str(ray)] if ray.is_file() else [sys.executable, "-m", "ray.scripts.scripts"]),
        *("start", "--head", "--block", "--disable-usage-stats", "--log-color=false", f"--temp-dir={temp}"),
        *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--include-dashboard=true"),
        # Usual ports would collide with those of another Ray on this machine: 0 lets Ray choose.
        *("--port=0", f"--dashboard-port={port}", "--dashboard-agent-listen-port=0"),
        *("--min-worker-port=0", "--max-worker-port=0", f"--ray-client-server-port={_free_port()}"),
    ]


def _environment(mark: str) -> dict[str, str]:
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    ours = {
        processes.MARK: mark,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(home() / "auth_token"),
        # On Linux `ray start` turns 127.0.0.1 into the machine's outer address and listens there, unless this is off.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
    }
    habits = {
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_COLOR_PREFIX": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": "20",  # a stopped driver still writes its last status
    }
    return habits | {key: value for key, value in os.environ.items() if key not in _FOREIGN} | ours


def _await_head(cluster: Cluster, process: subprocess.Popen[bytes]) -> str:
    """Wait until drivers can connect and the Jobs API answers; return the address for drivers."""
    address, deadline = Path(cluster.temp, "ray", "ray_current_cluster"), time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if address.is_file() and _answers(cluster.dashboard):
            return address.read_text().strip()
        time.sleep(0.2)
    lines = (home() / "head.log").read_text(errors="replace").strip().splitlines()
    why = f"did not come up in {START_SECONDS} s" if process.poll() is None else f"ended ({' '.join(lines[-1:])})"
    raise ClusterError(f"Ray on this machine {why}; its log is {home() / 'head.log'}")


def _answers(dashboard: str) -> bool:
    request = urllib.request.Request(f"{dashboard}/api/jobs/", headers={"Authorization": f"Bearer {token()}"})  # noqa: S310
    # No proxy stands between this machine and itself, whatever the environment says.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as reply:
            return isinstance(json.load(reply), list)
    except (OSError, ValueError):
        return False


def _end(cluster: Cluster) -> int:
    """End a cluster's processes, keep its drivers' logs and forget it; return the number of processes."""
    count = processes.end(cluster.pid, cluster.created, cluster.mark)
    logs = home() / "logs"
    for log in Path(cluster.temp).glob(f"{_LOGS}/job-driver-*.log"):
        logs.mkdir(exist_ok=True)
        shutil.copyfile(log, logs / log.name)
    if Path(cluster.temp).name.startswith("gansvc-"):
        shutil.rmtree(cluster.temp, ignore_errors=True)
    for name in ("cluster.json", "auth_token"):
        (home() / name).unlink(missing_ok=True)
    return count


def _free_port(wanted: int = 0) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_private(name: str, text: str) -> None:
    """Replace a file of the home folder whole; its owner alone may read it."""
    part = home() / f".{name}.{secrets.token_hex(4)}"
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(home() / name)


@contextmanager
def _locked() -> Iterator[None]:
    """Keep other gansvc commands from starting or ending the cluster meanwhile."""
    import fcntl

    with (home() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
