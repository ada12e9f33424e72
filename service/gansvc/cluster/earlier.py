"""Recover a search from its trial folders: the trials that are over, those to go on with, what they reported.

It is read from the trials' folders, never from Tune's own files: those are pickles, which run code when they are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from gansvc.catalog.spaces import Value
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.parallel import ask_all
from gansvc.store.records import RunRecord, TrialValues, ValidationScore

WORST = 1e9
"""What a training without a finite score reports, so that no search algorithm has to compare with NaN."""


@dataclass(frozen=True)
class PreviousTrial:
    """One trial that an earlier start began."""

    name: str
    """Name of its folder."""
    values: dict[str, Value]
    over: bool
    """Whether it needs no more training; one that failed is tried again."""
    reports: tuple[dict[str, float], ...]
    """What it told Tune so far, in order."""

    def objective(self) -> float:
        """Return what it last told of its score."""
        return self.reports[-1]["objective"] if self.reports else WORST


def read_trials(spec: JobSpec, labels: Sequence[str], folder: Folder) -> dict[str, list[PreviousTrial]]:
    """Return the trials of losses that a search folder holds; label to trials."""
    return {label: ask_all(folder, partial(_read_trial, spec), list_trials(folder / label)) for label in labels}


def list_trials(search: Folder) -> list[Folder]:
    """Return the folders of a loss's trials that have values, in the order of their numbers: by one listing."""
    found = (name.split("/") for name in sorted(search.tree()))
    return [search / trial for trial, *inside in found if inside == [layout.VALUES] and layout.is_trial(trial)]


def summarise_scores(scores: Sequence[Sequence[ValidationScore]]) -> dict[str, float]:
    """Return the mean over the begun runs of each one's best score, and the critic images of all of them.

    For a trial's seeds: as the images run on over all of them, trials are equally far on wherever ASHA compares them.
    """
    begun = [scored for scored in scores if scored]
    if not begun:
        return {"objective": WORST, "critic_images": 0}
    return {
        "objective": fmean(min(line.objective for line in scored) for scored in begun),
        "critic_images": sum(scored[-1].critic_images for scored in begun),
    }


def read_values(trial: Folder) -> dict[str, Value]:
    """Return the values that a trial was begun with.

    Raises:
        ClusterError: its record is damaged.
    """
    kept = trial.read_record(layout.VALUES, TrialValues)
    return dict(kept.root) if kept else {}


def _read_trial(spec: JobSpec, trial: Folder) -> PreviousTrial:
    settings = spec.search
    assert settings is not None
    seeds = [trial / layout.seed_name(seed) for seed in range(settings.seed, settings.seed + settings.seeds)]
    records = [record for seed in seeds if (record := seed.read_record(layout.RUN, RunRecord))]
    diverged = any(record.state == "diverged" for record in records)
    scores = [seed.read_lines(layout.EVALUATIONS, ValidationScore) for seed in seeds]
    reports = [
        summarise_scores([*scores[:at], lines[:count]])
        for at, lines in enumerate(scores)
        for count in range(1, len(lines) + 1)
    ]
    if diverged:
        reports.append(summarise_scores(scores) | {"objective": WORST})
    return PreviousTrial(
        name=trial.uri.rpartition("/")[2],
        values=read_values(trial),
        # Nothing in the file: it has ended by itself or was stopped early, and did not fail.
        over=diverged or len(records) == len(seeds) or trial.read(layout.TRIAL_ENDED) == b"",
        reports=tuple(reports),
    )
