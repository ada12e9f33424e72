"""Running one training: in the process at hand, or by several workers under Ray Train."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device, prepare_model

from gansvc.cluster.earlier import told
from gansvc.errors import ClusterError, RunError
from gansvc.gan import checkpoint
from gansvc.gan.run import Platform, RunPlan
from gansvc.gan.train import train
from gansvc.spec.capacity import Share, fitting
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import Evaluated, RunRecord

_PATIENCE = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
"""Ray's variable of how long a group waits for its places before it is asked again whether there are so many."""

Task = tuple[RunPlan, Folder]
"""A run, and the folder that it leaves its records in."""


@dataclass(frozen=True)
class Assets:
    """What every training of a job reads, put into the object store once."""

    images: ray.ObjectRef
    """The train split, uint8 (N, C, H, W)."""
    validator: ray.ObjectRef
    """A gan.evaluate.Validator."""
    labels: ray.ObjectRef
    """The train split's classes, int64 (N,), or None where the data set has none."""
    train_images: int
    """Size of the train split."""
    content: Mapping[str, str] = field(default_factory=dict)
    """Hashes of the data set and of the extractor's weights; see RunPlan."""


def run_here(
    plan: RunPlan, assets: Assets, folder: Folder, share: Share, report: Callable[[Evaluated], None]
) -> RunRecord:
    """Train in this process, as its only worker; ``report`` is called after each validation score."""
    torch.set_num_threads(max(1, int(share.cpus)))
    device = torch.device("cuda" if share.gpus and torch.cuda.is_available() else "cpu")
    platform = Platform(0, 1, device, lambda module: module, report, lambda: False)
    images, validator, labels = ray.get([assets.images, assets.validator, assets.labels])
    return train(plan, images, validator, folder, platform, labels)


def run_distributed(
    todo: list[Task], assets: Assets, share: Share, workers: int, callbacks: tuple[Any, ...] = ()
) -> None:
    """Train one run after the other with one group of workers under Ray Train: gloo on CPUs, NCCL on GPUs.

    One group serves all of them, because a group takes some twenty seconds to start. A lost worker restarts the group;
    it passes over the runs that are done and goes on with the broken one from its last checkpoint. Where a lost node
    leaves room for fewer workers in the cluster, those go on; the global batch stays the same. A cluster that has the
    room but is busy is waited for.

    Raises:
        RunError: the workers kept failing; some of the runs have no record.
        ClusterError: the storage failed under them.
    """
    os.environ.setdefault(_PATIENCE, "20")
    left = todo[0][0].spec.training.max_restarts
    while True:
        try:
            _run_group(todo, assets, share, min(workers, room(share)), callbacks)
            return
        except ray.train.TrainingFailedError as error:
            # Ray Train's own elastic group would go by reservations that outlive a stopped job by three minutes.
            failure = type(getattr(error, "controller_failure", None)).__name__
            left -= failure == "WorkerGroupStartupFailedError"
            if left < 0 or failure not in ("WorkerGroupStartupTimeoutError", "WorkerGroupStartupFailedError"):
                raise operators_fault(error) or RunError(last_line(error)) from error


def nodes() -> list[Share]:
    """Return what the nodes that are alive have, whoever uses it now."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Share(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in found]


def room(share: Share) -> int:
    """Return how many workers fit on the nodes that are alive, whoever uses them now; at least 1."""
    return max(1, fitting(share, nodes()))


def _run_group(todo: list[Task], assets: Assets, share: Share, workers: int, callbacks: tuple[Any, ...]) -> None:
    # Under a name that was never used: under a known one Ray would go on with what it finds.
    scratch, storage = uuid.uuid4().hex[:8], _around(todo) / layout.RAY_SCRATCH
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"todo": todo, "assets": assets, "share": share},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=share.gpus > 0, resources_per_worker=share.bundle()),
        run_config=RunConfig(
            name=scratch,
            storage_path=storage.uri,
            failure_config=FailureConfig(
                max_failures=todo[0][0].spec.training.max_restarts, controller_failure_limit=0
            ),
            callbacks=list(callbacks),
        ),
    )
    try:
        trainer.fit()
    finally:
        storage.delete(scratch)


def run_all(todo: list[Task], assets: Assets, share: Share, workers: int, at_once: int) -> list[RunRecord]:
    """Train several runs, as many at once as fit, and return how each ended.

    A run that fails is recorded as failed with its reason; the others go on.

    Raises:
        ClusterError: the storage failed under a run; none can go on.
    """
    if not todo:
        return []
    _around(todo).delete(layout.RAY_SCRATCH)  # a driver that was killed may have left it
    lanes = [todo[lane::at_once] for lane in range(min(at_once, len(todo)))]
    with ThreadPoolExecutor(max_workers=len(lanes)) as pool:
        done = [*pool.map(lambda lane: _run_lane(lane, assets, share, workers), lanes)]
    _around(todo).delete(layout.RAY_SCRATCH)
    return [record for lane in done for record in lane]


def _around(todo: list[Task]) -> Folder:
    """Return the folder that the runs' folders are in."""
    return todo[0][1].parent


