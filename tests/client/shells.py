"""What a user's shell may hold, and drivers of one line that are sent from it to the local cluster."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from platform import node

from gansvc.client import jobsapi, local
from gansvc.client.rayclusters import LocalCluster
from gansvc.store import jobstatus, submissions
from gansvc.store.jobfolder import Job

PYTHON = f"exec {shlex.quote(sys.executable)} -c"
FOREIGN = {
    "PYTHONPATH": "/nowhere",
    "PYTHONOPTIMIZE": "2",
    "PYTHONWARNINGS": "error",
    "PYTHONSAFEPATH": "",
    "PYTORCH_JIT": "0",
    "TMPDIR": f"/tmp/{'long' * 30}",
    "RAY_TRAIN_V2_ENABLED": "0",
    "RAY_ADDRESS": "ray://10.255.255.1:10001",
    "RAY_AUTH_TOKEN": "of another cluster",
    "RAY_NAMESPACE": "x",
    "RAY_TMPDIR": "/nonexistent",
    **{"MASTER_ADDR": "10.255.255.1", "MASTER_PORT": "1", "WORLD_SIZE": "8", "RANK": "3", "LOCAL_RANK": "3"},
    **{"SLURM_PROCID": "3", "SLURM_NTASKS": "8"},
    "LD_PRELOAD": "",
}
"""What a shell may hold that isn't for the cluster."""


def sent(folder: Path, cluster: local.Cluster, name: str, command: str) -> Job:
    """Send a driver of one line under a job folder, as a submission does."""
    job = Job(id=name, folder=str(folder / name))
    jobstatus.start(job, name)
    where = submissions.Submission(
        address=cluster.dashboard,
        submitted=time.time(),
        host=node(),
        home=str(local.home()),
        mark=cluster.mark,
    )
    submissions.save(job, where)
    jobsapi.submit(LocalCluster().target(where), name, command, {"name": name})
    return job
