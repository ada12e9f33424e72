"""The players' steps against plain torch, and the training loop: what it leaves in its folder and how it ends."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import softplus

from gansvc.catalog.augments import augment, draws_of
from gansvc.catalog.losses import LOSSES
from gansvc.errors import RunError
from gansvc.gan import checkpoint
from gansvc.gan.batches import Batch
from gansvc.gan.data import Images
from gansvc.gan.players import Players, decay_factor
from gansvc.gan.run import RunPlan, single_process
from gansvc.gan.scoring.validation import Validator
from gansvc.gan.train import train
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import History, RunRecord, ValidationScore

Make = Callable[..., JobSpec]


def _plan(spec: JobSpec, label: str = "lsgan", **changes: object) -> RunPlan:
    plan = RunPlan(spec, label, 0, spec.training.epochs, spec.training.evaluations)
    return replace(plan, **changes)  # type: ignore[arg-type]


def _players(spec: JobSpec, label: str = "lsgan", **changes: object) -> Players:
    return Players(_plan(spec, label, **changes), 3, torch.device("cpu"), lambda module: module)


def _batch(spec: JobSpec, seed: int, label: str = "lsgan") -> Batch:
    draws = torch.Generator().manual_seed(seed)
    return Batch(
        real=torch.rand(16, 3, 28, 28, generator=draws) * 2 - 1,
        latents=torch.randn(16, 8, generator=draws),
        noise=torch.rand(16, 3, draws_of(spec.training.augment), generator=draws),
        weight=1.0,
        draws=tuple(torch.rand(16, r.draws(3, 28), generator=draws) for r in spec.loss(label).all_regularizers()),
    )


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
    scores = Folder(tmp_path).read_lines("evaluations.jsonl", ValidationScore)
    assert [scored.step for scored in scores] == [0, 1, 2]
    assert record.initial_objective == scores[0].objective
    assert record.best_objective == min(scored.objective for scored in scores[1:])
    assert len(list((tmp_path / "samples").glob("*.png"))) == 3
    (events,) = (tmp_path / "tensorboard").glob("events.*")
    assert b"val/kid" in events.read_bytes() and b"objective" not in events.read_bytes()
    assert (tmp_path / "checkpoints" / layout.BEST).is_file()


def test_trial_keeps_no_pictures(tiny: Make, histology: Images, validator: Validator, tmp_path: Path) -> None:
    record = train(_plan(tiny(), is_trial=True), histology.train, validator, Folder(tmp_path), single_process())
    assert record.initial_objective is None and record.best_objective is not None
    assert not (tmp_path / "samples").exists() and not (tmp_path / "tensorboard").exists()


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


@pytest.mark.parametrize("is_trial", [False, True])
def test_a_run_whose_generator_makes_no_numbers_diverges(
    is_trial: bool, tiny: Make, histology: Images, validator: Validator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflow(players: Players, step: int) -> None:
        for parameter in players.average.parameters():
            parameter.data.fill_(math.nan)

    # The losses are those of the generator itself, which stays well.
    monkeypatch.setattr(Players, "update_average", overflow)
    plan = _plan(tiny(), is_trial=is_trial)
    record = train(plan, histology.train, validator, Folder(tmp_path), single_process())
    assert (record.state, record.reason) == ("diverged", "its score is not finite at step 5")
    assert record.best_step is None and not (tmp_path / "checkpoints" / layout.BEST).exists()
    assert [scored.step for scored in Folder(tmp_path).read_lines("evaluations.jsonl", ValidationScore)] == [0][
        is_trial:
    ]


def test_sampled_values_reach_the_optimisers(tiny: Make) -> None:
    spec = tiny(losses__wgan__critic_lr=3e-4, losses__wgan__generator_lr=7e-4, losses__lsgan__betas=(0.25, 0.75))
    players = _players(spec, "wgan")
    assert isinstance(players.critic_optimizer, torch.optim.RMSprop)
    assert players.critic_optimizer.param_groups[0]["lr"] == 3e-4
    assert players.generator_optimizer.param_groups[0]["lr"] == 7e-4
    adam = _players(spec, "lsgan").critic_optimizer
    assert isinstance(adam, torch.optim.Adam) and tuple(adam.param_groups[0]["betas"]) == (0.25, 0.75)


def test_losses_start_from_the_same_weights(tiny: Make) -> None:
    lsgan, wgan = _players(tiny(), "lsgan"), _players(tiny(), "wgan")
    pairs = zip(lsgan.critic.parameters(), wgan.critic.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    other = _players(tiny(), "lsgan", seed=1)
    assert not torch.equal(next(lsgan.critic.parameters()), next(other.critic.parameters()))


def test_wgan_critic_stays_clipped(tiny: Make) -> None:
    players = _players(tiny(), "wgan")
    players.critic_step(_batch(tiny(), 0, "wgan"), 0, last=True)
    largest = [float(parameter.detach().abs().max()) for parameter in players.critic.parameters()]
    assert max(largest) == pytest.approx(0.01) and len(largest) == 8


@pytest.mark.parametrize("label", list(LOSSES))
def test_generators_step_leaves_the_critic_and_its_gradients_alone(label: str, tiny: Make) -> None:
    spec = tiny(losses=list(LOSSES))
    players, batch = _players(spec, label), _batch(spec, 0, label)
    players.critic_step(batch, 0, last=True)
    critic = list(players.critic.parameters())
    before = [(p.detach().clone(), p.grad.clone()) for p in critic if p.grad is not None]
    moved = [parameter.clone() for parameter in players.generator.parameters()]
    players.generator_step(batch)
    assert len(before) == len(critic)
    for parameter, (value, gradient) in zip(critic, before, strict=True):
        assert parameter.requires_grad and parameter.grad is not None
        assert torch.equal(parameter, value) and torch.equal(parameter.grad, gradient)
    assert any(not torch.equal(a, b) for a, b in zip(moved, players.generator.parameters(), strict=True))


@pytest.mark.parametrize(("label", "names"), [("lsgan", ()), ("rpgan", ()), ("rpgan", ("translation", "colour"))])
def test_steps_equal_plain_torch_that_generates_again(label: str, names: tuple[str, ...], tiny: Make) -> None:
    # A critic that learns fast tells its logits before a step from those after it.
    loss = {"name": label, "critic_lr": 0.01, "penalty_weight": 3.0} if label == "rpgan" else {"name": label}
    spec = tiny(losses=[{"critic_lr": 0.01, **loss}], training__augment=names)
    players = _players(spec, label)
    G, D = copy.deepcopy(players.generator), copy.deepcopy(players.critic)
    start = _flat(G, D)
    G_adam, D_adam = (
        torch.optim.Adam(module.parameters(), lr=rate, betas=spec.loss(label).betas)
        for module, rate in ((G, spec.loss(label).generator_lr), (D, 0.01))
    )
    for step in range(3):
        for inner in range(2):
            batch = _batch(spec, 2 * step + inner, label)
            players.critic_step(batch, 2 * step + inner, last=inner == 1)
            real = augment(batch.real, batch.noise[:, 0], names)
            fake = augment(G(batch.latents).detach(), batch.noise[:, 1], names)
            D_adam.zero_grad()
            if label == "lsgan":
                critic_loss = 0.5 * ((D(real) - 1) ** 2).mean() + 0.5 * (D(fake) ** 2).mean()
            else:
                critic_loss = softplus(D(fake) - D(real)).mean() + 1.5 * (_r(D, real) + _r(D, fake))
            critic_loss.backward()
            D_adam.step()
        players.generator_step(batch)
        G_adam.zero_grad()
        fake_logits = D(augment(G(batch.latents), batch.noise[:, 2], names))
        if label == "lsgan":
            generator_loss = 0.5 * ((fake_logits - 1) ** 2).mean()
        else:
            generator_loss = softplus(D(real).detach() - fake_logits).mean()
        generator_loss.backward()
        # Adam hides the gradient's size, so the gradients are compared too.
        ours, theirs = (_flat(module, gradients=True) for module in (players.generator, G))
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-5, step
        G_adam.step()
    if label == "rpgan":
        # The critic's last bias adds to all logits alike and cancels: rounding alone moves it, by Adam at full rate.
        for critic in (players.critic, D):
            torch.nn.init.zeros_(list(critic.parameters())[-1])
    ours, theirs = _flat(players.generator, players.critic), _flat(G, D)
    assert float((ours - theirs).norm() / (theirs - start).norm()) < 1e-5


def _r(critic: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the mean of the squared norm of the critic's gradient by an image."""
    images = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
    return (gradient**2).sum(dim=(1, 2, 3)).mean()


