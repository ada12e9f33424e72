"""Regularizers in a training: weights, draws, and a state that is logged, saved, restored and shared by the workers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gansvc.catalog.regularizers import R1R2, REGULARIZERS, CriticStep, GradientPenalty, Regularizer
from gansvc.gan import checkpoint
from gansvc.gan.batches import Batches
from gansvc.gan.regularization import Regularization
from gansvc.gan.run import RunPlan, Validation, single_process
from gansvc.gan.train import train
from gansvc.spec import jobfile
from gansvc.store.folder import Folder
from gansvc.store.records import History, ValidationScore

STEPS, BATCH, IMAGES = 8, 16, 40
CPU = torch.device("cpu")
SPEC = """
name: regularized
dataset: histology
network: {name: resnet, width: 4, latent_dim: 8}
losses: [{name: lsgan, n_critic: 2, regularizers: [memory, {name: gradient-penalty, weight: 2, every: 3}]}]
training: {batch_size: 16, evaluations: 2}
"""


class Memory(Regularizer):
    """Draws logits towards their moving average, each image's by a random weight."""

    reference = "arXiv 0000.00000"
    name: Literal["memory"] = "memory"

    def draws(self, channels: int, size: int) -> int:
        return 2

    def initial_state(self) -> dict[str, float]:
        return {"average": 0.25}

    def term(self, step: CriticStep, state: Mapping[str, Tensor]) -> Tensor:
        return (step.draws.sum(dim=1) * (step.real_logits - state["average"]).square()).mean()

    def observe(self, step: CriticStep, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"logit": step.real_logits.mean()}

    def next_state(self, state: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"average": 0.5 * state["average"] + 0.5 * observed["logit"]}


@pytest.fixture(autouse=True)
def _memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGULARIZERS, "memory", Memory)


def plan(**values: Any) -> RunPlan:
    spec = jobfile.parse(SPEC).with_values(values)
    return RunPlan(spec, "lsgan", 0, 1, 2, images=STEPS * 2 * BATCH)


def contrast(network: nn.Module, rank: int = 0, world_size: int = 1) -> Validation:
    return Validation(float(next(network.parameters()).detach().std()), 1.0)


