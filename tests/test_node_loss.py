"""A node lost: one of two Ray nodes on this machine is killed while a run trains on both of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gansvc import api
from gansvc.client import local, processes
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import FINAL_PHASES, RunRecord, Start

from . import second_node

pytestmark = [pytest.mark.ray, pytest.mark.faults]
LIMIT = 600.0
"""Seconds after which a job counts as hung."""


@pytest.fixture
def two_nodes(cluster: local.Cluster, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Add a second node of one CPU to the local cluster and return its process."""
    node = second_node.start(cluster, 1, tmp_path / "node.log")
    yield node
    processes.end(node.pid, second_node.MARK)


def kill_raylet(node: subprocess.Popen[bytes]) -> None:
    """Kill a node's raylet, as a machine's power cut does; its workers end with it."""
    (raylet,) = [child for child in psutil.Process(node.pid).children(recursive=True) if child.name() == "raylet"]
    os.kill(raylet.pid, signal.SIGKILL)


def test_a_run_goes_on_with_the_workers_that_a_lost_node_leaves(
    tiny: Callable[..., JobSpec],
    cluster: local.Cluster,
    two_nodes: subprocess.Popen[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cores = (os.cpu_count() or 1) + 1
    spec = tiny(
        losses=["lsgan"],
        training__workers=cores,
        training__images=24_000,
        training__evaluations=60,
        network__generator_norm="group",
        evaluation__audit=False,
    )
    monkeypatch.setenv("RAY_AUTH_TOKEN", local.token() or "")
    job = api.submit(spec, cluster.dashboard, str(tmp_path / "jobs"))
    run = Path(job.folder) / "train" / "lsgan-seed0"
    deadline = time.monotonic() + LIMIT
    while len(list((run / "checkpoints").glob("step-*.pt"))) < 2 and time.monotonic() < deadline:
        assert api.status(job).phase not in FINAL_PHASES, "".join(api.logs(job))[-3000:]
        time.sleep(0.2)
    kill_raylet(two_nodes)
    killed = time.time()
    while (status := api.status(job)).phase not in FINAL_PHASES:
        assert time.monotonic() < deadline, "".join(api.logs(job))[-3000:]
        time.sleep(1)
    assert status.phase == "SUCCEEDED", status.error

    starts = Folder(run).read_lines("starts.jsonl", Start)
    with capsys.disabled():
        recovery = starts[-1].time - killed
        print(f"\n| 3 | a node's raylet | {[s.world_size for s in starts]} workers | {recovery:.0f} s |", flush=True)  # noqa: T201
    assert starts[0].world_size == cores and 1 <= starts[-1].world_size < cores and starts[-1].step > 0
    record = Folder(run).read_record("run.json", RunRecord)
    assert record is not None and record.state == "finished" and record.critic_images == 24_000
    warnings = api.report(job, "json")["warnings"]
    assert any(f"workers instead of {cores}" in text and "global batch stayed 16" in text for text in warnings)
    assert any("lsgan-seed0 was restarted" in text for text in warnings)
