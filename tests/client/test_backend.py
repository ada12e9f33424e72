"""The choice between kinds of clusters, and a third kind: one module and one line in the choice."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gansvc import api
from gansvc.client import backend
from gansvc.client.kuberay.backend import KubeRay
from gansvc.client.rayjobs import RayJobs
from gansvc.errors import SpecError
from gansvc.spec.job import JobSpec
from gansvc.store import submissions
from gansvc.store.submissions import Submission

from ..builders.commands import Run
from .toy_backend import SCHEME, Toy

Address = str


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Toy]:
    """Add the toy to the choice."""
    made = Toy()
    choice: tuple[backend.Backend, ...] = (made, *backend.BACKENDS)
    monkeypatch.setattr(backend, "BACKENDS", choice)
    monkeypatch.setenv("GANSVC_STORAGE", str(tmp_path / "jobs"))
    yield made
    for driver in made.drivers.values():
        driver.kill()
        driver.wait()


@pytest.fixture
def address(tmp_path: Path) -> Address:
    (tmp_path / "toys").mkdir()
    return f"{SCHEME}{tmp_path / 'toys'}"


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_address_chooses_and_so_does_the_submission() -> None:
    kinds = [("k8s", KubeRay), ("k8s://lab/me", KubeRay), ("local", RayJobs), ("http://127.0.0.1:8265", RayJobs)]
    assert [type(backend.choose(cluster)) for cluster, _ in kinds] == [kind for _, kind in kinds]
    assert [backend.choose(cluster).computes_here for cluster, _ in kinds] == [False, False, True, False]
    here = Submission(address="http://127.0.0.1:8265", submitted=1.0, mark="m")
    assert backend.choose(here.cluster) is backend.choose("local")
    for named in ("k8s://lab/me", "https://lab.example"):
        assert backend.choose(Submission(address=named, submitted=1.0).cluster) is backend.choose(named)


def test_a_third_backend_takes_a_job_from_submit_to_resume(
    toy: Toy, address: Address, tiny: Callable[..., JobSpec], tmp_path: Path
) -> None:
    spec = tiny()
    assert api.manifest(spec, address) is None
    job = api.submit(spec, address)
    assert api.status(job).phase == "PENDING" and [found.job for found in api.jobs(cluster=address)] == [job.id]
    until(lambda: "works" in "".join(api.logs(job)))
    with pytest.raises(SpecError, match="is running"):
        api.resume(job)
    assert api.stop(job).phase == "STOPPED" and api.status(job).error == "stopped by the user"

    assert api.resume(job)
    until(lambda: "".join(api.logs(job)) == f"{job.id}-2 works\n")
    assert "".join(api.logs(job, attempt=1)) == f"{job.id} works\n"
    where = submissions.last(job)
    assert where and where.attempt == 2 and [one.attempt for one in where.earlier] == [1]

    os.kill(toy.drivers[f"{job.id}-2"].pid, 9)
    assert [*api.follow(job)][-1].phase == "FAILED" and "exited with -9" in api.status(job).error
    assert "".join(api.logs(job, follow=True)) == f"{job.id}-2 works\n"
    assert (api.pull(job, tmp_path / "pulled") / "status.json").is_file()


def test_a_third_backend_is_checked_and_shown(run: Run, toy: Toy, address: Address, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("name: small\ndataset: histology\nlosses: [lsgan]\n")
    found = json.loads(run("doctor", "--cluster", address, "--json").out)
    assert {"name": "drivers", "state": "ok", "found": "0", "mend": ""} in found
    brought = run("prefetch", str(tmp_path / "job.yaml"), "--cluster", address, "--from", "/mirror")
    assert brought.out == "toy: none /mirror\n"
    shown = json.loads(run("config", "--cluster", address, "--json").out)
    assert shown["folder"] == {"value": str(tmp_path / "toys"), "from": "the address"} and "token" not in shown