def run(folder: Folder, this: RunPlan, stops: bool = False, rank: int = 0, world_size: int = 1) -> None:
    """Train; ``stops`` ends it after its first score that is saved."""
    images = torch.randint(0, 256, (IMAGES, 3, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)

    def report(scored: ValidationScore) -> None:
        if stops:
            raise InterruptedError

    def wrap(module: nn.Module) -> nn.Module:
        return DistributedDataParallel(module, broadcast_buffers=False) if world_size > 1 else module

    platform = replace(single_process(), rank=rank, world_size=world_size, wrap=wrap, report=report)
    with suppress(InterruptedError):
        train(this, images, contrast, folder, platform)


def lines(folder: Folder) -> list[dict[str, Any]]:
    return [line.model_dump(exclude={"seconds", "images_per_second"}) for line in history(folder)]


def history(folder: Folder) -> list[History]:
    return folder.read_lines("history.jsonl", History)


def players(folder: Folder, this: RunPlan) -> dict[str, Any]:
    found = checkpoint.newest(folder / "checkpoints", this.identity())
    assert found is not None
    return dict(found[1]["players"])


def critic_step(logits: list[float]) -> CriticStep:
    def critic(images: Tensor) -> Tensor:
        return images.flatten(1).square().sum(1) / 2

    images = torch.linspace(-1, 1, 2 * 3 * 4).view(2, 3, 2, 2)
    return CriticStep(critic, images, images / 2, torch.tensor(logits), torch.zeros(2), torch.empty(2, 0))


def test_a_term_counts_by_its_weight_and_a_rarer_one_for_the_steps_between() -> None:
    regularizers = (GradientPenalty(weight=3.0), R1R2(weight=0.5, every=4))
    step, draws = critic_step([0.0, 0.0]), (torch.tensor([[0.0], [1.0]]), torch.empty(2, 0))
    one, other = (
        regularizer.term(replace(step, draws=own), {}) for regularizer, own in zip(regularizers, draws, strict=True)
    )
    found = Regularization(regularizers, CPU).terms(step, draws, 8)
    assert found["gradient-penalty"].item() == pytest.approx(3 * one.item())
    assert found["r1-r2"].item() == pytest.approx(4 * 0.5 * other.item())
    assert list(Regularization(regularizers, CPU).terms(step, draws, 9)) == ["gradient-penalty"]


def test_a_state_moves_by_what_is_observed_in_the_steps_where_its_term_is_due() -> None:
    regularization, draws = Regularization((Memory(every=2),), CPU), (torch.ones(2, 2),)
    step = critic_step([1.0, 3.0])
    for number, average in ((0, 1.125), (1, 1.125), (2, 1.5625)):
        regularization.update(step, draws, number, weight=1.0)
        assert regularization.state_dict()["memory"]["average"].item() == average
    listed = regularization.logged({}, torch.tensor(0.0))
    assert {name: value.item() for name, value in listed.items()} == {"terms/memory": 0, "terms/memory/average": 1.5625}
    again = Regularization((Memory(),), CPU)
    again.load_state_dict(regularization.state_dict())
    assert again.state_dict() == regularization.state_dict()
    with pytest.raises(ValueError, match="r1-r2 has no such state"):
        again.load_state_dict({"r1-r2": {"average": torch.tensor(1.0)}})


def test_each_regularizer_has_draws_of_its_own_whatever_the_number_of_workers() -> None:
    this, images = plan(), torch.zeros(IMAGES, 3, 28, 28, dtype=torch.uint8)
    worlds = [
        [Batches(this, images, None, replace(single_process(), rank=rank, world_size=size)) for rank in range(size)]
        for size in (1, 3)
    ]
    for number in (0, 1):
        (one,), three = ([batches[number].draws for batches in world] for world in worlds)
        assert [tuple(draws.shape) for draws in one] == [(16, 2), (16, 1 if number == 0 else 0)]
        assert all(
            torch.equal(whole, torch.cat(parts)) for whole, parts in zip(one, zip(*three, strict=True), strict=True)
        )
    first, second = worlds[0][0][0].draws
    assert not set(first.flatten().tolist()) & set(second.flatten().tolist())


def test_history_and_events_list_what_regularizers_bring(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    run(folder, plan())
    for line in history(folder):
        assert set(line.terms) == {"memory", "memory/average", "gradient-penalty"}
        assert line.penalty == pytest.approx((line.terms["memory"] or 0) + (line.terms["gradient-penalty"] or 0))
    assert len({line.terms["memory/average"] for line in history(folder)}) == STEPS
    (events,) = (tmp_path / "tensorboard").glob("events.*")
    assert all(name in events.read_bytes() for name in (b"terms/gradient-penalty", b"terms/memory/average"))


def test_a_line_of_history_without_terms_is_read(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    run(folder, plan())
    old = [line.model_dump_json(exclude={"terms"}) for line in history(folder)]
    (tmp_path / "history.jsonl").write_text("\n".join(old) + "\n")
    assert [line.terms for line in history(folder)] == [{}] * STEPS


def test_a_resumed_run_remembers(tmp_path: Path) -> None:
    this, broken, whole = plan(), Folder(tmp_path / "broken"), Folder(tmp_path / "whole")
    run(broken, this, stops=True)
    assert players(broken, this)["regularizers"]["memory"]["average"].item() != 0.25
    for folder in (broken, whole):
        run(folder, this)
    assert lines(broken) == lines(whole)
    ours, theirs = (players(folder, this) for folder in (broken, whole))
    assert ours["regularizers"] == theirs["regularizers"]
    assert all(torch.equal(value, theirs["critic"][name]) for name, value in ours["critic"].items())


def test_a_checkpoint_without_regularizers_state_is_resumed(tmp_path: Path) -> None:
    this, folder = plan(**{"losses.0.regularizers": []}), Folder(tmp_path)
    run(folder, this, stops=True)
    step, state, _ = checkpoint.newest(folder / "checkpoints", this.identity()) or (0, {}, [])
    assert state["players"].pop("regularizers") == {}
    checkpoint.save(folder / "checkpoints", step, state, this.identity())
    run(folder, this)
    assert len(history(folder)) == STEPS and players(folder, this)["regularizers"] == {}


def test_workers_share_one_state(tmp_path: Path) -> None:
    commands = [[sys.executable, __file__, str(rank), str(tmp_path)] for rank in range(2)]
    assert [worker.wait(timeout=300) for worker in [subprocess.Popen(command) for command in commands]] == [0, 0]
    this, alone = plan(), Folder(tmp_path / "alone")
    run(alone, this)
    ours, theirs = (players(folder, this) for folder in (alone, Folder(tmp_path / "shared")))
    average, shared = (state["regularizers"]["memory"]["average"].item() for state in (ours, theirs))
    assert shared == pytest.approx(average, rel=1e-4)
    assert all(
        value.tolist() == pytest.approx(theirs["critic"][key].tolist(), abs=1e-3)
        for key, value in ours["critic"].items()
        if value.dim() == 1
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    REGULARIZERS["memory"] = Memory
    rank, root = int(sys.argv[1]), Path(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{root}/meeting", rank=rank, world_size=2)
    run(Folder(root / "shared"), plan(), rank=rank, world_size=2)
    dist.destroy_process_group()
