"""With networks that keep no batch statistics, the number of workers changes nothing but rounding, for every loss."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gansvc.catalog.losses import LOSSES
from gansvc.catalog.metrics import Features
from gansvc.gan import checkpoint
from gansvc.gan.journal import Journal
from gansvc.gan.players import Players
from gansvc.gan.run import RunPlan, Validation, single_process
from gansvc.gan.scoring.validation import Validator
from gansvc.gan.train import train
from gansvc.spec import jobfile
from gansvc.store.folder import Folder

# 3 doesn't divide 16: the slices differ by one image and the gradients are weighted by their sizes. Nor does 16 divide
# the 40 images: batches run across the epochs' ends.
BATCH, IMAGES, STEPS = 16, 40, 20
SPEC = """
name: world
dataset: histology
network: {name: resnet, width: 4, latent_dim: 8}
losses: [lsgan]
training: {batch_size: 16}
"""
# What a case sets beside its loss, which its name begins with.
CASES: dict[str, dict[str, Any]] = {
    **{name: {} for name in LOSSES},
    "rpgan lazy augmented": {
        "losses.rpgan.n_critic": 2,
        "losses.rpgan.penalty_every": 2,
        "training.augment": ["flip", "colour", "translation", "cutout"],
        "training.decay": "cosine",
    },
    "lsgan regularized": {"losses.lsgan.regularizers": ["gradient-penalty", {"name": "r1-r2", "every": 2}]},
    "hinge spectral": {"network.critic_norm": "spectral"},
    "wgan-gp dcgan": {
        "losses.wgan-gp.n_critic": 2,
        "network": {"name": "dcgan", "width": 4, "latent_dim": 8, "generator_norm": "group"},
    },
    "lsgan conditional": {"dataset": "retinamnist", "network.conditional": True},
    "wgan-gp conditional": {"dataset": "retinamnist", "network.conditional": True, "losses.wgan-gp.n_critic": 2},
    "rpgan conditional spectral": {
        "dataset": "retinamnist",
        "network": {
            **{"name": "dcgan", "width": 4, "latent_dim": 8, "generator_norm": "group"},
            **{"conditional": True, "critic_norm": "spectral"},
        },
    },
}
# In float32 rounding grows where a leaky ReLU's unit changes sides: each step of an optimiser that divides by the
# gradient's size passes it on at the full learning rate. So the rates are small here, and wgan's clip is ten times the
# paper's, which leaves these networks gradients so small that all units of a layer change sides at once.
GENTLE: dict[str, dict[str, Any]] = {
    name: {f"losses.{name}.{player}_lr": 5e-5 for player in ("generator", "critic")} for name in LOSSES
}
GENTLE["wgan"]["losses.wgan.clip"] = 0.1


class Still(Validator):
    """Finds all generators alike: scoring is no part of what is compared."""

    def __call__(self, network: nn.Module, rank: int = 0, world_size: int = 1) -> Validation:
        return Validation(1.0, 1.0)


def plan(case: str, values: Mapping[str, Any]) -> RunPlan:
    label = case.split()[0]
    spec = jobfile.parse(SPEC).with_values({"losses": [{"name": label, "n_critic": 1}]}).with_values(values)
    budget = STEPS * spec.loss(label).n_critic * BATCH
    return RunPlan(spec, label, 0, 1, 1, images=budget, is_trial=True)


def run(rank: int, world_size: int, folder: Path, cases: Mapping[str, Mapping[str, Any]]) -> None:
    """Train all cases as one worker of a world, which meets in the folder."""
    if world_size > 1:
        folder.mkdir(parents=True, exist_ok=True)
        meeting = f"file://{folder}/world-{world_size}"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world_size)

    def wrap(module: nn.Module) -> nn.Module:
        return DistributedDataParallel(module, broadcast_buffers=False) if world_size > 1 else module

    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 3, 28, 28), generator=draws, dtype=torch.uint8)
    platform = replace(single_process(), rank=rank, world_size=world_size, wrap=wrap)
    nothing = Features(torch.empty(0, 1), torch.empty(0, 1))
    for case, values in cases.items():
        this = plan(case, values)
        validator = Still(this.spec.evaluation, "kid", nothing, this.spec.network.latent_dim)
        # Of three classes one is rare, so that at times a worker's slice has none of it.
        labels = torch.tensor([0, 1, 0, 1, 0, 1, 0, 2]).repeat(IMAGES // 8)
        train(this, images, validator, Folder(folder / case / str(world_size)), platform, labels)
    if world_size > 1:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train all cases in worlds of 1, 2 and 3 workers, by three processes; return the folder they leave."""
    folder = tmp_path_factory.mktemp("worlds")
    workers = [subprocess.Popen([sys.executable, __file__, str(rank), str(folder)]) for rank in range(3)]
    assert [worker.wait(timeout=400) for worker in workers] == [0, 0, 0]
    return folder


