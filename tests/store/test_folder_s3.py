"""Job folders in an object storage: the same interface and promises as on a disk, against a real S3 server."""

from __future__ import annotations

import os
import pickle
import threading
import time
from pathlib import Path

import pytest

from gansvc.errors import ClusterError, SpecError
from gansvc.gan.journal import Journal
from gansvc.gan.run import RunPlan
from gansvc.store import jobfolder, jobstatus
from gansvc.store.folder import Folder
from gansvc.store.records import History, Start

from ..object_storage import Gate, request


@pytest.fixture
def folder(bucket: str) -> Folder:
    return Folder(f"s3://{bucket}/jobs") / "job"


@pytest.mark.parametrize(
    "data", [b"\x00\xff", "caf\u00e9\n", b"", bytes(range(256)) * 100_000], ids=["bytes", "text", "empty", "25 MB"]
)
def test_what_is_written_is_read(folder: Folder, data: bytes | str) -> None:
    folder.write("search/wgan/file", data)
    assert folder.read("search/wgan/file") == (data.encode() if isinstance(data, str) else data)
    assert (folder / "search").names() == ["wgan"] and (folder / "search" / "wgan").names() == ["file"]


def test_a_second_write_replaces_the_first(folder: Folder) -> None:
    folder.write("status.json", "a long first content")
    folder.write("status.json", "second")
    assert folder.read("status.json") == b"second"
    assert folder.names() == ["status.json"]


def test_what_is_not_there_is_none(folder: Folder) -> None:
    assert folder.read("none") is None and folder.read("no/such/file") is None
    assert folder.names() == [] and not folder.exists("none")
    folder.delete("none")
    folder.write("sub/file", "x")
    assert folder.exists("sub") and folder.exists("sub/file") and folder.read("sub") is None


def test_delete_takes_a_file_or_a_folder_and_nothing_else(folder: Folder) -> None:
    for name in ("run", "run/a", "run/deep/b", "run2/c"):
        folder.write(name, name)
    (folder / "run").delete("deep")
    assert (folder / "run").names() == ["a"]
    folder.delete("run2")
    assert folder.read("run/a") == b"run/a" and folder.read("run") == b"run"
    folder.delete("run/a")
    assert folder.read("run/a") is None


def test_lines_grow_as_the_journal_writes_them(folder: Folder) -> None:
    starts = [Start(time=1.5, step=step, world_size=2) for step in range(3)]
    for count in range(len(starts) + 1):
        folder.write_lines("starts.jsonl", starts[:count])
        assert folder.read_lines("starts.jsonl", Start) == starts[:count]


def test_pickled_folder_is_the_same_folder_and_carries_no_secret(folder: Folder) -> None:
    folder.write("file", "x")
    sent = pickle.dumps([folder, folder / "sub"])
    assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in sent and b"AKIA" not in sent
    here, sub = pickle.loads(sent)
    assert here.uri == folder.uri and sub.uri == f"{folder.uri}/sub" and here.read("file") == b"x"


def test_addresses_end_alike_with_and_without_a_slash(bucket: str) -> None:
    (Folder(f"s3://{bucket}/jobs/") / "a").write("file", "x")
    assert (Folder(f"s3://{bucket}/jobs") / "a").read("file") == b"x"
    assert Folder(f"s3://{bucket}").names() == ["jobs"] == Folder(f"s3://{bucket}/").names()
    assert (Folder(f"s3://{bucket}") / "jobs" / "a").path("file") == f"s3://{bucket}/jobs/a/file"


@pytest.mark.parametrize("sizes", [(50, 200_000), (200_000, 50)], ids=["longer", "shorter"])
def test_a_read_never_mixes_two_contents(gate: Gate, bucket: str, sizes: tuple[int, int]) -> None:
    # pyarrow asks for the size and then for that many bytes: here the object is replaced in between.
    old, new = (bytes([65 + index]) * size for index, size in enumerate(sizes))
    folder = Folder(f"s3://{bucket}/job")
    folder.write("status.json", old)
    gate.before("^GET .*/job/status.json", lambda: request(gate.behind, "PUT", f"/{bucket}/job/status.json", new))
    assert folder.read("status.json") == new


def test_readers_never_see_half_a_file(folder: Folder) -> None:
    # No content comes twice: an object that is as it was isn't known to have been another in between.
    contents = [bytes([65 + index]) * size for index, size in enumerate((200_000, 10, 70_000) * 10)]
    folder.write("status.json", contents[0])
    seen: list[bytes | None] = []
    done = threading.Event()

    def read() -> None:
        reader = pickle.loads(pickle.dumps(folder))
        while not done.is_set():
            seen.append(reader.read("status.json"))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    for content in contents:
        folder.write("status.json", content)
    # A reader that was slow while they were written still sees the last one.
    deadline = time.monotonic() + 60
    while thread.is_alive() and contents[-1] not in seen and time.monotonic() < deadline:
        time.sleep(0.01)
    done.set()
    thread.join(timeout=60)
    assert not thread.is_alive() and contents[-1] in seen
    assert {content[:20] + b"..." if content else content for content in seen if content not in contents} == set()


def test_a_bucket_that_is_not_there_is_no_empty_folder(bucket: str) -> None:
    wrong = Folder(f"s3://{bucket}-wrong/jobs")
    with pytest.raises(ClusterError, match=f"there is no bucket '{bucket}-wrong'; make it, or correct --storage"):
        wrong.names()
    with pytest.raises(ClusterError, match=r"NO_SUCH_BUCKET.*make the bucket, or correct --storage"):
        wrong.write("file", "x")


def test_jobs_are_listed_and_found(bucket: str) -> None:
    storage = f"s3://{bucket}/jobs"
    assert jobfolder.list_jobs(storage) == []
    job = jobfolder.new("tiny", storage)
    jobstatus.start(job, "tiny")
    request(os.environ["AWS_ENDPOINT_URL"], "PUT", f"/{bucket}/jobs/other/file", b"x")
    assert jobfolder.list_jobs(storage) == [job]
    assert jobfolder.find(job.id[:20], storage) == jobfolder.find(job.folder, storage) == job
    assert jobstatus.read(job).phase == "PENDING"


def test_a_jobs_address_is_told_why_it_cannot_be_read(gate: Gate, bucket: str, tmp_path: Path) -> None:
    gate.answer((403, "AccessDenied"), times=9)
    with pytest.raises(ClusterError, match="check AWS_ACCESS_KEY_ID"):
        jobfolder.find(f"s3://{bucket}/jobs/small-1", str(tmp_path))
    with pytest.raises(SpecError) as caught:
        jobfolder.find(f"s3://AKIA:hush@{bucket}/jobs/small-1", str(tmp_path))
    assert "hush" not in str(caught.value) and "AKIA" not in str(caught.value)


def test_a_run_leaves_its_journal_and_its_events(folder: Folder, tiny: object) -> None:
    plan = RunPlan(tiny(), "wgan", 0, 1, 2)  # type: ignore[operator]
    line = History(
        step=1, critic_images=2, critic_loss=0.5, generator_loss=0.1, wasserstein=None, penalty=None,
        generator_lr=1e-4, critic_lr=1e-4, images_per_second=3.0, seconds=1.0,
    )  # fmt: skip
    for start in range(2):
        journal = Journal(folder, plan, 10, start, 1, [])
        journal.add(line)
        journal.close("finished", "", 1.0)
    assert folder.read_lines("history.jsonl", History) == [line, line]
    assert len(folder.read_lines("starts.jsonl", Start)) == 2
    (events,) = (folder / "tensorboard").names()
    assert (folder / "tensorboard").read(events)
