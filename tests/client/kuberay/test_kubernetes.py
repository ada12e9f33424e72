"""Jobs on Kubernetes, against an API server: the small one of these tests, and a real one by `make test-kubernetes`."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.stream.ws_client import WSClient

from gansvc import api
from gansvc.cli import app
from gansvc.client import lifecycle
from gansvc.client.kuberay import client, connection, jobmanifest, jobs, reader
from gansvc.client.kuberay.client import EVENTS, PODS, RAYCLUSTERS, RAYJOBS, RefusedError
from gansvc.client.kuberay.namespace import Namespace
from gansvc.cluster.monitor import Monitor
from gansvc.errors import ClusterError, SpecError
from gansvc.files import patience
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store import jobstatus, submissions
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import STATUS_LINE, Status

from ...kube_server import Server
from ...kube_servers import Cluster, cluster, config_with, kubectl, real_folder, small

__all__ = ["cluster", "real_folder", "small"]
SPEC = """
name: small
dataset: histology
losses: [lsgan]
training: {epochs: 1}
evaluation: {extractor: efficientnet-lite0}
cluster: {image: 'registry.example.com/gansvc:0.1.0', volume: jobs}
"""


@pytest.fixture(autouse=True)
def _storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANSVC_STORAGE", str(tmp_path / "jobs"))
    monkeypatch.setenv("GANSVC_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(client, "WATCH_SECONDS", 1)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def spec() -> JobSpec:
    return jobfile.parse(SPEC)


@pytest.fixture
def job(cluster: Cluster, spec: JobSpec) -> Job:
    """Return a job that was just sent."""
    return api.submit(spec, cluster.space.address)


def silent(job: Job, seconds: float = 3600) -> None:
    """Make a job's submission lie in the past."""
    status, where = jobstatus.read(job), submissions.last(job)
    assert where
    path = Path(job.folder)
    (path / "status.json").write_text(status.model_copy(update={"started": time.time() - seconds}).model_dump_json())


