"""The job folder's storage: whole files or none, plain errors, and the same folder in another process."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from gansvc.errors import ClusterError, SpecError
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import History, Progress, Start

START = Start(time=1.5, step=3, world_size=2)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "job")


@pytest.fixture
def below_a_file(tmp_path: Path) -> Folder:
    """Return a folder that nobody, not even root, can make."""
    (tmp_path / "file").write_text("x")
    return Folder(tmp_path / "file" / "job")


def files_in(path: Path) -> list[str]:
    """Return every name in a folder, those that begin with a dot too."""
    return sorted(entry.name for entry in path.iterdir())


# --- writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"\x00\xff", "caf\u00e9\n", b"", "x" * 100_000], ids=["bytes", "text", "empty", "long"]
)
def test_what_is_written_is_read(folder: Folder, tmp_path: Path, data: bytes | str) -> None:
    folder.write("search/wgan/file", data)
    expected = data.encode() if isinstance(data, str) else data
    assert folder.read("search/wgan/file") == expected
    assert (tmp_path / "job" / "search" / "wgan" / "file").read_bytes() == expected


def test_a_second_write_replaces_the_first(folder: Folder) -> None:
    folder.write("status.json", "a long first content")
    folder.write("status.json", "second")
    assert folder.read("status.json") == b"second"
    assert folder.names() == ["status.json"]


def test_readers_never_see_half_a_file(folder: Folder, tmp_path: Path) -> None:
    contents = [bytes([65 + index]) * size for index, size in enumerate((200_000, 10, 70_000))]
    folder.write("status.json", contents[0])
    seen: list[bytes | None] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        reader = pickle.loads(pickle.dumps(folder))
        try:
            while not done.is_set():
                seen.append(reader.read("status.json"))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for index in range(150):
        folder.write("status.json", contents[index % 3])
    done.set()
    for thread in threads:
        thread.join(timeout=60)
    assert errors == []
    assert seen
    assert {content[:20] + b"..." if content else content for content in seen if content not in contents} == set()
    assert files_in(tmp_path / "job") == ["status.json"]


def test_writers_at_the_same_time_leave_one_whole_file(folder: Folder, tmp_path: Path) -> None:
    contents = [bytes([65 + index]) * 50_000 for index in range(3)]

    def write(content: bytes) -> None:
        for _ in range(20):
            folder.write("f", content)

    threads = [threading.Thread(target=write, args=(content,), daemon=True) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert folder.read("f") in contents
    assert files_in(tmp_path / "job") == ["f"]


KILLED = """
import os, signal, sys
from pathlib import Path
from gansvc.store.folder import Folder
target, parts = Path(sys.argv[1]), set()
for _ in range(50):
    if not (child := os.fork()):
        for step in range(1, 256):
            Folder(target.parent).write(target.name, bytes([step]) * 4_000_000)
        os._exit(0)
    while set(target.parent.glob(".file.*")) <= parts and not os.waitpid(child, os.WNOHANG)[0]:
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    left = set(target.parent.glob(".file.*")) - parts
    parts |= left
    print(len(left), len(set(target.read_bytes())) if target.exists() else 0, flush=True)
    if len(parts) > 2:
        break
