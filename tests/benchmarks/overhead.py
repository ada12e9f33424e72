"""overhead_share: the part of a job's wall time in which none of its processes trains or scores."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from gansvc import api
from gansvc.errors import RunError
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord, Start, ValidationScore
from gansvc.store.scores import Score

from .measured import Aim, Measured, from_values, say

QUICKSTART = Path(__file__).parents[2] / "jobs" / "quickstart.yaml"
EPOCHS = 14
"""Of each run, so that the job takes about five minutes on two cores."""

Span = tuple[float, float]
"""Begin and end, Unix time."""


def measure(rounds: int | None = None) -> Measured:
    """Run the quickstart, shortened, as the command line does, on the cluster that is up.

    Raises:
        RunError: the job failed.
    """
    spec = api.validate(QUICKSTART, {"training.epochs": EPOCHS})
    shares, walls = [], []
    for number in range(1, (rounds or 1) + 1):
        say(f"overhead_share: round {number} of {rounds or 1}")
        with tempfile.TemporaryDirectory() as storage:
            *_, last = api.follow(api.submit(spec, storage=storage))
            if last.phase != "SUCCEEDED" or last.finished is None:
                raise RunError(f"the job is {last.phase}: {last.error}")
            walls.append(last.finished - last.started)
            shares.append(1 - covered(spans(Folder(storage) / last.job), (last.started, last.finished)) / walls[-1])
    what = (
        "share, no ratio: of a job's wall time, from submission to report with the cluster up, the part in which no "
        f"process trains or scores; jobs/quickstart.yaml with {EPOCHS} epochs, {walls[-1]:.0f} s. Starting "
        "processes, preparing real features, searching's and Ray Train's own work and the report are overhead; a trial "
        "or run counts from its first step to its last score, a final score as long as its record says"
    )
    return from_values("overhead_share", what, shares, Aim("under", 0.15))


def spans(job: Folder) -> Iterator[Span]:
    """Yield when each trial and run trained and each checkpoint was scored, by the job folder's records."""
    for path in sorted(Path(job.uri).rglob("starts.jsonl")):
        folder = Folder(path.parent)
        starts = folder.read_lines("starts.jsonl", Start)
        if len(starts) > 1:
            raise RunError(f"{folder.uri} was started {len(starts)} times; the time between isn't known")
        # A trial that was stopped early leaves no record but its scores.
        ended: list[RunRecord | ValidationScore] = [*folder.read_lines("evaluations.jsonl", ValidationScore)]
        ended += [record] if (record := folder.read_record("run.json", RunRecord)) else []
        for start in starts:
            yield start.time, start.time + max((record.seconds for record in ended), default=0.0)
    for name in (job / "evaluation").names():
        if name.endswith(".json") and not name.endswith((".audit.json", ".usefulness.json")):
            score, end = (job / "evaluation").read_record(name, Score), Path((job / "evaluation").path(name))
            if score:
                yield end.stat().st_mtime - score.seconds, end.stat().st_mtime


def covered(parts: Iterable[Span], whole: Span) -> float:
    """Return how many seconds of the whole lie in at least one of the parts."""
    seconds, reached = 0.0, whole[0]
    for begin, end in sorted(parts):
        seconds += max(0.0, min(end, whole[1]) - max(begin, reached))
        reached = max(reached, end)
    return seconds
