"""How all jobs of a storage stand: each cluster once, side by side, within a short time."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gansvc import api
from gansvc.client import configfile, lifecycle, listing
from gansvc.files import patience
from gansvc.store import submissions
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import Phase, Status
from gansvc.store.submissions import Submission


class Silent:
    """A server that takes connections and says nothing, as a cluster behind a firewall or one that hangs."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                self._kept.append(self._socket.accept()[0])
            except OSError:
                return
            self.connections += 1

    def close(self) -> None:
        # A blocked accept isn't woken by a close alone.
        self._socket.shutdown(socket.SHUT_RDWR)
        for one in (*self._kept, self._socket):
            one.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


def a_job(storage: Path, number: int, address: str, phase: Phase = "TRAINING", age: float = 90.0) -> Job:
    job = Job(id=f"small-20260101-000000-{number:04x}", folder=str(storage / f"small-20260101-000000-{number:04x}"))
    then = time.time() - age
    status = Status(job=job.id, name="small", phase=phase, started=then, updated=then)
    Folder(job.folder).write_record("status.json", status)
    submissions.save(job, Submission(address=address, submitted=then))
    return job


def test_a_silent_cluster_is_asked_once_and_holds_up_no_other(
    tmp_path: Path, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WATCH", 0.6)
    deaf = [a_job(tmp_path, number, silent.address) for number in range(20)]
    refused = [a_job(tmp_path, number, "http://127.0.0.1:9") for number in range(20, 40)]
    done = a_job(tmp_path, 40, silent.address, "SUCCEEDED")
    found = listing.statuses([*deaf, *refused, done], limit=6.0)
    assert [status.job for status in found] == [job.id for job in (*deaf, *refused, done)]
    assert [status.phase for status in found] == ["TRAINING"] * 20 + ["FAILED"] * 20 + ["SUCCEEDED"]
    assert all(f"the cluster at {silent.address} has said nothing" in s.warnings[0] for s in found[:20])
    assert all("no sign of life for 9" in status.error for status in found[20:40])
    assert silent.connections == 1


def test_a_profile_brings_its_storage_to_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GANSVC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GANSVC_STORAGE", raising=False)
    configfile.change("lab.cluster", "http://127.0.0.1:9")
    configfile.change("lab.storage", str(tmp_path / "lab"))
    job = a_job(tmp_path / "lab", 1, "http://127.0.0.1:9", age=0.0)
    assert [status.job for status in api.jobs(cluster="lab")] == [job.id]
    assert api.jobs(str(tmp_path / "other"), "lab") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a read-only file system needs root")
def test_a_lost_job_on_a_read_only_mount_is_told_as_it_is_seen(tmp_path: Path) -> None:
    job = a_job(tmp_path / "jobs", 1, "http://127.0.0.1:9", age=9999)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "jobs")]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this container may not mount")
    try:
        job = a_job(tmp_path / "jobs", 1, "http://127.0.0.1:9", age=9999)
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "jobs")], check=True)
        found = lifecycle.status(job)
        assert found.phase == "FAILED" and "no sign of life" in found.error
        kept = json.loads((tmp_path / "jobs" / job.id / "status.json").read_text())
        assert kept["phase"] == "TRAINING"
    finally:
        subprocess.run(["umount", str(tmp_path / "jobs")], check=True)