@pytest.mark.parametrize("case", list(CASES))
def test_world_size_changes_nothing_but_rounding(case: str, worlds: Path) -> None:
    one, *others = (trained(worlds / "float64" / case, plan(case, CASES[case]), n) for n in (1, 2, 3))
    for player, state in one.items():
        for theirs in others:
            assert {value.dtype for key, value in state.items() if key != "shares"} == {torch.float64}
            assert distance(theirs[player], state) < 1e-10, player


@pytest.mark.parametrize("name", list(LOSSES))
def test_world_size_does_not_change_the_parameters_in_float32(name: str, worlds: Path) -> None:
    this = plan(name, GENTLE[name])
    one, *others = (trained(worlds / "float32" / name, this, n) for n in (1, 2, 3))
    start = Players(this, 3, torch.device("cpu"), lambda module: module).state()
    for player, state in one.items():
        assert distance(start[player], state) > 1e-3, player
        for theirs in others:
            assert distance(theirs[player], state) < 1e-4, player


def trained(folder: Path, this: RunPlan, world_size: int) -> dict[str, dict[str, torch.Tensor]]:
    """Return the players' states at the end of a run."""
    found = checkpoint.newest(Folder(folder / str(world_size) / "checkpoints"), this.identity())
    assert found is not None and found[0] == STEPS
    states = {player: dict(found[1]["players"][player]) for player in ("generator", "critic", "average")}
    if this.loss.pairs_real:
        # The critic's last bias adds to all logits alike and cancels in the pairs: rounding alone moves it.
        del states["critic"][[key for key in states["critic"] if key.endswith("bias")][-1]]
    return states


def distance(state: object, reference: Mapping[str, torch.Tensor]) -> float:
    """Return the norm of the difference over the reference's, all tensors in one row."""
    assert isinstance(state, Mapping)
    difference, whole = (
        torch.cat([part.double().flatten() for part in parts])
        for parts in ([state[key] - value for key, value in reference.items()], list(reference.values()))
    )
    return float(difference.norm() / whole.norm())


if __name__ == "__main__":
    torch.set_num_threads(1)
    for precision, cases in (("float32", GENTLE), ("float64", CASES)):
        if precision == "float64":
            # The engine casts to float32 by name; here that name means float64.
            torch.set_default_dtype(torch.float64)
            torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
        rank, folder = int(sys.argv[1]), Path(sys.argv[2]) / precision
        run(*((rank, 2) if rank < 2 else (0, 1)), folder, cases)
        run(rank, 3, folder, cases)


def test_a_run_says_when_its_number_of_workers_changed(tmp_path: Path) -> None:
    spec = jobfile.parse(SPEC).with_values({"training.workers": 3})
    plan, folder = RunPlan(spec, "lsgan", 0, 1, 1), Folder(tmp_path)
    for step, world_size in ((0, 3), (4, 3), (8, 2), (12, 3)):
        journal = Journal(folder, plan, 20, step, world_size, [])
    record = journal.close("finished", "", 1.0)
    assert record.starts == 4 and record.world_size == 3
    assert [warning.split(",")[0] for warning in record.warnings] == [
        "from step 8 on it had 2 workers instead of 3",
        "from step 12 on it had 3 workers instead of 2",
    ]
    assert all("the global batch stayed 16" in warning for warning in record.warnings)
    assert (
        Journal(Folder(tmp_path / "few"), plan, 20, 0, 2, [])
        .close("finished", "", 1.0)
        .warnings[0]
        .startswith("from step 0 on it had 2 workers instead of 3")
    )
    trial = RunPlan(spec, "lsgan", 0, 1, 1, is_trial=True)
    assert Journal(Folder(tmp_path / "trial"), trial, 20, 0, 1, []).close("finished", "", 1.0).warnings == ()
