"""The two players, the moving average of the generator, and one optimiser step of each."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from gansvc.catalog.augments import augment
from gansvc.catalog.losses import Loss
from gansvc.catalog.regularizers import CriticStep
from gansvc.gan.batches import Batch
from gansvc.gan.networks import build_critic, build_generator
from gansvc.gan.regularization import Regularization
from gansvc.gan.run import RunPlan
from gansvc.gan.streams import Stream, generator
from gansvc.gan.workers import average_over_workers

REGULARIZERS = "regularizers"
"""Key of the regularizers' state beside the players' parts."""


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
            pair = (
                build_generator(network, channels, size, shares),
                build_critic(network, channels, size, 0 if shares is None else len(shares)),
            )
            self.generator, self.critic = (m.to(device).to(memory_format=torch.channels_last) for m in pair)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.generator_optimizer = _optimizer(self.loss, self.generator, self.loss.generator_lr)
        self.critic_optimizer = _optimizer(self.loss, self.critic, self.loss.critic_lr)
        self._regularization = Regularization(self.loss.all_regularizers(), device)
        self._device = device
        self._wrapped_generator, self._wrapped_critic = wrap(self.generator), wrap(self.critic)
        self._last_images: tuple[torch.Tensor, torch.Tensor] | None = None
        """Real and generated images of the last critic step before a generator step."""

    def critic_step(self, batch: Batch, number: int, last: bool) -> dict[str, torch.Tensor]:
        """Take one critic step and return what is logged of it: names with scalars on the device.

        These are ``critic_loss``, ``wasserstein``, ``penalty`` (all regularizers' terms together) and what the
        regularizers list, whose names begin with TERM.

        Args:
            batch: this worker's slice of the global batch.
            number: critic steps done before; decides which regularizers are due.
            last: whether a generator step follows, which then goes on with the same images.
        """
        with torch.set_grad_enabled(last), self._autocast():
            generated = (self._wrapped_generator if last else self.generator)(batch.latents, *batch.conditions())
            generated = generated.float()
        real, fake = self._augmented(batch.real, batch, 0), self._augmented(generated.detach(), batch, 1)
        self._last_images = (real, generated) if last else None
        self.critic_optimizer.zero_grad(set_to_none=True)
        # The critic keeps no batch statistics, so one forward of both halves equals two; DDP wants just one.
        with self._autocast():
            logits = self._wrapped_critic(torch.cat([real, fake]), *batch.conditions(2)).float()
        real_logits, fake_logits = logits[: len(real)], logits[len(real) :]

        def critic(images: torch.Tensor) -> torch.Tensor:
            judged: torch.Tensor = self.critic(images, *batch.conditions(len(images) // len(real)))
            return judged

        total = self.loss.critic_loss(real_logits, fake_logits)
        step = CriticStep(critic, real, fake, real_logits, fake_logits, draws=real.new_empty(len(real), 0))
        terms = self._regularization.terms(step, batch.draws, number)
        penalty = torch.zeros_like(total)
        for term in terms.values():
            penalty = penalty + term
        total = total + penalty
        (total * batch.weight).backward()
        self.critic_optimizer.step()
        self.loss.constrain(self.critic)
        self._regularization.update(step, batch.draws, number, batch.weight)
        gap = real_logits.mean() - fake_logits.mean()
        found = {"critic_loss": total, "wasserstein": gap, "penalty": penalty}
        found |= self._regularization.logged(terms, torch.zeros_like(total))
        return {name: value.detach() * batch.weight for name, value in found.items()}

    def generator_step(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Take one generator step on the images of the last critic step; return what is logged of it, as there.

        Those images are what the generator still makes of the same latents, so nothing is generated twice.
        """
        assert self._last_images is not None, "a generator step follows a critic step with last=True"
        real, generated = self._last_images
        self.generator_optimizer.zero_grad(set_to_none=True)
        # Frozen, and not through its wrapper: the critic's own gradients are neither needed nor to be averaged here.
        self.critic.requires_grad_(False)
        with self._autocast():
            fake_logits = self.critic(self._augmented(generated, batch, 2), *batch.conditions()).float()
            with torch.no_grad():
                real_logits = self.critic(real, *batch.conditions()).float() if self.loss.pairs_real else None
        loss = self.loss.generator_loss(fake_logits, real_logits)
        (loss * batch.weight).backward()
        self.critic.requires_grad_(True)
        self.generator_optimizer.step()
        self._last_images = None
        return {"generator_loss": loss.detach() * batch.weight}

    def decay(self, done: float) -> None:
        """Set both learning rates for a run of which the share ``done`` lies behind."""
        scale = decay_factor(self.training.decay, done)
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
        for name, buffer in (*self.generator.named_buffers(), *self.average.named_buffers()):
            # The classes' shares are the same everywhere, and a mean would round them.
            if buffer.is_floating_point() and name != "shares":
                average_over_workers(buffer)

    def state(self) -> dict[str, object]:
        """Return all that a resume needs, as tensors and plain values."""
        parts: dict[str, object] = {name: part.state_dict() for name, part in self._parts().items()}
        return parts | {REGULARIZERS: self._regularization.state_dict()}

    def restore(self, state: dict[str, dict[str, Any]]) -> None:
        """Take over a saved state, in place."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        # Checkpoints of version 0.1 have none.
        self._regularization.load_state_dict(state.get(REGULARIZERS, {}))

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            "generator": self.generator,
            "critic": self.critic,
            "average": self.average,
            "generator_optimizer": self.generator_optimizer,
            "critic_optimizer": self.critic_optimizer,
        }

    def _augmented(self, images: torch.Tensor, batch: Batch, use: int) -> torch.Tensor:
        return augment(images, batch.noise[:, use], self.training.augment)

    def _autocast(self) -> AbstractContextManager[object]:
        if self.training.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)


def decay_factor(decay: str, done: float) -> float:
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