def _flat(*modules: torch.nn.Module, gradients: bool = False) -> torch.Tensor:
    """Return all parameters of modules, or their gradients, in one row."""
    parts = [parameter.grad if gradients else parameter for module in modules for parameter in module.parameters()]
    return torch.cat([part.detach().double().flatten() for part in parts if part is not None])


def test_a_rarer_penalty_weighs_more_when_it_is_due(tiny: Make) -> None:
    spec = tiny(losses=[{"name": "rpgan", "penalty_every": 4}])
    players = _players(spec, "rpgan")
    due = []
    for number in range(9):
        batch = _batch(spec, number, "rpgan")
        with torch.no_grad():
            fake = players.generator(batch.latents)
            pairs = softplus(players.critic(fake) - players.critic(batch.real)).mean()
        plain = 0.025 * (_r(players.critic, batch.real) + _r(players.critic, fake))
        logged = {name: value.item() for name, value in players.critic_step(batch, number, last=False).items()}
        penalty = logged["penalty"]
        assert logged["critic_loss"] == pytest.approx(pairs.item() + penalty)
        if penalty:
            due.append(number)
            assert penalty == pytest.approx(4 * plain.item(), rel=1e-4)
    assert due == [0, 4, 8]


def test_average_follows_its_formula(tiny: Make) -> None:
    players = Players(_plan(tiny()), 3, torch.device("cpu"), lambda module: module)
    before = next(players.average.parameters()).clone()
    with torch.no_grad():
        next(players.generator.parameters()).add_(1.0)
    players.update_average(step=1)
    # The decay after the first step is (1 + 1) / (10 + 1).
    expected = before + (1 - 2 / 11) * 1.0
    torch.testing.assert_close(next(players.average.parameters()), expected)


