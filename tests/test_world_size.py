"""With networks that keep no batch statistics, the number of workers changes nothing but rounding."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gansvc import specfile
from gansvc.catalog.networks import Dcgan
from gansvc.gan.plan import RunPlan
from gansvc.gan.players import Players
from gansvc.gan.streams import Order, Stream, latents, share, uniforms

BATCH, STEPS = 16, 6
SPEC = """
name: world
dataset: histology
network: {width: 4, latent_dim: 8, name: dcgan}
losses: [{name: lsgan, n_critic: 2}, {name: wgan, n_critic: 2}, {name: wgan-gp, n_critic: 2}]
training: {batch_size: 16}
"""


class Plain(Dcgan):
    """The DCGAN pair with its generator's batch norm taken out."""

    def generator(self, channels: int) -> nn.Module:
        built = super().generator(channels)
        return nn.Sequential(*(layer for layer in built.children() if not isinstance(layer, nn.BatchNorm2d)))


def _train(rank: int, world_size: int, label: str, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    if world_size > 1:
        address = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)

    def wrap(module: nn.Module) -> nn.Module:
        return DistributedDataParallel(module, broadcast_buffers=False) if world_size > 1 else module

    players = Players(_plan(label), 3, torch.device("cpu"), wrap)
    images = torch.randn(40, 3, 28, 28, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    order, mine = Order(0, 40, BATCH), share(BATCH, rank, world_size)
    weight = (mine.stop - mine.start) * world_size / BATCH
    for step in range(STEPS):
        for inner in range(2):
            number = 2 * step + inner
            z = latents(0, Stream.CRITIC_LATENTS, number, BATCH, 8)[mine]
            mix = uniforms(0, Stream.MIX, number, BATCH)[mine]
            players.critic_step(images[order.batch(number)[mine]], z, mix, weight)
        players.generator_step(latents(0, Stream.GENERATOR_LATENTS, step, BATCH, 8)[mine], weight)
    if rank == 0:
        torch.save(_parameters(players), Path(folder) / f"{world_size}.pt")
    if world_size > 1:
        dist.destroy_process_group()


@pytest.mark.parametrize("label", ["lsgan", "wgan", "wgan-gp"])
def test_world_size_does_not_change_the_parameters(label: str, tmp_path: Path) -> None:
    _train(0, 1, label, 0, str(tmp_path))
    # 3 doesn't divide 16: the slices differ by one image and the gradients are weighted by their sizes.
    port = _free_port()
    command = [sys.executable, __file__]
    workers = [subprocess.Popen([*command, str(rank), "3", label, str(port), str(tmp_path)]) for rank in range(3)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0, 0]
    one, three = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in (1, 3))
    # One norm over all: Adam divides by the gradient's size, so weights with next to no gradient amplify rounding.
    ones, threes = (torch.cat([value.double().flatten() for value in state.values()]) for state in (one, three))
    assert float((threes - ones).norm() / ones.norm()) < 1e-4
    start = Players(_plan(label), 3, torch.device("cpu"), lambda module: module)
    first = torch.cat([value.double().flatten() for value in _parameters(start).values()])
    assert float((first - ones).norm() / ones.norm()) > 1e-3


def _plan(label: str) -> RunPlan:
    spec = specfile.parse(SPEC).model_copy(update={"network": Plain(width=4, latent_dim=8)})
    return RunPlan(spec, label, 0, 1, 1)


def _parameters(players: Players) -> dict[str, torch.Tensor]:
    critic = {f"critic.{name}": value for name, value in players.critic.state_dict().items()}
    return {**players.generator.state_dict(), **critic}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    _train(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
