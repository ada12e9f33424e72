"""A folder that one node doesn't share: told before anything runs, on two real nodes of which one sees another disk."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gansvc.client import jobsapi, local
from gansvc.store.folder import Folder


def test_what_a_node_says(tmp_path: Path) -> None:
    from gansvc.cluster import sharing

    folder = Folder(tmp_path / "jobs")
    assert sharing.probe_storage(folder, "mark", "answer") == "doesn't see what is written by the driver"
    folder.write("mark", "")
    assert sharing.probe_storage(folder, "mark", "answer") == "" and folder.read("answer") == b""
    (tmp_path / "file").write_text("")
    assert "(ENOTDIR: Not a directory)" in sharing.probe_storage(Folder(tmp_path / "file"), "mark", "answer")


@pytest.mark.ray
def test_a_node_is_asked(cluster: local.Cluster, tmp_path: Path) -> None:
    target = jobsapi.Target(cluster.dashboard, local.token())
    jobsapi.submit(target, "asked", shlex.join([sys.executable, __file__, "--asked", str(tmp_path / "jobs")]), {})
    log = "".join(jobsapi.logs(target, "asked", follow=True))
    told = [line for line in log.splitlines() if line.startswith("asked: ")]
    assert told == ["asked: no mark", "asked: a mark"], log[-3000:]


@pytest.mark.ray
def test_a_folder_that_a_node_does_not_share_is_told(cluster: local.Cluster, tmp_path: Path) -> None:
    from .. import second_node  # here, as the driver below runs this file by itself

    hidden, shared = tmp_path / "hidden", tmp_path / "shared"
    hidden.mkdir()
    shared.mkdir()
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("a node with a disk of its own needs root")
    # In a mount namespace of its own the node finds an empty disk where the folder is.
    disk = f"mount -t tmpfs tmpfs {shlex.quote(str(hidden))}"
    node = second_node.start(cluster, 0, tmp_path / "node.log", prepare=disk)
    try:
        target = jobsapi.Target(cluster.dashboard, local.token())
        jobsapi.submit(target, "sharing", shlex.join([sys.executable, __file__, str(shared), str(hidden)]), {})
        log = "".join(jobsapi.logs(target, "sharing", follow=True))
    finally:
        node.send_signal(signal.SIGTERM)
        node.wait(60)
    told = [line.partition(": ")[2] for line in log.splitlines() if line.startswith("told: ")]
    assert len(told) == 2, (log[-1500:], (tmp_path / "node.log").read_text()[-2000:])
    assert told[0] == "nothing"
    assert told[1].startswith(f"--storage: {hidden} isn't shared by all nodes: {second_node.ADDRESS} (node ")
    assert "doesn't see what is written by the driver" in told[1] and "mount one folder" in told[1]
    assert list(shared.iterdir()) == list(hidden.iterdir()) == [], "the marks are cleared away"


def main(folders: list[str]) -> None:
    """Wait for the second node and check each folder."""
    import ray

    from gansvc.cluster import sharing
    from gansvc.errors import ClusterError

    ray.init(log_to_driver=False)
    deadline = time.monotonic() + 90
    while sum(node["Alive"] for node in ray.nodes()) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sum(node["Alive"] for node in ray.nodes()) == 2, os.getpid()
    for folder in folders:
        try:
            sharing.check(Folder(folder))
            sys.stdout.write("told: nothing\n")
        except ClusterError as error:
            sys.stdout.write(f"told: {error}\n")


def ask(place: str) -> None:
    """Ask the one node of the cluster, before and after the driver's mark is there."""
    import ray

    from gansvc.cluster import sharing

    ray.init(log_to_driver=False)
    node, folder = ray.get_runtime_context().get_node_id(), Folder(place)
    if sharing._probe_nodes(folder, "mark", [node]) == {node: "doesn't see what is written by the driver"}:
        sys.stdout.write("asked: no mark\n")
    folder.write("mark", "")
    if sharing._probe_nodes(folder, "mark", [node]) == {}:
        sys.stdout.write("asked: a mark\n")


if __name__ == "__main__":
    ask(sys.argv[2]) if sys.argv[1] == "--asked" else main(sys.argv[1:])