def test_learning_rates_fall_by_their_formula() -> None:
    shares = (0.0, 0.25, 0.5, 1.0)
    assert [decay_factor("none", done) for done in shares] == [1.0, 1.0, 1.0, 1.0]
    assert [decay_factor("linear", done) for done in shares] == [1.0, 0.75, 0.5, 0.0]
    half_a_root = math.sqrt(0.5) / 2
    assert [decay_factor("cosine", done) for done in shares] == pytest.approx([1.0, 0.5 + half_a_root, 0.5, 0.0])


# A run of 10 steps, saved after 5 and 10: those steps were taken when 4 and 9 tenths of it lay behind.
DECAYS = pytest.mark.parametrize(
    ("decay", "factors"),
    [
        ("none", [1, 1]),
        ("linear", [0.6, 0.1]),
        ("cosine", [(1 + math.cos(math.pi * done)) / 2 for done in (0.4, 0.9)]),
    ],
    ids=["none", "linear", "cosine"],
)


@DECAYS
def test_a_runs_learning_rates_follow_its_decay(
    decay: str, factors: list[float], tiny: Make, histology: Images, validator: Validator, tmp_path: Path
) -> None:
    plan = _plan(tiny(training__decay=decay, losses__lsgan__generator_lr=3e-4))
    rates: list[list[float]] = []

    def look(scored: ValidationScore) -> None:
        found = checkpoint.newest(Folder(tmp_path / "checkpoints"), plan.identity())
        assert found is not None and found[0] == scored.step
        names = ("generator_optimizer", "critic_optimizer")
        rates.append([group["lr"] for name in names for group in found[1]["players"][name]["param_groups"]])

    train(plan, histology.train, validator, Folder(tmp_path), replace(single_process(), report=look))
    assert rates == [pytest.approx([3e-4 * factor, 2e-4 * factor]) for factor in factors]


@DECAYS
def test_history_tells_the_learning_rates_that_were_used(
    decay: str, factors: list[float], tiny: Make, histology: Images, validator: Validator, tmp_path: Path
) -> None:
    plan = _plan(tiny(training__decay=decay, losses__lsgan__generator_lr=3e-4))
    train(plan, histology.train, validator, Folder(tmp_path), single_process())
    lines = {line.step: line for line in Folder(tmp_path).read_lines("history.jsonl", History)}
    assert [lines[step].generator_lr for step in (5, 10)] == pytest.approx([3e-4 * factor for factor in factors])
    assert [lines[step].critic_lr for step in (5, 10)] == pytest.approx([2e-4 * factor for factor in factors])


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
    assert record.state == "finished" and record.starts == 2 and found[2][0] in record.warnings


def test_checkpoint_of_another_run_is_refused_with_the_difference(
    tiny: Make, histology: Images, validator: Validator, tmp_path: Path
) -> None:
    train(_plan(tiny()), histology.train, validator, Folder(tmp_path), single_process())
    other = _plan(tiny(losses__lsgan__critic_lr=1e-3))
    with pytest.raises(RunError, match=r"another run.*loss.*0\.0002.*0\.001"):
        train(other, histology.train, validator, Folder(tmp_path), single_process())


def test_a_run_whose_checkpoints_are_all_damaged_begins_anew_and_says_so(
    tiny: Make, histology: Images, validator: Validator, tmp_path: Path
) -> None:
    plan = _plan(tiny())
    train(plan, histology.train, validator, Folder(tmp_path), single_process())
    lines = Folder(tmp_path).read_lines("history.jsonl", History)
    for path in (tmp_path / "checkpoints").glob("step-*.pt"):
        path.write_bytes(path.read_bytes()[:100])
    record = train(plan, histology.train, validator, Folder(tmp_path), single_process())
    again = Folder(tmp_path).read_lines("history.jsonl", History)
    assert [line.critic_loss for line in again] == [line.critic_loss for line in lines]
    assert record.state == "finished" and sum("damaged" in warning for warning in record.warnings) == 2
    assert "began anew" in record.warnings[0]


def test_a_forged_checkpoint_of_this_run_is_refused(
    tiny: Make, histology: Images, validator: Validator, tmp_path: Path
) -> None:
    plan = _plan(tiny())
    checkpoint.save(Folder(tmp_path / "checkpoints"), 4, {"players": {"generator": {}}}, plan.identity())
    with pytest.raises(RunError, match="the checkpoint of step 4 doesn't fit this run"):
        train(plan, histology.train, validator, Folder(tmp_path), single_process())


def test_run_record_survives_json(tmp_path: Path) -> None:
    record = RunRecord(label="wgan", seed=1, values={"clip": 0.01}, state="diverged", reason="NaN")
    Folder(tmp_path).write_record("run.json", record)
    assert Folder(tmp_path).read_record("run.json", RunRecord) == record
