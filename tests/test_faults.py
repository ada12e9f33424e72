"""Real faults on real clusters: what is killed, what goes on, and that nothing finished is done twice.

All but the first test take minutes: `make test-faults` runs them. Each prints what it killed, what it saw and how long
the recovery took; docs/faults.md keeps what was measured.
"""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import psutil
import pytest
import torch
from safetensors.torch import load_file

from gansvc import api
from gansvc.catalog.metrics import Features
from gansvc.cli.following import without_ray_lines
from gansvc.client import local, processes
from gansvc.cluster import evaluation, lanes
from gansvc.cluster.evaluation import Evaluator
from gansvc.errors import SpecError
from gansvc.files import patience
from gansvc.gan import data
from gansvc.gan.run import RunPlan, Validation, single_process
from gansvc.gan.scoring.validation import Validator
from gansvc.gan.train import train
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store import jobfolder, jobstatus, layout, submissions
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import FINAL_PHASES, JobStart, Phase, RunRecord, Start

pytestmark = pytest.mark.ray

Make = Callable[..., JobSpec]
Note = Callable[[str, str, str, float], None]
LIMIT = 600.0
"""Seconds after which a job counts as hung."""
WORKERS = {
    "SEARCHING": "ray::ImplicitFunc",  # Tune's name of a trial's actor
    "TRAINING": f"ray::{lanes._train_quietly.__name__}",
    "EVALUATING": f"ray::{Evaluator.__name__}",
}
"""Phase to how the titles of its worker processes begin."""


@pytest.fixture
def note(capsys: pytest.CaptureFixture[str]) -> Note:
    """Print a row of the table: the fault, what was killed, what was observed, the recovery in seconds."""

    def write(fault: str, killed: str, observed: str, seconds: float) -> None:
        with capsys.disabled():
            print(f"\n| {fault} | {killed} | {observed} | {seconds:.0f} s |", flush=True)  # noqa: T201

    return write


def small(tiny: Make, **values: object) -> JobSpec:
    """Return a job whose phases last some seconds each."""
    return tiny(
        **{
            "losses": ["lsgan", {"name": "wgan", "n_critic": 1}],
            "search": {"trials": 2, "images": 1600, "evaluations": 4, "scheduler": "none"},
            "training__images": 3200,
            "training__evaluations": 8,
            "evaluation__audit": False,
            **values,
        }
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, cluster: local.Cluster) -> Callable[[JobSpec], dict[str, Any]]:
    """Return what a job leaves that nothing happens to; each spec's job runs once."""
    known: dict[str, dict[str, Any]] = {}

    def run(spec: JobSpec) -> dict[str, Any]:
        key = spec.model_dump_json()
        if key not in known:
            folder = tmp_path_factory.mktemp("unbroken")
            job = api.submit(spec, storage=str(folder))
            assert await_end(job) == "SUCCEEDED", api.status(job).error
            known[key] = outcome(folder / job.id)
        return known[key]

    return run


# --- a driver is killed -----------------------------------------------------------------------------------------------


class Still(Validator):
    """Finds all generators alike: the parameters don't depend on the scores."""

    def __call__(self, network: torch.nn.Module, rank: int = 0, world_size: int = 1) -> Validation:
        return Validation(1.0, 1.0)


def test_a_job_whose_driver_was_killed_is_resumed_and_ends_as_an_unbroken_one(
    tiny: Make, cluster: local.Cluster, tmp_path: Path
) -> None:
    spec = small(tiny, losses=["lsgan"], search=None, training__images=1600)
    job = api.submit(spec, storage=str(tmp_path))
    run = tmp_path / job.id / "train" / "lsgan-seed0"
    until(lambda: len(checkpoints(run)) == 2, job)
    kill_driver(job)
    until(lambda: api.status(job).phase == "FAILED", job)
    assert f"gansvc resume {job.id}" in api.status(job).error
    assert api.resume(job)
    with pytest.raises(SpecError, match=r"is running \(\w+\); nothing to resume"):
        api.resume(job)
    assert await_end(job) == "SUCCEEDED", api.status(job).error
    assert not api.resume(job)

    # One job, two drivers: the run went on from its checkpoint, the report tells, both logs can be read.
    steps = [start.step for start in Folder(run).read_lines(layout.STARTS, Start)]
    assert len(steps) == 2 and steps[0] == 0 < steps[1]
    assert any("the job was resumed 1 time" in warning for warning in api.report(job, "json")["warnings"])
    assert [status.job for status in api.jobs(str(tmp_path))] == [job.id]
    assert "scored lsgan-seed0" in "".join(api.logs(job)) and "scored" not in "".join(api.logs(job, attempt=1))
    with pytest.raises(SpecError, match="no attempt 3; give 1 to 2"):
        next(api.logs(job, attempt=3))

    # The same training in this process, which nothing interrupts.
    nothing = Features(torch.empty(0, 1), torch.empty(0, 1))
    still = Still(spec.evaluation, "kid", nothing, spec.network.latent_dim)
    plan = RunPlan(spec, "lsgan", 0, spec.training.epochs, spec.training.evaluations, spec.training.images)
    train(plan, data.load(spec.dataset).train, still, Folder(tmp_path / "alone"), single_process())
    assert players(run) == players(tmp_path / "alone")


