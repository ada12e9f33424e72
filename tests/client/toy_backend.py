"""A third backend in one module: drivers are processes of this machine, each with its log in the folder of an address.

``toy:///FOLDER`` names it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store import jobfolder, jobstatus, submissions
from gansvc.store.delivery import Delivery
from gansvc.store.driverstate import ENDED, Driver
from gansvc.store.folder import Folder
from gansvc.store.inspection import Check, NodeFiles
from gansvc.store.jobfolder import Job
from gansvc.store.records import FINAL_PHASES, Status
from gansvc.store.submissions import Ask, Destination, Setting, Submission

SCHEME = "toy://"
DRIVER = "import sys, time; print(sys.argv[1], 'works', flush=True); time.sleep(600)"


class Toy:
    """The backend of processes."""

    computes_here = True

    def __init__(self) -> None:
        self.drivers: dict[str, subprocess.Popen[bytes]] = {}

    def takes(self, cluster: str) -> bool:
        return cluster.startswith(SCHEME)

    def settings(self, cluster: str) -> dict[str, Setting]:
        return {"folder": Setting(cluster.removeprefix(SCHEME), "the address")}

    def preview(self, spec: JobSpec, to: Destination) -> None:
        return None

    def submit(self, spec: JobSpec, to: Destination, say: Callable[[str], None]) -> Job:
        job = jobfolder.new(spec.name, to.storage.value)
        where = Submission(address=to.cluster.value, submitted=time.time())
        jobstatus.begin(job, spec.name, jobfile.dump(spec), where)
        self._start(job, where)
        return job

    def resume(self, job: Job, spec: JobSpec, last: Submission, say: Callable[[str], None]) -> None:
        where = last.follow(last)
        jobstatus.restart(job, where)
        self._start(job, where)

    def adopt(self, to: Destination) -> None:
        return None

    def prefetch(self, spec: JobSpec, cluster: Setting, mirror: str) -> Sequence[NodeFiles]:
        return [NodeFiles(node="toy", files={"none": mirror})]

    def check(self, to: Destination, spec: JobSpec | None) -> list[Check]:
        return [Check("drivers", "ok", f"{len(self.drivers)}")]

    def ask(self, job: Job, where: Submission) -> Driver | None:
        process = self.drivers.get(where.driver(job))
        if process is None:
            return None
        code = process.poll()
        return Driver("RUNNING" if code is None else "FAILED", "" if code is None else f"it exited with {code}")

    def status(self, job: Job, where: Submission, ask: Ask, trusted: float) -> Status:
        known, driver = jobstatus.read(job), ask(job, where)
        if known.phase in FINAL_PHASES or driver is None or driver.state not in ENDED:
            return known
        return jobstatus.finish(job, "FAILED", driver.message)

    def follow(self, job: Job, where: Submission) -> Iterator[Status]:
        while (known := self.status(job, where, self.ask, 0)).phase not in FINAL_PHASES:
            yield known
            time.sleep(0.05)
        yield known

    def logs(self, job: Job, where: Submission, follow: bool) -> Iterator[str]:
        if follow:
            self.drivers[where.driver(job)].wait()
        yield self._log(job, where).read_text()

    def stop(self, job: Job, where: Submission) -> None:
        process = self.drivers[where.driver(job)]
        process.kill()
        process.wait()

    def fetch(self, job: Job, where: Submission, to: Delivery, skip: tuple[str, ...]) -> None:
        to.copy(Folder(job.folder), skip)

    def fetch_report(self, job: Job, where: Submission) -> None:
        return None

    def _log(self, job: Job, where: Submission) -> Path:
        return Path(where.address.removeprefix(SCHEME), f"{where.driver(job)}.log")

    def _start(self, job: Job, where: Submission) -> None:
        assert submissions.last(job) == where, "kept before anything runs"
        with self._log(job, where).open("w") as log:
            command = [sys.executable, "-c", DRIVER, where.driver(job)]
            self.drivers[where.driver(job)] = subprocess.Popen(command, stdout=log)
