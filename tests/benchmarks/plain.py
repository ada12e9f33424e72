"""The loop that one would write without gansvc: the baseline of every benchmark, and of the README's comparison.

It follows PyTorch's DCGAN tutorial: a DataLoader over PIL images with per-image transforms, one optimiser a player.
The networks, the losses' formulas and the budget are ours, so that only the loop differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from gansvc.catalog.losses import Loss
from gansvc.catalog.regularizers import CriticStep
from gansvc.gan.networks import build_critic, build_generator
from gansvc.spec.job import JobSpec


class PilImages(Dataset[Tensor]):
    """Images as a folder of pictures would give them: one PIL image at a time, through torchvision's transforms."""

    def __init__(self, images: Tensor) -> None:
        self.images = [Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy()) for image in images]
        middle = (0.5,) * images.shape[1]
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(middle, middle)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = self.transform(self.images[index])
        return image


class PlainLoop:
    """One training by the plain loop; ``steps`` goes on from where the last call ended. The CUDA path was never run.

    Args:
        spec: network, batch size and precision.
        loss: the loss with its settings.
        images: uint8 (N, C, H, W), N at least the batch size.
        seed: torch's global seed.
        device: where the networks live.
    """

    def __init__(self, spec: JobSpec, loss: Loss, images: Tensor, seed: int = 0, device: str = "cpu") -> None:
        torch.manual_seed(seed)
        self.spec, self.loss, self.device = spec, loss, torch.device(device)
        channels, size = images.shape[1], images.shape[-1]
        self.generator = build_generator(spec.network, channels, size).to(self.device)
        self.critic = build_critic(spec.network, channels, size).to(self.device)
        self._generator_optimizer = _optimizer(loss, self.generator, loss.generator_lr)
        self._critic_optimizer = _optimizer(loss, self.critic, loss.critic_lr)
        loader = DataLoader(PilImages(images), spec.training.batch_size, shuffle=True, drop_last=True)
        self._batches, self._critic_steps = _endless(loader), 0
        self.last_losses = (0.0, 0.0)
        """Losses of critic and generator in the last step; read after every step, as one prints them."""
        self.seconds = 0.0

    def steps(self, count: int, each: Callable[[int], None] = lambda step: None) -> None:
        """Take generator steps, each after the loss's critic steps; ``seconds`` counts the training alone.

        Args:
            count: generator steps.
            each: called after each of them with its number, from 1.
        """
        for step in range(count):
            started = time.monotonic()
            for _ in range(self.loss.n_critic):
                real = next(self._batches).to(self.device)
                fake, critic_loss = self._critic_step(real)
            self.last_losses = critic_loss.item(), self._generator_step(real, fake).item()
            self.seconds += time.monotonic() - started
            each(step + 1)

    def _critic_step(self, real: Tensor) -> tuple[Tensor, Tensor]:
        with self._autocast():
            fake: Tensor = self.generator(torch.randn(len(real), self.spec.network.latent_dim, device=self.device))
        self._critic_optimizer.zero_grad()
        with self._autocast():
            real_logits, fake_logits = self.critic(real), self.critic(fake.detach())
        loss = self.loss.critic_loss(real_logits.float(), fake_logits.float())
        for regularizer in self.loss.all_regularizers():
            if regularizer.is_due(self._critic_steps):
                draws = torch.rand(len(real), regularizer.draws(*real.shape[1:3]), device=self.device)
                step = CriticStep(self.critic, real, fake.detach().float(), real_logits, fake_logits, draws)
                loss = loss + regularizer.every * regularizer.weight * regularizer.term(step, {})
        loss.backward()
        self._critic_optimizer.step()
        self.loss.constrain(self.critic)
        self._critic_steps += 1
        return fake, loss.detach()

    def _generator_step(self, real: Tensor, fake: Tensor) -> Tensor:
        self._generator_optimizer.zero_grad()
        with self._autocast():
            fake_logits = self.critic(fake).float()
            with torch.no_grad():
                real_logits = self.critic(real).float() if self.loss.pairs_real else None
        loss = self.loss.generator_loss(fake_logits, real_logits)
        loss.backward()
        self._generator_optimizer.step()
        return loss.detach()

    def _autocast(self) -> torch.autocast:
        enabled = self.spec.training.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)


def _optimizer(loss: Loss, module: nn.Module, rate: float) -> torch.optim.Optimizer:
    if loss.optimizer == "rmsprop":
        return torch.optim.RMSprop(module.parameters(), lr=rate, alpha=loss.betas[1])
    return torch.optim.Adam(module.parameters(), lr=rate, betas=loss.betas)


def _endless(loader: DataLoader[Tensor]) -> Iterator[Tensor]:
    while True:
        yield from loader
