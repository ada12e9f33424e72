"""Running one training: in the process at hand, or by several workers under Ray Train."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device, prepare_model

from gansvc.errors import RunError
from gansvc.gan.plan import Platform, RunPlan
from gansvc.gan.train import train
from gansvc.records import Evaluated, RunRecord
from gansvc.store import Folder


@dataclass(frozen=True)
class Share:
    """What one worker asks of the cluster."""

    cpus: float
    gpus: float

    def bundle(self) -> dict[str, float]:
        """Return it as Ray's resources."""
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})


@dataclass(frozen=True)
class Assets:
    """What every training of a job reads, put into the object store once."""

    images: ray.ObjectRef
    """The train split, uint8 (N, C, 28, 28)."""
    validator: ray.ObjectRef
    """A gan.evaluate.Validator."""


def run_here(
    plan: RunPlan, assets: Assets, folder: Folder, share: Share, report: Callable[[Evaluated], None]
) -> RunRecord:
    """Train in this process, as its only worker; ``report`` is called after each validation score."""
    torch.set_num_threads(max(1, int(share.cpus)))
    device = torch.device("cuda" if share.gpus and torch.cuda.is_available() else "cpu")
    platform = Platform(0, 1, device, lambda module: module, report, lambda: False)
    return train(plan, ray.get(assets.images), ray.get(assets.validator), folder, platform)


def run_distributed(
    plan: RunPlan, assets: Assets, folder: Folder, share: Share, workers: int, callbacks: tuple[Any, ...] = ()
) -> RunRecord:
    """Train with several workers under Ray Train: gloo on CPUs, NCCL on GPUs; a lost worker restarts the group.

    Raises:
        RunError: the workers kept failing, or ended without a record.
    """
    scratch = f".ray-{uuid.uuid4().hex[:8]}"
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"plan": plan, "assets": assets, "folder": folder, "share": share},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=share.gpus > 0, resources_per_worker=share.bundle()),
        run_config=RunConfig(
            name=scratch,
            storage_path=folder.uri,
            failure_config=FailureConfig(max_failures=plan.spec.training.max_restarts),
            callbacks=list(callbacks),
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise RunError(_reason(error)) from error
    finally:
        folder.delete(scratch)
    record = folder.read_record("run.json", RunRecord)
    if record is None:
        raise RunError("the workers ended without a record; see the job's log")
    return record


def run_all(
    todo: list[tuple[RunPlan, Folder]], assets: Assets, share: Share, workers: int, at_once: int
) -> Iterator[RunRecord]:
    """Train several runs, as many at once as fit, and yield each one's end as it comes.

    A run that fails is recorded as failed with its reason; the others go on.
    """
    with ThreadPoolExecutor(max_workers=max(1, at_once)) as pool:
        futures = {
            pool.submit(_run_recorded, plan, assets, folder, share, workers): plan.label for plan, folder in todo
        }
        for future in as_completed(futures):
            yield future.result()


def _run_recorded(plan: RunPlan, assets: Assets, folder: Folder, share: Share, workers: int) -> RunRecord:
    try:
        if workers > 1:
            return run_distributed(plan, assets, folder, share, workers)
        task = _run_task.options(
            num_cpus=share.cpus, num_gpus=share.gpus, max_retries=plan.spec.training.max_restarts
        ).remote(plan, assets, folder, share)
        return _as_record(ray.get(task))
    except (RunError, ray.exceptions.RayError) as error:
        values = plan.loss.model_dump(mode="json")
        record = RunRecord(label=plan.label, seed=plan.seed, values=values, state="failed", reason=_reason(error))
        folder.write_record("run.json", record)
        return record


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
        ray.train.report({"objective": scored.objective, "critic_images": scored.critic_images})

    assets: Assets = config["assets"]
    platform = Platform(context.get_world_rank(), context.get_world_size(), get_device(), wrap, report, lambda: False)
    train(config["plan"], ray.get(assets.images), ray.get(assets.validator), config["folder"], platform)


def _as_record(value: Any) -> RunRecord:
    if not isinstance(value, RunRecord):
        raise RunError("the worker ended without a record; see the job's log")
    return value


def _reason(error: BaseException) -> str:
    """Return the last line of the innermost error: what went wrong, without the frames."""
    cause = error
    while cause.__cause__ is not None and cause.__cause__ is not cause:
        cause = cause.__cause__
    lines = [line for line in str(cause).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(cause).__name__