"""


def test_a_kill_in_the_middle_of_a_write_leaves_a_whole_file(folder: Folder, tmp_path: Path) -> None:
    folder.write("file", b"\xff" * 4_000_000)
    command = [sys.executable, "-c", KILLED, folder.path("file")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kills = [line.split() for line in done.stdout.splitlines()]
    assert sum(int(left) for left, _ in kills) > 2, "kills hit the middle of a write"
    assert {kinds for _, kinds in kills} == {"1"}, "what is there is of one write"
    assert len(folder.read("file") or b"") == 4_000_000 and folder.names() == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_content(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder.write("status.json", "old")

    def fail(*args: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(ClusterError) as caught:
            folder.write("status.json", "new and longer")
    assert str(tmp_path / "job" / "status.json") in str(caught.value)
    assert "No space left on device" in str(caught.value)
    assert folder.read("status.json") == b"old"
    assert files_in(tmp_path / "job") == ["status.json"]


def test_a_folder_that_cannot_be_written(below_a_file: Folder) -> None:
    with pytest.raises(ClusterError) as caught:
        below_a_file.write("status.json", "x")
    assert below_a_file.path("status.json") in str(caught.value)
    assert "check the folder" in str(caught.value)


# --- reading --------------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_none(folder: Folder) -> None:
    assert folder.read("none") is None
    assert folder.read("no/such/file") is None
    assert folder.read_record("run.json", Start) is None
    assert folder.read_lines("history.jsonl", History) == []
    assert folder.names() == []
    assert not folder.exists("none")


def test_a_folder_is_no_file(folder: Folder) -> None:
    folder.write("sub/file", "x")
    with pytest.raises(ClusterError, match="sub"):
        folder.read("sub")


@pytest.mark.parametrize(
    "text",
    ["", "not json", '{"time": 1.5', "[]", "{}", '{"time": "soon", "step": 3, "world_size": 2}', "\ud800x"],
)
def test_garbage_is_no_record(folder: Folder, text: str) -> None:
    folder.write("starts.json", text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ClusterError) as caught:
        folder.read_record("starts.json", Start)
    assert folder.path("starts.json") in str(caught.value)
    assert "is not a Start" in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_record_round_trip(folder: Folder) -> None:
    folder.write_record("start.json", START)
    assert folder.read_record("start.json", Start) == START
    written = json.loads(folder.read("start.json") or b"")
    assert written == {"time": 1.5, "step": 3, "world_size": 2, "warnings": []}


def test_a_field_of_a_newer_version_is_ignored(folder: Folder) -> None:
    folder.write("start.json", json.dumps(START.model_dump() | {"colour": "red"}))
    assert folder.read_record("start.json", Start) == START


def test_a_number_that_is_not_finite_is_written_as_null(folder: Folder) -> None:
    progress = Progress(
        label="wgan", seed=0, step=1, steps=2, critic_images=3, images_per_second=4, objective=float("nan"), updated=5
    )
    folder.write_record("progress.json", progress)
    again = folder.read_record("progress.json", Progress)
    assert again is not None
    assert again.objective is None
    assert again.critic_images == 3


def test_lines_round_trip(folder: Folder) -> None:
    starts = [START, START.model_copy(update={"step": 9})]
    folder.write_lines("starts.jsonl", starts)
    assert folder.read_lines("starts.jsonl", Start) == starts
    assert (folder.read("starts.jsonl") or b"").count(b"\n") == 2
    folder.write_lines("starts.jsonl", [])
    assert folder.read_lines("starts.jsonl", Start) == []


@pytest.mark.parametrize("tail", ['{"time": 1.5, "st', '{"time": 1}'])
def test_a_damaged_line_is_a_plain_error(folder: Folder, tail: str) -> None:
    folder.write("starts.jsonl", START.model_dump_json() + "\n" + tail)
    with pytest.raises(ClusterError) as caught:
        folder.read_lines("starts.jsonl", Start)
    assert f"{folder.path('starts.jsonl')}: line 2 is not a Start" in str(caught.value)


# --- names and deletion ----------------------------------------------------------------------------------------------


def test_names_are_sorted_and_hide_what_is_being_written(folder: Folder) -> None:
    for name in ("b.json", "a/inner", "c", ".b.json.1234abcd"):
        folder.write(name, "x")
    assert folder.names() == ["a", "b.json", "c"]
    assert (folder / "a").names() == ["inner"]


def test_exists_and_delete(folder: Folder) -> None:
    folder.write("sub/deep/file", "x")
    folder.write("file", "x")
    assert folder.exists("sub")
    assert folder.exists("sub/deep/file")
    assert folder.exists("file")
    folder.delete("file")
    folder.delete("sub")
    folder.delete("never there")
    assert folder.names() == []
    assert not folder.exists("sub/deep/file")


# --- addresses ------------------------------------------------------------------------------------------------------


def test_paths_below(folder: Folder, tmp_path: Path) -> None:
    sub = folder / "train" / "wgan-seed0"
    sub.write("run.json", "x")
    assert folder.read("train/wgan-seed0/run.json") == b"x"
    assert sub.path("run.json") == str(tmp_path / "job" / "train" / "wgan-seed0" / "run.json")
    assert sub.path() == str(tmp_path / "job" / "train" / "wgan-seed0")


def test_relative_path_and_home_are_resolved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Folder("jobs").uri == str(tmp_path / "jobs")
    assert Folder("~/jobs").uri == str(tmp_path / "home" / "jobs")


def test_pickled_folder_is_the_same_folder(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Folder("job")
    sent = pickle.dumps([folder, relative])
    folder.write("file", "x")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert [copy.uri for copy in pickle.loads(sent)] == [folder.uri, folder.uri]
    assert [copy.read("file") for copy in pickle.loads(sent)] == [b"x", b"x"]


def test_file_uri_is_a_local_folder(tmp_path: Path) -> None:
    folder = Folder(f"file://{tmp_path}/job")
    folder.write("sub/file", "x")
    assert (tmp_path / "job" / "sub" / "file").read_text() == "x"
    assert Folder(tmp_path / "job").read("sub/file") == b"x"
    assert (folder / "sub").names() == ["file"]


@pytest.mark.parametrize("uri", ["nonsense://bucket/x", "http://host/x"])
def test_unknown_storage_is_the_users_error(uri: str) -> None:
    with pytest.raises(SpecError) as caught:
        Folder(uri)
    assert uri in str(caught.value)
    assert "s3:// URI" in str(caught.value)


def test_address_with_a_zero_byte_is_the_users_error() -> None:
    with pytest.raises(SpecError, match="give a folder"):
        Folder("jobs\0")


def test_run_name() -> None:
    assert layout.run_name("wgan-gp", 3) == "wgan-gp-seed3"
