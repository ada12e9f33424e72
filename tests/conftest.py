"""What tests share: a tiny job, its images and its validator, all real parts at small shapes."""

from __future__ import annotations

import os

# Before numpy is loaded: on a busy machine two threads take several times as long as one for FID's eigenvalues.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from gansvc.client import local
from gansvc.gan import data
from gansvc.gan.sampling import chunks
from gansvc.gan.scoring.features import extract
from gansvc.gan.scoring.validation import Validator
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec

from . import object_storage
from .builders.commands import Run, run_command

TINY = """
name: tiny
dataset: histology
network: {name: dcgan, width: 4, latent_dim: 8}
losses: [lsgan, wgan, wgan-gp]
training: {epochs: 1, batch_size: 16, evaluations: 2}
evaluation: {extractor: {name: efficientnet-lite0, size: 32}, samples: 60, validation_samples: 50}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that need the cluster after the others, and the one that ends it at the very end."""
    items.sort(key=lambda item: ("last" in item.keywords, "ray" in item.keywords))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a test's caches out of the user's home, the user's settings out of a test, and torch on one thread."""
    monkeypatch.setenv("GANSVC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GANSVC_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.delenv("GANSVC_CLUSTER", raising=False)
    torch.set_num_threads(1)


@pytest.fixture
def tiny() -> Callable[..., JobSpec]:
    """Return the tiny job's spec, with values set at dotted paths."""

    def make(**values: object) -> JobSpec:
        return jobfile.parse(TINY).with_values({path.replace("__", "."): value for path, value in values.items()})

    return make


@pytest.fixture(scope="session")
def histology() -> data.Images:
    """Return the embedded data set, cut down to 160 training images."""
    images = data.load(jobfile.parse(TINY).dataset)
    return data.Images(images.train[:160], images.val[:60], images.test[:60])


@pytest.fixture(scope="session")
def validator(histology: data.Images) -> Validator:
    """Return the tiny job's validator."""
    spec = jobfile.parse(TINY)
    features = extract(chunks(histology.val[:50]), spec.evaluation.extractor)
    return Validator(spec.evaluation, "kid", features, spec.network.latent_dim)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs a command in a new folder, with a home and a storage of its own."""
    monkeypatch.setenv("GANSVC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GANSVC_STORAGE", str(tmp_path / "jobs"))
    monkeypatch.chdir(tmp_path)
    return partial(run_command, capsys)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run an S3 server on the loopback interface and give its URL."""
    with object_storage.served(tmp_path_factory.mktemp("s3") / "server.log") as url:
        yield url


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a new bucket; the environment leads to its server."""
    for name, value in object_storage.environment(s3_server).items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{secrets.token_hex(4)}"
    object_storage.request(s3_server, "PUT", f"/{name}")
    return name


@pytest.fixture
def gate(bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[object_storage.Gate]:
    """Put a gate before the bucket's server; the environment leads to it."""
    gate = object_storage.Gate(s3_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", gate.url)
    yield gate
    gate.close()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, s3_server: str) -> Iterator[local.Cluster]:
    """Start the one Ray cluster that all tests share; two starts at once must give the same one."""
    patch = pytest.MonkeyPatch()
    home = str(tmp_path_factory.mktemp("home") / "state")
    patch.setenv("GANSVC_HOME", home)
    patch.setenv("GANSVC_CACHE", str(tmp_path_factory.mktemp("cache")))
    # A job that comes by the cluster's address runs the `python` that is found there.
    patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    # What a user's shell may hold must not lead astray.
    patch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    patch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    patch.setenv("RAY_AUTH_TOKEN", "of another cluster")
    for name, value in object_storage.environment(s3_server).items():
        patch.setenv(name, value)
    started: list[local.Cluster] = []
    said: list[str] = []
    starts = [threading.Thread(target=lambda: started.append(local.start(said.append))) for _ in range(2)]
    for thread in starts:
        thread.start()
    for thread in starts:
        thread.join()
    try:
        assert len(started) == 2 and started[0] == started[1], "two starts at once start one cluster"
        assert len(said) == 1
        yield started[0]
    finally:
        patch.setenv("GANSVC_HOME", home)
        local.down()
        patch.undo()
