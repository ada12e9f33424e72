"""Training all runs of a job: in lanes side by side, one run after the other in each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import ray

from gansvc.cluster import failures
from gansvc.cluster.distributed import train_distributed
from gansvc.cluster.training import Assets, PlannedRun, ended_record, parent_folder, train_here
from gansvc.errors import RunError
from gansvc.gan.run import RunPlan
from gansvc.spec.capacity import WorkerResources
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord


def train_all(
    todo: list[PlannedRun], assets: Assets, worker: WorkerResources, workers: int, at_once: int
) -> list[RunRecord]:
    """Train several runs, as many at once as fit, and return how each ended.

    A run that fails is recorded as failed with its reason; the others go on.

    Raises:
        ClusterError: the storage failed under a run; none can go on.
    """
    if not todo:
        return []
    parent_folder(todo).delete(layout.RAY_SCRATCH)  # a driver that was killed may have left it
    lanes = [todo[lane::at_once] for lane in range(min(at_once, len(todo)))]
    with ThreadPoolExecutor(max_workers=len(lanes)) as pool:
        done = [*pool.map(lambda lane: _train_lane(lane, assets, worker, workers), lanes)]
    parent_folder(todo).delete(layout.RAY_SCRATCH)
    return [record for lane in done for record in lane]


def _train_lane(todo: list[PlannedRun], assets: Assets, worker: WorkerResources, workers: int) -> list[RunRecord]:
    """Train runs one after the other; one that can't be finished is recorded as failed and left behind."""
    while left := [run for run in todo if ended_record(run) is None]:
        # A group of workers takes all that is left in turn; a single worker takes the first alone.
        taken = left if workers > 1 else left[:1]
        try:
            if workers > 1:
                train_distributed(taken, assets, worker, workers)
            else:
                _train_in_task(taken[0], assets, worker)
            reason = "the workers ended without a record; see the job's log"
        except (RunError, ray.exceptions.RayError) as error:
            if fault := failures.cluster_fault(error):
                raise fault from None
            reason = failures.last_line(error)
        if broken := next((run for run in taken if ended_record(run) is None), None):
            plan, folder = broken
            failed = RunRecord(
                label=plan.label,
                seed=plan.seed,
                values=plan.loss.values(),
                identity=plan.identity(),
                state="failed",
                reason=reason,
            )
            folder.write_record(layout.RUN, failed)
    return [record for run in todo if (record := ended_record(run))]


def _train_in_task(run: PlannedRun, assets: Assets, worker: WorkerResources) -> None:
    plan, folder = run
    asks = {"num_cpus": worker.cpus, "num_gpus": worker.gpus, "max_retries": plan.spec.training.max_restarts}
    ray.get(_train_task.options(**asks).remote(plan, assets, folder, worker))


def _train_quietly(plan: RunPlan, assets: Assets, folder: Folder, worker: WorkerResources) -> RunRecord:
    return train_here(plan, assets, folder, worker, lambda scored: None)


_train_task = ray.remote(_train_quietly)
