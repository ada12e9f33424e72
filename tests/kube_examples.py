"""The manifests under k8s/ that the code writes: `make manifests` writes them, a test holds them equal."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from gansvc import api
from gansvc.client.kuberay import jobmanifest, manifest, pods
from gansvc.spec import drivercommand, jobfile
from gansvc.spec.placement import Placement
from gansvc.store.jobfolder import Job

ROOT = Path(__file__).parents[1]
K8S = ROOT / "k8s"
_HEAD = "# Made by `make manifests` from {what}; don't edit.\n"


def versions() -> dict[str, str]:
    """Return the versions that an image of this commit has."""
    pins = dict(line.split("==") for line in (ROOT / "docker/constraints.txt").read_text().splitlines() if "==" in line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"gansvc": project["version"], "ray": pins["ray"]}


def rayjob() -> dict[str, Any]:
    """Return the RayJob of k8s/examples/job.yaml."""
    spec = api.validate(K8S / "examples/job.yaml")
    name = f"{spec.name}-20260101-000000-0000"
    job = Job(id=name, folder=f"{pods.STORAGE}/{name}")
    client = ",".join(f"{name}={number}" for name, number in versions().items())
    # Whoever makes the file has another Python, and perhaps another Ray.
    command = re.sub(r"--client \S+", f"--client {client}", drivercommand.compose(job, spec))
    metadata = drivercommand.metadata(job, spec) | {"gansvc": versions()["gansvc"]}
    return manifest.rayjob(name, name, command, jobmanifest.placement_of(spec), versions(), metadata)


def standing(gpus: int) -> dict[str, Any]:
    """Return a RayCluster that stands by itself, for jobs sent to its Jobs API."""
    placement = Placement(image=f"registry.example.com/gansvc:{versions()['gansvc']}", volume="gansvc-jobs", gpus=gpus)
    return manifest.raycluster("gansvc", placement, versions()["ray"])


def generated() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return path below k8s/ to what it is made from and the manifest."""
    return {
        "examples/rayjob.yaml": ("k8s/examples/job.yaml", rayjob()),
        "standing/cpu.yaml": ("the defaults of the cluster section", standing(0)),
        "standing/gpu.yaml": ("the defaults of the cluster section, with one GPU", standing(1)),
    }


if __name__ == "__main__":
    for name, (what, made) in generated().items():
        (K8S / name).write_text(_HEAD.format(what=what) + jobfile.dump_plain(made))
