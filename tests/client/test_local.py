"""The local cluster, started for real: loopback only, one at a time, and ended without touching other processes."""

import os
import shlex
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from gansvc import api
from gansvc.client import jobsapi, local, processes
from gansvc.errors import ClusterError
from gansvc.store import jobstatus

from .shells import PYTHON, sent

pytestmark = pytest.mark.ray


@pytest.fixture
def target(cluster: local.Cluster) -> jobsapi.Target:
    return jobsapi.Target(cluster.dashboard, local.token())


def listeners(cluster: local.Cluster) -> dict[str, str]:
    """Return the listening addresses of all processes of a cluster, with their names."""
    found = {}
    for process in processes.members(cluster.pid, cluster.mark):
        try:
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found[f"{connection.laddr.ip}:{connection.laddr.port}"] = process.name()
        except psutil.NoSuchProcess:
            continue
    return found


def test_it_runs_and_is_private(cluster: local.Cluster) -> None:
    assert local.running() == cluster == local.known_cluster()
    for name in ("auth_token", "cluster.json"):
        assert (local.home() / name).stat().st_mode & 0o777 == 0o600
    assert local.home().stat().st_mode & 0o777 == 0o700
    assert Path(cluster.temp).stat().st_mode & 0o777 == 0o700


def test_only_the_token_opens_it(cluster: local.Cluster) -> None:
    for token in (None, "wrong"):
        with pytest.raises(ClusterError, match="refuses the token"):
            jobsapi.check(jobsapi.Target(cluster.dashboard, token))
    assert str(local.token()) not in repr(jobsapi.Target(cluster.dashboard, local.token()))


def test_a_driver_reaches_this_cluster_and_everything_listens_on_loopback(
    cluster: local.Cluster, target: jobsapi.Target
) -> None:
    code = (
        "import ray, time; ray.init(); print('at', ray.get_runtime_context().gcs_address);"
        "print('task', ray.get(ray.remote(lambda: 6 * 7).remote())); time.sleep(3)"
    )
    jobsapi.submit(target, "driver", f"{PYTHON} {shlex.quote(code)}", {})
    seen: dict[str, str] = {}
    text = ""
    for piece in jobsapi.logs(target, "driver", follow=True):
        text += piece
        seen |= listeners(cluster)
    assert f"at {cluster.gcs}" in text and "task 42" in text
    assert jobsapi.driver_state(target, "driver") == "SUCCEEDED"
    outside = {address: name for address, name in seen.items() if "127.0.0.1:" not in address}
    assert len(seen) > 5 and not outside


def test_a_log_is_followed_to_its_end_and_read_once(target: jobsapi.Target) -> None:
    code = "import time\nfor i in range(4): print('line', i, flush=True); time.sleep(0.7)"
    jobsapi.submit(target, "talker", f"{PYTHON} {shlex.quote(code)}", {})
    pieces = list(jobsapi.logs(target, "talker", follow=True))
    lines = [line for line in "".join(pieces).splitlines() if line.startswith("line")]
    assert lines == ["line 0", "line 1", "line 2", "line 3"] and len(pieces) > 1
    assert "line 3" in "".join(jobsapi.logs(target, "talker"))


def test_unknown_jobs_and_unreachable_clusters(target: jobsapi.Target) -> None:
    assert jobsapi.find_driver(target, "none") is None and jobsapi.driver_state(target, "none") is None
    assert jobsapi.stop(target, "none") is None
    with pytest.raises(ClusterError, match="doesn't know the job none"):
        list(jobsapi.logs(target, "none"))
    nowhere = jobsapi.Target("http://127.0.0.1:9")
    assert jobsapi.driver_state(nowhere, "none") is None
    with pytest.raises(ClusterError, match="can't be reached"):
        jobsapi.find_driver(nowhere, "none")


def test_a_job_whose_driver_died_is_failed_with_its_last_words(cluster: local.Cluster, tmp_path: Path) -> None:
    job = sent(tmp_path, cluster, "dead", f"{PYTHON} 'raise SystemExit(\"out of tissue\")'")
    deadline = time.monotonic() + 20
    while api.status(job).phase == "PENDING" and time.monotonic() < deadline:
        time.sleep(0.5)
    status = api.status(job)
    assert status.phase == "FAILED" and "out of tissue" in status.error and "gansvc logs dead" in status.error
    assert jobstatus.read(job) == status


def test_a_stopped_job_is_stopped(cluster: local.Cluster, tmp_path: Path) -> None:
    job = sent(tmp_path, cluster, "stopped", f"{PYTHON} 'import time; print(1, flush=True); time.sleep(600)'")
    assert "1" in next(api.logs(job, follow=True))
    assert api.status(job).phase == "PENDING"
    assert api.stop(job).phase == "STOPPED"
    assert jobstatus.read(job).phase == "STOPPED" and api.stop(job).phase == "STOPPED"


@pytest.mark.last
def test_down_ends_all_that_was_started_and_nothing_else(cluster: local.Cluster, tmp_path: Path) -> None:
    job = sent(tmp_path, cluster, "running", f"{PYTHON} 'import time; print(\"here\", flush=True); time.sleep(600)'")
    while "here" not in "".join(api.logs(job)):
        time.sleep(0.2)
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    ours = processes.members(cluster.pid, cluster.mark)
    try:
        assert any("sleep(600)" in " ".join(process.cmdline()) for process in ours)
        assert api.down() >= len(ours) - 2
        assert not [process for process in ours if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        assert not processes.members(cluster.pid, cluster.mark)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert local.running() is None and local.known_cluster() is None and not os.path.exists(cluster.temp)
    assert "here" in "".join(api.logs(job)), "the log outlives the cluster"
    assert api.status(job).phase == "FAILED"
    assert api.down() == 0
