"""Whether a client and a cluster fit each other: what is refused, what is a warning, what a refused job says."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import pytest
from packaging.version import Version

from gansvc import compatibility, pipeline
from gansvc.client import lifecycle, visits
from gansvc.cluster.monitor import Monitor
from gansvc.errors import ClusterError
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store import jobstatus, submissions
from gansvc.store.driverstate import Driver
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import Status

MAJOR, MINOR, PATCH = Version(version("gansvc")).release
RAY = version("ray")


def client(gansvc: str = version("gansvc"), ray: str = RAY, python: str = python_version()) -> str:
    return f"gansvc={gansvc},ray={ray},python={python}"


def test_a_client_of_the_same_versions_passes_without_a_word() -> None:
    assert compatibility.local_versions() == client()
    assert compatibility.check_client(compatibility.local_versions()) == []


def test_another_patch_ray_or_python_is_a_warning() -> None:
    patch = f"{MAJOR}.{MINOR}.{PATCH + 1}"
    assert compatibility.check_client(client(patch)) == [
        f"the cluster has gansvc {version('gansvc')}, the client {patch}"
    ]
    assert compatibility.check_client(client(ray="2.99.0")) == [f"the cluster has Ray {RAY}, the client 2.99.0"]
    assert compatibility.check_client(client(python="3.99.1"))[0].endswith("the client 3.99.1")
    assert compatibility.check_client(client(python=python_version().rsplit(".", 1)[0] + ".99")) == []


@pytest.mark.parametrize("theirs", [f"{MAJOR}.{MINOR + 1}.{PATCH}", f"{MAJOR + 1}.{MINOR}.{PATCH}", "unknown"])
def test_another_major_or_minor_version_is_refused_with_both(theirs: str) -> None:
    with pytest.raises(ClusterError) as caught:
        compatibility.check_client(client(theirs))
    assert version("gansvc") in str(caught.value) and theirs in str(caught.value) and "pip install" in str(caught.value)


@pytest.mark.parametrize("ray", ["2.59.1", "2.70.0", "1.13.0", "3.0.0.dev0"])
def test_a_cluster_with_a_ray_that_gansvc_does_not_work_with_is_refused(ray: str) -> None:
    with pytest.raises(ClusterError, match=f"the cluster runs Ray {ray}, and gansvc .* needs"):
        compatibility.check_ray(ray)


def test_a_cluster_with_a_near_ray_is_a_warning() -> None:
    assert compatibility.check_ray(RAY) == []
    assert compatibility.check_ray("2.61.3") == [f"the cluster has Ray 2.61.3, the client {RAY}"]
    assert "'custom'" in compatibility.check_ray("custom")[0]


@pytest.mark.parametrize("spec", ["whole", "of a newer version"])
def test_a_refused_job_is_failed_in_its_folder_before_anything_runs(
    tiny: Callable[..., JobSpec], tmp_path: Path, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Job(id="tiny-20260101-000000-aaaa", folder=str(tmp_path / "tiny-20260101-000000-aaaa"))
    jobstatus.start(job, "tiny")
    text = jobfile.dump(tiny()) + ("" if spec == "whole" else "novelty: 1\n")
    packed = base64.b64encode(zlib.compress(text.encode())).decode()
    newer = client(f"{MAJOR}.{MINOR + 1}.0")
    assert pipeline.main(["--job", job.id, "--storage", str(tmp_path), "--spec", packed, "--client", newer]) == 3
    status = jobstatus.read(job)
    assert status.phase == "FAILED" and "the cluster has gansvc" in status.error and status.finished
    assert "the cluster has gansvc" in capsys.readouterr().err
    assert not (Path(job.folder) / "job.yaml").exists()


def test_a_spec_that_the_cluster_does_not_know_is_failed_in_its_folder(
    tiny: Callable[..., JobSpec], tmp_path: Path
) -> None:
    job = Job(id="tiny-20260101-000000-aaaa", folder=str(tmp_path / "tiny-20260101-000000-aaaa"))
    jobstatus.start(job, "tiny")
    packed = base64.b64encode(zlib.compress(f"{jobfile.dump(tiny())}novelty: 1\n".encode())).decode()
    assert pipeline.main(["--job", job.id, "--storage", str(tmp_path), "--spec", packed]) == 2
    assert jobstatus.read(job).phase == "FAILED" and "novelty" in jobstatus.read(job).error


@pytest.mark.parametrize("given", ["gone", "renamed"])
def test_a_driver_whose_folder_is_not_there_says_so_and_makes_none(
    tiny: Callable[..., JobSpec], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    packed, identity = jobfile.pack(tiny()), "tiny-20260101-000000-aaaa"
    words = ["--job", identity, "--storage", str(tmp_path), "--spec", packed]
    missing = tmp_path / (identity if given == "gone" else given)
    assert pipeline.main([*words, *(("--folder", str(missing)) if given == "renamed" else ())]) == 3
    assert f"Error: --storage: the job's folder {missing} isn't there on " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_driver_goes_by_the_folder_that_is_named(
    tiny: Callable[..., JobSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = "tiny-20260101-000000-aaaa"
    jobstatus.start(Job(id=identity, folder=str(tmp_path / "renamed")), "tiny")
    seen: list[Folder] = []
    monkeypatch.setattr(pipeline, "run", lambda folder, spec, monitor: seen.append(folder))
    words = ["--job", identity, "--storage", str(tmp_path), "--spec", jobfile.pack(tiny())]
    assert pipeline.main([*words, "--folder", str(tmp_path / "renamed")]) == 0
    assert [folder.uri for folder in seen] == [str(tmp_path / "renamed")]
    status = jobstatus.read(Job(id=identity, folder=str(tmp_path / "renamed")))
    assert (status.job, status.phase) == (identity, "SUCCEEDED") and [*tmp_path.iterdir()] == [tmp_path / "renamed"]
    with pytest.raises(ClusterError, match="its folder was taken away"):
        shutil.rmtree(tmp_path / "renamed")
        (seen[0] / "train").write("run.json", "x")


def test_a_warning_is_shown_with_the_job(tiny: Callable[..., JobSpec], tmp_path: Path) -> None:
    with Monitor(Folder(tmp_path), "tiny-1", tiny()) as monitor:
        monitor.warn("the cluster has Ray 2.61.0, the client 2.60.0")
        monitor.enter("TRAINING")
        monitor.end("SUCCEEDED")
    status = Folder(tmp_path).read_record("status.json", Status)
    assert status is not None and status.warnings == ("the cluster has Ray 2.61.0, the client 2.60.0",)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (
            "/usr/bin/python: Error while finding module (ModuleNotFoundError: No module named 'gansvc')",
            "isn't installed",
        ),
        ("/usr/bin/python: No module named gansvc.pipeline", "isn't installed"),
        ("/usr/bin/python: No module named gansvc.cluster.visit", "older than the client's"),
        ("pipeline: error: unrecognized arguments: --client gansvc=0.2.0", "older than the client's"),
        ("No module named gansvcx\nbus error", "(bus error)"),
    ],
)
def test_a_cluster_without_gansvc_or_with_an_old_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str, words: str
) -> None:
    job = Job(id="tiny-20260101-000000-aaaa", folder=str(tmp_path / "tiny-20260101-000000-aaaa"))
    jobstatus.start(job, "tiny")
    submissions.save(job, submissions.Submission(address="http://127.0.0.1:9", submitted=time.time()))
    monkeypatch.setattr("gansvc.client.jobsapi.find_driver", lambda *args: Driver("FAILED", f"Job failed: {log}"))
    assert lifecycle.status(job).phase == "FAILED" and words in lifecycle.status(job).error


def asked_by_an_old_doctor(client: str) -> str:
    """Return what a cluster of this version writes when the doctor of gansvc 0.1 asks it."""
    words = ["--client", client, "--storage", "/jobs", "--spec", "x", "--bring", "--mirror", "/m"]
    command = [sys.executable, "-P", "-m", "gansvc.visit", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_doctor_of_the_version_before_is_told_that_the_cluster_has_another() -> None:
    with pytest.raises(ClusterError) as caught:
        visits.parse_answer(asked_by_an_old_doctor(client("0.1.0")))
    said = str(caught.value)
    assert (
        said.startswith(f"the cluster has gansvc {version('gansvc')}, the client 0.1.0; install") and "\n" not in said
    )


def test_a_cluster_of_the_version_before_is_named_by_the_doctor() -> None:
    log = "2026-01-01 INFO job_manager.py\n/usr/bin/python: No module named gansvc.cluster.visit\n"
    with pytest.raises(ClusterError, match="the cluster's gansvc is older than the client's; install the client's on"):
        visits.parse_answer(log)
    absent = "Error while finding module specification for 'gansvc.cluster.visit' (No module named 'gansvc')"
    with pytest.raises(ClusterError, match="gansvc isn't installed on the cluster; install"):
        visits.parse_answer(absent)
