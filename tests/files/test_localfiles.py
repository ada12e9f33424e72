"""A job folder that others wrote into: links and special files are refused, not followed, opened or read; sizes too."""

from __future__ import annotations

import os
import pickle
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from gansvc.errors import ClusterError, SpecError
from gansvc.gan import modelfolder
from gansvc.gan.journal import Journal
from gansvc.gan.run import RunPlan
from gansvc.spec.job import JobSpec
from gansvc.store import folder as store
from gansvc.store import jobfolder, jobstatus, layout
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import History, Status

from ..builders.deliveries import copy

SECRET = "a private key"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "job").mkdir()
    return Folder(tmp_path / "job")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder with a file that no job is to touch."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret").write_text(SECRET)
    return path


def untouched(outside: Path) -> bool:
    return [path.name for path in outside.iterdir()] == ["secret"] and (outside / "secret").read_text() == SECRET


# --- links ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", ["inner", "inner/deeper"])
def test_a_link_in_place_of_a_folder_is_refused_whatever_is_done(
    folder: Folder, tmp_path: Path, outside: Path, depth: str
) -> None:
    link = tmp_path / "job" / depth
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    for ask in (
        lambda: folder.read(f"{depth}/secret"),
        lambda: folder.write(f"{depth}/secret", "x"),
        lambda: folder.write(f"{depth}/new/file", "x"),
        lambda: folder.exists(f"{depth}/secret"),
        lambda: folder.delete(f"{depth}/secret"),
        lambda: folder.delete(depth),
        lambda: (folder / depth).names(),
        lambda: (folder / depth).tree(),
        lambda: copy(folder, tmp_path / "copy"),
    ):
        with pytest.raises(ClusterError, match=f"{link} is a link, and a job's folder holds plain files alone"):
            ask()
    assert untouched(outside) and link.is_symlink() and not any((tmp_path / "copy").glob("**/*"))


def test_a_link_in_place_of_a_file_is_refused_whatever_is_done(folder: Folder, tmp_path: Path, outside: Path) -> None:
    link = tmp_path / "job" / "status.json"
    link.symlink_to(outside / "secret")
    for ask in (
        lambda: folder.read("status.json"),
        lambda: folder.write("status.json", "x"),
        lambda: folder.exists("status.json"),
        lambda: folder.delete("status.json"),
        lambda: copy(folder, tmp_path / "copy"),
    ):
        with pytest.raises(ClusterError, match=f"{link} is a link, .*delete it, or put what it points to in its place"):
            ask()
    assert untouched(outside) and link.is_symlink() and not any((tmp_path / "copy").glob("**/*"))


def test_links_that_lead_to_themselves_end_at_once(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "job" / "round").symlink_to(tmp_path / "job")
    folder.write("a", "x")
    with pytest.raises(ClusterError, match="round is a link"):
        copy(folder, tmp_path / "copy")
    assert list(folder.tree()) == ["a"]


def test_deleting_a_folder_leaves_what_links_in_it_point_to(folder: Folder, tmp_path: Path, outside: Path) -> None:
    folder.write("run/deep/file", "x")
    (tmp_path / "job" / "run" / "deep" / "link").symlink_to(outside)
    folder.delete("run")
    assert folder.names() == [] and untouched(outside)


def test_a_folder_that_becomes_a_link_meanwhile_leads_nowhere(folder: Folder, tmp_path: Path, outside: Path) -> None:
    folder.write("run/file", "x")
    run = tmp_path / "job" / "run"
    run.rename(tmp_path / "job" / "was")
    run.symlink_to(outside)
    inner: Folder = pickle.loads(pickle.dumps(folder / "run"))
    for ask in (partial(inner.write, "secret", "x"), partial(inner.delete, "secret"), partial(inner.read, "secret")):
        with pytest.raises(ClusterError, match="is a link"):
            ask()
    assert untouched(outside)


