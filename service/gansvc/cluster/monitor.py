"""Heartbeat thread that aggregates progress into status.json, however busy the driver is elsewhere."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from types import TracebackType

from gansvc.cluster.inventory import Inventory
from gansvc.cluster.timeleft import TimeLeft
from gansvc.errors import ClusterError, GansvcError
from gansvc.schema.bounded import MAX_ITEMS
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import STATUS_LINE, DataRecord, Phase, Status
from gansvc.store.statusline import line

PERIOD = 2.0
"""Seconds between two looks at the folder."""
OBJECT_STORAGE_PERIOD = 10.0
"""The same, where each look is several requests that take their time and are charged for."""
_LOG_PERIOD = 20.0
"""Seconds between two statuses in the log, and two lines of progress."""


class TakenAwayError(ClusterError):
    """The job's folder is no longer where the job began."""


class Monitor:
    """Writes status.json every few seconds from what trials and runs leave in the job folder.

    Args:
        folder: the job folder.
        job: the job's id.
        spec: the job's spec.
        leave: ends the process with an exit code, should the folder be taken away.
    """

    def __init__(self, folder: Folder, job: str, spec: JobSpec, leave: Callable[[int], object] = os._exit) -> None:
        self.folder, self.job, self.spec, self._leave = folder, job, spec, leave
        now = time.time()
        earlier = folder.read_record(layout.STATUS, Status)
        self._is_begun = earlier is not None
        self._status = Status(
            job=job,
            name=spec.name,
            phase="PENDING",
            objective=spec.objective,
            started=earlier.started if earlier else now,
            updated=now,
        )
        # It guards the status and its file, never a look. A signal may end the job while this very thread writes.
        self._lock, self._over = threading.RLock(), False
        # A signal's handler may put something into a SimpleQueue at any moment; an Event could block it.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._period = PERIOD if folder.local else OBJECT_STORAGE_PERIOD
        self._inventory, self._time = Inventory(folder, spec), TimeLeft(spec)
        self._logs_for_clients, self._last_logged = bool(os.environ.get("GANSVC_STATUS_IN_LOG")), 0.0
        self._thread = threading.Thread(target=self._watch, name="monitor", daemon=True)

    def __enter__(self) -> Monitor:
        self._thread.start()
        threading.Thread(target=self._keep_alive, name="heartbeat", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._wake.put(None)
        self._thread.join(timeout=10 * PERIOD)

    def enter(self, phase: Phase) -> None:
        """Move the job to a phase and say so at once; a look at the folder follows."""
        with self._lock:
            self._time.begin_phase()
            self._last_logged = 0.0
            self._replace(phase=phase, current=(), scoring=(), seconds_left=None, at_least=False)
        self._wake.put(None)

    def score(self, names: Sequence[str], left: int) -> None:
        """Note what is scored now.

        Args:
            names: names of the runs, and of the noise floor.
            left: how many scores are still to be made, these included.
        """
        with self._lock:
            self._time.score(left)
            self._status = self._status.model_copy(update={"scoring": tuple(names)})

    def update(self) -> None:
        """Look at what the job folder holds, and write the status with it unless the job has moved on meanwhile.

        Raises:
            ClusterError: the storage doesn't take the status.
        """
        phase = self._status.phase
        found = self._counts(phase)
        with self._lock:
            if not self._over and self._status.phase == phase:
                self._replace(**found)

    def warn(self, *warnings: str) -> None:
        """Show warnings with the job from now on."""
        with self._lock:
            self._status = self._status.model_copy(update={"warnings": (*self._status.warnings, *warnings)})

    def note_missing(self, what: str, reason: str) -> None:
        """Note what couldn't be made beside scores and report: the job succeeds without it, and resuming tries again.

        Args:
            what: its name, as ``model``.
            reason: why, in words.
        """
        self.warn(f"{what} could not be made ({reason}); `gansvc resume` tries again")
        with self._lock:
            self._status = self._status.model_copy(update={"missing": (*self._status.missing, what)})

    def end(self, phase: Phase, error: str = "") -> None:
        """Move the job to a final phase; the last thing written. A job that is stopped isn't kept waiting by a look."""
        self._over = True
        self._wake.put(None)
        counts = {} if phase == "STOPPED" else self._counts(self._status.phase, final=True)
        last = {"phase": phase, "error": error, "finished": time.time(), "current": (), "scoring": ()}
        with self._lock:
            self._replace(**counts | last | {"seconds_left": 0.0, "at_least": False, "images_per_second": 0.0})

    def _watch(self) -> None:
        while True:
            with suppress(queue.Empty):
                self._wake.get(timeout=self._period)
            if self._over:
                return
            self._renew(self.update)

    def _keep_alive(self) -> None:
        """Rewrite a status that gets old while a look takes long."""
        while not self._over:
            time.sleep(self._period)
            self._renew(self._rewrite_if_old)

    def _rewrite_if_old(self) -> None:
        with self._lock:
            if not self._over and time.time() - self._status.updated > 2 * self._period:
                self._replace()

    def _renew(self, write: Callable[[], None]) -> None:
        try:
            write()
        except TakenAwayError as error:
            if self._over:
                return
            self._over = True
            # Not by an exception: it would wait for the runs that other threads have begun.
            print(f"Error: {error}", file=sys.stderr, flush=True)  # noqa: T201
            self._leave(error.exit_code)
        except GansvcError as error:
            # One failed look must not end the job; the next one comes in two seconds.
            print(f"status.json could not be renewed: {error}", flush=True)  # noqa: T201

    def _replace(self, **update: object) -> None:
        self._status = self._status.model_copy(update={"updated": time.time(), **update})
        if self._status.finished or time.monotonic() - self._last_logged > _LOG_PERIOD:
            self._last_logged = time.monotonic()
            # For whoever reads the log while it trains; the second line is for clients.
            print(line(self._status), flush=True)  # noqa: T201
            if self._logs_for_clients:
                print(f"{STATUS_LINE}{self._status.model_dump_json()}", flush=True)  # noqa: T201
        self._require_folder()
        self.folder.write_record(layout.STATUS, self._status)
        self._is_begun = True

    def _require_folder(self) -> None:
        """Make sure that the folder is the one that the job began in: its status is in it since.

        Raises:
            TakenAwayError: it isn't; a job that wrote on would leave a folder that nobody can resume.
        """
        if self._is_begun and not self.folder.exists(layout.STATUS):
            raise TakenAwayError(
                f"the job's folder {self.folder.uri} was taken away or renamed while the job ran, so the job ends; "
                "`gansvc resume` with the folder's new path goes on, if there is one"
            )

    def _counts(self, phase: Phase, final: bool = False) -> dict[str, object]:
        """Return what the status says of the folder; nothing where that can't be told."""
        try:
            found = self._inventory.count(phase, whole=final)
            images = self._images if phase in ("SEARCHING", "TRAINING") else None
            left = None if final else self._time.seconds(phase, images, found)
        except GansvcError as error:
            # Where a job stands, and how it ended, is told whatever else its folder holds.
            print(f"what is done could not be counted: {error}", flush=True)  # noqa: T201
            return {}
        spec, best = self.spec, found.best
        trials = (spec.search.trials if spec.search else 0) * len(spec.losses)
        runs = len(spec.losses) * len(spec.training.seeds)
        return {
            "trials": (min(trials, found.trials), trials),
            "runs": (found.runs, runs),
            "scores": (found.scores, runs),
            "current": found.at_work[:MAX_ITEMS],
            "best_label": best.label if best else "",
            "best_objective": best.objective if best else None,
            "images_per_second": sum(p.images_per_second for p in found.at_work),
            "seconds_left": left,
            "at_least": left is not None,
        }

    @cached_property
    def _images(self) -> int | None:
        """Size of the train split as the driver read it; it has, before a phase that is estimated begins."""
        data = self.folder.read_record(layout.DATA, DataRecord)
        return data.images["train"] if data else None


def refuse(folder: Folder, error: str) -> None:
    """Give a job that can't even begin its last status."""
    begun = folder.read_record(layout.STATUS, Status)
    if begun is not None:
        now = time.time()
        last = begun.model_copy(update={"phase": "FAILED", "error": error, "finished": now, "updated": now})
        folder.write_record(layout.STATUS, last)
