"""Score a job's runs on several evaluators, and make the validator in a worker."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import ray
import torch

from gansvc.cluster.evaluation import Evaluator, file_stem, make_validator
from gansvc.gan.data import Images
from gansvc.gan.sampling import CHUNK
from gansvc.gan.scoring import usefulness
from gansvc.spec.capacity import WorkerResources
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord


class EvaluatorTask(NamedTuple):
    """What an evaluator is to do next."""

    run: RunRecord | None
    """None stands for the noise floor."""
    part: int | None = None
    """Part of the run's samples to extract features of; None to score the run."""

    @property
    def name(self) -> str:
        """The run's name."""
        return file_stem(self.run)


def validator(spec: JobSpec, images: torch.Tensor, worker: WorkerResources) -> ray.ObjectRef:
    """Return a reference to the job's Validator, made in a worker from the validation images."""
    return ray.remote(make_validator).options(num_cpus=worker.cpus, num_gpus=worker.gpus).remote(spec, images, worker)


def score_all(
    spec: JobSpec,
    runs: list[RunRecord],
    train: Folder,
    target: Folder,
    images: Images,
    worker: WorkerResources,
    at_once: int,
    on_progress: Callable[[Sequence[str], int], None] = lambda names, left: None,
) -> Iterator[tuple[str, BaseException | None]]:
    """Score runs' best checkpoints and, as the noise floor, the real train split; yield each one's name when done.

    With the name comes the error of one that can't be scored; the others go on.

    Where there are fewer of them than evaluators, the evaluators share each run's samples; the scores are the same.

    Args:
        spec: the job's spec.
        runs: finished runs.
        train: the folder that holds the runs' folders.
        target: the evaluation folder.
        images: the data set.
        worker: what an evaluator asks of the cluster.
        at_once: evaluators that work at the same time.
        on_progress: gets the names of what is scored now, and how many scores are left, whenever that changes.
    """
    # The noise floor comes last: by then its features are cached, since the audits need them too.
    wanted: list[RunRecord | None] = [*runs, None]
    there = target.names()
    missing = [run for run in wanted if layout.score(file_stem(run)) not in there]
    if not missing:
        return
    parts = 1 if len(missing) >= at_once else min(at_once, -(-spec.evaluation.samples // CHUNK))
    todo: deque[EvaluatorTask] = deque(
        EvaluatorTask(run, part) for run in missing for part in range(parts if run else 1)
    )
    data = ray.put(images)
    asks = ray.remote(Evaluator).options(num_cpus=worker.cpus, num_gpus=worker.gpus, max_restarts=2, max_task_retries=2)
    useful = usefulness.select_runs(spec, runs)
    actors = (asks.remote(spec, data, train, target, worker, useful) for _ in range(min(at_once, len(todo))))
    yield from _dispatch(todo, parts, {actor.__ray_ready__.remote(): actor for actor in actors}, on_progress)


def _dispatch(
    todo: deque[EvaluatorTask],
    parts: int,
    at_work: dict[ray.ObjectRef, Any],
    on_progress: Callable[[Sequence[str], int], None],
) -> Iterator[tuple[str, BaseException | None]]:
    """Give each evaluator its next task when it is up and free; yield the name of each run that is over, and its error.

    The features stay in the object store: this process passes on references.
    """
    left = Counter(task.name for task in todo)
    features: dict[str, list[ray.ObjectRef]] = defaultdict(list)
    begun: dict[ray.ObjectRef, EvaluatorTask] = {}
    prepared: ray.ObjectRef | None = None
    missing = len(left)
    on_progress((), missing)
    while todo or begun:
        (done,), _ = ray.wait(list(at_work), fetch_local=False)
        actor, ended = at_work.pop(done), begun.pop(done, None)
        if ended and ended.part is not None:
            left[ended.name] -= 1
            if not left[ended.name]:
                todo.appendleft(EvaluatorTask(ended.run))

        # An evaluator that nothing is left for isn't kept, so that another job gets its place.
        if prepared is None:
            prepared = actor.prepare.remote()
            at_work[prepared] = actor
        elif todo:
            task = todo.popleft()
            if task.part is None:
                reference = actor.score.remote(task.run, prepared, *features.pop(task.name))
            else:
                reference = actor.extract.remote(task.run, task.part, parts)
                features[task.name].append(reference)
            at_work[reference], begun[reference] = actor, task
        missing -= bool(ended and ended.part is None)
        on_progress(list(dict.fromkeys(task.name for task in begun.values())), missing)
        if ended and ended.part is None:
            yield ended.name, _error(done)


def _error(task: ray.ObjectRef) -> BaseException | None:
    """Return what a task raised, or None."""
    try:
        ray.get(task)
    except ray.exceptions.RayError as error:
        return cast("BaseException", error)
    return None
