"""Whether a job that calls itself at work still is: by its cluster, its driver's process and its silence."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from platform import node

import psutil
import pytest

from gansvc.client import jobsapi, lifecycle, local, processes, raystatus
from gansvc.client.rayclusters import RemoteCluster
from gansvc.errors import ClusterError
from gansvc.files import patience
from gansvc.store import jobstatus, submissions
from gansvc.store.driverstate import Driver, last_sentence
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import Status
from gansvc.store.submissions import Ask, Submission

ID = "small-20260101-000000-aaaa"
RUNS = "the cluster says that its driver runs"


def elsewhere() -> Submission:
    return Submission(address="http://127.0.0.1:9", submitted=time.time() - 9999)


def a_job(folder: Path, updated: float, where: Submission | None = None) -> Job:
    job = Job(id=ID, folder=str(folder / ID))
    sign(job, updated)
    if where:
        submissions.save(job, where)
    return job


def sign(job: Job, updated: float) -> None:
    """Write a driver's sign of life."""
    Folder(job.folder).write_record(
        "status.json", Status(job=ID, name="small", phase="TRAINING", started=1.0, updated=updated)
    )


def runs(pid: int | None = None) -> Ask:
    return lambda job, where: Driver("RUNNING", "", pid)


def unreachable(job: Job, where: Submission) -> Driver | None:
    raise ClusterError("the cluster can't be reached")


@pytest.fixture(autouse=True)
def _short_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "WATCH", 1.2)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    process = subprocess.Popen(command, env=os.environ | {processes.MARK: "m"})
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def here(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> Submission:
    """Return a submission to a local cluster whose head is some process that lives and doesn't answer."""
    head = local.Cluster(mark="m", pid=sleeper.pid, dashboard="http://127.0.0.1:9", temp=str(tmp_path))
    (tmp_path / "cluster.json").write_text(head.model_dump_json())
    return Submission(
        address=head.dashboard, submitted=time.time() - 9999, host=node(), home=str(tmp_path), mark=head.mark
    )


@pytest.mark.parametrize("off", [-3600, 3600])
def test_silent_is_who_says_nothing_new_whatever_the_clocks_say(tmp_path: Path, off: float) -> None:
    job = a_job(tmp_path, time.time() + off, elsewhere())
    stop = threading.Event()

    def live() -> None:
        while not stop.wait(0.3):
            sign(job, time.time() + off)

    driver = threading.Thread(target=live)
    driver.start()
    try:
        for ask in (runs(), unreachable):
            assert (lifecycle.status(job, ask).phase, lifecycle.status(job, ask).warnings) == ("TRAINING", ())
    finally:
        stop.set()
        driver.join()
    (note,) = lifecycle.status(job, runs()).warnings
    assert "no sign of life" in note and RUNS in note and f"gansvc stop {ID}" in note
    assert jobstatus.read(job).warnings == (), "what a reader sees isn't the driver's to say"


def test_a_silent_job_that_nobody_can_ask_about_is_lost_but_for_a_clock_that_lies_ahead(tmp_path: Path) -> None:
    ahead = lifecycle.status(a_job(tmp_path / "ahead", time.time() + 3600, elsewhere()), unreachable)
    assert ahead.phase == "TRAINING" and "this machine's clock reaches in 3" in ahead.warnings[0]
    lost = lifecycle.status(a_job(tmp_path / "lost", time.time() - 90, elsewhere()), unreachable)
    assert lost.phase == "FAILED" and "no sign of life for 9" in lost.error


def test_a_follower_goes_by_its_own_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FRESH", 0.5)
    monkeypatch.setattr(patience, "SILENCE", 1.0)
    job, where = a_job(tmp_path, time.time() + 3600, elsewhere()), elsewhere()
    last = [*raystatus.follow(RemoteCluster(), job, where, unreachable, interval=0.2)][-1]
    assert last.phase == "FAILED" and "can't be reached" in last.error


def test_a_suspended_driver_and_a_suspended_ray_are_named_with_what_wakes_them(
    tmp_path: Path, here: Submission, sleeper: subprocess.Popen[bytes]
) -> None:
    job = a_job(tmp_path, time.time() - 90, here)
    assert RUNS in lifecycle.status(job, runs(sleeper.pid)).warnings[0]
    (deaf,) = lifecycle.status(job, unreachable).warnings
    assert "doesn't answer; `gansvc down` ends it" in deaf
    psutil.Process(sleeper.pid).suspend()
    until(lambda: processes.is_suspended(sleeper.pid))
    for ask, whose in ((runs(sleeper.pid), "its driver"), (unreachable, "Ray on this machine")):
        found = lifecycle.status(job, ask)
        assert found.phase == "TRAINING" and f"`kill -CONT {sleeper.pid}` lets it go on" in found.warnings[0]
        assert whose in found.warnings[0]


def test_what_ray_says_is_told_without_its_traceback_and_its_last_full_stop() -> None:
    answer = "Request failed with status code 500: Traceback (most recent call last):\n  File\nOSError: no file\n."
    assert last_sentence(answer) == "OSError: no file"
    assert last_sentence("Job small exists already. Please use another one.") == (
        "Job small exists already. Please use another one"
    )
    assert last_sentence("\n.\n") == "" and Driver("FAILED", ".").reason() == "it says nothing"


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("states", "lost"), [((), False), (("DEAD", "ALIVE"), False), (("DEAD", "DEAD"), True)])
def test_a_cluster_is_given_up_only_where_all_its_nodes_are_known_to_be_dead(
    states: tuple[str, ...], lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobsapi, "_nodes", lambda client: [{"state": state} for state in states])
    monkeypatch.setattr(jobsapi, "_client", lambda target: None)
    assert jobsapi.has_lost_all_nodes(jobsapi.Target("http://127.0.0.1:9")) is lost