@pytest.mark.faults
def test_a_driver_killed_in_each_phase(
    tiny: Make, cluster: local.Cluster, tmp_path: Path, unbroken: Callable[..., Any], note: Note
) -> None:
    spec = small(tiny)
    job = api.submit(spec, storage=str(tmp_path))
    folder = tmp_path / job.id
    for phase in WORKERS:
        await_work(job, phase)
        done = finished(folder)
        killed = time.monotonic()
        kill_driver(job)
        until(lambda: api.status(job).phase == "FAILED", job)
        assert not leftover(job, patience=15), "the workers of a dead driver end"
        # Of two commands at the same moment one resumes it.
        both = [gansvc("resume", job.id, "--detach", storage=tmp_path) for _ in range(2)]
        assert sorted(command.wait(LIMIT) for command in both) == [0, 2], phase
        until(lambda: jobstatus.read(job).phase in (phase, *FINAL_PHASES), job)  # noqa: B023
        note("2", f"the driver, {phase}", f"resumed; {len(done)} finished files untouched", time.monotonic() - killed)
        assert finished(folder, done) == done, f"what was finished before the kill in {phase} is left alone"
    assert await_end(job) == "SUCCEEDED", api.status(job).error
    assert finished(folder, done) == done
    assert len(Folder(folder).read_lines(layout.STARTS, JobStart)) == 1 + len(WORKERS)
    assert outcome(folder) == unbroken(spec)
    assert any("the job was resumed 3 times" in warning for warning in api.report(job, "json")["warnings"])


