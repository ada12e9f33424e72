"""The job that the benchmarks share, the threads that they get, and a local Ray cluster of their own."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch

from gansvc.client import environment, local
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec

from .measured import say

_JOB = """
name: bench
dataset: histology
network: {name: dcgan, width: 64}
losses: [lsgan, wgan, wgan-gp]
training: {epochs: 1, batch_size: 64}
evaluation: {extractor: efficientnet-lite0, samples: 500, validation_samples: 250}
"""


def job(**values: object) -> JobSpec:
    """Return the benchmarks' job with values set at paths, ``__`` standing for a dot."""
    return jobfile.parse(_JOB).with_values({path.replace("__", "."): value for path, value in values.items()})


def settings(spec: JobSpec) -> str:
    """Return the settings of a training in words."""
    training = spec.training
    return (
        f"{spec.dataset.name}, {spec.network.name} of width {spec.network.width}, "
        f"batch {training.batch_size}, {training.precision}"
    )


def device() -> str:
    """Return where one process trains: cuda where there is a GPU. No benchmark was run on one yet."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def threads(count: int | None = None) -> Iterator[int]:
    """Give torch that many threads in this process, or one a CPU, and yield their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or os.cpu_count() or 1)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


@contextmanager
def cluster() -> Iterator[None]:
    """Run a local Ray cluster as gansvc starts it, in a home and with a cache of its own, with this process as driver.

    Yields once it answers; ends it at the end, whatever happens.
    """
    assert "ray" not in sys.modules, "Ray reads its environment when it is imported, and that is set here"
    with tempfile.TemporaryDirectory(prefix="gansvc-bench-") as home:
        os.environ |= {"GANSVC_HOME": home, "GANSVC_CACHE": str(Path(home, "cache"))}
        head = local.start(say)
        try:
            # What a driver on the cluster inherits.
            os.environ |= environment.of_cluster(local.home())
            import ray

            ray.init(address=head.gcs, log_to_driver=False, logging_level="ERROR")
            # Ray's own handler, which this replaces, would end the process and leave the cluster behind.
            signal.signal(signal.SIGTERM, _ended)
            try:
                yield
            finally:
                ray.shutdown()
        finally:
            local.down()


def _ended(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)
