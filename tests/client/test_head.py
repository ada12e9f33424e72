"""The head of a local cluster of a home of its own: what it imports, its ports, its record, and a disk that is full."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gansvc import api
from gansvc.client import jobsapi, local, processes
from gansvc.errors import ClusterError

from .shells import FOREIGN, PYTHON, sent

MODULES = ("random", "statistics", "yaml", "copy", "types", "queue", "emoji", "numpy", "torch", "ray", "usercustomize")
SEEN = """
import json, os, ray, sys
def seen():
    import random, statistics, yaml, numpy, torch
    return {"path": sys.path, "folder": os.getcwd(), "variables": sorted(os.environ)}
ray.init(address="auto", log_to_driver=False)
print("seen: " + json.dumps([seen(), ray.get(ray.remote(seen).remote())]))
"""
"""A driver that says what it and a worker of its have."""


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give gansvc a home folder of its own, and end its cluster afterwards."""
    monkeypatch.setenv("GANSVC_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    api.down()


@pytest.fixture
def small_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give gansvc a home folder on a disk of a single page, where the tests may mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", path], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    monkeypatch.setenv("GANSVC_HOME", str(path))
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def log_of(cluster: local.Cluster, name: str, command: str) -> str:
    """Run a driver to its end and return what it wrote."""
    target = jobsapi.Target(cluster.dashboard, local.token())
    jobsapi.submit(target, name, command, {})
    return "".join(jobsapi.logs(target, name, follow=True))


def left_in_tmp() -> set[str]:
    return {path.name for path in Path("/tmp").glob("gansvc-*")}


def marked(mark: str) -> list[psutil.Process]:
    return [process for process, variables in processes.marked_processes() if variables[processes.MARK] == mark]


# --- what it imports --------------------------------------------------------------------------------------------------


@pytest.mark.ray
def test_neither_files_nor_variables_of_the_shell_reach_the_cluster(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell, path = tmp_path / "shell", tmp_path / "path"
    trap = f"open({str(tmp_path / 'ran')!r}, 'a').write(__file__); raise SystemExit"
    for folder in (shell, path):
        folder.mkdir()
        for name in MODULES:
            (folder / f"{name}.py").write_text(trap)
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(path)]))
    monkeypatch.chdir(shell)
    cluster = local.start(print)
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(shell)
    log = log_of(cluster, "seen", f"{PYTHON} {shlex.quote(SEEN)}")
    (line,) = [line for line in log.splitlines() if line.startswith("seen: ")]
    for found in json.loads(line.removeprefix("seen: ")):
        assert found["folder"] == f"{cluster.temp}/work" and not list(Path(found["folder"]).iterdir())
        assert not {str(shell), str(path), str(tmp_path), ""} & set(found["path"])
        ours = {"RAY_TRAIN_V2_ENABLED", "RAY_ADDRESS", "PYTHONSAFEPATH"}
        assert set(FOREIGN) & set(found["variables"]) <= ours, "but what gansvc and Ray set themselves"
    assert not (tmp_path / "ran").exists()
    for process in processes.members(cluster.pid, cluster.mark):
        assert process.cwd() == f"{cluster.temp}/work"


