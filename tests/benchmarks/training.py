"""train.<loss>.<precision>: the images per second of one training process against the plain loop's."""

from __future__ import annotations

import tempfile
import time

import torch
from torch import nn

from gansvc.errors import RunError
from gansvc.gan import data
from gansvc.gan.run import RunPlan, single_process
from gansvc.gan.sampling import chunks
from gansvc.gan.scoring.features import extract
from gansvc.gan.scoring.validation import Validator
from gansvc.gan.train import train
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import History

from .job import device, job, settings, threads
from .measured import Measured, alternate, from_pairs
from .plain import PlainLoop

CRITIC_STEPS = 10
"""Measured critic steps a round, after a first generator step that warms up."""
SLOW_BATCH = 4
"""Batch where bfloat16 is emulated: some twenty times slower, it is measured on little."""


def measure(label: str, precision: str, rounds: int | None = None) -> Measured:
    """Compare on one thread each, as one training process has it, or on the GPU where there is one."""
    spec = job(losses=[label], training__precision=precision)
    slow = precision == "bf16" and not _has_bf16()
    if slow:
        spec = spec.with_values({"training.batch_size": SLOW_BATCH})
    measured_steps = spec.losses[0].n_critic if slow else CRITIC_STEPS
    images = data.load(spec.dataset)
    features = extract(chunks(images.val[:50]), spec.evaluation.extractor, device())
    validate = Validator(spec.evaluation, "kid", features, spec.network.latent_dim)
    where = "1 thread each" if device() == "cpu" else f"on {torch.cuda.get_device_name()}"
    emulated = ", bf16 being emulated on this CPU" if slow else ""
    what = f"img/s of one training process over a plain PyTorch loop's: {settings(spec)}, {where}{emulated}"
    name = f"train.{label}.{precision}"
    return compare(name, what, spec, images.train, validate, measured_steps, rounds or (1 if slow else 3))


def compare(
    name: str,
    what: str,
    spec: JobSpec,
    images: torch.Tensor,
    validate: Validator,
    critic_steps: int,
    rounds: int,
) -> Measured:
    """Train the spec's first loss both ways, for one generator step and as many as the critic steps make.

    Raises:
        RunError: the training diverged.
    """
    loss = spec.losses[0]
    steps = 1 + max(1, critic_steps // loss.n_critic)
    images = images[: steps * loss.n_critic * spec.training.batch_size]
    with threads(1):
        pairs = alternate(name, rounds, lambda: _plain(spec, images, steps), lambda: _ours(spec, images, validate))
    return from_pairs(name, what, pairs)


def _plain(spec: JobSpec, images: torch.Tensor, steps: int) -> float:
    """Return seconds per critic image after the first generator step."""
    loss = spec.losses[0]
    loop = PlainLoop(spec, loss, images, device=device())
    loop.steps(1)
    warm = loop.seconds
    loop.steps(steps - 1)
    return (loop.seconds - warm) / ((steps - 1) * loss.n_critic * spec.training.batch_size)


def _ours(spec: JobSpec, images: torch.Tensor, validate: Validator) -> float:
    """Return the same of one epoch through gansvc's own loop, by the times in its history."""
    plan = RunPlan(spec, spec.losses[0].label, seed=0, epochs=1, evaluations=1, is_trial=True)
    with tempfile.TemporaryDirectory() as path:
        record = train(plan, images, validate, Folder(path), single_process(device()))
        lines = Folder(path).read_lines("history.jsonl", History)
    if record.state != "finished":
        raise RunError(f"the training {record.state}: {record.reason}")
    warm, last = lines[0], lines[-1]
    return (last.seconds - warm.seconds) / (last.critic_images - warm.critic_images)


def _has_bf16() -> bool:
    """Return whether a convolution is no more than twice as slow in bfloat16 as in float32 here, or not on a CPU."""
    if device() != "cpu":
        return True
    layer, images = nn.Conv2d(64, 64, 3), torch.randn(8, 64, 14, 14)

    def seconds(dtype: torch.dtype) -> float:
        moved, batch = layer.to(dtype), images.to(dtype)
        moved(batch)
        started = time.monotonic()
        for _ in range(5):
            moved(batch)
        return time.monotonic() - started

    with threads(1), torch.no_grad():
        return seconds(torch.bfloat16) < 2 * seconds(torch.float32)
