"""Start, find and end the head of the local cluster."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import psutil
from pydantic import BaseModel, ConfigDict, Field

from gansvc.client import environment, processes
from gansvc.errors import ClusterError

DASHBOARD_PORT = 8265
START_SECONDS = 120
LOG = "head.log"
RECORD = "GANSVC_CLUSTER_RECORD"
"""Environment variable of the cluster's processes that says what cluster.json does: that file can be lost."""
_TRIES = 4
_TAKEN = re.compile(r"already occupied|address already in use|failed to bind|EADDRINUSE", re.IGNORECASE)
_NO_DASHBOARD = "Failed to find a valid port for dashboard"


class Cluster(BaseModel):
    """What is known of a local cluster (cluster.json in its home folder)."""

    model_config = ConfigDict(frozen=True)

    mark: str
    """Drawn at the start; the cluster's processes carry it in their environment."""
    pid: Annotated[int, Field(gt=0, lt=2**31)]
    """The head's process, which leads a session of its own."""
    dashboard: str
    """URL of the Jobs API."""
    temp: str
    """Folder of its logs and sockets."""
    gcs: str = ""
    """Address that drivers connect to; empty until the head is up."""

    def alive(self) -> bool:
        """Return whether the head's process runs."""
        return processes.is_alive(self.pid, self.mark)

    def environment(self) -> dict[str, str]:
        """Return the environment that the cluster's processes were started with; empty if it can't be read."""
        try:
            return psutil.Process(self.pid).environ()
        except psutil.Error:
            return {}

    def end(self) -> int:
        """End the cluster's processes and return how many there were."""
        return processes.end(self.pid, self.mark)

    def clear(self) -> None:
        """Delete the folder of its logs and sockets."""
        if Path(self.temp).name.startswith("gansvc-"):
            shutil.rmtree(self.temp, ignore_errors=True)


class PortTakenError(ClusterError):
    """Another program took a port between its choice and its use."""


def start(home: Path, also: Iterable[str], keep: Callable[[Cluster], None]) -> Cluster:
    """Start a head, on other ports where another program takes one at the same moment, and wait until it answers.

    Args:
        home: the folder of the cluster's state, with its token.
        also: names of variables that reach the cluster beside the usual ones.
        keep: is given what is known, before the head is waited for and after.

    Raises:
        ClusterError: Ray doesn't start, or its files can't be written; nothing is left behind.
    """
    for _ in range(_TRIES - 1):
        try:
            return _start(home, also, keep)
        except PortTakenError:
            continue
    return _start(home, also, keep)


def find(home: Path) -> Cluster | None:
    """Return the cluster of a home folder by its processes, the head's first, or None if there are none."""
    found = {}
    for process, variables in processes.marked_processes():
        try:
            known = json.loads(variables[RECORD])
            if known["home"] != str(home.resolve()):
                continue
            is_head = {"start", "--head"} <= set(process.cmdline())  # a raylet has one of the two
            # The others are in the head's session, or have a mark to be found by.
            found[is_head] = Cluster.model_validate(
                {**known, "mark": variables[processes.MARK], "pid": process.pid if is_head else os.getsid(process.pid)}
            )
        except (KeyError, TypeError, ValueError, OSError, psutil.Error):  # no cluster's, or gone meanwhile
            continue
    cluster = found.get(True) or found.get(False)
    return cluster and cluster.model_copy(update={"gcs": _gcs(cluster)})