def test_the_users_own_path_may_lead_through_links_and_the_job_folder_may_be_none(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "jobs").symlink_to(tmp_path / "real")
    job = jobfolder.new("tiny", str(tmp_path / "jobs"))
    jobstatus.start(job, "tiny")
    assert (
        jobfolder.list_jobs(str(tmp_path / "jobs")) == [job] and (tmp_path / "real" / job.id / layout.STATUS).is_file()
    )
    planted = tmp_path / "real" / "other-20260101-000000-aaaa"
    planted.symlink_to(job.folder)
    with pytest.raises(ClusterError, match="other-20260101-000000-aaaa is a link"):
        jobstatus.read(jobfolder.find("other", str(tmp_path / "jobs")))
    (tmp_path / "mine").symlink_to(job.folder)
    assert jobfolder.find(str(tmp_path / "mine"), str(tmp_path)) == Job(id=job.id, folder=os.path.realpath(job.folder))


# --- what is no file ------------------------------------------------------------------------------------------------


@pytest.fixture
def special(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Return the name of a special file in the job folder, and what it is called."""
    (tmp_path / "job").mkdir(exist_ok=True)
    os.chdir(tmp_path / "job")  # a socket's path is short
    if request.param == "a FIFO":
        os.mkfifo("thing")
    elif request.param == "a device":
        if os.geteuid():
            pytest.skip("only root makes a device")
        os.mknod("thing", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    with socket.socket(socket.AF_UNIX) as server:
        if request.param == "a socket":
            server.bind("thing")
        yield "thing", request.param
    os.chdir("/")


@pytest.mark.parametrize("special", ["a FIFO", "a socket", "a device"], indirect=True)
def test_what_is_no_file_is_refused_and_keeps_nobody_waiting(tmp_path: Path, special: tuple[str, str]) -> None:
    (name, kind), folder = special, Folder(tmp_path / "job")
    for ask in (
        lambda: folder.read(name),
        lambda: folder.write(name, "x"),
        lambda: folder.delete(name),
        lambda: folder.exists(name),
        lambda: copy(folder, tmp_path / "copy"),
    ):
        with pytest.raises(ClusterError, match=f"{name} is {kind}, and a job's folder holds plain files alone; delete"):
            ask()
    assert folder.tree() == {}


def test_a_job_with_a_fifo_and_one_with_a_vast_status_are_listed_beside_the_others(tmp_path: Path) -> None:
    from gansvc import api

    jobs = [jobfolder.new(name, str(tmp_path)) for name in ("well", "fifo", "vast")]
    for job in jobs:
        jobstatus.start(job, job.id)
    Folder(jobs[0].folder).write_record(
        layout.STATUS, jobstatus.read(jobs[0]).model_copy(update={"phase": "SUCCEEDED"})
    )
    for job in jobs[1:]:
        Path(job.folder, layout.STATUS).unlink()
    os.mkfifo(Path(jobs[1].folder, layout.STATUS))
    with Path(jobs[2].folder, layout.STATUS).open("wb") as file:
        file.truncate(6 * 10**9)
    told: list[Status] = []
    thread = threading.Thread(target=lambda: told.extend(api.jobs(str(tmp_path))), daemon=True)
    thread.start()
    thread.join(timeout=60)
    errors = {status.job: status.error for status in told}
    assert errors[jobs[0].id] == "" and len(errors) == 3
    assert "status.json is a FIFO" in errors[jobs[1].id]
    assert "status.json has 6.0 GB, and of such a file at most 64 MiB are read; delete it" in errors[jobs[2].id]


# --- who writes and reads without being asked for a name ------------------------------------------------------------


def test_tensorboards_events_are_written_through_no_link(
    folder: Folder, tmp_path: Path, outside: Path, tiny: Callable[..., JobSpec]
) -> None:
    plan = RunPlan(tiny(), "wgan", 0, 1, 2)
    line = History(
        step=1, critic_images=2, critic_loss=0.5, generator_loss=0.1, wasserstein=None, penalty=None,
        generator_lr=1e-4, critic_lr=1e-4, images_per_second=3.0, seconds=1.0,
    )  # fmt: skip
    for _ in range(2):
        journal = Journal(folder, plan, 10, 0, 1, [])
        journal.add(line)
        journal.close("finished", "", 1.0)
    (events,) = (folder / "tensorboard").names()
    assert b"critic_loss" in ((folder / "tensorboard").read(events) or b"")
    folder.delete("tensorboard")
    (tmp_path / "job" / "tensorboard").symlink_to(outside)
    with pytest.raises(ClusterError, match="tensorboard is a link"):
        Journal(folder, plan, 10, 0, 1, [])
    assert untouched(outside)


@pytest.mark.parametrize("name", ["model.json", "generator.safetensors"])
@pytest.mark.parametrize("kind", ["a link", "a FIFO"])
def test_a_model_folder_with_what_is_no_file_is_refused(tmp_path: Path, outside: Path, name: str, kind: str) -> None:
    (tmp_path / "model.json").write_text("{}")
    (tmp_path / "generator.safetensors").write_text("")
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(outside / "secret") if kind == "a link" else os.mkfifo(tmp_path / name)
    with pytest.raises(SpecError, match=f"{name} is {kind}, .*; or give the model/ folder of a pulled job"):
        modelfolder.load_model(tmp_path)


# --- sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "limit"), [("job.yaml", "64 KiB"), ("status.json", "64 MiB"), ("a.pt", "1000 MiB")])
def test_each_kind_of_file_has_a_limit(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: str
) -> None:
    monkeypatch.setattr(store, "WEIGHTS", 1000 * 2**20)
    with (tmp_path / "job" / name).open("wb") as file:
        file.truncate(store.size_limit(name) + 1)
    with pytest.raises(ClusterError, match=f"{name} has .*, and of such a file at most {limit} are read"):
        folder.read(name)


def test_a_file_that_grows_while_it_is_read_ends_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its size says nothing, as that of a file in /proc: what is really read counts.
    monkeypatch.setattr(store, "RECORD", 1000)
    with pytest.raises(ClusterError, match="at most"):
        Folder(f"/proc/{os.getpid()}").read("maps")


def test_an_object_that_is_too_large_is_refused_before_it_is_read(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(f"s3://{bucket}/jobs") / "job"
    folder.write("status.json", b"x" * 2000)
    monkeypatch.setattr(store, "RECORD", 1000)
    with pytest.raises(ClusterError, match=f"s3://{bucket}/jobs/job/status.json has 2.0 kB"):
        folder.read("status.json")


# --- listing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_tree_is_every_file_with_its_size_and_time(tmp_path: Path, bucket: str, kind: str) -> None:
    folder = (Folder(tmp_path) if kind == "local" else Folder(f"s3://{bucket}/jobs")) / "job"
    assert folder.tree() == {}
    for name in ("status.json", "train/a-seed0/run.json", "train/a-seed0/.hidden", ".tune/state"):
        folder.write(name, name)
    found = folder.tree()
    assert {name: facts.size for name, facts in found.items()} == {"status.json": 11, "train/a-seed0/run.json": 22}
    assert all(facts.modified > 1.6e9 for facts in found.values())
    assert list((folder / "train").tree()) == ["a-seed0/run.json"]


def test_folders_without_end_are_refused(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "job").joinpath(*["deep"] * 30).mkdir(parents=True)
    with pytest.raises(ClusterError, match="lies deeper than a job's folders do"):
        folder.tree()


# --- what is made ---------------------------------------------------------------------------------------------------


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_a_new_job_is_its_users_alone_and_what_others_share_stays_shared(tmp_path: Path) -> None:
    def mode(path: str | Path) -> int:
        return stat.S_IMODE(Path(path).stat().st_mode)

    job = jobfolder.new("tiny", str(tmp_path / "my" / "jobs"))
    jobstatus.start(job, "tiny")
    assert [mode(path) for path in (job.folder, tmp_path / "my" / "jobs", tmp_path / "my")] == [0o700] * 3
    Folder(job.folder).write("train/run.json", "x")
    assert not any(mode(path) & 0o002 for path in Path(job.folder).rglob("*"))
    (tmp_path / "shared").mkdir(mode=0o775)
    assert mode(jobfolder.new("tiny", str(tmp_path / "shared")).folder) == 0o775
    assert mode(tmp_path / "shared") == 0o775, "what was there is left as it is"


def test_a_held_folder_that_was_taken_away_does_not_come_back(tmp_path: Path) -> None:
    job = jobfolder.new("tiny", str(tmp_path / "jobs"))
    folder = Folder(job.folder, creates=False)
    inner = pickle.loads(pickle.dumps(folder / "train" / "a"))
    inner.write("run.json", "x")
    (tmp_path / "jobs" / job.id).rename(tmp_path / "moved")
    for here, name in ((folder, layout.STATUS), (inner, "run.json"), (folder / "new", "x/y")):
        with pytest.raises(ClusterError, match="can't be written: its folder was taken away"):
            here.write(name, "x")
    assert not Path(job.folder).exists()
