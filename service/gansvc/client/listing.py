"""Status of all jobs of a storage; clusters are asked side by side, and a silent one holds up no other."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from gansvc.client import backend, config, lifecycle
from gansvc.errors import GansvcError
from gansvc.files import patience
from gansvc.store import jobfolder, jobstatus, submissions
from gansvc.store.driverstate import Driver
from gansvc.store.jobfolder import Job
from gansvc.store.records import FINAL_PHASES, Status
from gansvc.store.submissions import Submission

_READERS, _ASKERS = 16, 16
"""Threads that read job folders, and those that ask after a cluster's jobs."""


class _Cluster:
    """A cluster that isn't asked again once it gave no answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._error: GansvcError | None = None

    def ask(self, job: Job, where: Submission) -> Driver | None:
        """Return how a job's driver is; see ``Backend.ask``."""
        with self._lock:
            if self._error is None:
                try:
                    return backend.choose(where.cluster).ask(job, where)
                except GansvcError as error:
                    self._error = error
            raise self._error


def jobs(storage: str | None = None, cluster: str | None = None) -> list[Status]:
    """Return how all jobs of a storage stand, newest first.

    Args:
        storage: what ``--storage`` said.
        cluster: a cluster, or a profile, which brings its storage; of a ``k8s`` one jobs sent from elsewhere, too.

    Raises:
        ClusterError: the storage or the Kubernetes cluster can't be asked.
    """
    to = config.destination(cluster, storage)
    if cluster is not None:
        backend.choose(to.cluster.value).adopt(to)
    return statuses(jobfolder.list_jobs(to.storage.value))


def statuses(jobs: Sequence[Job], limit: float = patience.LIST) -> list[Status]:
    """Return how jobs stand, in their order; a damaged folder is a FAILED job with the reason.

    Args:
        jobs: the jobs.
        limit: seconds after which a job is told as its folder has it, with a word on its cluster.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        known = dict(zip(jobs, pool.map(_or_damaged(jobstatus.read), jobs), strict=True))
        at_work = [job for job in jobs if known[job].phase not in FINAL_PHASES]
        addresses = dict(zip(at_work, pool.map(_address, at_work), strict=True))
    groups: dict[str, queue.SimpleQueue[Job]] = {}
    for job, address in addresses.items():
        groups.setdefault(address, queue.SimpleQueue()).put(job)
    answers: dict[Job, Status] = {}
    askers = [asker for group in groups.values() for asker in _ask(group, answers)]
    deadline = time.monotonic() + limit
    for asker in askers:
        asker.join(max(0.0, deadline - time.monotonic()))
    # Those that still wait are daemons: they end with the command.
    there = dict(answers)
    for job, address in addresses.items():
        if job not in there:
            note = f"the cluster at {address} has said nothing of it within {limit:.0f} s"
            there[job] = known[job].model_copy(update={"warnings": (*known[job].warnings, note)})
    return [there.get(job, known[job]) for job in jobs]


def _ask(group: queue.SimpleQueue[Job], answers: dict[Job, Status]) -> list[threading.Thread]:
    """Start asking after the jobs of one cluster."""
    cluster = _Cluster()
    status = _or_damaged(lambda job: lifecycle.status(job, cluster.ask, patience.FRESH))

    def work() -> None:
        while True:
            try:
                job = group.get_nowait()
            except queue.Empty:
                return
            answers[job] = status(job)

    askers = [threading.Thread(target=work, daemon=True) for _ in range(min(_ASKERS, group.qsize()))]
    for asker in askers:
        asker.start()
    return askers


def _or_damaged(status: Callable[[Job], Status]) -> Callable[[Job], Status]:
    """Return a function of a job's status that tells of a damaged folder in one: it hides no other job."""

    def status_of(job: Job) -> Status:
        try:
            return status(job)
        except GansvcError as error:
            return Status(job=job.id, name="", phase="FAILED", error=str(error), started=0, updated=0)

    return status_of


def _address(job: Job) -> str:
    try:
        where = submissions.last(job)
    except GansvcError:  # its status says so
        where = None
    return where.address if where else ""