@pytest.mark.ray
def test_a_user_without_name_and_home_has_a_cluster(nobody: list[str], tmp_path: Path) -> None:
    own = [f"GANSVC_HOME={tmp_path}/home", f"GANSVC_STORAGE={tmp_path}/jobs", f"GANSVC_CACHE={tmp_path}/cache"]
    gansvc = [*nobody, *own, sys.executable, "-c", "from gansvc.cli.app import main; main()"]
    job = (Path(__file__).parents[2] / "jobs/quickstart.yaml").read_text()
    small = ["--set", "losses=[lsgan]", "--set", "training.images=64", "--set", "search=null"]
    try:
        done = subprocess.run([*gansvc, "submit", "-", *small], input=job, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    finally:
        ended = subprocess.run([*gansvc, "down"], capture_output=True, text=True, timeout=120)
    assert "ended the local cluster" in ended.stdout, ended.stderr


# --- its ports --------------------------------------------------------------------------------------------------------


@pytest.mark.ray
def test_two_homes_that_start_at_once_have_a_port_each(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "from gansvc.client import head, local; head.DASHBOARD_PORT = int(__import__('sys').argv[1]);"
    code += "print(local.start(lambda _: None).dashboard)"
    homes = [os.environ | {"GANSVC_HOME": str(tmp_path / name)} for name in ("one", "other")]
    pipe = subprocess.PIPE
    try:
        starts = [
            subprocess.Popen([sys.executable, "-c", code, str(port)], env=home, stdout=pipe, stderr=pipe, text=True)
            for home in homes
        ]
        said = [start.communicate(timeout=200) for start in starts]
        assert len({out for out, _ in said}) == 2 and all(out.startswith("http://") for out, _ in said), said
    finally:
        for home in homes:
            down = "from gansvc import api; api.down()"
            subprocess.run([sys.executable, "-c", down], env=home, check=True, timeout=100)


# --- its record -------------------------------------------------------------------------------------------------------


def test_a_process_is_known_by_its_mark_whatever_the_clock_says(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], env=os.environ | {processes.MARK: "m"}) as process:
        try:
            # A step of the clock moves the time at which all processes seem to have been created.
            created = psutil.Process(process.pid).create_time() - 5
            record = {"mark": "m", "pid": process.pid, "created": created, "dashboard": "http://x", "temp": "/none"}
            (tmp_path / "cluster.json").write_text(json.dumps(record))
            cluster = local.known_cluster(tmp_path)
            assert cluster is not None
            while not psutil.Process(process.pid).environ():  # it has only just begun
                time.sleep(0.01)
            assert cluster.alive()
            assert not cluster.model_copy(update={"mark": "another"}).alive(), "a stranger that was given the id"
        finally:
            process.kill()
        assert process.wait() == -signal.SIGKILL and not cluster.alive()


@pytest.mark.ray
@pytest.mark.parametrize("damage", ["cut", "lost"])
def test_a_cluster_whose_record_is_damaged_is_found_used_and_ended(own_home: Path, tmp_path: Path, damage: str) -> None:
    cluster = local.start(print)
    job = sent(tmp_path, cluster, "running", f"{PYTHON} 'import time; print(\"here\", flush=True); time.sleep(600)'")
    assert "here" in next(api.logs(job, follow=True))
    record = own_home / "cluster.json"

    def harm() -> None:
        record.write_bytes(record.read_bytes()[:40]) if damage == "cut" else record.unlink()

    harm()
    assert api.status(job).phase == "PENDING", "its driver is at work"
    assert local.start(print) == cluster and local.running() == cluster
    assert local.Cluster.model_validate_json(record.read_bytes()) == cluster
    harm()
    assert api.down() > 10
    assert not marked(cluster.mark) and not Path(cluster.temp).exists() and local.known_cluster() is None
    assert api.status(job).phase == "FAILED"


@pytest.mark.ray
def test_processes_that_a_killed_head_left_are_ended_without_a_record(own_home: Path) -> None:
    cluster = local.start(print)
    os.kill(cluster.pid, signal.SIGKILL)
    (own_home / "cluster.json").unlink()
    deadline = time.monotonic() + 10
    while cluster.alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    if marked(cluster.mark):  # Ray's own may have ended with it
        assert api.down() > 0
    assert not marked(cluster.mark)


# --- a disk that is full ----------------------------------------------------------------------------------------------


def test_a_full_home_is_named_and_nothing_is_left(small_home: Path) -> None:
    (small_home / "ballast").write_bytes(bytes(4096))
    before = left_in_tmp()
    with pytest.raises(ClusterError) as caught:
        local.start(print)
    assert str(caught.value) == (
        f"{small_home}/auth_token can't be written (No space left on device); "
        "free space there, or set GANSVC_HOME to another folder"
    )
    assert {path.name for path in small_home.iterdir()} == {"ballast", "lock"} and left_in_tmp() == before


@pytest.mark.ray
def test_a_home_that_fills_while_ray_starts_leaves_nothing_either(small_home: Path) -> None:
    before, running = left_in_tmp(), {process.pid for process, _ in processes.marked_processes()}
    with pytest.raises(ClusterError, match=r"cluster\.json can't be written \(No space left on device\)"):
        local.start(print)  # the token takes the only page
    assert {path.name for path in small_home.iterdir()} <= {"lock", "head.log"} and left_in_tmp() == before
    assert {process.pid for process, _ in processes.marked_processes()} <= running


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANSVC_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ClusterError, match=r"file/home can't be written \(Not a directory\); .* set GANSVC_HOME"):
        local.start(print)


def test_logs_that_a_full_home_does_not_take_stay_until_they_can_be_kept(small_home: Path, tmp_path: Path) -> None:
    temp = tmp_path / "gansvc-x"
    log = temp / "ray/session_1/logs/job-driver-a.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(bytes(8192))
    record = local.Cluster(mark="gone", pid=2**31 - 1, dashboard="http://x", temp=str(temp)).model_dump_json()
    (small_home / "cluster.json").write_text(record)
    with pytest.raises(ClusterError, match=r"logs can't be written .*; .* run `gansvc down` again"):
        api.down()
    assert log.exists() and (small_home / "cluster.json").read_text() == record
    subprocess.run(["mount", "-o", "remount,size=64k", small_home], check=True)
    api.down()
    assert (small_home / "logs/job-driver-a.log").stat().st_size == 8192
    assert not temp.exists() and not (small_home / "cluster.json").exists()


def test_a_home_folder_that_a_stranger_names_keeps_nobody_waiting(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in ("cluster.json", "auth_token", "logs/job-driver-small.log"):
        os.mkfifo(tmp_path / name)
    assert local.known_cluster(tmp_path) is None and local.token(tmp_path) is None
    assert local.kept_log("small", tmp_path) is None