@pytest.mark.faults
@pytest.mark.parametrize("phase", ["SEARCHING", "TRAINING"])
def test_the_whole_cluster_killed(
    phase: Phase,
    tiny: Make,
    cluster: local.Cluster,
    tmp_path: Path,
    unbroken: Callable[..., Any],
    note: Note,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = small(tiny)
    expected = unbroken(spec)
    monkeypatch.setenv("GANSVC_HOME", str(tmp_path / "home"))
    try:
        job = api.submit(spec, storage=str(tmp_path))
        await_work(job, phase)
        done = finished(tmp_path / job.id)
        killed, head = time.monotonic(), local.known_cluster()
        assert head is not None
        for process in processes.members(head.pid, head.mark):
            process.kill()
        until(lambda: api.status(job).phase == "FAILED", job)
        assert phase in "".join(api.logs(job)), "the log of a driver outlives its cluster"
        assert api.resume(job)
        until(lambda: jobstatus.read(job).phase in (phase, *FINAL_PHASES), job)
        note("2", f"the whole cluster, {phase}", "resumed on a new one", time.monotonic() - killed)
        assert await_end(job) == "SUCCEEDED", api.status(job).error
        assert local.known_cluster() != head and finished(tmp_path / job.id, done) == done
        assert outcome(tmp_path / job.id) == expected
    finally:
        local.down()


@pytest.mark.faults
@pytest.mark.parametrize("agent", ["ray::RuntimeEnvAgent", "ray::DashboardAgent"])
def test_an_agent_whose_death_takes_the_node_along(
    agent: str, tiny: Make, tmp_path: Path, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSVC_HOME", str(tmp_path / "home"))
    try:
        job = api.submit(small(tiny), storage=str(tmp_path))
        await_work(job, "TRAINING")
        head, killed = local.known_cluster(), time.monotonic()
        assert head is not None
        workers(agent)[0].kill()
        until(lambda: api.status(job).phase == "FAILED", job)
        assert head.alive() and "Ray lost the node that it ran on" in api.status(job).error
        note("2", f"{agent}, TRAINING", "FAILED with the reason; the head lives on", time.monotonic() - killed)
        assert api.stop(job).phase == "FAILED"
        assert api.resume(job), "on a cluster of its own: the old one has no node"
        assert not head.alive() and await_end(job) == "SUCCEEDED", api.status(job).error
    finally:
        local.down()


@pytest.mark.faults
def test_a_suspended_driver_is_named_and_goes_on(
    tiny: Make, cluster: local.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "QUIET", 8)
    job = api.submit(small(tiny, search=None), storage=str(tmp_path))
    await_work(job, "TRAINING")
    (driver,) = [one for one in members() if "gansvc.pipeline" in command_of(one) and job.id in command_of(one)]
    driver.suspend()
    try:
        until(lambda: api.status(job).warnings)
        (text,) = api.status(job).warnings
        assert f"its driver (process {driver.pid}) is suspended" in text and api.status(job).phase == "TRAINING"
    finally:
        driver.resume()
    assert await_end(job) == "SUCCEEDED", api.status(job).error


# --- a worker is killed -----------------------------------------------------------------------------------------------


@pytest.mark.faults
def test_a_killed_trial_run_and_evaluator(
    tiny: Make, cluster: local.Cluster, tmp_path: Path, unbroken: Callable[..., Any], note: Note
) -> None:
    # Trials long enough to overlap, though their actors start one after the other.
    search = {"trials": 2, "images": 6400, "evaluations": 8, "scheduler": "none"}
    spec = small(tiny, search=search, training__images=6400)
    job = api.submit(spec, storage=str(tmp_path))
    folder = tmp_path / job.id
    for phase, title in WORKERS.items():
        await_work(job, phase)
        # Two are at work: each must have a checkpoint, or one would begin anew and not go on.
        until(lambda: phase == "EVALUATING" or at_work(folder) == [True, True], job)  # noqa: B023
        before, there = restarts(folder), until(lambda: workers(title), job)  # noqa: B023
        killed = time.monotonic()
        there[0].kill()
        if phase == "EVALUATING":
            until(lambda: set(workers(title)) - set(there), job)  # noqa: B023
        else:
            until(lambda: restarts(folder) > before, job)  # noqa: B023
        name = {"SEARCHING": "a trial's actor", "TRAINING": "a run's worker", "EVALUATING": "an evaluator"}[phase]
        note("1", name, "the job went on by itself", time.monotonic() - killed)
    assert await_end(job) == "SUCCEEDED", api.status(job).error
    assert len(Folder(folder).read_lines(layout.STARTS, JobStart)) == 1
    assert any("-seed0 was restarted 1 time" in warning for warning in api.report(job, "json")["warnings"])
    assert outcome(folder) == unbroken(spec)


# --- a job is stopped -------------------------------------------------------------------------------------------------


@pytest.mark.faults
def test_a_job_stopped_in_each_phase_leaves_no_process_and_is_resumed(
    tiny: Make, cluster: local.Cluster, tmp_path: Path, unbroken: Callable[..., Any], note: Note
) -> None:
    spec = small(tiny)
    job = api.submit(spec, storage=str(tmp_path))
    folder = tmp_path / job.id
    for phase in ("PENDING", *WORKERS, "REPORTING"):
        await_work(job, phase)
        done, told = finished(folder), time.monotonic()
        assert api.stop(job).phase == "STOPPED"
        seconds = time.monotonic() - told
        assert seconds < 15, f"stopped after {seconds:.1f} s in {phase}"
        assert not leftover(job, patience=15 - seconds), phase
        gone = time.monotonic() - told
        assert api.status(job).phase == "STOPPED" and finished(folder, done) == done
        note("6", f"`stop`, {phase}", f"STOPPED after {seconds:.1f} s, no worker process after {gone:.1f} s", seconds)
        assert api.resume(job)
    assert await_end(job) == "SUCCEEDED", api.status(job).error
    assert outcome(folder) == unbroken(spec)


# --- a loss fails -----------------------------------------------------------------------------------------------------


@pytest.mark.faults
def test_a_loss_that_diverges_and_one_whose_worker_keeps_dying_leave_the_others(
    tiny: Make, cluster: local.Cluster, tmp_path: Path, note: Note
) -> None:
    diverging = {"name": "lsgan", "generator_lr": 1, "critic_lr": 1, "betas": [0.99, 0.5]}
    spec = small(
        tiny,
        network={"name": "resnet", "width": 4, "latent_dim": 8},
        losses=[{"name": "wgan", "n_critic": 1}, diverging, "ns"],
        search={"trials": 2, "images": 1600, "evaluations": 2, "space": {"wgan.clip": {"choice": [0.01, 0.02]}}},
        training__max_restarts=1,
        # It diverges before its first score, so that nothing of it can be judged.
        training__evaluations=2,
    )
    command = gansvc("submit", written(spec, tmp_path), storage=tmp_path)
    job = until(lambda: next(iter(api_jobs(tmp_path)), None))
    folder = tmp_path / job.id
    # The last run is alone at work when the other two are over.
    until(lambda: len(list(folder.glob("train/*/run.json"))) == 2, job)
    for starts in (1, 2):
        until(lambda: len(Folder(folder / "train" / "ns-seed0").read_lines(layout.STARTS, Start)) == starts, job)  # noqa: B023
        (worker,) = workers(WORKERS["TRAINING"])
        worker.kill()
    assert command.wait(LIMIT) == 4
    out, err = (tmp_path / "out").read_text(), (tmp_path / "err").read_text()
    assert "wgan" in out and "done in part: 1 of 3 runs have a score" in err
    states = {name: read_run(folder, name) for name in ("wgan", "lsgan", "ns")}
    assert [states[name].state for name in states] == ["finished", "diverged", "failed"]
    warnings = " ".join(api.report(job, "json")["warnings"])
    assert "lsgan-seed0 diverged at step" in warnings and "NaN" in warnings
    assert f"ns-seed0 failed at step 0: {states['ns'].reason}" in warnings and states["ns"].reason
    trials = json.loads((folder / "search" / "lsgan" / "trials.json").read_text())
    assert {trial["state"] for trial in trials} == {"diverged"} and "trial-00000 of lsgan diverged" in warnings
    assert gansvc("logs", "-f", job.id, storage=tmp_path).wait(LIMIT) == 4
    note("5", "one loss diverges, one's worker twice", "exit code 4; the third has its score", 0)
    assert gansvc("resume", job.id, storage=tmp_path).wait(LIMIT) == 4
    ended = {name: str(read_run(folder, name).state) for name in ("wgan", "lsgan", "ns")}
    assert ended == {"wgan": "finished", "lsgan": "diverged", "ns": "finished"}, "what failed is tried again"
    assert api.status(job).scores == (2, 3)


# --- several commands -------------------------------------------------------------------------------------------------


@pytest.mark.faults
def test_two_submits_at_once_two_followers_and_a_client_killed(
    tiny: Make, cluster: local.Cluster, tmp_path: Path, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSVC_HOME", str(tmp_path / "home"))
    spec = small(tiny, losses=["lsgan"], search=None)
    file = written(spec, tmp_path)
    try:
        both = [gansvc("submit", file, storage=tmp_path) for _ in range(2)]
        jobs = until(lambda: found if len(found := api_jobs(tmp_path)) == 2 else None)
        assert [api.status(job).name for job in jobs] == ["tiny", "tiny"]
        follower = gansvc("logs", "-f", jobs[0].id, storage=tmp_path)
        until(lambda: api.status(jobs[0]).phase == "TRAINING", jobs[0])
        both[0].kill()
        both[0].wait()
        assert both[1].wait(LIMIT) == 0
        assert follower.wait(LIMIT) == 0
        assert [await_end(job) for job in jobs] == ["SUCCEEDED", "SUCCEEDED"]
        assert outcome(tmp_path / jobs[0].id) == outcome(tmp_path / jobs[1].id)
        heads = [p for p in psutil.process_iter() if is_head(p, tmp_path)]
        assert len(heads) == 1, "two submits at the same moment start one cluster"
        note("7", "two `submit` at once, one client killed", "one cluster, two whole and equal jobs", 0)
    finally:
        local.down()


@pytest.mark.faults
def test_a_follower_that_loses_its_line_comes_back_and_misses_nothing(
    tiny: Make, cluster: local.Cluster, tmp_path: Path, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = api.submit(small(tiny, losses=["lsgan"], search=None), storage=str(tmp_path))
    where = submissions.last(job)
    assert where is not None
    # By the line it is a cluster elsewhere: the local one's own token goes to its own address alone.
    monkeypatch.setenv("RAY_AUTH_TOKEN", local.token() or "")
    with Line(urlsplit(where.address).port or 0) as line:
        submissions.save(job, where.model_copy(update={"address": f"http://127.0.0.1:{line.port}", "mark": ""}))
        follower = gansvc("logs", "-f", job.id, storage=tmp_path)
        until(lambda: "TRAINING" in (tmp_path / "out").read_text(), job)
        line.cut()
        time.sleep(15)
        assert follower.poll() is None and line.refused > 1
        line.mend()
        mended = time.monotonic()
        until(lambda: api.status(job).phase in FINAL_PHASES, job)
        assert follower.wait(LIMIT) == 0
        seen = (tmp_path / "out").read_text()
        assert seen == "".join(without_ray_lines(api.logs(job))) and seen.count("scored lsgan-seed0") == 1
    note("7", "a follower's line, for 15 s", "it came back, each line once, exit code 0", time.monotonic() - mended)


# --- helpers, in the order of their first use -------------------------------------------------------------------------


def await_end(job: Job) -> Phase:
    until(lambda: api.status(job).phase in FINAL_PHASES, job)
    return api.status(job).phase


def until(condition: Callable[[], Any], job: Job | None = None) -> Any:
    """Ask until the answer is true, and return it; a job that has ended for a while won't make it true any more."""
    deadline = time.monotonic() + LIMIT
    while not (answer := condition()):
        if job and jobstatus.read(job).phase in FINAL_PHASES:
            deadline = min(deadline, time.monotonic() + 30)
        assert time.monotonic() < deadline, "".join(api.logs(job))[-3000:] if job else "hung"
        time.sleep(0.05)
    return answer


def outcome(folder: Path) -> dict[str, Any]:
    """Return what a finished job decided and made, in a form that compares bit for bit; no times, no paths."""
    trials = {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("search/*/trials.json"))}
    return {
        "trials": {label: [{k: v for k, v in t.items() if k != "seconds"} for t in of] for label, of in trials.items()},
        "runs": {path.name: players(path) for path in sorted(folder.glob("train/*-seed*"))},
        "scores": {
            path.stem: json.loads(path.read_text())["metrics"] for path in sorted(folder.glob("evaluation/*.json"))
        },
        "model": {
            name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
            for name, tensor in load_file(folder / "model" / "generator.safetensors").items()
        },
    }


def players(run: Path) -> dict[str, str]:
    """Return the hashes of all parameters, averages and optimiser states of a run's last checkpoint."""
    state = torch.load(checkpoints(run)[-1], weights_only=True)["state"]["players"]
    return {name: hashlib.sha256(value).hexdigest() for name, value in leaves(state)}


def leaves(state: object, path: str = "") -> Iterator[tuple[str, bytes]]:
    if isinstance(state, torch.Tensor):
        yield path, state.contiguous().numpy().tobytes()
    elif isinstance(state, dict | list | tuple):
        for name, item in state.items() if isinstance(state, dict) else enumerate(state):
            yield from leaves(item, f"{path}/{name}")
    else:
        yield path, repr(state).encode()


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("step-*.pt"))


def kill_driver(job: Job) -> None:
    """Kill the process of a job's driver."""
    (driver,) = (p for p in members() if "gansvc.pipeline" in (line := command_of(p)) and job.id in line)
    driver.kill()


def members() -> set[psutil.Process]:
    """Return the processes of the local cluster."""
    head = local.known_cluster()
    return processes.members(head.pid, head.mark) if head else set()


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def await_work(job: Job, phase: str) -> None:
    """Wait until a job is in the middle of a phase: something is finished there, and something else isn't."""
    folder = Path(job.folder)
    begun: dict[str, Callable[[], Any]] = {
        "SEARCHING": lambda: list(folder.glob("search/*/*/ended")),
        "TRAINING": lambda: list(folder.glob("train/*/checkpoints/step-*.pt")),
        "EVALUATING": lambda: list(folder.glob("evaluation/*-seed*.json")),
    }
    # As the folder has it: to ask the cluster takes long on a busy machine, and the moment would be missed.
    until(lambda: jobstatus.read(job).phase == phase and begun.get(phase, lambda: True)(), job)


def finished(folder: Path, names: dict[str, Any] | None = None) -> dict[str, tuple[int, bytes]]:
    """Return the files that a finished trial, run or score has left, or of those names, with time and content."""
    if names is None:
        kept = [path.parent for path in folder.glob("search/*/*/ended") if not path.read_bytes()]
        kept += [path.parent for path in folder.glob("train/*/run.json")]
        files = [path for one in kept for path in one.rglob("*") if path.is_file()]
        files += [*folder.glob("search/*/trials.json"), *folder.glob("evaluation/*.json")]
        names = {str(path.relative_to(folder)): path for path in files}
    there = {name: folder / name for name in names if not is_weight_of_a_trial(name)}
    return {name: (path.stat().st_mtime_ns, path.read_bytes()) for name, path in there.items()}


def is_weight_of_a_trial(name: str) -> bool:
    """Return whether it is deleted at the end of the search, when nobody needs it any more."""
    return name.startswith("search/") and "/checkpoints/" in name


def leftover(job: Job, patience: float) -> list[str]:
    """Return the worker processes that a job has left after so many seconds: its own, and those idle beside it."""
    deadline = time.monotonic() + patience
    while left := [line for p in members() if is_work(line := command_of(p), job)]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.1)
    return []


def is_work(line: str, job: Job) -> bool:
    validator = f"ray::{evaluation.make_validator.__name__}"
    titles = (*WORKERS.values(), validator, "ray::Ray", "ray::_worker", "ray::JobSupervisor")
    return line.startswith(titles) or ("gansvc.pipeline" in line and job.id in line)


def workers(title: str) -> list[psutil.Process]:
    return [process for process in members() if command_of(process).startswith(title)]


def at_work(folder: Path) -> list[bool]:
    """Return of each trial and run that is at work whether it has a checkpoint."""
    begun = [path.parent for path in folder.glob(f"*/**/{layout.STARTS}") if not (path.parent / "run.json").exists()]
    return [bool(checkpoints(one)) for one in begun]


def restarts(folder: Path) -> int:
    """Return how often a trial or run has been started again."""
    return sum(len(path.read_text().splitlines()) - 1 for path in folder.glob(f"*/**/{layout.STARTS}"))


def gansvc(*words: object, storage: Path) -> subprocess.Popen[bytes]:
    """Start a gansvc command of its own, which writes to the files out and err beside the jobs."""
    start = "from gansvc.cli.app import main; main()"
    command = [sys.executable, "-c", start, *map(str, words), "--storage", str(storage)]
    with (storage / "out").open("ab") as out, (storage / "err").open("ab") as err:
        return subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL)


