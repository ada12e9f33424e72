"""The two players, the moving average of the generator, and one optimiser step of each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import nn

from gansvc.catalog.losses import Loss
from gansvc.gan.plan import RunPlan
from gansvc.gan.streams import Stream, generator


class Players:
    """Generator, critic, averaged generator and both optimisers of one run, on one device.

    Args:
        plan: what the run is to do; the weights are drawn from its seed alone, the same for every loss.
        channels: channels of the images, 1 or 3.
        device: where the modules live.
        wrap: makes a module's gradients the mean over all workers.
    """

    def __init__(
        self, plan: RunPlan, channels: int, device: torch.device, wrap: Callable[[nn.Module], nn.Module]
    ) -> None:
        self.loss, self.training = plan.loss, plan.spec.training
        network = plan.spec.network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(plan.seed, Stream.WEIGHTS).initial_seed())
            # Channels last: the layout that convolutions are fastest in, on CPUs and on tensor cores.
            self.generator = network.generator(channels).to(device).to(memory_format=torch.channels_last)
            self.critic = network.critic(channels).to(device).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.generator_optimizer = _optimizer(self.loss, self.generator, self.loss.generator_lr)
        self.critic_optimizer = _optimizer(self.loss, self.critic, self.loss.critic_lr)
        self._device = device
        self._wrapped_generator, self._wrapped_critic = wrap(self.generator), wrap(self.critic)

    def critic_step(self, real: torch.Tensor, z: torch.Tensor, mix: torch.Tensor, weight: float) -> torch.Tensor:
        """Take one critic step and return (3,) on the device: loss, Wasserstein estimate, penalty.

        Args:
            real: this worker's images (N, C, H, W) in [-1, 1].
            z: as many latents (N, latent_dim).
            mix: as many draws (N,) from [0, 1) for the gradient penalty.
            weight: N times the world size over the global batch, so that the workers' mean is the batch's mean.
        """
        with torch.no_grad(), self._autocast():
            fake = self.generator(z).float()
        self.critic_optimizer.zero_grad(set_to_none=True)
        # The critic keeps no batch statistics, so one forward of both halves equals two; DDP wants just one.
        with self._autocast():
            logits = self._wrapped_critic(torch.cat([real, fake])).float()
        real_logits, fake_logits = logits[: len(real)], logits[len(real) :]
        loss = self.loss.critic_loss(real_logits, fake_logits)
        penalty = self.loss.penalty(self.critic, real, fake, mix)
        total = loss if penalty is None else loss + penalty
        (total * weight).backward()
        self.critic_optimizer.step()
        self.loss.constrain(self.critic)
        gap = real_logits.mean() - fake_logits.mean()
        return torch.stack([total, gap, torch.zeros_like(gap) if penalty is None else penalty]).detach() * weight

    def generator_step(self, z: torch.Tensor, weight: float) -> torch.Tensor:
        """Take one generator step on latents (N, latent_dim) and return the loss, a scalar on the device."""
        self.generator_optimizer.zero_grad(set_to_none=True)
        # Frozen, and not through its wrapper: the critic's own gradients are neither needed nor to be averaged here.
        self.critic.requires_grad_(False)
        with self._autocast():
            logits = self.critic(self._wrapped_generator(z)).float()
        loss = self.loss.generator_loss(logits)
        (loss * weight).backward()
        self.critic.requires_grad_(True)
        self.generator_optimizer.step()
        return loss.detach() * weight

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
        for buffer in (*self.generator.buffers(), *self.average.buffers()):
            if buffer.is_floating_point():
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

    def _autocast(self) -> AbstractContextManager[object]:
        if self.training.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)


def _optimizer(loss: Loss, module: nn.Module, rate: float) -> torch.optim.Optimizer:
    if loss.optimizer == "rmsprop":
        return torch.optim.RMSprop(module.parameters(), lr=rate, alpha=loss.betas[1], foreach=True)
    return torch.optim.Adam(module.parameters(), lr=rate, betas=loss.betas, fused=True)
