"""The job's sign of life: a thread that keeps status.json true while the driver is busy elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from types import TracebackType

from gansvc.errors import ClusterError, GansvcError
from gansvc.records import DATA, STATUS_LINE, TRIAL_ENDED, DataRecord, Phase, Progress, Status
from gansvc.spec import JobSpec
from gansvc.store import Folder, run_name, trial_folders

PERIOD = 2.0
"""Seconds between two looks at the folder."""
_OBJECT_STORAGE_PERIOD = 10.0
"""The same, where each look is dozens of requests that take their time and are charged for."""
_STALE = 30.0
_TELLING = 20.0
"""Seconds between two statuses in the log."""
_PACE_SECONDS = 10.0
"""Of work that an estimate of the time left rests on at least."""


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
        earlier = folder.read_record("status.json", Status)
        self._is_begun = earlier is not None
        self._status = Status(
            job=job,
            name=spec.name,
            phase="PENDING",
            objective=spec.objective,
            started=earlier.started if earlier else now,
            updated=now,
        )
        # A signal may end the job while this very thread writes.
        self._pace, self._lock, self._over = Pace(), threading.RLock(), threading.Event()
        self._tells, self._told = bool(os.environ.get("GANSVC_STATUS_IN_LOG")), 0.0
        self._thread = threading.Thread(target=self._watch, name="monitor", daemon=True)

    def __enter__(self) -> Monitor:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=10 * PERIOD)

    def enter(self, phase: Phase) -> None:
        """Move the job to a phase and say so at once."""
        with self._lock:
            self._pace = Pace()
            self._status = self._status.model_copy(update={"phase": phase})
            self._told = 0.0
            self._write()

    def warn(self, *warnings: str) -> None:
        """Show warnings with the job from now on."""
        with self._lock:
            self._status = self._status.model_copy(update={"warnings": (*self._status.warnings, *warnings)})

    def lack(self, what: str, reason: str) -> None:
        """Note what couldn't be made beside scores and report: the job succeeds without it, and resuming tries again.

        Args:
            what: its name, as ``model``.
            reason: why, in words.
        """
        self.warn(f"{what} could not be made ({reason}); `gansvc resume` tries again")
        with self._lock:
            self._status = self._status.model_copy(update={"missing": (*self._status.missing, what)})

    def end(self, phase: Phase, error: str = "") -> None:
        """Move the job to a final phase; the last thing written."""
        self._over.set()
        with self._lock:
            update = {"phase": phase, "error": error, "finished": time.time(), "current": (), "seconds_left": 0.0}
            self._status = self._status.model_copy(update=update)
            self._write(final=True)

    def _watch(self) -> None:
        while not self._over.wait(PERIOD if self.folder.local else _OBJECT_STORAGE_PERIOD):
            with self._lock:
                if self._over.is_set():
                    return
                try:
                    self._write()
                except TakenAwayError as error:
                    # Not by an exception: it would wait for the runs that other threads have begun.
                    print(f"Error: {error}", file=sys.stderr, flush=True)  # noqa: T201
                    self._leave(error.exit_code)
                    return
                except GansvcError as error:
                    # One failed look must not end the job; the next one comes in two seconds.
                    print(f"status.json could not be renewed: {error}", flush=True)  # noqa: T201

    def _write(self, final: bool = False) -> None:
        try:
            counts = self._counts(final)
        except GansvcError as error:
            # Where a job stands, and how it ended, is told whatever else its folder holds.
            print(f"what is done could not be counted: {error}", flush=True)  # noqa: T201
            counts = {}
        self._status = self._status.model_copy(update={"updated": time.time(), **counts})
        if self._tells and (final or time.monotonic() - self._told > _TELLING):
            self._told = time.monotonic()
            print(f"{STATUS_LINE}{self._status.model_dump_json()}", flush=True)  # noqa: T201
        self._require_folder()
        self.folder.write_record("status.json", self._status)
        self._is_begun = True

    def _require_folder(self) -> None:
        """Make sure that the folder is the one that the job began in: its status is in it since.

        Raises:
            TakenAwayError: it isn't; a job that wrote on would leave a folder that nobody can resume.
        """
        if self._is_begun and not self.folder.exists("status.json"):
            raise TakenAwayError(
                f"the job's folder {self.folder.uri} was taken away or renamed while the job ran, so the job ends; "
                "`gansvc resume` with the folder's new path goes on, if there is one"
            )

    def _counts(self, final: bool) -> dict[str, object]:
        spec, search = self.spec, self.folder / "search"
        planned_runs = [(loss.label, seed) for loss in spec.losses for seed in spec.training.seeds]
        searched_losses = spec.losses if spec.search else ()
        trials_begun = [trial for loss in searched_losses for trial in trial_folders(search / loss.label)]
        run_folders = [self.folder / "train" / run_name(label, seed) for label, seed in planned_runs]
        over = [trial for trial in trials_begun if trial.exists(TRIAL_ENDED)]
        searched = _seeds(over)
        searching = _seeds(trial for trial in trials_begun if trial not in over)
        ended = {"trials": len(over), "runs": sum(run.exists("run.json") for run in run_folders)}
        at_work = [] if final else _progress(searching if self._status.phase == "SEARCHING" else run_folders)
        best = min(
            (p for p in _progress([*searched, *searching, *run_folders], fresh=False) if p.objective is not None),
            key=lambda p: p.objective or 0.0,
            default=None,
        )
        trials = (spec.search.trials if spec.search else 0) * len(spec.losses)
        scores = sum((self.folder / "evaluation").exists(f"{run_name(*run)}.json") for run in planned_runs)
        return {
            "trials": (min(trials, ended["trials"]), trials),
            "runs": (ended["runs"], len(planned_runs)),
            "scores": (scores, len(planned_runs)),
            "current": tuple(at_work),
            "best_label": best.label if best else "",
            "best_objective": best.objective if best else None,
            "images_per_second": sum(p.images_per_second for p in at_work),
            "seconds_left": None if final else self._seconds_left(ended, at_work),
        }

    @cached_property
    def _images(self) -> int | None:
        """Size of the train split as the driver read it; it has, before a phase that is estimated begins."""
        data = self.folder.read_record(DATA, DataRecord)
        return data.images["train"] if data else None

    def _seconds_left(self, ended: dict[str, int], at_work: list[Progress]) -> float | None:
        """Estimate what is left of this phase and, in proportion to its images, of the next ones."""
        spec, phase = self.spec, self._status.phase
        if phase not in ("SEARCHING", "TRAINING") or self._images is None:
            return None
        run = spec.training.budget(self._images)
        trial = spec.trial_training().budget(self._images) * (spec.search.seeds if spec.search else 1)
        runs = len(spec.losses) * len(spec.training.seeds) * run
        trials = len(spec.losses) * spec.search.trials * trial if spec.search else 0
        now = sum(progress.critic_images for progress in at_work)
        if phase == "SEARCHING":
            done, whole, after = ended["trials"] * trial + now, trials, runs
        else:
            done, whole, after = ended["runs"] * run + now, runs, 0
        pace = self._pace.images_per_second(done, at_work)
        return (max(0.0, whole - done) + after) / pace if pace else None


class Pace:
    """How fast a phase goes, from when its work is first seen.

    So neither the start of its processes counts, nor what an earlier start of the job left.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._before = 0.0
        self._seen: set[tuple[str, int]] = set()

    def images_per_second(self, done: float, at_work: list[Progress]) -> float:
        """Return the mean so far, 0 while it isn't known.

        Args:
            done: critic images of the phase, those of ``at_work`` and of what has ended included.
            at_work: what is trained now.
        """
        new = [progress for progress in at_work if (progress.label, progress.seed) not in self._seen]
        self._seen |= {(progress.label, progress.seed) for progress in new}
        if self._since is not None:
            self._before += sum(progress.critic_images for progress in new)
        elif new:
            self._since, self._before = time.monotonic(), done
        spent = time.monotonic() - self._since if self._since is not None else 0.0
        return max(0.0, done - self._before) / spent if spent >= _PACE_SECONDS else 0.0


def refuse(folder: Folder, error: str) -> None:
    """Give a job that can't even begin its last status."""
    begun = folder.read_record("status.json", Status)
    if begun is not None:
        now = time.time()
        last = begun.model_copy(update={"phase": "FAILED", "error": error, "finished": now, "updated": now})
        folder.write_record("status.json", last)


def _seeds(trials: Iterable[Folder]) -> list[Folder]:
    return [trial / name for trial in trials for name in trial.names() if name.startswith("seed")]


def _progress(folders: Iterable[Folder], fresh: bool = True) -> list[Progress]:
    """Return the progress of the folders' trainings; only of those at work now, if ``fresh``."""
    found = []
    for folder in folders:
        if fresh and folder.exists("run.json"):
            continue
        progress = folder.read_record("progress.json", Progress)
        at_work = progress and progress.step < progress.steps and time.time() - progress.updated < _STALE
        if progress and (at_work or not fresh):
            found.append(progress)
    return found
