"""Count the trials, runs and scores of a job folder, again and again, at the cost of what is new."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from gansvc.files.localfiles import FileFacts
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.parallel import ask_all
from gansvc.store.records import Phase, Progress

STALE = 30.0
"""Seconds after which a training that told nothing isn't at work any more."""
_READS = 90
"""Records that a look reads from an object storage at most; the next one goes on."""
_CHANGES: dict[Phase, str] = {
    "SEARCHING": layout.SEARCH,
    "TRAINING": layout.TRAIN,
    "EVALUATING": layout.EVALUATION,
}
"""The one part of the job folder that a phase writes to."""


class FolderCounts(NamedTuple):
    """What a job folder holds of trials, runs and scores."""

    trials: int
    """Trials that are over."""
    runs: int
    """Runs that are over."""
    scores: int
    """Runs that are scored."""
    at_work: tuple[Progress, ...]
    """The trials, while a search is on, or the runs that are trained now."""
    best: Progress | None
    """The training with the best validation score."""


class _Training(NamedTuple):
    name: str
    """Of its progress.json in the job folder."""
    facts: FileFacts
    over: bool
    """Whether its trial or run has ended, so that the file stays as it is."""
    counts: bool
    """Whether it may be among those at work."""


class Inventory:
    """Looks at a job folder: one listing of what the phase writes, and the records that may have changed since.

    What has ended is read once, and again only where the listing gives its file another size or time. Two threads may
    look at once.

    Args:
        folder: the job folder.
        spec: the job's spec.
    """

    def __init__(self, folder: Folder, spec: JobSpec) -> None:
        self._folder, self._losses = folder, [loss.label for loss in spec.losses]
        self._searches = spec.search is not None
        self._runs = [layout.run_name(label, seed) for label in self._losses for seed in spec.training.seeds]
        self._listed: dict[str, tuple[Phase, dict[str, FileFacts]]] = {}
        self._read: dict[str, tuple[FileFacts, Progress | None]] = {}

    def count(self, phase: Phase, whole: bool = False) -> FolderCounts:
        """Return what is there.

        Args:
            phase: the phase that the job is in; the parts that it doesn't write to are listed once.
            whole: whether to read all that is new, however much it is.

        Raises:
            ClusterError: the storage fails, or a record is damaged.
        """
        search = self._tree(layout.SEARCH, phase) if self._searches else {}
        train, evaluation = self._tree(layout.TRAIN, phase), self._tree(layout.EVALUATION, phase)
        ended = {name.rpartition("/")[0] for name in search if name.endswith(f"/{layout.TRIAL_ENDED}")}
        trainings = [*self._of_trials(search, ended, phase), *self._of_runs(train, phase)]
        progress = self._progress(trainings, whole)
        now = time.time()
        scored = [p for p in progress.values() if p.objective is not None]
        return FolderCounts(
            trials=sum(map(self._is_trial, ended)),
            runs=sum(f"{run}/{layout.RUN}" in train for run in self._runs),
            scores=sum(layout.score(run) in evaluation for run in self._runs),
            at_work=tuple(
                p
                for training in trainings
                if training.counts and (p := progress.get(training.name))
                if p.step < p.steps and now - p.updated < STALE
            ),
            best=min(scored, key=lambda p: p.objective or 0.0, default=None),
        )

    def _tree(self, part: str, phase: Phase) -> dict[str, FileFacts]:
        known = self._listed.get(part)
        if known is None or known[0] != phase or _CHANGES.get(phase) == part:
            known = self._listed[part] = phase, (self._folder / part).tree()
        return known[1]

    def _is_trial(self, folder: str) -> bool:
        label, _, trial = folder.partition("/")
        return label in self._losses and layout.is_trial(trial)

    def _of_trials(self, tree: dict[str, FileFacts], ended: set[str], phase: Phase) -> Iterator[_Training]:
        for name, facts in tree.items():
            seed, _, file = name.rpartition("/")
            trial = seed.rpartition("/")[0]
            if file == layout.PROGRESS and seed.startswith(f"{trial}/seed") and self._is_trial(trial):
                over = trial in ended
                here = phase == "SEARCHING" and not over and f"{seed}/{layout.RUN}" not in tree
                yield _Training(f"{layout.SEARCH}/{name}", facts, over, here)

    def _of_runs(self, tree: dict[str, FileFacts], phase: Phase) -> Iterator[_Training]:
        for run in self._runs:
            if facts := tree.get(f"{run}/{layout.PROGRESS}"):
                over = f"{run}/{layout.RUN}" in tree
                yield _Training(
                    f"{layout.TRAIN}/{run}/{layout.PROGRESS}", facts, over, phase != "SEARCHING" and not over
                )

    def _progress(self, trainings: list[_Training], whole: bool) -> dict[str, Progress]:
        """Return the progress of each training that has been read, now or before."""
        new = [t for t in trainings if not t.over or self._read.get(t.name, (None,))[0] != t.facts]
        if not whole and not self._folder.local:
            new = sorted(new, key=lambda training: training.over)[:_READS]
        found = ask_all(self._folder, lambda training: self._folder.read_record(training.name, Progress), new)
        for training, progress in zip(new, found, strict=True):
            # One that is at work may write again within the clock's tick: it is read at each look.
            self._read[training.name] = training.facts, progress
        read = ((training.name, self._read.get(training.name, (None, None))[1]) for training in trainings)
        return {name: progress for name, progress in read if progress is not None}
