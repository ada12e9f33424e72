"""Which jobs can be resumed, where they are sent, how their commands end; the resuming itself is in test_faults.py."""

import json
import time
from pathlib import Path
from platform import node

import pytest

from gansvc import api
from gansvc.client import raystatus
from gansvc.client.rayclusters import LocalCluster, RemoteCluster
from gansvc.errors import ClusterError, SpecError
from gansvc.store import jobstatus, submissions
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import Phase, Status
from gansvc.store.submissions import Submission

from ..builders.commands import Run

SPEC = "name: small\ndataset: histology\nlosses: [lsgan]\n"
ID = "small-20260101-000000-aaaa"


def nowhere(**values: object) -> Submission:
    """Return a submission to a cluster elsewhere that doesn't answer."""
    return Submission(address="http://127.0.0.1:9", submitted=time.time() - 90).model_copy(update=values)


def ended_here(home: Path, attempt: int, mark: str = "gone") -> Submission:
    """Return a submission to a cluster of this machine that has ended."""
    return nowhere(host=node(), home=str(home), mark=mark, attempt=attempt)


def a_job(
    storage: Path, phase: Phase, where: Submission | None = None, scores: tuple[int, int] = (0, 0), error: str = ""
) -> Job:
    job, now = Job(id=ID, folder=str(storage / ID)), time.time()
    status = Status(job=ID, name="small", phase=phase, started=now, updated=now, scores=scores, error=error)
    Folder(job.folder).write_record("status.json", status)
    Folder(job.folder).write("job.yaml", SPEC)
    if where:
        submissions.save(job, where)
    return job


def test_a_job_that_succeeded_has_nothing_to_resume(run: Run, tmp_path: Path) -> None:
    a_job(tmp_path / "jobs", "SUCCEEDED", nowhere())
    plain, as_json = run("resume"), run("resume", ID, "--json")
    assert plain.code == as_json.code == 0 and "nothing to resume" in plain.err and plain.out == ""
    assert json.loads(as_json.out)["phase"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("phase", "where", "code", "says"),
    [
        ("TRAINING", nowhere(), 2, f"JOB: {ID} is running (TRAINING); nothing to resume"),
        ("FAILED", None, 1, "submit it again"),
        ("FAILED", nowhere(), 3, "can't be reached"),
        ("STOPPED", nowhere(), 3, "can't be reached"),
    ],
)
def test_a_job_that_cannot_be_resumed_says_why_and_stays_as_it_is(
    run: Run, tmp_path: Path, phase: Phase, where: Submission | None, code: int, says: str
) -> None:
    job = a_job(tmp_path / "jobs", phase, where, error="its driver died")
    before = jobstatus.read(job)
    refused = run("resume", ID)
    assert refused.code == code and refused.out == "" and len(refused.err.splitlines()) == 1 and says in refused.err
    assert jobstatus.read(job) == before and submissions.last(job) == where


def test_a_job_on_its_way_again_is_at_work_and_keeps_what_it_did(tmp_path: Path) -> None:
    job = a_job(tmp_path, "FAILED", nowhere(), scores=(1, 2), error="its driver died")
    began = jobstatus.read(job).started
    jobstatus.restart(job, nowhere(attempt=2, submitted=time.time()))
    status = jobstatus.read(job)
    assert (status.phase, status.error, status.finished, status.scores) == ("PENDING", "", None, (1, 2))
    assert status.started == began and api.status(job).phase == "PENDING"


def test_each_attempt_has_a_driver_of_its_own_name_and_a_log_that_stays(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first, second = ended_here(home, 1), ended_here(home, 2, "gone too")
    assert first.driver(Job(id=ID, folder="")) == ID and second.driver(Job(id=ID, folder="")) == f"{ID}-2"
    a_job(tmp_path / "jobs", "FAILED", second.model_copy(update={"earlier": (first,)}))
    (home / "logs").mkdir(parents=True)
    (home / "logs" / f"job-driver-{ID}.log").write_text("\x1b[1m\x1b[32mfirst\x1b[39m\x1b[22m\n")
    assert run("logs", "--attempt", "1").out == "first\n"
    lost = run("logs")
    assert lost.code == 3 and f"gansvc resume {ID}" in lost.err
    (home / "logs" / f"job-driver-{ID}-2.log").write_text("second\n")
    assert run("logs").out == "second\n" and run("logs", "--attempt", "2").out == "second\n"
    missing = run("logs", "--attempt", "3")
    assert missing.code == 2 and "--attempt: " in missing.err and "give 1 to 2" in missing.err


@pytest.mark.parametrize(
    ("phase", "scores", "code"), [("SUCCEEDED", (2, 2), 0), ("SUCCEEDED", (1, 2), 4), ("FAILED", (1, 2), 1)]
)
def test_a_follower_exits_as_the_job_did(
    run: Run, tmp_path: Path, phase: Phase, scores: tuple[int, int], code: int
) -> None:
    job = a_job(tmp_path / "jobs", phase, ended_here(tmp_path / "home", 1), scores)
    (tmp_path / "home" / "logs").mkdir(parents=True)
    (tmp_path / "home" / "logs" / f"job-driver-{ID}.log").write_text("all that it said\n")
    followed = run("logs", "-f", ID)
    assert followed.code == code and followed.out == "all that it said\n"
    assert run("logs", ID).code == 0 and api.status(job).partial == (code == 4)


def test_a_driver_that_goes_on_is_waited_for_where_it_can_be_asked(tmp_path: Path) -> None:
    job = a_job(tmp_path, "FAILED")
    with pytest.raises(ClusterError, match="can't be reached"):
        raystatus.await_end(RemoteCluster(), job, nowhere())
    raystatus.await_end(LocalCluster(), job, ended_here(tmp_path, 1))
    # The local cluster of another machine, which nobody here can ask.
    raystatus.await_end(LocalCluster(), job, ended_here(tmp_path, 1).model_copy(update={"host": "another"}))


def test_a_status_that_was_judged_by_an_older_attempt_does_not_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job(tmp_path, "TRAINING", ended_here(tmp_path, 1))

    def resumed_meanwhile(cluster: LocalCluster, where: Submission) -> bool:
        submissions.save(job, nowhere(attempt=2))
        return True

    monkeypatch.setattr(LocalCluster, "has_ended", resumed_meanwhile)
    assert api.status(job).phase == "TRAINING" and jobstatus.read(job).phase == "TRAINING"


def test_a_wrong_name_is_refused_as_everywhere(run: Run, tmp_path: Path) -> None:
    assert run("resume", "none").code == 2
    with pytest.raises(SpecError, match="there is no job"):
        api.resume("none", str(tmp_path))
