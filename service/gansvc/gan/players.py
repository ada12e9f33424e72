"""The two players, the moving average of the generator, and one optimiser step of each."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from gansvc.catalog.augments import augment
from gansvc.catalog.losses import Loss
from gansvc.gan.networks import build_critic, build_generator
from gansvc.gan.run import RunPlan
from gansvc.gan.streams import Stream, generator


@dataclass(frozen=True)
class Batch:
    """What one critic step, and the generator step after it, are made of: a worker's slice of the global batch."""

    real: torch.Tensor
    """Images (N, C, H, W) in [-1, 1]."""
    latents: torch.Tensor
    """(N, latent_dim)."""
    mix: torch.Tensor
    """Draws (N,) from [0, 1) for the gradient penalty."""
    turns: torch.Tensor
    """Draws (N, 3, D) from [0, 1) for the augmentation of real, generated and, for the generator, generated images."""
    weight: float
    """N times the world size over the global batch, so that the workers' mean is the batch's mean."""
    labels: torch.Tensor | None = None
    """Classes (N,) of the real images, and those that are asked of the generator: so both have the same shares of each
    class, and what is paired or mixed is of one class. None for unconditional players."""

    def given(self, times: int = 1) -> tuple[torch.Tensor, ...]:
        """Return what players are given beside ``times`` batches of latents or images: their labels, or nothing."""
        return () if self.labels is None else (self.labels.repeat(times),)


