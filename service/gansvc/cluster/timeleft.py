"""Estimate the time that a job still takes, from the paces that it has shown."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gansvc.cluster.inventory import FolderCounts
from gansvc.spec.job import JobSpec
from gansvc.store.records import Phase, Progress

_PACE_SECONDS = 10.0
"""Of work that an estimate of the time left rests on at least."""


class TimeLeft:
    """Estimates what is left of a phase and, in proportion to their images, of the trainings after it.

    It is the least that the job still takes: how fast scores come is known after the first one, and what the model and
    the report take isn't known before.

    Args:
        spec: the job's spec.
    """

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._pace = Pace()
        self._scoring: tuple[float, int] | None = None
        self._scored: tuple[float, int] = (0.0, 0)

    def begin_phase(self) -> None:
        """Forget the pace of the phase before."""
        self._pace = Pace()

    def score(self, left: int) -> None:
        """Note how many scores are still to be made."""
        if self._scoring is None:
            self._scoring = time.monotonic(), left
        if self._scored[1] != left:
            self._scored = time.monotonic(), left

    def seconds(self, phase: Phase, images: int | None, found: FolderCounts) -> float | None:
        """Return the seconds left, None while there is nothing to judge by.

        Args:
            phase: the phase that the job is in.
            images: size of the train split, if it is known.
            found: what the job folder holds.
        """
        if phase == "EVALUATING":
            return self._of_scores()
        if phase not in ("SEARCHING", "TRAINING") or images is None:
            return None
        spec = self._spec
        run = spec.training.budget(images)
        trial = spec.trial_training().budget(images) * (spec.search.seeds if spec.search else 1)
        runs = len(spec.losses) * len(spec.training.seeds) * run
        trials = len(spec.losses) * spec.search.trials * trial if spec.search else 0
        now = sum(progress.critic_images for progress in found.at_work)
        if phase == "SEARCHING":
            done, whole, after = found.trials * trial + now, trials, runs
        else:
            done, whole, after = found.runs * run + now, runs, 0
        pace = self._pace.images_per_second(done, found.at_work)
        return (max(0.0, whole - done) + after) / pace if pace else None

    def _of_scores(self) -> float | None:
        """Return the scores that are left times the seconds that one took so far, the evaluators' start included."""
        if self._scoring is None or self._scored[1] >= self._scoring[1]:
            return None
        (began, planned), (when, left) = self._scoring, self._scored
        each = (when - began) / (planned - left)
        return max(0.0, left * each - (time.monotonic() - when))


class Pace:
    """How fast a phase goes, from when its work is first seen.

    So neither the start of its processes counts, nor what an earlier start of the job left.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._before = 0.0
        self._seen: set[tuple[str, int]] = set()

    def images_per_second(self, done: float, at_work: Sequence[Progress]) -> float:
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
