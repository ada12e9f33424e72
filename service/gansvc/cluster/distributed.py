"""Training with distributed data parallelism: a group of workers under Ray Train."""

from __future__ import annotations

import os
import uuid
from typing import Any

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device, prepare_model

from gansvc.cluster import failures, resources
from gansvc.cluster.training import Assets, PlannedRun, ended_record, parent_folder, trial_report
from gansvc.errors import RunError
from gansvc.gan.run import Platform
from gansvc.gan.train import train
from gansvc.spec.capacity import WorkerResources
from gansvc.store import layout
from gansvc.store.records import ValidationScore

_PATIENCE = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
"""Ray's variable of how long a group waits for its places before it is asked again whether there are so many."""


def train_distributed(
    todo: list[PlannedRun], assets: Assets, worker: WorkerResources, workers: int, callbacks: tuple[Any, ...] = ()
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
            _run_group(todo, assets, worker, min(workers, resources.worker_capacity(worker)), callbacks)
            return
        except ray.train.TrainingFailedError as error:
            # Ray Train's own elastic group would go by reservations that outlive a stopped job by three minutes.
            failure = type(getattr(error, "controller_failure", None)).__name__
            left -= failure == "WorkerGroupStartupFailedError"
            if left < 0 or failure not in ("WorkerGroupStartupTimeoutError", "WorkerGroupStartupFailedError"):
                raise failures.cluster_fault(error) or RunError(failures.last_line(error)) from error


def _run_group(
    todo: list[PlannedRun], assets: Assets, worker: WorkerResources, workers: int, callbacks: tuple[Any, ...]
) -> None:
    # Under a name that was never used: under a known one Ray would go on with what it finds.
    scratch, storage = uuid.uuid4().hex[:8], parent_folder(todo) / layout.RAY_SCRATCH
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"todo": todo, "assets": assets, "worker": worker},
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=worker.gpus > 0, resources_per_worker=worker.bundle()
        ),
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


def _worker(config: dict[str, Any]) -> None:
    """Train as one worker of Ray Train's group."""
    worker: WorkerResources = config["worker"]
    torch.set_num_threads(max(1, int(worker.cpus)))
    context = ray.train.get_context()

    def wrap(module: torch.nn.Module) -> torch.nn.Module:
        # Batch statistics stay each worker's own: broadcasting them breaks the second forward of a step.
        wrapped: torch.nn.Module = prepare_model(module, parallel_strategy_kwargs={"broadcast_buffers": False})
        return wrapped

    def report(scored: ValidationScore) -> None:
        ray.train.report(trial_report(config["todo"]) if context.get_world_rank() == 0 else {})

    assets: Assets = config["assets"]
    platform = Platform(context.get_world_rank(), context.get_world_size(), get_device(), wrap, report)
    images, validator, labels = ray.get([assets.images, assets.validator, assets.labels])
    for plan, folder in config["todo"]:
        ended = [ended_record((plan, folder)) is not None]
        if platform.world_size > 1:
            # All workers go by what the first one saw: it may have written the record while another one looked.
            dist.broadcast_object_list(ended, src=0)
        if not ended[0]:
            train(plan, images, validator, folder, platform, labels)