def answers(dashboard: str, token: str | None) -> bool:
    """Return whether the Jobs API at an address of this machine answers, given the token."""
    request = urllib.request.Request(f"{dashboard}/api/jobs/", headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    # No proxy stands between this machine and itself, whatever the environment says.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as reply:
            return isinstance(json.load(reply), list)
    except (OSError, ValueError):
        return False


@contextmanager
def explain_write_errors(
    path: Path, fix: str = "free space there, or set GANSVC_HOME to another folder"
) -> Iterator[None]:
    """Turn what keeps a file from being written into a sentence.

    Raises:
        ClusterError: it can't be written.
    """
    try:
        yield
    except OSError as error:
        raise ClusterError(f"{path} can't be written ({error.strerror}); {fix}") from None


def _start(home: Path, also: Iterable[str], keep: Callable[[Cluster], None]) -> Cluster:
    variables = environment.of_cluster(home, also)
    environment.refuse_python_path(variables)
    port, mark = _free_port(DASHBOARD_PORT), secrets.token_hex(8)
    # Ray opens its own folder to everyone: the one around it stays closed. It is short because a socket's path ends
    # at 107 characters, and not Ray's usual one because there a second cluster's drivers would find the first.
    with explain_write_errors(Path("/tmp"), "free space there"):  # noqa: S108
        temp = tempfile.mkdtemp(prefix="gansvc-", dir="/tmp")
    record = {"home": str(home.resolve()), "dashboard": f"http://127.0.0.1:{port}", "temp": temp}
    variables |= {processes.MARK: mark, RECORD: json.dumps(record)}
    try:
        # Ray puts the folder that it runs in where its workers import from: it is empty, and outlives the shell's.
        work = Path(temp, "work")
        work.mkdir(mode=0o700)
        with explain_write_errors(home / LOG):
            log = (home / LOG).open("w")
        with log:
            process = subprocess.Popen(
                _command(port, f"{temp}/ray"),
                cwd=work,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise
    cluster = Cluster(mark=mark, pid=process.pid, dashboard=record["dashboard"], temp=temp)
    try:
        keep(cluster)
        _await(cluster, process, home)
        cluster = cluster.model_copy(update={"gcs": _gcs(cluster)})
        keep(cluster)
    except BaseException:  # Ctrl-C too: a head that nobody waits for is ended
        cluster.end()
        process.kill()  # one that has only just begun doesn't show its mark yet
        process.wait()
        cluster.clear()
        raise
    return cluster


def _command(port: int, temp: str) -> list[str]:
    return [
        # -P: not from the folder that it is started in, nor from the one of Ray's own script.
        *(sys.executable, "-P", "-m", "ray.scripts.scripts"),
        *("start", "--head", "--block", "--disable-usage-stats", "--log-color=false", f"--temp-dir={temp}"),
        *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--include-dashboard=true"),
        # Usual ports would collide with those of another Ray on this machine: 0 lets Ray choose.
        *("--port=0", f"--dashboard-port={port}", "--dashboard-agent-listen-port=0"),
        *("--min-worker-port=0", "--max-worker-port=0", f"--ray-client-server-port={_free_port()}"),
    ]


def _await(cluster: Cluster, process: subprocess.Popen[bytes], home: Path) -> None:
    """Wait until drivers can connect and the Jobs API answers.

    Raises:
        PortTakenError: a port was taken.
        ClusterError: it ended, or isn't up in time.
    """
    deadline = time.monotonic() + START_SECONDS
    token = (home / "auth_token").read_text().strip()
    see = f"its log is {home / LOG}"
    while time.monotonic() < deadline:
        # Ray writes that address down once its own dashboard listens: a stranger on the port isn't sent the token.
        if _gcs(cluster) and answers(cluster.dashboard, token):
            return
        ended = process.poll() is not None
        # Ray waits a minute for a dashboard that has said that it can't listen. What else is taken can be done without.
        logs = Path(cluster.temp).glob("ray/session_*/logs/dashboard.log")
        told = (home / LOG).read_text(errors="replace").strip()
        if (ended and _TAKEN.search(told)) or any(_NO_DASHBOARD in log.read_text(errors="replace") for log in logs):
            raise PortTakenError(f"Ray on this machine finds its ports taken, {_TRIES} times; {see}")
        if ended:
            raise ClusterError(f"Ray on this machine ended ({' '.join(told.splitlines()[-1:])}); {see}")
        time.sleep(0.2)
    raise ClusterError(f"Ray on this machine did not come up in {START_SECONDS} s; {see}")


def _gcs(cluster: Cluster) -> str:
    """Return the address for drivers, which Ray writes down once it has one; nothing before."""
    try:
        return Path(cluster.temp, "ray", "ray_current_cluster").read_text().strip()
    except OSError:
        return ""


def _free_port(wanted: int = 0) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
