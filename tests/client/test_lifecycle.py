"""Which job a user means, how it truly stands, and what can be fetched of it."""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from platform import node

import pytest

from gansvc import api
from gansvc.cli import following
from gansvc.client import configfile, lifecycle
from gansvc.errors import ClusterError, SpecError
from gansvc.files import patience
from gansvc.store import jobfolder, jobstatus, submissions
from gansvc.store.driverstate import Driver
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import Phase, Status
from gansvc.store.submissions import Submission

from ..builders.commands import Run


@pytest.fixture(autouse=True)
def _short_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch a silent job for one second: no driver here gives a sign of life after that."""
    monkeypatch.setattr(patience, "WATCH", 1.0)


def a_job(
    storage: Path,
    identity: str,
    phase: Phase = "TRAINING",
    age: float = 0.0,
    where: Submission | None = None,
) -> Job:
    """Write a job folder as a driver leaves it."""
    job = Job(id=identity, folder=str(storage / identity))
    then = time.time() - age
    status = Status(job=identity, name="small", phase=phase, started=then, updated=then, runs=(1, 4))
    Folder(job.folder).write_record("status.json", status)
    if where:
        submissions.save(job, where)
    return job


# Which job


def test_a_job_is_named_by_id_beginning_or_folder_and_the_newest_without_a_name(tmp_path: Path) -> None:
    storage = tmp_path / "jobs"
    old = a_job(storage, "zebra-20260101-000000-aaaa")
    new = a_job(storage, "small-20260102-000000-bbbb")
    also = a_job(storage, "small-20260101-120000-cccc")
    (storage / "notes").mkdir()
    assert [job.id for job in jobfolder.list_jobs(str(storage))] == [new.id, also.id, old.id]
    assert api.find(None, str(storage)) == new
    assert api.find("ze", str(storage)) == old
    assert api.find(also.id, str(storage)) == also
    moved = storage / "kept"
    (storage / old.id).rename(moved)
    assert api.find(str(moved), str(tmp_path / "elsewhere")) == Job(id=old.id, folder=str(moved))
    # One that was renamed to another id is known to the cluster by its own.
    (storage / also.id).rename(storage / "other-20260101-000000-dddd")
    assert api.find("other", str(storage)) == Job(id=also.id, folder=str(storage / "other-20260101-000000-dddd"))
    (storage / "other-20260101-000000-dddd").rename(storage / also.id)
    with pytest.raises(SpecError, match="fits small-20260102-000000-bbbb, small-20260101-120000-cccc"):
        api.find("small", str(storage))


@pytest.mark.parametrize("name", ["", "..", "../x", "/", "a/b", "a\0b", "a\nb", "~", "x" * 5000, "-20260101"])
def test_a_name_that_is_no_job_exits_2(run: Run, tmp_path: Path, name: str) -> None:
    a_job(tmp_path / "jobs", "small-20260101-000000-aaaa")
    for command in ("status", "logs", "stop", "report", "pull"):
        result = run(command, "--", name)
        assert result.code == 2 and result.out == ""
        said = "holds a zero byte" if "\0" in name else "there is no job"
        assert len(result.err.splitlines()) == 1 and said in result.err
    assert not (tmp_path / "home").exists()


def test_without_jobs_the_commands_say_so(run: Run) -> None:
    assert run("status").code == 2
    assert run("list").code == 0 and json.loads(run("list", "--json").out) == []


# How a job stands


def elsewhere(age: float) -> Submission:
    return Submission(address="http://127.0.0.1:9", submitted=time.time() - age)


def test_a_job_at_work_stays_so_and_a_final_one_is_not_asked_about(run: Run, tmp_path: Path) -> None:
    working = a_job(tmp_path / "jobs", "small-20260101-000000-aaaa", where=elsewhere(5))
    done = a_job(tmp_path / "jobs", "small-20260101-000000-bbbb", "SUCCEEDED", age=9999, where=elsewhere(9999))
    assert api.status(working).phase == "TRAINING"
    assert api.status(done).phase == "SUCCEEDED"
    listed = json.loads(run("list", "--json").out)
    assert {entry["job"]: entry["phase"] for entry in listed} == {working.id: "TRAINING", done.id: "SUCCEEDED"}
    assert json.loads(run("status", done.id, "--json").out)["phase"] == "SUCCEEDED"
    assert working.id in run("list").out and "TRAINING" in run("status", working.id).out


def test_a_job_that_has_just_told_how_it_stands_is_not_asked_about(tmp_path: Path) -> None:
    asked: list[bool] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def count() -> None:
            with suppress(OSError):
                while True:
                    asker = server.accept()[0]
                    asked.append(True)  # first, since the one who asks goes on once it is closed
                    asker.close()

        threading.Thread(target=count, daemon=True).start()
        where = Submission(address=f"http://127.0.0.1:{server.getsockname()[1]}", submitted=time.time())
        fresh = a_job(tmp_path, "small-20260101-000000-aaaa", where=where)
        assert api.status(fresh).phase == "TRAINING" and api.jobs(str(tmp_path))[0].phase == "TRAINING"
        assert asked == []
        # Who resumes or stops a job asks; so does one who reads an older status, or one of a clock that is ahead.
        looks: list[Callable[[], Status]] = [
            lambda: lifecycle.status(fresh),
            lambda: api.status(a_job(tmp_path, "small-20260101-000000-bbbb", age=20, where=where)),
            lambda: api.status(a_job(tmp_path, "small-20260101-000000-cccc", age=-90, where=where)),
        ]
        for look in looks:
            assert look().phase == "TRAINING" and asked
            asked.clear()


@pytest.mark.parametrize("where", [elsewhere(90), None])
def test_a_silent_job_without_a_cluster_is_failed_in_its_folder_too(tmp_path: Path, where: Submission | None) -> None:
    job = a_job(tmp_path, "small-20260101-000000-aaaa", age=90, where=where)
    assert api.status(job).phase == "FAILED" and api.status(job).error
    assert jobstatus.read(job).phase == "FAILED"


def test_a_job_whose_local_cluster_has_ended_is_failed_at_once(run: Run, tmp_path: Path) -> None:
    where = Submission(
        address="http://127.0.0.1:9", submitted=time.time(), host=node(), home=str(tmp_path), mark="gone"
    )
    job = a_job(tmp_path / "jobs", "small-20260101-000000-aaaa", where=where)
    assert run("logs", job.id).code == 3
    assert "small-20260101-000000-aaaa: FAILED" in run("stop", job.id).out
    assert "has ended" in jobstatus.read(job).error
    assert run("report", job.id).code == 1


def test_a_local_cluster_of_another_machine_is_judged_by_silence_alone(tmp_path: Path) -> None:
    where = elsewhere(5).model_copy(update={"host": "another", "home": str(tmp_path), "mark": "gone"})
    assert api.status(a_job(tmp_path, "small-20260101-000000-aaaa", where=where)).phase == "TRAINING"


def test_a_job_whose_clusters_token_cannot_be_read_is_listed_as_it_stands(tmp_path: Path) -> None:
    configfile.change("lab.cluster", "https://127.0.0.1:9")
    configfile.change("lab.token_file", str(tmp_path / "none"))
    where = elsewhere(90).model_copy(update={"address": "https://127.0.0.1:9"})
    a_job(tmp_path / "jobs", "small-20260101-000000-aaaa", where=where)
    assert [status.phase for status in api.jobs(str(tmp_path / "jobs"))] == ["TRAINING"]


def test_the_drivers_last_word_wins(tmp_path: Path) -> None:
    job = a_job(tmp_path, "small-20260101-000000-aaaa", "SUCCEEDED")
    assert jobstatus.finish(job, "FAILED", "late").phase == "SUCCEEDED"


def test_what_is_pulled_of_a_job_at_work_is_said_to_be_unfinished(run: Run, tmp_path: Path) -> None:
    job = jobfolder.new("small", str(tmp_path / "jobs"))
    jobstatus.start(job, "small")
    pulled = run("pull", job.id, "out", "--storage", str(tmp_path / "jobs"))
    assert pulled.code == 0 and pulled.out == f"{tmp_path / 'out'}\n"
    said = f"{job.id} is PENDING: {tmp_path / 'out'} has what it has made so far, not all"
    assert said in " ".join(pulled.err.split())
    Folder(job.folder).write_record("status.json", jobstatus.read(job).model_copy(update={"phase": "SUCCEEDED"}))
    again = run("pull", job.id, "out", "--storage", str(tmp_path / "jobs"))
    assert again.code == 0 and again.err == ""


def test_a_damaged_job_is_listed_and_hides_no_other(run: Run, tmp_path: Path) -> None:
    a_job(tmp_path / "jobs", "small-20260101-000000-aaaa")
    (tmp_path / "jobs" / "small-20260102-000000-bbbb").mkdir()
    (tmp_path / "jobs" / "small-20260103-000000-cccc").mkdir()
    (tmp_path / "jobs" / "small-20260103-000000-cccc" / "status.json").write_text("{")
    assert [status.phase for status in api.jobs(str(tmp_path / "jobs"))] == ["FAILED", "FAILED", "TRAINING"]
    assert run("list").code == 0
    assert run("status").code == 3


# Reports and files


def test_pull_copies_what_people_want_or_everything(run: Run, tmp_path: Path) -> None:
    job = a_job(tmp_path / "jobs", "small-20260101-000000-aaaa", "SUCCEEDED")
    for name in ("report/report.md", "model/model.json", "train/lsgan-seed0/run.json", "search/lsgan/trials.json"):
        Folder(job.folder).write(name, name)
    assert run("report").out == "report/report.md\n"
    assert "--format md" in run("report", "--format", "html").err
    Folder(job.folder).write("report/report.html", "<p>ö")
    assert run("report", "--format", "html").out == f"{job.folder}/report/report.html\n"
    assert run("report", "--format", "html", "-o", str(tmp_path / "page.html")).out == f"{tmp_path / 'page.html'}\n"
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "<p>ö"
    assert run("pull").out.strip() == str(tmp_path / job.id)
    assert (tmp_path / job.id / "report/report.html").is_file()
    assert (tmp_path / job.id / "model/model.json").is_file() and not (tmp_path / job.id / "train").exists()
    assert run("pull", job.id, "all", "--all").code == 0
    assert (tmp_path / "all/train/lsgan-seed0/run.json").is_file()
    for target in (job.folder, f"{job.folder}/inside", "job.txt"):
        (tmp_path / "job.txt").write_text("x")
        assert run("pull", job.id, target).code == 2
    assert set(api.results(job)) == {"page", "report", "model"}


def test_a_job_whose_storage_takes_no_last_status_has_ended_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = a_job(tmp_path / "jobs", "small-20260101-000000-aaaa", age=9999, where=elsewhere(9999))

    def full(*_: object) -> None:
        raise ClusterError("storage: the disk is full")

    monkeypatch.setattr(Folder, "write_record", full)
    assert api.status(lost).phase == "FAILED" and "no sign of life" in api.status(lost).error
    assert jobstatus.read(lost).phase == "TRAINING"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "Job entrypoint command failed with exit code -9, last available logs:\nINFO connected to Ray",
            "it was killed by SIGKILL, as the kernel does where memory runs out",
        ),
        ("Job entrypoint command failed with exit code -15. No logs available.", "it was killed by SIGTERM"),
        ("Job entrypoint command failed with exit code -99. No logs available.", "it was killed by signal 99"),
        ("Job entrypoint command failed with exit code 1, last available logs:\nError: no data\n\n", "Error: no data"),
        ("failed:\nJob entrypoint command failed with exit code -9", "Job entrypoint command failed with exit code -9"),
        ("", "it says nothing"),
    ],
)
def test_a_driver_that_was_killed_says_so_in_place_of_its_logs_last_line(message: str, reason: str) -> None:
    assert Driver("FAILED", message).reason() == reason


def test_a_log_is_shown_without_what_ray_writes_of_itself() -> None:
    log = (
        "2026-11-28 19:50:25,466\tINFO job_manager.py:581 -- Runtime env is setting up.\n"
        "Running entrypoint for job small: exec python -m gansvc.pipeline --spec eNpVUltuwzAM\n"
        "2026-11-28 19:50:29,516\tINFO worker.py:1691 -- Using address 127.0.0.1:46003\n"
        "\x1b[36mscored lsgan-seed0\x1b[0m\nINFO of our own\n\n2026-11-28 19:50:30,000\tWARNING x.py:1 -- low on memory"
    )
    shown = "scored lsgan-seed0\nINFO of our own\n\n2026-11-28 19:50:30,000\tWARNING x.py:1 -- low on memory"
    for size in (1, 7, 1000):
        pieces = (log[at : at + size] for at in range(0, len(log), size))
        assert "".join(following.without_ray_lines(pieces)) == shown
