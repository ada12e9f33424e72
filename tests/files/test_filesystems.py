"""Addresses of storages without secrets, and patience with a storage that falters: a real one, behind a gate."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gansvc.errors import ClusterError, SpecError
from gansvc.files import filesystems, patience
from gansvc.store.folder import Folder

from ..object_storage import DENIED, RESET, SLOW_DOWN, Answer, Gate


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a storage for two seconds only."""
    monkeypatch.setattr(patience, "STORAGE", 2.0)


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        *("s3://AKIA:hush@bucket/jobs", "s3://hush@bucket/jobs", "gs://hush@bucket/jobs"),
        "abfs://container:hush@account.dfs.core.windows.net/jobs",
        "s3://bucket/jobs?endpoint_override=http%3A%2F%2FAKIA%3Ahush%40host%3A9000&scheme=http",
        *("s3://bucket/jobs?access_key=hush", "s3://bucket/jobs?region=eu-central-1", "s3://bucket/jobs#hush"),
    ],
)
def test_an_address_with_a_secret_or_a_setting_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(SpecError) as caught:
        Folder(uri)
    assert "give it by the environment" in str(caught.value)
    assert "hush" not in str(caught.value) and "AKIA" not in str(caught.value)
    assert ("AZURE_CLIENT_SECRET" if "abfs" in uri else "GOOGLE" if "gs:" in uri else "AWS_REGION") in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("s3://", "names no bucket"),
        ("s3:///jobs", "names no bucket"),
        ("s3://bucket/a b", "can't be opened"),
        ("s3://[bucket/jobs", "no address"),
        ("abfs://account/jobs", "can't be opened"),
        ("fsspec+memory://x/y", "is no storage that gansvc knows"),
        ("hdfs://host/jobs", "is no storage that gansvc knows"),
        ("mock://host/jobs", "is no storage that gansvc knows"),
        ("://", "is no storage that gansvc knows"),
    ],
)
def test_what_is_no_storage_is_the_users_error(uri: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        Folder(uri)


@pytest.mark.parametrize(
    "uri", ["gs://anonymous@bucket/jobs", "gs://bucket/jobs", "abfs://c@a.dfs.core.windows.net/jobs"]
)
def test_other_object_storages_open_without_being_asked(uri: str) -> None:
    folder = Folder(uri) / "job"
    assert folder.path("status.json") == f"{uri}/job/status.json" and not folder.local


# --- patience -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [SLOW_DOWN, (503, "ServiceUnavailable"), (500, "InternalError"), (429, ""), RESET])
def test_a_storage_that_falters_is_asked_again(
    gate: Gate, bucket: str, answer: Answer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "_FIRST_PAUSE", 0.02)
    folder = Folder(f"s3://{bucket}/job")
    gate.answer(answer, times=2, to="^PUT")
    folder.write("file", "x")
    gate.answer(answer, to="^HEAD")
    gate.answer(answer, to="^GET .*/file")
    assert folder.read("file") == b"x"
    gate.answer(answer, to="list-type")
    assert folder.names() == ["file"]
    gate.answer(answer, to="^(HEAD|DELETE)")
    folder.delete("file")
    assert not folder.exists("file")
    told = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert all("trying for 120 s" in line and "secret" not in line for line in told)
    assert "file can't be written" in told[0] and len(set(told)) == len(told), "each trouble is told once"


def test_a_storage_that_stays_away_is_a_plain_error(
    gate: Gate, bucket: str, hurried: None, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Folder(f"s3://{bucket}/job")
    gate.answer(SLOW_DOWN, times=1000)
    began = time.monotonic()
    with pytest.raises(ClusterError) as caught:
        folder.write("status.json", "x")
    assert time.monotonic() - began >= 2
    told = str(caught.value)
    assert told.startswith(f"storage: s3://{bucket}/job/status.json can't be written, tried for ")
    assert "AWS Error SLOW_DOWN" in told and told.endswith("check AWS_ENDPOINT_URL, and that the storage is up")
    assert 3 <= len(gate.seen) <= 6, "the pauses grow"
    gate.clear()
    assert folder.read("status.json") is None
    folder.write("status.json", "y")


def test_a_silent_server_is_given_up(bucket: str, hurried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(filesystems, "_SLOWEST", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ClusterError, match=r"NETWORK_CONNECTION.*check AWS_ENDPOINT_URL"):
            Folder(f"s3://{bucket}/job").read("status.json")


@pytest.mark.parametrize(
    ("answer", "fix"),
    [
        (DENIED, "check AWS_ACCESS_KEY_ID"),
        ((403, "InvalidAccessKeyId"), "check AWS_ACCESS_KEY_ID"),
        ((403, "SignatureDoesNotMatch"), "check AWS_ACCESS_KEY_ID"),
        ((400, "ExpiredToken"), "check AWS_ACCESS_KEY_ID"),
        ((301, "PermanentRedirect"), "set AWS_REGION"),
        ((507, "XMinioStorageFull"), "the storage is full"),
    ],
)
def test_a_refusal_is_told_at_once(gate: Gate, bucket: str, answer: Answer, fix: str) -> None:
    folder = Folder(f"s3://{bucket}/job")
    for ask in (lambda: folder.write("f", "x"), lambda: folder.read("f"), folder.names, lambda: folder.exists("f")):
        gate.clear()
        gate.answer(answer, times=100)
        with pytest.raises(ClusterError) as caught:
            ask()
        assert f"s3://{bucket}/job" in str(caught.value) and fix in str(caught.value)
        assert len(gate.seen) == 1, "a refusal isn't asked about again"


# --- disks ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 256 KiB, where the tests may."""
    path = tmp_path / "mount"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", path], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_is_told_at_once_and_spoils_nothing(mounted: Path) -> None:
    folder = Folder(mounted / "job")
    folder.write("checkpoint", b"a" * 100_000)
    with pytest.raises(ClusterError) as caught:
        folder.write("checkpoint", os.urandom(300_000))
    told = str(caught.value)
    assert str(mounted) in told and "ENOSPC" in told
    assert told.endswith("the disk is full: free space on it, or give another --storage")
    assert folder.read("checkpoint") == b"a" * 100_000
    assert [path.name for path in (mounted / "job").iterdir()] == ["checkpoint"], "what was begun is cleared away"
    folder.write("checkpoint", b"b" * 100_000)


def test_a_read_only_folder_is_told_at_once(mounted: Path) -> None:
    folder = Folder(mounted / "job")
    folder.write("file", "x")
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    told = r"\(EROFS: .*\); it is mounted read-only: give a --storage that can be written"
    with pytest.raises(ClusterError, match=told):
        folder.write("file", "y")
    with pytest.raises(ClusterError, match=told):
        (folder / "new").write("file", "y")
    with pytest.raises(ClusterError, match=told):
        folder.delete("file")
    assert folder.read("file") == b"x"


def test_a_folder_of_another_user_is_told_at_once(tmp_path: Path) -> None:
    # A process of its own: root may write everywhere, so it first becomes nobody.
    (tmp_path / "job").mkdir(mode=0o755)
    code = (
        "import os, sys; from gansvc.store.folder import Folder; from gansvc.errors import ClusterError\n"
        "folder = Folder(sys.argv[1]); folder.names()\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "else: os.chmod(sys.argv[1], 0o555)\n"
        "try: folder.write('file', 'x')\n"
        "except ClusterError as error: print(error)\n"
    )
    for path in (tmp_path, *tmp_path.parents[:2]):
        if path.stat().st_uid == os.getuid():
            path.chmod(path.stat().st_mode | 0o055)
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "job"], capture_output=True, text=True, check=True)
    (tmp_path / "job").chmod(0o755)
    assert "(EACCES: Permission denied); you may not: give a --storage that you own" in done.stdout


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_disks_refusal_is_never_waited_for(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waited"))

    def refuse() -> None:
        raise OSError(code, os.strerror(code))

    with pytest.raises(ClusterError, match=f"x can't be written \\({errno.errorcode[code]}: "):
        filesystems.with_retries("x can't be written", refuse)