def _run_lane(todo: list[Task], assets: Assets, share: Share, workers: int) -> list[RunRecord]:
    """Train runs one after the other; one that can't be finished is recorded as failed and left behind."""
    while left := [task for task in todo if _ended(task) is None]:
        # A group of workers takes all that is left in turn; a single worker takes the first alone.
        taken = left if workers > 1 else left[:1]
        try:
            if workers > 1:
                run_distributed(taken, assets, share, workers)
            else:
                _run_in_a_task(taken[0], assets, share)
            reason = "the workers ended without a record; see the job's log"
        except (RunError, ray.exceptions.RayError) as error:
            if fault := operators_fault(error):
                raise fault from None
            reason = last_line(error)
        if broken := next((task for task in taken if _ended(task) is None), None):
            plan, folder = broken
            values = plan.loss.model_dump(mode="json")
            about = {"label": plan.label, "seed": plan.seed, "values": values, "identity": plan.identity()}
            failed = RunRecord(**about, state="failed", reason=reason)
            folder.write_record(layout.RUN, failed)
    return [record for task in todo if (record := _ended(task))]


def so_far(todo: list[Task]) -> dict[str, float]:
    """Return what several runs together tell Tune; see ``earlier.told``."""
    return told([folder.read_lines(layout.EVALUATIONS, Evaluated) for _, folder in todo])


def _ended(task: Task) -> RunRecord | None:
    plan, folder = task
    return checkpoint.run_record(folder, plan.identity())


def _run_in_a_task(task: Task, assets: Assets, share: Share) -> None:
    plan, folder = task
    asks = {"num_cpus": share.cpus, "num_gpus": share.gpus, "max_retries": plan.spec.training.max_restarts}
    ray.get(_run_task.options(**asks).remote(plan, assets, folder, share))


def _run_quietly(plan: RunPlan, assets: Assets, folder: Folder, share: Share) -> RunRecord:
    return run_here(plan, assets, folder, share, lambda scored: None)


_run_task = ray.remote(_run_quietly)


def _worker(config: dict[str, Any]) -> None:
    """Train as one worker of Ray Train's group."""
    share: Share = config["share"]
    torch.set_num_threads(max(1, int(share.cpus)))
    context = ray.train.get_context()

    def wrap(module: torch.nn.Module) -> torch.nn.Module:
        # Batch statistics stay each worker's own: broadcasting them breaks the second forward of a step.
        wrapped: torch.nn.Module = prepare_model(module, parallel_strategy_kwargs={"broadcast_buffers": False})
        return wrapped

    def report(scored: Evaluated) -> None:
        ray.train.report(so_far(config["todo"]) if context.get_world_rank() == 0 else {})

    assets: Assets = config["assets"]
    platform = Platform(context.get_world_rank(), context.get_world_size(), get_device(), wrap, report, lambda: False)
    images, validator, labels = ray.get([assets.images, assets.validator, assets.labels])
    for plan, folder in config["todo"]:
        ended = [_ended((plan, folder)) is not None]
        if platform.world_size > 1:
            # All workers go by what the first one saw: it may have written the record while another one looked.
            dist.broadcast_object_list(ended, src=0)
        if not ended[0]:
            train(plan, images, validator, folder, platform, labels)


def original(error: BaseException) -> BaseException:
    """Return what a task raised: Ray's error of it is of the same class too, but says all of its traceback."""
    while isinstance(error, ray.exceptions.RayTaskError) and error.cause is not None:
        error = error.cause
    return error


def operators_fault(error: BaseException) -> ClusterError | None:
    """Return what no other try can mend, as a full disk, from the error of a task or of a group of workers."""
    # Ray wraps what a task raised, Ray Train what its workers did.
    causes = [error, *(getattr(failure, "_base_exc", failure) for failure in _workers_failures(error))]
    return next((cause for cause in map(original, causes) if isinstance(cause, ClusterError)), None)


def _workers_failures(error: BaseException) -> list[BaseException]:
    return list(getattr(error, "worker_failures", {}).values())


def last_line(error: BaseException) -> str:
    """Return the last line of the innermost error: what went wrong, without the frames."""
    cause = original(error)
    while cause.__cause__ is not None and cause.__cause__ is not cause:
        cause = original(cause.__cause__)
    lines = [line for line in str(cause).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(cause).__name__