def in_background(function: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def driver_says(small: Server, cluster: Cluster, name: str, *lines: str, phase: str = "Running") -> str:
    """Give a RayJob its submitter pod with a log, and return the pod's name."""
    pod = f"{name}-abcde"
    cluster.pod(pod, {"job-name": name}, {"phase": phase})
    small.logs[pod] = list(lines)
    return pod


def missing(sent: Any, stored: Any, path: str = "") -> list[str]:
    """Return where what is stored isn't what was sent; what the server's defaults add is all right."""
    if isinstance(sent, dict) and isinstance(stored, dict):
        return [found for key in sent for found in missing(sent[key], stored.get(key), f"{path}.{key}")]
    if isinstance(sent, list) and isinstance(stored, list) and len(sent) == len(stored):
        return [f for i, (a, b) in enumerate(zip(sent, stored, strict=True)) for f in missing(a, b, f"{path}[{i}]")]
    return [] if sent == stored else [f"{path}: {sent!r} is {stored!r}"]


def status_line(job: Job, phase: str, **fields: Any) -> str:
    now = time.time()
    status = Status.model_validate(
        {"job": job.id, "name": "small", "phase": phase, "started": now, "updated": now} | fields
    )
    return STATUS_LINE + status.model_dump_json()


# --- submit -----------------------------------------------------------------------------------------------------------


def test_submit_sends_the_rayjob_of_the_dry_run(cluster: Cluster, job: Job, spec: JobSpec) -> None:
    stored = cluster.api.get(RAYJOBS, job.id)
    assert stored is not None
    expected = jobmanifest.rayjob(job.id, job.id, spec, "/storage")
    assert missing(expected["spec"], stored["spec"]) == []
    assert stored["metadata"]["labels"] == expected["metadata"]["labels"]
    where = submissions.last(job)
    assert where and (where.address, where.mirrored, where.attempt) == (cluster.space.address, True, 1)
    assert api.status(job).phase == "PENDING" and [found.job for found in api.jobs()] == [job.id]


def test_a_job_without_a_place_is_not_sent(cluster: Cluster, spec: JobSpec) -> None:
    plain = spec.with_values({"cluster": {"image": "x"}})
    with pytest.raises(SpecError, match=r"cluster\.volume is missing"):
        api.submit(plain, cluster.space.address)
    assert cluster.api.list_objects(RAYJOBS)[0] == []


def test_the_dry_run_is_ready_for_kubectl(cluster: Cluster, spec: JobSpec, capsys: pytest.CaptureFixture[str]) -> None:
    Path("job.yaml").write_text(SPEC)
    with pytest.raises(SystemExit):
        app.main(["submit", "job.yaml", "--dry-run", "--cluster", cluster.space.address])
    text = capsys.readouterr().out
    if cluster.small:
        assert f"namespace: {cluster.space.name}" in text and cluster.small.asked == []
        return
    applied = kubectl(cluster, "apply", "-f", "-", text=text)
    assert applied.returncode == 0 and "created" in applied.stdout, applied.stderr


# --- status -----------------------------------------------------------------------------------------------------------


STATUSES = [
    ("", "", {}, "PENDING", "operator hasn't looked"),
    ("Initializing", "", {}, "PENDING", "its cluster is being made"),
    ("Waiting", "", {}, "PENDING", "waits to be submitted"),
    ("Suspending", "", {}, "PENDING", "being suspended"),
    ("Suspended", "", {}, "PENDING", "Kueue hasn't let it in"),
    ("Retrying", "FAILED", {}, "PENDING", "starts it again on a new cluster"),
    ("Running", "", {}, "PENDING", ""),
    ("Running", "PENDING", {}, "PENDING", ""),
    ("Running", "RUNNING", {}, "PENDING", ""),
    ("Complete", "SUCCEEDED", {}, "SUCCEEDED", ""),
    ("Complete", "STOPPED", {}, "STOPPED", "stopped through Ray"),
    ("Complete", "FAILED", {"message": "exit 1"}, "FAILED", "exit 1"),
    ("Failed", "FAILED", {"reason": "AppFailed", "message": "exit 1"}, "FAILED", r"its driver failed \(exit 1\)"),
    ("Failed", "", {"reason": "DeadlineExceeded"}, "FAILED", r"ended by cluster\.deadline"),
    ("Failed", "", {"reason": "PreRunningDeadlineExceeded"}, "FAILED", r"within cluster\.start_deadline"),
    ("Failed", "", {"reason": "SubmissionFailed"}, "FAILED", "its head was lost"),
    ("Failed", "RUNNING", {"reason": "JobStatusCheckTimeoutExceeded"}, "FAILED", "its head stopped answering"),
    ("Failed", "", {"reason": "SomethingNew", "message": "why"}, "FAILED", r"KubeRay says SomethingNew \(why\)"),
    ("ValidationFailed", "", {"message": "bad name"}, "FAILED", r"KubeRay refuses it \(bad name\)"),
    ("SomethingNew", "", {}, "PENDING", "KubeRay calls it SomethingNew"),
]


@pytest.mark.parametrize(
    ("deployed", "ray", "more", "phase", "words"), STATUSES, ids=[f"{a}-{b}" for a, b, *_ in STATUSES]
)
def test_every_status_that_kuberay_writes(
    cluster: Cluster, job: Job, deployed: str, ray: str, more: dict[str, str], phase: str, words: str
) -> None:
    if deployed:
        cluster.play(job.id, deployed, ray, **more)
    found = api.status(job)
    assert found.phase == phase
    text = found.error + "; ".join(found.warnings)
    assert (not text) if not words else re.search(words, text), text
    assert jobstatus.read(job).phase == phase, "the mirror says so too"
    assert api.status(job).warnings == found.warnings, "and a second look says no more"
    if phase == "FAILED":
        assert f"gansvc resume {job.id}" in found.error


def test_a_pending_job_says_what_stands_in_its_way(cluster: Cluster, job: Job) -> None:
    name = f"{job.id}-raycluster"
    cluster.play(job.id, "Initializing", rayClusterName=name)
    waiting = {"reason": "ImagePullBackOff", "message": "not found"}
    container = {"name": "ray", "image": "nowhere/gansvc:9", "imageID": "", "ready": False, "restartCount": 0}
    container["state"] = {"waiting": waiting}
    cluster.pod("head", {"ray.io/cluster": name}, {"phase": "Pending", "containerStatuses": [container]})
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    cluster.pod("worker", {"ray.io/cluster": name}, {"phase": "Pending", "conditions": [condition]})
    about = {"kind": "RayCluster", "name": name, "namespace": cluster.space.name}
    event = {"kind": "Event", "apiVersion": "v1", "type": "Warning", "reason": "FailedToCreateWorkerPod"}
    message = 'pods "x" is forbidden: exceeded quota: gpus'
    cluster.api.create(EVENTS, event | {"metadata": {"name": "e1"}, "involvedObject": about, "message": message})
    text = "; ".join(api.status(job).warnings)
    assert "pod head can't pull nowhere/gansvc:9 (ImagePullBackOff: not found); check cluster.image" in text
    assert "pod worker gets no node with its GPUs (0/3 nodes" in text and "quota refuses its pods" in text


def test_the_drivers_own_status_comes_through_its_log(cluster: Cluster, small: Server, job: Job) -> None:
    cluster.play(job.id, "Running", "RUNNING")
    pod = driver_says(small, cluster, job.id, "hello", status_line(job, "SEARCHING", trials=(3, 8)), "more")
    found = api.status(job)
    assert (found.phase, found.trials) == ("SEARCHING", (3, 8))
    # A driver that says it failed may be started again: the RayJob decides.
    small.logs[pod].append(status_line(job, "FAILED", error="lost a node"))
    found = api.status(job)
    assert found.phase == "PENDING" and "lost a node" in found.warnings[0]
    cluster.play(job.id, "Failed", "FAILED", reason="AppFailed")
    found = api.status(job)
    assert (found.phase, found.error) == ("FAILED", "lost a node")


def test_a_driver_tells_its_status_where_clients_cannot_read_its_folder(
    spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GANSVC_STATUS_IN_LOG", "1")
    with Monitor(Folder(tmp_path), "a-job", spec) as monitor:
        monitor.enter("TRAINING")
        monitor.end("SUCCEEDED")
    lines = capsys.readouterr().out.splitlines()
    told = [line.removeprefix(STATUS_LINE) for line in lines if line.startswith(STATUS_LINE)]
    assert [Status.model_validate_json(line).phase for line in told] == ["TRAINING", "SUCCEEDED"]
    monkeypatch.delenv("GANSVC_STATUS_IN_LOG")
    with Monitor(Folder(tmp_path), "a-job", spec) as monitor:
        monitor.end("SUCCEEDED")
    out = capsys.readouterr().out
    assert STATUS_LINE not in out and out.startswith("SUCCEEDED"), "people read how it gets on all the same"


def test_a_cut_off_status_line_is_no_status(cluster: Cluster, small: Server, job: Job) -> None:
    cluster.play(job.id, "Running", "RUNNING")
    driver_says(small, cluster, job.id, status_line(job, "TRAINING")[:60])
    assert api.status(job).phase == "PENDING"


def test_a_deleted_rayjob_is_a_stopped_job(cluster: Cluster, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.api.delete(RAYJOBS, job.id)
    assert api.status(job).phase == "PENDING", "it may be on its way"
    silent(job)
    monkeypatch.setattr(reader, "read", lambda *given: None)
    found = api.status(job)
    assert found.phase == "STOPPED" and "was deleted" in found.error


def test_a_deleted_rayjob_that_had_succeeded(cluster: Cluster, small: Server, job: Job) -> None:
    small.volume.joinpath(job.id).mkdir(parents=True)
    last = status_line(job, "SUCCEEDED").removeprefix(STATUS_LINE)
    small.volume.joinpath(job.id, "status.json").write_text(last)
    cluster.api.delete(RAYJOBS, job.id)
    silent(job)
    assert api.status(job).phase == "SUCCEEDED"
    assert cluster.api.list_objects(PODS)[0] == []


@pytest.fixture
def shared(job: Job) -> Job:
    """Return a job whose folder the driver and this client share, as in an object store."""
    where = submissions.last(job)
    assert where
    submissions.save(job, where.model_copy(update={"mirrored": False}))
    return job


def write_status(job: Job, phase: str, **fields: Any) -> None:
    Path(job.folder, "status.json").write_text(status_line(job, phase, **fields).removeprefix(STATUS_LINE))


def test_a_shared_folder_has_the_first_word(cluster: Cluster, shared: Job) -> None:
    cluster.play(shared.id, "Running", "RUNNING")
    write_status(shared, "TRAINING", runs=(1, 4))
    found = api.status(shared)
    assert (found.phase, found.runs, found.warnings) == ("TRAINING", (1, 4), ())
    cluster.play(shared.id, "Failed", "RUNNING", reason="DeadlineExceeded")
    found = api.status(shared)
    assert found.phase == "FAILED" and "cluster.deadline" in found.error
    assert jobstatus.read(shared).phase == "FAILED"


def test_a_failed_attempt_in_a_shared_folder_may_be_retried(cluster: Cluster, shared: Job) -> None:
    write_status(shared, "FAILED", error="lost a node")
    cluster.play(shared.id, "Retrying", "FAILED")
    found = api.status(shared)
    assert found.phase == "PENDING" and "lost a node" in found.warnings[0]
    assert jobstatus.read(shared).phase == "FAILED", "the driver's own word stays in the folder"
    cluster.play(shared.id, "Failed", "FAILED")
    assert (api.status(shared).phase, api.status(shared).error) == ("FAILED", "lost a node")


def test_a_driver_that_ends_without_a_word_has_failed(cluster: Cluster, shared: Job) -> None:
    write_status(shared, "TRAINING")
    cluster.play(shared.id, "Complete", "SUCCEEDED")
    assert api.status(shared).phase == "FAILED"


def test_a_finished_job_is_not_asked_about(cluster: Cluster, small: Server, shared: Job) -> None:
    write_status(shared, "SUCCEEDED")
    small.asked.clear()
    assert api.status(shared).phase == "SUCCEEDED"
    write_status(shared, "FAILED", updated=time.time() - 3600)
    assert api.status(shared).phase == "FAILED" and small.asked == []


# --- follow -----------------------------------------------------------------------------------------------------------


def test_following_sees_each_change_and_ends(cluster: Cluster, job: Job) -> None:
    seen: list[str] = []

    def kuberay() -> None:
        for number, status in enumerate([("Initializing", ""), ("Running", "RUNNING"), ("Complete", "SUCCEEDED")], 1):
            while len(seen) < number:
                time.sleep(0.02)
            cluster.play(job.id, *status)

    thread = in_background(kuberay)
    for status in api.follow(job):
        seen.append(status.phase)
    thread.join(10)
    assert seen[0] == "PENDING" and seen[-1] == "SUCCEEDED" and 4 <= len(seen) < 12


def test_following_survives_a_restart_of_the_api_server(cluster: Cluster, job: Job) -> None:
    phases = (status.phase for status in api.follow(job))
    assert next(phases) == "PENDING"
    cluster.restart()

    def kuberay() -> None:
        while True:
            try:
                return cluster.play(job.id, "Complete", "SUCCEEDED")
            except (ClusterError, AssertionError):
                time.sleep(0.2)

    thread = in_background(kuberay)
    assert list(phases)[-1] == "SUCCEEDED"
    thread.join(30)


def test_following_starts_over_when_its_version_is_too_old(cluster: Cluster, small: Server, job: Job) -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    small.faults += [("GET .*watch=true", 410, gone), ("GET .*rayjobs\\?field.*watch=true", 500, {"message": "etcd"})]
    seen = jobs.watch(cluster.space, job.id)
    assert next(seen) is not None

    def complete() -> None:
        # A busy machine could see the end before it has asked often enough to meet both faults.
        deadline = time.monotonic() + 60
        while small.faults and time.monotonic() < deadline:
            time.sleep(0.05)
        cluster.play(job.id, "Complete", "SUCCEEDED")

    in_background(complete)
    while (found := next(seen)) is None or found.get("status", {}).get("jobDeploymentStatus") != "Complete":
        pass
    assert small.faults == []


def test_a_watch_from_the_beginning_of_time_is_gone(cluster: Cluster, job: Job) -> None:
    if cluster.small:
        cluster.small.events.clear()
        cluster.play(job.id, "Initializing")
    with pytest.raises(RefusedError, match="no longer has") as caught:
        list(cluster.api.watch(RAYJOBS, "1"))
    assert caught.value.status == 410


# --- stop, list, resume -----------------------------------------------------------------------------------------------


def test_stop_deletes_the_rayjob_and_waits_until_it_is_gone(cluster: Cluster, job: Job) -> None:
    cluster.put(RAYJOBS, job.id, metadata={"finalizers": ["ray.io/rayjob-finalizer"]})
    began = time.monotonic()

    def operator() -> None:
        while "deletionTimestamp" not in (cluster.api.get(RAYJOBS, job.id) or {})["metadata"]:
            time.sleep(0.05)
        time.sleep(0.5)
        cluster.put(RAYJOBS, job.id, metadata={"finalizers": []})

    thread = in_background(operator)
    stopped = api.stop(job)
    thread.join(10)
    assert stopped.phase == "STOPPED" and cluster.api.get(RAYJOBS, job.id) is None
    assert time.monotonic() - began > 0.5
    assert api.status(job).phase == "STOPPED" and api.stop(job).phase == "STOPPED"


def test_a_stopped_jobs_log_is_kept(cluster: Cluster, small: Server, job: Job) -> None:
    driver_says(small, cluster, job.id, "hello", phase="Running")
    cluster.play(job.id, "Running", "RUNNING")
    api.stop(job)
    small.logs.clear()
    assert "".join(api.logs(job)) == "hello\n"


def test_a_rayjob_that_stays_is_told(cluster: Cluster, job: Job) -> None:
    cluster.put(RAYJOBS, job.id, metadata={"finalizers": ["ray.io/rayjob-finalizer"]})
    with pytest.raises(ClusterError, match="operator running"):
        jobs.stop(cluster.space, job.id, seconds=0.5)


def test_a_list_names_what_others_sent(cluster: Cluster, job: Job, tmp_path: Path) -> None:
    cluster.api.create(
        RAYJOBS, {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "theirs"}, "spec": {}}
    )
    elsewhere = str(tmp_path / "another-laptop")
    found = api.jobs(elsewhere, cluster.space.address)
    assert [(status.job, status.phase) for status in found] == [(job.id, "PENDING")]
    there = api.find(job.id, elsewhere)
    cluster.play(job.id, "Complete", "SUCCEEDED")
    assert api.status(there).phase == "SUCCEEDED"
    assert jobfile.load(Path(there.folder) / "job.yaml") == jobfile.load(Path(job.folder) / "job.yaml")
    assert len(api.jobs(elsewhere, cluster.space.address)) == 1


def test_resume_sends_a_new_rayjob_to_the_same_folder(cluster: Cluster, job: Job, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is running"):
        api.resume(job)
    cluster.play(job.id, "Failed", "FAILED", reason="AppFailed")
    assert api.status(job).phase == "FAILED"
    assert api.resume(job)
    again = cluster.api.get(RAYJOBS, f"{job.id}-2")
    assert again and f"--job {job.id} --storage /storage" in again["spec"]["entrypoint"]
    assert cluster.api.get(RAYJOBS, job.id) is None, "no two drivers in one folder"
    assert api.status(job).phase == "PENDING"
    assert [status.job for status in api.jobs(str(tmp_path / "other"), cluster.space.address)] == [job.id]
    cluster.play(f"{job.id}-2", "Complete", "SUCCEEDED")
    assert api.status(job).phase == "SUCCEEDED" and not api.resume(job)


def test_resume_of_a_renamed_mirror_goes_by_the_folder_of_the_jobs_id_on_the_volume(cluster: Cluster, job: Job) -> None:
    cluster.play(job.id, "Failed", "FAILED", reason="AppFailed")
    assert api.status(job).phase == "FAILED"
    renamed = Path(job.folder).rename(Path(job.folder).with_name("renamed"))
    assert api.resume(str(renamed))
    again = cluster.api.get(RAYJOBS, f"{job.id}-2")
    assert again and f"--job {job.id} --storage /storage" in again["spec"]["entrypoint"]
    assert "--folder" not in again["spec"]["entrypoint"] and not Path(job.folder).exists()


def test_resume_of_a_renamed_job_in_an_object_store_names_its_folder(spec: JobSpec) -> None:
    sent = jobmanifest.rayjob(
        "a-2", "a", spec.with_values({"cluster.volume": None}), "s3://b/jobs", "s3://b/jobs/renamed"
    )
    assert "--folder s3://b/jobs/renamed" in sent["spec"]["entrypoint"] and "--make" not in sent["spec"]["entrypoint"]


# --- logs -------------------------------------------------------------------------------------------------------------


def test_logs_of_a_job_without_one(cluster: Cluster, job: Job) -> None:
    cluster.play(job.id, "Initializing")
    with pytest.raises(ClusterError, match=f"{job.id} has no log yet: its cluster is being made"):
        list(api.logs(job))


def test_logs_leave_the_status_out(cluster: Cluster, small: Server, job: Job) -> None:
    cluster.play(job.id, "Running", "RUNNING")
    driver_says(small, cluster, job.id, "one", status_line(job, "TRAINING"), "two")
    assert list(api.logs(job)) == ["one\n", "two\n"]


def test_following_a_log_goes_on_after_a_cut_and_after_a_retry(cluster: Cluster, small: Server, job: Job) -> None:
    cluster.play(job.id, "Running", "RUNNING")
    first = driver_says(small, cluster, job.id, "one", "CUT", "two")
    lines = api.logs(job, follow=True)
    assert [next(lines), next(lines)] == ["one\n", "two\n"], "nothing twice, nothing lost"
    cluster.play(job.id, "Retrying", "FAILED")
    cluster.put(PODS, first, status={"phase": "Failed"})
    time.sleep(1.1)  # creation times have whole seconds
    cluster.pod(f"{job.id}-second", {"job-name": job.id}, {"phase": "Running"})
    small.logs[f"{job.id}-second"] = ["three"]
    cluster.play(job.id, "Running", "RUNNING")
    assert next(lines) == "three\n"
    cluster.put(PODS, f"{job.id}-second", status={"phase": "Succeeded"})
    small.logs[f"{job.id}-second"].append("four")
    cluster.play(job.id, "Complete", "SUCCEEDED")
    assert list(lines) == ["four\n"]


# --- report and pull --------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(cluster: Cluster, small: Server, job: Job) -> Job:
    """Return a job that has ended, its files on the volume."""
    files = {
        "job.yaml": SPEC,
        "status.json": "{}",
        "report/report.md": "# wgan is best",
        "report/report.html": "<p>",
        "model/generator.safetensors": "x" * 300_000,
        "search/lsgan/trials.json": "[]",
        "train/lsgan-seed0/run.json": "{}",
    }
    for name, text in files.items():
        path = small.volume / job.id / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    cluster.play(job.id, "Complete", "SUCCEEDED")
    return job


def test_a_report_comes_through_a_reader_that_goes(cluster: Cluster, small: Server, finished: Job) -> None:
    assert api.report(finished) == "# wgan is best"
    assert set(api.results(finished)) == {"page", "report", "model"}
    made = [asked for asked in small.asked if asked.startswith("POST") and asked.endswith("/pods")]
    assert len(made) == 1 and cluster.api.list_objects(PODS)[0] == []
    api.report(finished)
    assert jobstatus.read(finished).phase == "SUCCEEDED"


def test_pull_fetches_what_people_want_or_everything(cluster: Cluster, finished: Job, tmp_path: Path) -> None:
    api.pull(finished, tmp_path / "some")
    assert (tmp_path / "some/model/generator.safetensors").stat().st_size == 300_000
    assert not (tmp_path / "some/search").exists() and not (tmp_path / "some/train").exists()
    api.pull(finished, tmp_path / "all", everything=True)
    assert (tmp_path / "all/train/lsgan-seed0/run.json").is_file() and (tmp_path / "all/search").is_dir()
    assert cluster.api.list_objects(PODS)[0] == []


@pytest.mark.parametrize("is_slow", [True, False], ids=["all at once", "piece by piece"])
def test_a_command_is_read_to_its_end(
    is_slow: bool, cluster: Cluster, small: Server, finished: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = WSClient.read_channel

    def slow(self: WSClient, channel: int, timeout: float = 0) -> bytes:
        # Once the first piece of the output is taken, the rest and the end of the connection arrive together.
        if channel == 2 and is_slow:
            time.sleep(0.5)
        return bytes(read(self, channel, timeout))

    small.pause = 0.2
    monkeypatch.setattr(WSClient, "read_channel", slow)
    api.pull(finished, tmp_path / "some")
    assert (tmp_path / "some/model/generator.safetensors").stat().st_size == 300_000


@pytest.mark.parametrize("error", [KeyboardInterrupt, ClusterError])
def test_ctrl_c_leaves_no_reader(
    cluster: Cluster, small: Server, finished: Job, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupted(self: client.Client, pod: str, command: list[str]) -> Iterator[bytes]:
        assert self.get(PODS, pod) is not None
        raise error("now")

    monkeypatch.setattr(client.Client, "run", interrupted)
    with pytest.raises(error):
        api.pull(finished)
    assert cluster.api.list_objects(PODS)[0] == []


def test_a_reader_that_cannot_start_says_why_and_goes(cluster: Cluster, spec: JobSpec, monkeypatch: Any) -> None:
    if cluster.small:
        cluster.small.kubelet = False
    monkeypatch.setattr(patience, "READER", 1)
    assert spec.cluster
    with pytest.raises(ClusterError, match="doesn't start: nothing says why"):
        reader.read(cluster.space, spec.cluster, "x")
    assert cluster.api.list_objects(PODS)[0] == []


def test_a_transfer_that_is_cut_is_no_transfer(cluster: Cluster, small: Server, finished: Job, tmp_path: Path) -> None:
    small.faults.append(("LOST", 0, {}))
    with pytest.raises(ClusterError, match="was lost before its command ended"):
        api.pull(finished, tmp_path / "part")
    assert not (tmp_path / "part").exists() and cluster.api.list_objects(PODS)[0] == []


def test_a_volume_without_the_folder(cluster: Cluster, small: Server, job: Job, tmp_path: Path) -> None:
    small.volume.mkdir(exist_ok=True)
    with pytest.raises(ClusterError, match=r"tar in pod gansvc-reader-.* failed .*No such file"):
        api.pull(job, tmp_path / "none")


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_name_that_is_taken(cluster: Cluster, job: Job, spec: JobSpec) -> None:
    with pytest.raises(RefusedError, match="there is one of that name") as caught:
        jobs.submit(cluster.space, jobmanifest.rayjob(job.id, job.id, spec, "/storage"))
    assert caught.value.status == 409


def test_credentials_that_are_not_good(cluster: Cluster, spec: JobSpec, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(config_with(cluster, tmp_path / "bad", token="bad")))
    with pytest.raises(ClusterError, match="refuses the credentials"):
        api.submit(spec, cluster.space.address)
    assert lifecycle.status(api.find()).phase == "FAILED"


def test_a_server_that_is_away(cluster: Cluster, job: Job, spec: JobSpec, monkeypatch: Any, tmp_path: Path) -> None:
    away = config_with(cluster, tmp_path / "away", server="http://127.0.0.1:9")
    monkeypatch.setenv("KUBECONFIG", str(away))
    with pytest.raises(ClusterError, match=r"http://127\.0\.0\.1:9 can't be reached"):
        api.submit(spec, cluster.space.address)
    # Being cut off says nothing about the job.
    silent(job)
    found = api.status(job)
    assert found.phase == "PENDING" and "can't be reached" in found.warnings[0]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            (403, {"message": 'rayjobs is forbidden: User "me" cannot create'}),
            r"you may not create rayjobs.*role\.yaml",
        ),
        ((403, {"message": "exceeded quota: team, requested: 2"}), "quota of namespace gansvc refuses"),
        ((404, {}), "doesn't know rayjobs; install KubeRay's operator"),
        ((422, {"message": "spec.entrypoint: Invalid value"}), "Kubernetes refuses it .*Invalid value"),
        ((500, {"message": "etcdserver: leader changed"}), "fails .500: etcdserver: leader changed.*try again"),
        ((429, {}), "fails .429"),
        ((0, {}), "can't be reached"),
    ],
)
def test_each_refusal_is_a_sentence(cluster: Cluster, small: Server, spec: JobSpec, fault: Any, words: str) -> None:
    small.faults.append(("POST .*rayjobs", *fault))
    with pytest.raises(ClusterError, match=words) as caught:
        api.submit(spec, cluster.space.address)
    assert len(str(caught.value).splitlines()) == 1
    assert api.status().phase == "FAILED"


def test_the_doctor_asks_the_namespace_and_checks_the_job(cluster: Cluster, spec: JobSpec, tmp_path: Path) -> None:
    def told(address: str, spec: JobSpec | None) -> dict[str, tuple[str, str]]:
        return {check.name: (check.state, check.found + check.mend) for check in api.check(spec, address)}

    api.submit(spec, cluster.space.address)
    found = told(cluster.space.address, spec)
    assert found["reached"] == ("ok", "the namespace answers; RayJobs of gansvc there: 1")
    assert found["RayJob"][0] == "ok"
    homeless = told(cluster.space.address, spec.with_values({"cluster": {"image": "x"}}))["RayJob"]
    assert homeless[0] == "fault" and "cluster.volume is missing" in homeless[1]
    nowhere = told("k8s://nowhere/nothing", None)["reached"]
    assert nowhere[0] == "fault" and "no context 'nowhere'" in nowhere[1]
    with pytest.raises(SpecError, match="put them on the volume"):
        api.prefetch(spec, cluster.space.address)


def test_a_namespace_that_is_not_there(cluster: Cluster, spec: JobSpec) -> None:
    if cluster.small:
        pytest.skip("the small server takes any namespace")
    with pytest.raises(ClusterError, match='namespaces "nowhere" not found'):
        api.submit(spec, "k8s://test/nowhere")


def test_a_quota_of_the_namespace(cluster: Cluster, spec: JobSpec) -> None:
    if cluster.small:
        pytest.skip("the small server has no quotas")
    made = kubectl(cluster, "-n", cluster.space.name, "create", "quota", "none", "--hard=count/rayjobs.ray.io=0")
    assert made.returncode == 0, made.stderr
    deadline = time.monotonic() + 20
    while True:  # the quota's own status comes from a controller that isn't here: write it
        quota = cluster.api.get("api/v1/resourcequotas", "none")
        assert quota
        cluster.put(
            "api/v1/resourcequotas",
            "none",
            status={"hard": quota["spec"]["hard"], "used": {"count/rayjobs.ray.io": "0"}},
        )
        try:
            with pytest.raises(ClusterError, match=r"quota of namespace .* refuses it"):
                api.submit(spec, cluster.space.address)
            return
        except pytest.fail.Exception:
            assert time.monotonic() < deadline
            time.sleep(1)


def test_a_rayjob_that_the_schema_refuses(cluster: Cluster, spec: JobSpec) -> None:
    if cluster.small:
        pytest.skip("the small server knows no schemas")
    sent = jobmanifest.rayjob("a", "a", spec, "/storage")
    sent["spec"]["backoffLimit"] = "two"
    with pytest.raises(ClusterError, match=r"Kubernetes refuses it .*backoffLimit"):
        jobs.submit(cluster.space, sent)


def test_contexts(cluster: Cluster, spec: JobSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="the kubeconfig has no context 'lab'; known: test"):
        api.submit(spec, "k8s://lab/gansvc")
    assert connection.connect(Namespace()).space.context == "test"
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    with pytest.raises(ClusterError, match="no credentials for a Kubernetes cluster"):
        api.submit(spec, "k8s")


def test_without_the_package(cluster: Cluster, spec: JobSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    connection._connect.cache_clear()
    with pytest.raises(ClusterError, match=r"pip install 'gansvc\[k8s\]'"):
        api.submit(spec, cluster.space.address)


def test_a_proxys_page_is_no_answer(cluster: Cluster, small: Server, job: Job) -> None:
    small.faults.append(("GET .*rayjobs", 200, ["<html>"]))  # type: ignore[arg-type]
    with pytest.raises(ClusterError, match="doesn't answer as a Kubernetes API server"):
        cluster.api.get(RAYJOBS, job.id)


def test_the_command_line(cluster: Cluster, job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        code = 0
        try:
            app.main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    Path("job.yaml").write_text(SPEC)
    assert json.loads(run("status", job.id, "--json")[1])["warnings"] != []
    assert job.id in run("list", "--cluster", cluster.space.address)[1]
    code, _, err = run("logs", job.id)
    assert code == 3 and "has no log yet" in err
    assert run("stop", job.id)[1] == f"{job.id}: STOPPED\n"
    code, out, _ = run("submit", "job.yaml", "--cluster", cluster.space.address, "--detach")
    assert code == 0 and cluster.api.get(RAYJOBS, out.strip())
    assert cluster.api.get(RAYCLUSTERS, "none") is None