def written(spec: JobSpec, folder: Path) -> Path:
    path = folder / "job.yaml"
    path.write_text(jobfile.dump(spec))
    return path


def api_jobs(storage: Path) -> list[Job]:
    """Return the jobs of a storage that have a status."""
    return [job for job in jobfolder.list_jobs(str(storage)) if (Path(job.folder) / "status.json").is_file()]


def read_run(folder: Path, label: str) -> RunRecord:
    record = Folder(folder / "train" / f"{label}-seed0").read_record("run.json", RunRecord)
    assert record is not None
    return record


def is_head(process: psutil.Process, home: Path) -> bool:
    try:
        starts = {"start", "--head"} <= set(process.cmdline())
        return starts and process.environ().get("GANSVC_HOME") == str(home / "home")
    except psutil.Error:
        return False


class Line:
    """A line to a port of this machine that can be cut: a port of its own, and what comes in there goes on."""

    def __init__(self, to: int) -> None:
        self._to, self._whole, self.refused = to, True, 0
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.cut()
        self._server.close()

    def cut(self) -> None:
        self._whole = False
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._whole = True

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._server.accept()
                if not self._whole:
                    self.refused += 1
                    here.close()
                    continue
                there = socket.create_connection(("127.0.0.1", self._to))
                self._open += [here, there]
                for ends in ((here, there), (there, here)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
