"""A training that is killed at any step and started again ends as the unbroken one does, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from gansvc import specfile
from gansvc.catalog.losses import LOSSES
from gansvc.gan import checkpoint
from gansvc.gan.evaluate import Features, Validation, Validator, generate
from gansvc.gan.plan import RunPlan, single_process
from gansvc.gan.train import train
from gansvc.records import Evaluated, History, RunRecord, Start
from gansvc.store import Folder

STEPS, N_CRITIC, SAVED = 20, 2, (0, 7, 13, 20)
SPEC = """
name: resume
dataset: histology
network: {name: dcgan, width: 4, latent_dim: 8}
losses: [lsgan]
training: {epochs: 4, batch_size: 16, evaluations: 3, decay: cosine, augment: [flip, translation]}
"""
# What a case sets beside its loss, which its name begins with.
CASES: dict[str, dict[str, Any]] = {
    **{name: {} for name in LOSSES},
    **{f"{name} conditional": {"dataset": "retinamnist", "network.conditional": True} for name in ("lsgan", "wgan-gp")},
}


class Contrast(Validator):
    """Scores the real samples by their contrast: a process that loads no extractor starts in half the time."""

    def __call__(self, network: nn.Module, rank: int = 0, world_size: int = 1) -> Validation:
        samples = torch.cat(list(generate(network, self.latent_dim, 0, 50, rank, world_size))).float()
        return Validation(samples.std().item(), 1.0)


def plan(case: str) -> RunPlan:
    label = case.split()[0]
    # The generator's rate is high enough for every saved grid of samples to differ in its eight bits.
    values = {"name": label, "n_critic": N_CRITIC, "generator_lr": 5e-3, "critic_lr": 1e-3}
    values |= {"penalty_every": 3} if label == "rpgan" else {}
    return RunPlan(specfile.parse(SPEC).with_values({"losses": [values], **CASES[case]}), label, 0, 4, 3)


def run(folder: Path, case: str, last: int | None = None) -> RunRecord:
    """Train, or go on; the process kills itself in that critic step, counted from 0."""
    torch.set_num_threads(1)
    images = torch.randint(0, 256, (160, 3, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    calls = iter(range(10_000))

    def dying(module: nn.Module) -> nn.Module:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            # Latents tell the generator from the critic; each critic step generates once.
            if inputs[0].dim() == 2 and next(calls) == last:
                os.kill(os.getpid(), signal.SIGKILL)

        module.register_forward_hook(hook)
        return module

    this, nothing = plan(case), Features(torch.empty(0, 1), torch.empty(0, 1))
    validator = Contrast(this.spec.evaluation, "kid", nothing, this.spec.network.latent_dim)
    labels = torch.arange(160) % 3
    return train(this, images, validator, Folder(folder), replace(single_process(), wrap=dying), labels)


def last_step(case: str) -> int:
    """Return the critic step in which a run is killed, any after the first save of trained players.

    The loss's name decides, so that a failure comes again.
    """
    return random.Random(case).randrange(SAVED[1] * N_CRITIC, STEPS * N_CRITIC)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[int]]]:
    """Kill and resume a run of each loss; return the folder of all of them and how their two processes ended."""
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
    starts = [start.step for start in Folder(folder / case).read_lines("starts.jsonl", Start)]
    assert starts == [0, max(step for step in SAVED if step <= last_step(case) // N_CRITIC)]
    assert run(tmp_path, case).step == STEPS
    assert outcome(folder / case, case) == outcome(tmp_path, case)


def outcome(folder: Path, case: str) -> dict[str, Any]:
    """Return all that a run leaves but the time it took, in a form that compares bit for bit."""
    found = checkpoint.newest(Folder(folder / "checkpoints"), plan(case).identity())
    assert found is not None and found[0] == STEPS and found[2] == []
    del found[1]["seconds"]
    state = leaves(found[1])
    players = ("generator", "critic", "average", "generator_optimizer", "critic_optimizer")
    assert all(any(key.startswith(f"/players/{name}/") for key in state) for name in players)
    history = Folder(folder).read_lines("history.jsonl", History)
    scores = Folder(folder).read_lines("evaluations.jsonl", Evaluated)
    assert [line.step for line in history] == list(range(1, STEPS + 1))
    assert [line.step for line in scores] == list(SAVED) and len({line.objective for line in scores}) == len(SAVED)
    grids = {path.name: path.read_bytes() for path in sorted((folder / "samples").iterdir())}
    assert len(grids) == len(set(grids.values())) == len(SAVED)
    best = folder / "checkpoints" / checkpoint.BEST
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


def in_a_process(folder: Path, case: str, last: int | None) -> int:
    """Run in a child that shares nothing but the imports, which take the longest; return its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(folder, case, last)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    root = Path(sys.argv[1])
    codes = {case: [in_a_process(root / case, case, last) for last in (last_step(case), None)] for case in CASES}
    (root / "ended.json").write_text(json.dumps(codes))
