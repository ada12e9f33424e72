"""A training that is killed at any step and started again ends as the unbroken one does, bit for bit."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gansvc.catalog.losses import LOSSES
from gansvc.catalog.metrics import Features
from gansvc.gan import checkpoint
from gansvc.gan.run import RunPlan, Validation, single_process
from gansvc.gan.sampling import generate
from gansvc.gan.scoring.validation import Validator
from gansvc.gan.train import train
from gansvc.spec import jobfile
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import History, RunRecord, Start, ValidationScore

STEPS, N_CRITIC, SAVED = 20, 2, (0, 7, 13, 20)
SPEC = """
name: resume
dataset: histology
network: {name: dcgan, width: 4, latent_dim: 8}
losses: [lsgan]
training: {epochs: 4, batch_size: 16, evaluations: 3, decay: cosine, augment: [flip, translation]}
"""
SPECTRAL, TWO = "hinge spectral", "wgan-gp two workers"
# What a case sets beside its loss, which its name begins with.
CASES: dict[str, dict[str, Any]] = {
    **{name: {} for name in LOSSES},
    **{f"{name} conditional": {"dataset": "retinamnist", "network.conditional": True} for name in ("lsgan", "wgan-gp")},
    SPECTRAL: {"network.critic_norm": "spectral"},
    TWO: {},
}
WHOLE, CUT = "wgan-gp unbroken", "lsgan cut"


class Contrast(Validator):
    """Scores the real samples by their contrast: a process that loads no extractor starts in half the time."""

    def __call__(self, network: nn.Module, rank: int = 0, world_size: int = 1) -> Validation:
        samples = torch.cat(list(generate(network, self.latent_dim, 0, 50))).float()
        return Validation(samples.std().item(), 1.0)


def plan(case: str) -> RunPlan:
    label = case.split()[0]
    # The generator's rate is high enough for every saved grid of samples to differ in its eight bits.
    values = {"name": label, "n_critic": N_CRITIC, "generator_lr": 5e-3, "critic_lr": 1e-3}
    values |= {"penalty_every": 3} if label == "rpgan" else {}
    return RunPlan(jobfile.parse(SPEC).with_values({"losses": [values], **CASES.get(case, {})}), label, 0, 4, 3)


def run(folder: Path, case: str, last: int | None = None, rank: int = 0, world_size: int = 1) -> RunRecord:
    """Train, or go on, as one worker; the last one kills itself in that critic step, counted from 0."""
    torch.set_num_threads(1)
    images = torch.randint(0, 256, (160, 3, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    calls = iter(range(10_000))

    def dying(module: nn.Module) -> nn.Module:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            # Latents tell the generator from the critic; each critic step generates once.
            if rank == world_size - 1 and inputs[0].dim() == 2 and next(calls) == last:
                os.kill(os.getpid(), signal.SIGKILL)

        module.register_forward_hook(hook)
        return DistributedDataParallel(module, broadcast_buffers=False) if world_size > 1 else module

    this, nothing = plan(case), Features(torch.empty(0, 1), torch.empty(0, 1))
    validator = Contrast(this.spec.evaluation, "kid", nothing, this.spec.network.latent_dim)
    platform = replace(single_process(), rank=rank, world_size=world_size, wrap=dying)
    return train(this, images, validator, Folder(folder), platform, torch.arange(160) % 3)


def last_step(case: str) -> int:
    """Return the critic step in which a run is killed, any after the first save of trained players.

    The case's name decides, so that a failure comes again.
    """
    return random.Random(case).randrange(SAVED[1] * N_CRITIC, STEPS * N_CRITIC)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[int]]]:
    """Kill and resume a run of each case; return the folder of all of them and how their two starts ended."""
    folder = tmp_path_factory.mktemp("broken")
    command = [sys.executable, __file__, str(folder)]
    subprocess.run(command, timeout=300, check=True)
    return folder, json.loads((folder / "ended.json").read_bytes())


@pytest.mark.parametrize("case", list(CASES))
def test_killed_run_ends_as_the_unbroken_one_bit_for_bit(
    case: str, broken: tuple[Path, dict[str, list[int]]], tmp_path: Path
) -> None:
    folder, ended = broken
    assert ended[case] == [-signal.SIGKILL, 0]
    starts = Folder(folder / case).read_lines("starts.jsonl", Start)
    assert [start.step for start in starts] == [0, max(s for s in SAVED if s <= last_step(case) // N_CRITIC)]
    assert {start.world_size for start in starts} == {2 if case == TWO else 1}
    if case == TWO:
        whole = folder / WHOLE
    else:
        whole = tmp_path
        assert run(whole, case).step == STEPS
    assert outcome(folder / case, case) == outcome(whole, case)


def test_a_run_killed_in_the_middle_of_a_checkpoint_goes_on_from_the_one_before(
    broken: tuple[Path, dict[str, list[int]]], tmp_path: Path
) -> None:
    folder, ended = broken
    assert ended[CUT] == [-signal.SIGXFSZ, 0]
    (part,) = (folder / CUT / "checkpoints").glob(".step-*")
    assert part.name.startswith(f".step-{SAVED[2]:08d}")
    assert 0 < part.stat().st_size < next((folder / CUT / "checkpoints").glob("step-*.pt")).stat().st_size
    starts = Folder(folder / CUT).read_lines("starts.jsonl", Start)
    assert [start.step for start in starts] == [0, SAVED[1]] and not any(start.warnings for start in starts)
    assert run(tmp_path, CUT).step == STEPS
    assert outcome(folder / CUT, CUT) == outcome(tmp_path, CUT)


def outcome(folder: Path, case: str) -> dict[str, Any]:
    """Return all that a run leaves but the time it took, in a form that compares bit for bit."""
    found = checkpoint.newest(Folder(folder / "checkpoints"), plan(case).identity())
    assert found is not None and found[0] == STEPS and found[2] == []
    del found[1]["seconds"]
    state = leaves(found[1])
    players = ("generator", "critic", "average", "generator_optimizer", "critic_optimizer")
    assert all(any(key.startswith(f"/players/{name}/") for key in state) for name in players)
    history = Folder(folder).read_lines("history.jsonl", History)
    scores = Folder(folder).read_lines("evaluations.jsonl", ValidationScore)
    assert [line.step for line in history] == list(range(1, STEPS + 1))
    assert [line.step for line in scores] == list(SAVED) and len({line.objective for line in scores}) == len(SAVED)
    grids = {path.name: path.read_bytes() for path in sorted((folder / "samples").iterdir())}
    assert len(grids) == len(set(grids.values())) == len(SAVED)
    best = folder / "checkpoints" / layout.BEST
    # Not the file's bytes: safetensors writes the header's metadata in an order of its own.
    with safe_open(best, "pt") as opened:
        weights = leaves(load_file(best) | opened.metadata())
    return {
        "state": state,
        "best": weights,
        "history": [line.model_dump(exclude={"images_per_second", "seconds"}) for line in history],
        "scores": [line.model_dump(exclude={"seconds"}) for line in scores],
        "grids": grids,
    }


def leaves(state: object, path: str = "") -> dict[str, object]:
    """Return the values of a nested state by their path, tensors as their kind, shape and bytes."""
    if isinstance(state, torch.Tensor):
        return {path: (state.dtype, tuple(state.shape), state.contiguous().numpy().tobytes())}
    if isinstance(state, dict | list | tuple):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        return {key: value for name, item in items for key, value in leaves(item, f"{path}/{name}").items()}
    return {path: state}


def in_processes(folder: Path, case: str, last: int | None, workers: int = 1) -> int:
    """Run in children that share nothing but the imports, which take the longest; return the last one's exit code."""
    meeting = folder.with_name(f"{folder.name}.{last}")
    children = [fork(partial(work, folder, case, last, rank, workers, meeting)) for rank in range(workers)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    # One that lost the other may end as it likes, but not well.
    assert all(codes) or not any(codes), codes
    return codes[-1]


def work(folder: Path, case: str, last: int | None, rank: int, workers: int, meeting: Path) -> None:
    if workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=workers)
    run(folder, case, last, rank, workers)


def cut_off(folder: Path) -> None:
    """Train until the kernel kills the process half-way through the file of its third checkpoint."""
    save = checkpoint.save

    def armed(checkpoints: Folder, step: int, state: dict[str, Any], identity: dict[str, object]) -> None:
        if step == SAVED[2]:
            size = next((folder / "checkpoints").glob("step-*.pt")).stat().st_size
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
        save(checkpoints, step, state, identity)

    checkpoint.save = armed  # type: ignore[assignment]
    run(folder, CUT)


def fork(task: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            task()
            code = 0
        finally:
            os._exit(code)
    return child


if __name__ == "__main__":
    root = Path(sys.argv[1])
    codes = {
        case: [in_processes(root / case, case, last, 2 if case == TWO else 1) for last in (last_step(case), None)]
        for case in CASES
    }
    in_processes(root / WHOLE, TWO, None, 2)
    killed = os.waitstatus_to_exitcode(os.waitpid(fork(partial(cut_off, root / CUT)), 0)[1])
    codes[CUT] = [killed, in_processes(root / CUT, CUT, None)]
    (root / "ended.json").write_text(json.dumps(codes))
