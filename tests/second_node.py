"""A second Ray node on this machine, beside the local cluster's own, on another address of the loopback interface.

The local cluster keeps ``ray start`` from taking the machine's outer address by a setting that also forbids more nodes.
With several allowed, it makes the outer address of 127.0.0.1; of other names of this machine it doesn't.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gansvc.client import environment, local, processes

ADDRESS = "127.0.0.2"
MARK = "second-node"


def start(cluster: local.Cluster, cpus: int, log: Path, prepare: str = "") -> subprocess.Popen[bytes]:
    """Start the node in the foreground of a process of its own; ``prepare`` is shell code that runs before it."""
    gcs = cluster.gcs.replace("127.0.0.1", "0.0.0.0")
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", f"--address={gcs}", "--log-color=false"]
    ray += [f"--node-ip-address={ADDRESS}", f"--num-cpus={cpus}", "--dashboard-agent-listen-port=0"]
    with log.open("wb") as file:
        return subprocess.Popen(
            ["unshare", "-m", "sh", "-c", f'{prepare} && exec "$@"', "sh", *ray] if prepare else ray,
            env=environment.of_cluster(local.home()) | {processes.MARK: MARK, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
