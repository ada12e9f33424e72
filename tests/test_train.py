"""The training loop: what it leaves in its folder, its resume, its end by divergence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gansvc.errors import RunError
from gansvc.gan import checkpoint
from gansvc.gan.data import Images
from gansvc.gan.evaluate import Validator
from gansvc.gan.plan import Platform, RunPlan, single_process
from gansvc.gan.players import Players
from gansvc.gan.train import train
from gansvc.records import Evaluated, History, RunRecord, Start
from gansvc.spec import JobSpec
from gansvc.store import Folder

Make = Callable[..., JobSpec]


def _plan(spec: JobSpec, label: str = "lsgan", **changes: object) -> RunPlan:
    plan = RunPlan(spec, label, 0, spec.training.epochs, spec.training.evaluations)
    return replace(plan, **changes)  # type: ignore[arg-type]


def test_run_leaves_all_that_the_report_needs(
    tiny: Make, histology: Images, validator: Validator, tmp_path: Path
) -> None:
    record = train(_plan(tiny(), "wgan-gp"), histology.train, validator, Folder(tmp_path), single_process())
    assert record.state == "finished" and record.world_size == 1 and record.starts == 1
    # 160 images / 16 a batch = 10 critic steps; n_critic 5: 2 generator steps.
    assert (record.step, record.critic_images) == (2, 160)
    lines = Folder(tmp_path).read_lines("history.jsonl", History)
    assert [line.step for line in lines] == [1, 2]
    assert all(line.penalty is not None and line.penalty >= 0 for line in lines)
    assert all(line.critic_lr == 1e-4 and line.images_per_second > 0 for line in lines)
    scores = Folder(tmp_path).read_lines("evaluations.jsonl", Evaluated)
    assert [scored.step for scored in scores] == [0, 1, 2]
    assert record.initial_objective == scores[0].objective
    assert record.best_objective == min(scored.objective for scored in scores[1:])
    assert len(list((tmp_path / "samples").glob("*.png"))) == 3
    assert len(list((tmp_path / "tensorboard").glob("events.*"))) == 1
    assert (tmp_path / "checkpoints" / checkpoint.BEST).is_file()


def test_trial_keeps_no_pictures(tiny: Make, histology: Images, validator: Validator, tmp_path: Path) -> None:
    record = train(_plan(tiny(), is_trial=True), histology.train, validator, Folder(tmp_path), single_process())
    assert record.initial_objective is None and record.best_objective is not None
    assert not (tmp_path / "samples").exists() and not (tmp_path / "tensorboard").exists()


@pytest.mark.parametrize("label", ["lsgan", "wgan", "wgan-gp"])
def test_resumed_run_equals_the_unbroken_one_bit_for_bit(
    label: str, tiny: Make, histology: Images, validator: Validator, tmp_path: Path
) -> None:
    spec = tiny(training__evaluations=2, **{f"losses__{label}__n_critic": 2})
    whole, broken = Folder(tmp_path / "whole"), Folder(tmp_path / "broken")
    train(_plan(spec, label), histology.train, validator, whole, single_process())

    class Killed(Exception):
        pass

    def die(scored: Evaluated) -> None:
        if scored.step > 0:
            raise Killed

    with pytest.raises(Killed):
        train(_plan(spec, label), histology.train, validator, broken, replace(single_process(), report=die))
    record = train(_plan(spec, label), histology.train, validator, broken, single_process())
    assert record.starts == 2 and [s.step for s in broken.read_lines("starts.jsonl", Start)] == [0, 2]
    names = [name for name in (whole / "checkpoints").names() if name.startswith("step-00000005")]
    theirs = checkpoint.newest(broken / "checkpoints", _plan(spec, label).identity())
    ours = checkpoint.newest(whole / "checkpoints", _plan(spec, label).identity())
    assert names and ours is not None and theirs is not None
    assert _flat(ours[1]["players"]).keys() == _flat(theirs[1]["players"]).keys()
    for name, tensor in _flat(ours[1]["players"]).items():
        assert torch.equal(tensor, _flat(theirs[1]["players"])[name]), name
    for name in (whole / "samples").names():
        assert (whole / "samples").read(name) == (broken / "samples").read(name), name
    without_time = {"images_per_second", "seconds"}
    assert [line.model_dump(exclude=without_time) for line in whole.read_lines("history.jsonl", History)] == [
        line.model_dump(exclude=without_time) for line in broken.read_lines("history.jsonl", History)
    ]


def test_diverging_run_ends_with_its_reason(
    tiny: Make, histology: Images, validator: Validator, tmp_path: Path
) -> None:
    def breaking(module: torch.nn.Module) -> torch.nn.Module:
        calls = iter(range(1000))
        module.register_forward_hook(lambda m, i, out: out * math.nan if next(calls) >= 7 else None)
        return module

    platform = replace(single_process(), wrap=breaking)
    record = train(_plan(tiny()), histology.train, validator, Folder(tmp_path), platform)
    assert record.state == "diverged" and record.best_objective is None
    assert "became infinite or NaN by generator step" in record.reason
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "diverged"
    lines = Folder(tmp_path).read_lines("history.jsonl", History)
    assert all(line.critic_loss is None or math.isfinite(line.critic_loss) for line in lines)


def test_platform_may_stop_a_run_after_a_score(
    tiny: Make, histology: Images, validator: Validator, tmp_path: Path
) -> None:
    platform: Platform = replace(single_process(), should_stop=lambda: True)
    record = train(_plan(tiny()), histology.train, validator, Folder(tmp_path), platform)
    assert record.state == "stopped early" and record.step == 5


def test_sampled_values_reach_the_optimisers(tiny: Make) -> None:
    spec = tiny(losses__wgan__critic_lr=3e-4, losses__wgan__generator_lr=7e-4, losses__lsgan__betas=(0.25, 0.75))
    players = Players(_plan(spec, "wgan"), 3, torch.device("cpu"), lambda module: module)
    assert isinstance(players.critic_optimizer, torch.optim.RMSprop)
    assert players.critic_optimizer.param_groups[0]["lr"] == 3e-4
    assert players.generator_optimizer.param_groups[0]["lr"] == 7e-4
    adam = Players(_plan(spec, "lsgan"), 3, torch.device("cpu"), lambda module: module).critic_optimizer
    assert isinstance(adam, torch.optim.Adam) and tuple(adam.param_groups[0]["betas"]) == (0.25, 0.75)


def test_losses_start_from_the_same_weights(tiny: Make) -> None:
    lsgan, wgan = (Players(_plan(tiny(), n), 3, torch.device("cpu"), lambda m: m) for n in ("lsgan", "wgan"))
    pairs = zip(lsgan.critic.parameters(), wgan.critic.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    other = Players(_plan(tiny(), "lsgan", seed=1), 3, torch.device("cpu"), lambda module: module)
    assert not torch.equal(next(lsgan.critic.parameters()), next(other.critic.parameters()))


def test_wgan_critic_stays_clipped_and_frozen_in_the_generators_step(tiny: Make) -> None:
    players = Players(_plan(tiny(), "wgan"), 3, torch.device("cpu"), lambda module: module)
    real = torch.rand(16, 3, 28, 28) * 2 - 1
    players.critic_step(real, torch.randn(16, 8), torch.rand(16), 1.0)
    before = [parameter.clone() for parameter in players.critic.parameters()]
    assert all(float(parameter.detach().abs().max()) <= 0.01 for parameter in players.critic.parameters())
    moved = [parameter.clone() for parameter in players.generator.parameters()]
    players.generator_step(torch.randn(16, 8), 1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, players.critic.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in players.critic.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(moved, players.generator.parameters(), strict=True))


def test_average_follows_its_formula(tiny: Make) -> None:
    players = Players(_plan(tiny()), 3, torch.device("cpu"), lambda module: module)
    before = next(players.average.parameters()).clone()
    with torch.no_grad():
        next(players.generator.parameters()).add_(1.0)
    players.update_average(step=1)
    # The decay after the first step is (1 + 1) / (10 + 1).
    expected = before + (1 - 2 / 11) * 1.0
    torch.testing.assert_close(next(players.average.parameters()), expected)


def test_equal_budget_for_every_n_critic(tiny: Make) -> None:
    spec = tiny(training__epochs=10)
    images = {label: _plan(spec, label).steps(160) * spec.loss(label).n_critic * 16 for label in ("lsgan", "wgan")}
    assert images["lsgan"] == images["wgan"] == 1600


def test_damaged_newest_checkpoint_falls_back_with_a_warning(
    tiny: Make, histology: Images, validator: Validator, tmp_path: Path
) -> None:
    plan = _plan(tiny())
    train(plan, histology.train, validator, Folder(tmp_path), single_process())
    *_, before, newest = sorted((tmp_path / "checkpoints").glob("step-*.pt"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(bytes(data))
    found = checkpoint.newest(Folder(tmp_path / "checkpoints"), plan.identity())
    assert found is not None and found[0] == int(before.name[5:13])
    assert "damaged" in found[2][0] and newest.name in found[2][0]
    (tmp_path / "run.json").unlink()
    record = train(plan, histology.train, validator, Folder(tmp_path), single_process())
    assert record.state == "finished" and record.starts == 2 and record.warnings == tuple(found[2])


def test_checkpoint_of_another_run_is_refused_with_the_difference(
    tiny: Make, histology: Images, validator: Validator, tmp_path: Path
) -> None:
    train(_plan(tiny()), histology.train, validator, Folder(tmp_path), single_process())
    other = _plan(tiny(losses__lsgan__critic_lr=1e-3))
    with pytest.raises(RunError, match=r"another run.*loss.*0\.0002.*0\.001"):
        train(other, histology.train, validator, Folder(tmp_path), single_process())


def test_malicious_checkpoint_runs_nothing(tmp_path: Path) -> None:
    import hashlib
    import pickle

    target = tmp_path / "executed"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (target,))  # type: ignore[return-value]

    data = pickle.dumps(Attack())
    name = f"step-00000001.{hashlib.sha256(data).hexdigest()[:16]}.pt"
    Folder(tmp_path / "checkpoints").write(name, data)
    assert checkpoint.newest(Folder(tmp_path / "checkpoints"), {}) is None
    assert not target.exists()


def test_run_record_survives_json(tmp_path: Path) -> None:
    record = RunRecord(label="wgan", seed=1, values={"clip": 0.01}, state="diverged", reason="NaN")
    Folder(tmp_path).write_record("run.json", record)
    assert Folder(tmp_path).read_record("run.json", RunRecord) == record


def _flat(state: object, path: str = "") -> dict[str, torch.Tensor]:
    """Return all tensors of a nested state, by their path."""
    if isinstance(state, torch.Tensor):
        return {path: state}
    if isinstance(state, dict):
        return {k: v for key, item in state.items() for k, v in _flat(item, f"{path}/{key}").items()}
    if isinstance(state, (list, tuple)):
        return {k: v for key, item in enumerate(state) for k, v in _flat(item, f"{path}/{key}").items()}
    return {}
