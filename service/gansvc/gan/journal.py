"""What a run leaves in its folder on the way: history, validation scores, sample grids, events, its progress."""

from __future__ import annotations

import math
import tempfile
import time
import uuid
from itertools import takewhile
from pathlib import Path
from typing import IO

import torch

from gansvc.gan.images import png
from gansvc.gan.regularization import TERM
from gansvc.gan.run import RunPlan
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import History, Progress, RunRecord, Start, ValidationScore

COLLAPSED = 0.1
"""Diversity below which a generator's samples count as one image."""
COLUMNS = 8
"""Images in a row of a sample grid."""
_PROGRESS_SECONDS, _OBJECT_STORAGE_SECONDS = 2.0, 10.0


class Journal:
    """The records of one run; only the first worker writes them.

    Args:
        folder: the run's folder.
        plan: what the run is to do.
        steps: generator steps in all.
        resumed: generator steps done before this start; later records of an earlier start are dropped.
        world_size: number of workers of this start.
        warnings: what was wrong with the checkpoints that this start found.
    """

    def __init__(
        self, folder: Folder, plan: RunPlan, steps: int, resumed: int, world_size: int, warnings: list[str]
    ) -> None:
        self.folder, self.plan, self.steps = folder, plan, steps
        self.history = [line for line in folder.read_lines(layout.HISTORY, History) if line.step <= resumed]
        self.scores = [line for line in folder.read_lines(layout.EVALUATIONS, ValidationScore) if line.step <= resumed]
        self.starts = [
            *folder.read_lines(layout.STARTS, Start),
            Start(time=time.time(), step=resumed, world_size=world_size, warnings=tuple(warnings)),
        ]
        folder.write_lines(layout.STARTS, self.starts)
        self._progress_written = 0.0
        self._progress_seconds = _PROGRESS_SECONDS if folder.local else _OBJECT_STORAGE_SECONDS
        self._events = None if plan.is_trial else _Events(folder)
        if self._events:
            for line in self.history:
                self._events.add(line)

    def add(self, line: History) -> None:
        """Take one line of history, and write the progress now and then."""
        self.history.append(line)
        if self._events:
            self._events.add(line)
        if time.monotonic() - self._progress_written >= self._progress_seconds:
            self.write_progress()

    def score(self, scored: ValidationScore) -> None:
        """Take one validation score."""
        self.scores.append(scored)
        if self._events:
            self._events.scalar(f"val/{self.plan.spec.objective}", scored.objective, scored.step)

    def best(self) -> ValidationScore | None:
        """Return the best validation score after step 0, the first of equal ones."""
        trained = [scored for scored in self.scores if scored.step > 0]
        return min(trained, key=lambda scored: scored.objective, default=None)

    def write_progress(self) -> None:
        """Write progress.json."""
        self._progress_written = time.monotonic()
        last, best = (self.history[-1] if self.history else None), self.best()
        progress = Progress(
            label=self.plan.label,
            seed=self.plan.seed,
            step=last.step if last else 0,
            steps=self.steps,
            critic_images=last.critic_images if last else 0,
            images_per_second=last.images_per_second if last else 0.0,
            objective=best.objective if best else None,
            diversity=self.scores[-1].diversity if self.scores else None,
            collapsed=bool(self._collapse()),
            updated=time.time(),
        )
        self.folder.write_record(layout.PROGRESS, progress)

    def flush(self) -> None:
        """Write history, scores, events and progress out."""
        self.folder.write_lines(layout.HISTORY, self.history)
        self.folder.write_lines(layout.EVALUATIONS, self.scores)
        if self._events:
            self._events.flush()
        self.write_progress()

    def samples(self, images: torch.Tensor, step: int) -> None:
        """Write a grid of uint8 images (N, C, H, W)."""
        (self.folder / layout.SAMPLES).write(layout.sample_grid(step), png(images, columns=COLUMNS))

    def close(self, state: str, reason: str, seconds: float) -> RunRecord:
        """Write everything out and end the run with run.json."""
        self.flush()
        best, last = self.best(), (self.history[-1] if self.history else None)
        record = RunRecord(
            label=self.plan.label,
            seed=self.plan.seed,
            values=self.plan.loss.values(),
            state=state,
            reason=reason,
            step=last.step if last else 0,
            critic_images=last.critic_images if last else 0,
            initial_objective=next((scored.objective for scored in self.scores if scored.step == 0), None),
            best_step=best.step if best else None,
            best_objective=best.objective if best else None,
            seconds=seconds,
            world_size=self.starts[-1].world_size,
            starts=len(self.starts),
            warnings=(
                *(warning for start in self.starts for warning in start.warnings),
                *self._resized(),
                *self._collapse(),
            ),
            identity=self.plan.identity(),
        )
        self.folder.write_record(layout.RUN, record)
        if self._events:
            self._events.close()
        return record

    def _resized(self) -> list[str]:
        """Return a warning for every start that had another number of workers than the one before, or than asked."""
        before = self.starts[0].world_size if self.plan.is_trial else self.plan.spec.training.workers
        found = []
        for start in self.starts:
            if start.world_size != before:
                found.append(
                    f"from step {start.step} on it had {start.world_size} workers instead of {before}, as many as the "
                    f"cluster had room for; the global batch stayed {self.plan.spec.training.batch_size}"
                )
            before = start.world_size
        return found

    def _collapse(self) -> list[str]:
        """Return a warning if the run ended with samples that are nearly all alike; many a run begins like that."""
        spreads = [(scored.step, scored.diversity) for scored in self.scores if scored.diversity is not None]
        alike = list(takewhile(lambda pair: pair[0] > 0 and pair[1] < COLLAPSED, reversed(spreads)))
        if not alike:
            return []
        (_, at_end), (since, _) = alike[0], alike[-1]
        return [
            f"mode collapse: from step {since} on its samples are nearly all alike "
            f"(at the end they spread {at_end:.1%} as widely as real images do)"
        ]


def finite_or_none(value: float) -> float | None:
    """Return the value, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None


class _Events:
    """One TensorBoard event folder: written in place, or copied to object storage at each flush."""

    def __init__(self, folder: Folder) -> None:
        from tensorboardX import SummaryWriter

        self._folder = folder / layout.TENSORBOARD
        for name in self._folder.names():
            self._folder.delete(name)
        self._scratch = None if self._folder.local else tempfile.TemporaryDirectory(prefix="gansvc-events-")
        self._writer = SummaryWriter(self._scratch.name if self._scratch else _address(self._folder))

    def add(self, line: History) -> None:
        columns = line.model_dump(exclude={"step", "seconds", "terms"})
        for name, value in (columns | {f"{TERM}{name}": value for name, value in line.terms.items()}).items():
            if value is not None:
                self._writer.add_scalar(name, value, line.step)

    def scalar(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()
        if self._scratch:
            for path in Path(self._scratch.name).iterdir():
                self._folder.write(path.name, path.read_bytes())

    def close(self) -> None:
        self._writer.close()
        if self._scratch:
            self._scratch.cleanup()


class _Opener:
    """Opens tensorboardX's files in a local folder, where it would itself follow a link."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def directory_check(self, path: str) -> None:
        """Make no folder: the store does."""

    def open(self, path: str) -> IO[bytes]:
        return self._folder.begin(Path(path).name)


def _address(folder: Folder) -> str:
    """Return what tensorboardX is to take for the path of a local folder."""
    from tensorboardX.record_writer import register_writer_factory

    prefix = f"gansvc-{uuid.uuid4().hex[:12]}"
    register_writer_factory(prefix, _Opener(folder))
    return f"{prefix}:"
