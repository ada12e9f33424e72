"""How a job's driver is started: its command line, composed by clients, parsed by the driver; its environment."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise

from gansvc import compatibility
from gansvc.errors import SpecError
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store.jobfolder import Job

ENVIRONMENT = {
    # Python's own habit of importing from the folder that it is started in would run the files of whoever submits.
    "PYTHONSAFEPATH": "1",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_COLOR_PREFIX": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_JOB_STOP_WAIT_TIME_S": "20",  # a stopped driver still writes its last status
}
"""Variables that gansvc sets wherever it starts Ray and Python: here and in Kubernetes' pods."""
_LONGEST = 120_000
"""Characters; Linux limits one argument of a process to 128 KiB."""


@dataclass(frozen=True)
class DriverOptions:
    """What a driver's command line says."""

    job: str
    """The job's id."""
    storage: str
    """Folder or URI that holds the job folders."""
    spec: str
    """The spec, packed into one word."""
    client: str
    """Versions of the client that sent the job."""
    folder: str = ""
    """The job folder, where it isn't the one of its id in the storage."""
    make: bool = False
    """Whether the driver makes the folder, because no client can."""

    @property
    def job_folder(self) -> str:
        """Path or URI of the job folder."""
        return self.folder or f"{self.storage.rstrip('/')}/{self.job}"


def compose(job: Job, spec: JobSpec, python: str = "python", makes_folder: bool = False) -> str:
    """Return the driver's command, which holds the spec.

    Args:
        job: the job; a folder that was renamed is named beside its storage.
        spec: its spec.
        python: the interpreter that it runs with.
        makes_folder: whether the driver makes the folder, because no client can.

    Raises:
        SpecError: the spec is too large.
    """
    # exec: a signal to the driver must reach Python, not a shell around it.
    words = [
        *("-P", "-m", "gansvc.pipeline", "--job", job.id, "--storage", parent(job), "--spec", jobfile.pack(spec)),
        *("--client", compatibility.local_versions()),
        *(() if job.folder == f"{parent(job).rstrip('/')}/{job.id}" else ("--folder", job.folder)),
        *(("--make",) if makes_folder else ()),
    ]
    command = f"exec {shlex.quote(python)} {shlex.join(words)}"
    # Its defaults are written out here, and what reads it has the limit of a job file.
    if len(command) > _LONGEST or len(jobfile.dump(spec).encode()) > jobfile.LIMIT:
        raise SpecError("the spec is too large to be sent; shorten its published section")
    return command


def parse(arguments: Sequence[str] | None = None) -> DriverOptions:
    """Return what a driver was started with; a wrong command line ends the process, as argparse does."""
    here = compatibility.local_versions()
    parser = argparse.ArgumentParser(prog="python -m gansvc.pipeline", description="Run a job to its end.")
    parser.add_argument("--job", required=True, help="the job's id: its folder's name")
    parser.add_argument("--storage", required=True, help="folder or URI that holds the job folders")
    parser.add_argument("--spec", required=True, help="the spec: base64 of zlib of YAML")
    parser.add_argument("--client", default=here, help="the versions of the client that sent the job")
    parser.add_argument("--folder", default="", help="the job folder, where it isn't the one of its id there")
    parser.add_argument("--make", action="store_true", help="make the job folder, if it isn't there")
    return DriverOptions(**vars(parser.parse_args(arguments)))


def parse_leniently(command: str) -> DriverOptions:
    """Return what a driver's command of any version says, as far as it does; what it lacks is empty."""
    given = dict(pairwise(command.split(" ")))
    names = ("job", "storage", "spec", "client", "folder")
    return DriverOptions(**{name: given.get(f"--{name}", "") for name in names}, make="--make" in command.split(" "))


def metadata(job: Job, spec: JobSpec) -> dict[str, str]:
    """Return what the Jobs API keeps with a job."""
    return {"gansvc": version("gansvc"), "storage": parent(job), "name": spec.name}


def parent(job: Job) -> str:
    """Return the folder or URI that holds the job's folder."""
    around = job.folder.rpartition("/")[0]
    return job.folder if around.endswith(":/") else around or "/"