class Players:
    """Generator, critic, averaged generator and both optimisers of one run, on one device.

    Args:
        plan: what the run is to do; the weights are drawn from its seed alone, the same for every loss.
        channels: channels of the images, 1 or 3.
        device: where the modules live.
        wrap: makes a module's gradients the mean over all workers.
        shares: each class's share of the training images, (K,), for conditional players.
    """

    def __init__(
        self,
        plan: RunPlan,
        channels: int,
        device: torch.device,
        wrap: Callable[[nn.Module], nn.Module],
        shares: torch.Tensor | None = None,
    ) -> None:
        self.loss, self.training = plan.loss, plan.spec.training
        network, size = plan.spec.network, plan.spec.dataset.size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(plan.seed, Stream.WEIGHTS).initial_seed())
            # Channels last: the layout that convolutions are fastest in, on CPUs and on tensor cores.
            made = build_generator(network, channels, size, shares)
            judge = build_critic(network, channels, size, 0 if shares is None else len(shares))
            self.generator, self.critic = (m.to(device).to(memory_format=torch.channels_last) for m in (made, judge))
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.generator_optimizer = _optimizer(self.loss, self.generator, self.loss.generator_lr)
        self.critic_optimizer = _optimizer(self.loss, self.critic, self.loss.critic_lr)
        self._device = device
        self._wrapped_generator, self._wrapped_critic = wrap(self.generator), wrap(self.critic)
        self._made: torch.Tensor | None = None
        self._real: torch.Tensor | None = None

    def critic_step(self, batch: Batch, number: int, last: bool) -> torch.Tensor:
        """Take one critic step and return (3,) on the device: loss, Wasserstein estimate, penalty.

        Args:
            batch: this worker's slice of the global batch.
            number: critic steps done before; decides whether a penalty is due.
            last: whether a generator step follows, which then goes on with the same images.
        """
        with torch.set_grad_enabled(last), self._autocast():
            made = (self._wrapped_generator if last else self.generator)(batch.latents, *batch.given())
            made = made.float()
        real, fake = self._augmented(batch.real, batch, 0), self._augmented(made.detach(), batch, 1)
        self._made, self._real = (made, real) if last else (None, None)
        self.critic_optimizer.zero_grad(set_to_none=True)
        # The critic keeps no batch statistics, so one forward of both halves equals two; DDP wants just one.
        with self._autocast():
            logits = self._wrapped_critic(torch.cat([real, fake]), *batch.given(2)).float()
        real_logits, fake_logits = logits[: len(real)], logits[len(real) :]
        total = self.loss.critic_loss(real_logits, fake_logits)
        penalty = torch.zeros_like(total)
        every = self.loss.penalty_interval()

        def judge(images: torch.Tensor) -> torch.Tensor:
            judged: torch.Tensor = self.critic(images, *batch.given(len(images) // len(real)))
            return judged

        if number % every == 0 and (due := self.loss.penalty(judge, real, fake, batch.mix)) is not None:
            penalty = every * due
            total = total + penalty
        (total * batch.weight).backward()
        self.critic_optimizer.step()
        self.loss.constrain(self.critic)
        gap = real_logits.mean() - fake_logits.mean()
        return torch.stack([total, gap, penalty]).detach() * batch.weight

    def generator_step(self, batch: Batch) -> torch.Tensor:
        """Take one generator step on the images of the last critic step and return the loss, a scalar on the device.

        Those images are what the generator still makes of the same latents, so nothing is generated twice.
        """
        made, real = self._made, self._real
        assert made is not None and real is not None, "a generator step follows a critic step with last=True"
        self.generator_optimizer.zero_grad(set_to_none=True)
        # Frozen, and not through its wrapper: the critic's own gradients are neither needed nor to be averaged here.
        self.critic.requires_grad_(False)
        with self._autocast():
            fake_logits = self.critic(self._augmented(made, batch, 2), *batch.given()).float()
            with torch.no_grad():
                real_logits = self.critic(real, *batch.given()).float() if self.loss.pairs_real else None
        loss = self.loss.generator_loss(fake_logits, real_logits)
        (loss * batch.weight).backward()
        self.critic.requires_grad_(True)
        self.generator_optimizer.step()
        self._made = self._real = None
        return loss.detach() * batch.weight

    def decay(self, done: float) -> None:
        """Set both learning rates for a run of which the share ``done`` lies behind."""
        scale = decayed(self.training.decay, done)
        for optimizer, rate in (
            (self.generator_optimizer, self.loss.generator_lr),
            (self.critic_optimizer, self.loss.critic_lr),
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale

    def rates(self) -> tuple[float, float]:
        """Return the learning rates of generator and critic as they are now."""
        generator, critic = (o.param_groups[0]["lr"] for o in (self.generator_optimizer, self.critic_optimizer))
        return generator, critic

    @torch.no_grad()
    def update_average(self, step: int) -> None:
        """Move the average towards the generator after generator step ``step`` (from 1).

        The decay rises as (1 + step) / (10 + step) up to the spec's, so that a short run forgets its first weights.
        """
        keep = min(self.training.ema, (1 + step) / (10 + step))
        pairs = list(zip(self.average.state_dict().values(), self.generator.state_dict().values(), strict=True))
        floats = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in floats], [theirs for _, theirs in floats], 1 - keep)
        for mine, theirs in pairs:
            if not mine.is_floating_point():
                mine.copy_(theirs)

    @torch.no_grad()
    def synchronise(self) -> None:
        """Make the generator's and its average's batch statistics the mean over all workers."""
        if not (dist.is_available() and dist.is_initialized()):
            return
        for name, buffer in (*self.generator.named_buffers(), *self.average.named_buffers()):
            # The classes' shares are the same everywhere, and a mean would round them.
            if buffer.is_floating_point() and name != "shares":
                dist.all_reduce(buffer)
                buffer /= dist.get_world_size()

    def state(self) -> dict[str, object]:
        """Return all that a resume needs, as tensors and plain values."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def restore(self, state: dict[str, dict[str, object]]) -> None:
        """Take over a saved state, in place."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            "generator": self.generator,
            "critic": self.critic,
            "average": self.average,
            "generator_optimizer": self.generator_optimizer,
            "critic_optimizer": self.critic_optimizer,
        }

    def _augmented(self, images: torch.Tensor, batch: Batch, turn: int) -> torch.Tensor:
        return augment(images, batch.turns[:, turn], self.training.augment)

    def _autocast(self) -> AbstractContextManager[object]:
        if self.training.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)


def decayed(decay: str, done: float) -> float:
    """Return the factor of the learning rates when the share ``done`` of a run, in [0, 1], lies behind."""
    if decay == "linear":
        return 1 - done
    if decay == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0


def _optimizer(loss: Loss, module: nn.Module, rate: float) -> torch.optim.Optimizer:
    if loss.optimizer == "rmsprop":
        return torch.optim.RMSprop(module.parameters(), lr=rate, alpha=loss.betas[1], foreach=True)
    return torch.optim.Adam(module.parameters(), lr=rate, betas=loss.betas, fused=True)
