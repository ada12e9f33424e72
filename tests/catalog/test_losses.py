"""The losses: hand-computed values, weight clipping, their regularizers, and the whole table."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from gansvc.catalog.losses import LOSSES, Hinge, Loss, Lsgan, Ns, RpGan, Wgan, WganGp
from gansvc.catalog.regularizers import R1R2, REGULARIZERS, GradientPenalty
from gansvc.spec import jobfile

# Lopsided on purpose: real and fake, the players, the sign, the mean and the sum all give other numbers.
REAL = torch.tensor([2.0, -1.0, 0.5, 3.0])
FAKE = torch.tensor([0.25, -2.0, 1.5, -0.75])
EVERY = pytest.mark.parametrize("name", list(LOSSES))


def generator_loss(loss: Loss, fake: Tensor, real: Tensor) -> Tensor:
    """Return the generator's loss, given real logits only where it asks for them."""
    return loss.generator_loss(fake, real) if loss.pairs_real else loss.generator_loss(fake)


def softplus(logit: float) -> float:
    return math.log(1 + math.exp(logit))


def smooth_critic(seed: int = 3) -> nn.Sequential:
    """Return a small critic without kinks, in float64, so that finite differences hold."""
    torch.manual_seed(seed)
    critic = nn.Sequential(nn.Conv2d(2, 3, 2, stride=2), nn.Tanh(), nn.Conv2d(3, 1, 2), nn.Tanh(), nn.Flatten(0))
    return critic.double()


# --- hand-computed values -------------------------------------------------------------------------------------------


def test_lsgan_critic() -> None:
    # real: (1 + 4 + 0.25 + 4) / 4 = 2.3125; fake: (0.0625 + 4 + 2.25 + 0.5625) / 4 = 1.71875
    assert Lsgan().critic_loss(REAL, FAKE).item() == pytest.approx(0.5 * (2.3125 + 1.71875))


def test_lsgan_generator() -> None:
    # (0.5625 + 9 + 0.25 + 3.0625) / 4 = 3.21875
    assert Lsgan().generator_loss(FAKE).item() == pytest.approx(0.5 * 3.21875)


@pytest.mark.parametrize("loss", [Wgan(), WganGp()], ids=lambda loss: loss.name)
def test_wasserstein_critic(loss: Loss) -> None:
    # mean real 4.5 / 4 = 1.125; mean fake -1 / 4 = -0.25
    assert loss.critic_loss(REAL, FAKE).item() == pytest.approx(-0.25 - 1.125)


@pytest.mark.parametrize("loss", [Wgan(), WganGp()], ids=lambda loss: loss.name)
def test_wasserstein_generator(loss: Loss) -> None:
    assert loss.generator_loss(FAKE).item() == pytest.approx(0.25)


def test_lsgan_is_least_at_its_targets() -> None:
    ones, zeros = torch.ones(3), torch.zeros(3)
    assert Lsgan().critic_loss(ones, zeros).item() == 0.0
    assert Lsgan().generator_loss(ones).item() == 0.0
    assert Lsgan().critic_loss(zeros, ones).item() == pytest.approx(1.0)
    assert Lsgan().generator_loss(zeros).item() == pytest.approx(0.5)


def test_ns() -> None:
    real = sum(softplus(-logit) for logit in REAL.tolist()) / 4
    fake = sum(softplus(logit) for logit in FAKE.tolist()) / 4
    assert Ns().critic_loss(REAL, FAKE).item() == pytest.approx(real + fake)
    assert Ns().generator_loss(FAKE).item() == pytest.approx(sum(softplus(-logit) for logit in FAKE.tolist()) / 4)


def test_ns_is_minus_the_log_of_a_sigmoids_probability() -> None:
    # A logit of log 3 is a probability of 3/4.
    sure = torch.full((2,), math.log(3))
    assert Ns().critic_loss(sure, sure).item() == pytest.approx(-math.log(0.75) - math.log(0.25))
    assert Ns().generator_loss(sure).item() == pytest.approx(-math.log(0.75))


def test_hinge() -> None:
    # real: (0 + 2 + 0.5 + 0) / 4 = 0.625; fake: (1.25 + 0 + 2.5 + 0.25) / 4 = 1
    assert Hinge().critic_loss(REAL, FAKE).item() == pytest.approx(0.625 + 1.0)
    assert Hinge().generator_loss(FAKE).item() == pytest.approx(0.25)


def test_hinge_asks_no_more_than_its_margin() -> None:
    real, fake = torch.tensor([0.9, 1.1], requires_grad=True), torch.tensor([-0.9, -1.1], requires_grad=True)
    Hinge().critic_loss(real, fake).backward()
    assert real.grad is not None and real.grad.tolist() == [-0.5, 0.0]
    assert fake.grad is not None and fake.grad.tolist() == [0.5, 0.0]


def test_rpgan_compares_each_generated_image_with_its_real_one() -> None:
    gaps = [real - fake for real, fake in zip(REAL.tolist(), FAKE.tolist(), strict=True)]
    assert RpGan().critic_loss(REAL, FAKE).item() == pytest.approx(sum(softplus(-gap) for gap in gaps) / 4)
    assert RpGan().generator_loss(FAKE, REAL).item() == pytest.approx(sum(softplus(gap) for gap in gaps) / 4)
    assert RpGan().critic_loss(REAL, FAKE.flip(0)).item() != pytest.approx(RpGan().critic_loss(REAL, FAKE).item())
    # Only the gap counts: a constant that the critic adds everywhere changes nothing.
    assert RpGan().critic_loss(REAL + 5, FAKE + 5).item() == pytest.approx(RpGan().critic_loss(REAL, FAKE).item())


def test_rpgan_says_what_it_lacks() -> None:
    with pytest.raises(TypeError, match="logits of real images"):
        RpGan().generator_loss(FAKE)


@pytest.mark.parametrize("loss", [Ns(), RpGan()], ids=lambda loss: loss.name)
def test_logarithms_bear_a_critic_that_is_wrong_and_sure(loss: Loss) -> None:
    real, fake = torch.tensor([-200.0], requires_grad=True), torch.tensor([200.0], requires_grad=True)
    value = loss.critic_loss(real, fake)
    assert value.item() == pytest.approx(400.0)
    assert [gradient.item() for gradient in torch.autograd.grad(value, (real, fake))] == [-1.0, 1.0]
    assert generator_loss(loss, fake, real).item() == pytest.approx(0.0)


def test_real_and_fake_may_differ_in_number() -> None:
    fewer = FAKE[:2]  # mean -0.875
    assert Wgan().critic_loss(REAL, fewer).item() == pytest.approx(-0.875 - 1.125)
    assert Lsgan().critic_loss(REAL, fewer).item() == pytest.approx(0.5 * (2.3125 + (0.0625 + 4) / 2))


# --- weight clipping ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [0.01, 0.3])
def test_clipping_clamps_every_parameter_and_nothing_inside(clip: float) -> None:
    critic = smooth_critic()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
            parameter.view(-1)[0] = clip / 3
    before = [parameter.detach().clone() for parameter in critic.parameters()]
    Wgan(clip=clip).constrain(critic)
    for old, new in zip(before, critic.parameters(), strict=True):
        assert torch.equal(new, torch.where(old.abs() > clip, clip * old.sign(), old))
        assert new.requires_grad
    assert sum(int((old.abs() > clip).sum()) for old in before) > len(before)


@pytest.mark.parametrize(
    "loss", [*(kind(name=name) for name, kind in LOSSES.items()), Wgan(clip=None)], ids=lambda loss: loss.name
)
def test_a_loss_says_whether_it_bounds_the_weights(loss: Loss) -> None:
    critic = smooth_critic()
    before = [parameter.detach().clone() for parameter in critic.parameters()]
    loss.constrain(critic)
    same = [torch.equal(old, new) for old, new in zip(before, critic.parameters(), strict=True)]
    assert all(same) is not loss.bounds_weights()


def test_null_turns_clipping_off_and_stays_null_when_it_is_written() -> None:
    spec = jobfile.parse("{name: job, dataset: histology, losses: [{name: wgan, clip: null}]}")
    assert Wgan().bounds_weights() and not spec.losses[0].bounds_weights()
    assert jobfile.parse(jobfile.dump(spec)) == spec.with_values({"training.epochs": 50}) == spec


# --- regularizers ---------------------------------------------------------------------------------------------------


def test_named_losses_bring_their_regularizers_with_their_own_fields() -> None:
    assert WganGp(penalty_weight=2.5).all_regularizers() == (GradientPenalty(weight=2.5),)
    assert RpGan(penalty_weight=3.0, penalty_every=4).all_regularizers() == (R1R2(weight=3.0, every=4),)
    assert WganGp(regularizers=(R1R2(),)).all_regularizers() == (GradientPenalty(weight=10.0), R1R2())


@EVERY
@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_every_loss_takes_every_regularizer_once(name: str, regularizer: str) -> None:
    entry, kind = REGULARIZERS[regularizer](name=regularizer), LOSSES[name]
    own = kind(name=name).own_regularizers()
    if regularizer in {one.name for one in own}:
        with pytest.raises(ValidationError, match=f"{name} brings {regularizer} itself"):
            kind(name=name, regularizers=(entry,))
    else:
        assert kind(name=name, regularizers=(entry,)).all_regularizers() == (*own, entry)
        with pytest.raises(ValidationError, match=f"{regularizer} is there twice"):
            kind(name=name, regularizers=(entry, entry))


def test_values_are_reached_by_their_paths() -> None:
    loss = Lsgan(regularizers=(GradientPenalty(weight=3.0), R1R2(every=4)))
    values = loss.values()
    assert (values["critic_lr"], values["regularizers.gradient-penalty.weight"]) == (2e-4, 3.0)
    assert "regularizers" not in values
    for path in (path for path in values if path != "name"):
        assert loss.with_value(path, values[path] if path != "betas" else (0.5, 0.999)) == loss
    changed = loss.with_value("regularizers.r1-r2.every", 2)
    assert changed == Lsgan(regularizers=(GradientPenalty(weight=3.0), R1R2(every=2)))
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        loss.with_value("regularizers.r1-r2.weight", -1.0)


# --- the whole table ------------------------------------------------------------------------------------------------


@EVERY
def test_losses_are_finite_scalars(name: str) -> None:
    loss = LOSSES[name](name=name)
    for value in (loss.critic_loss(REAL, FAKE), generator_loss(loss, FAKE, REAL)):
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert torch.isfinite(value)


@EVERY
def test_losses_are_means_over_samples(name: str) -> None:
    loss = LOSSES[name](name=name)

    def twice(logits: Tensor) -> Tensor:
        return torch.cat([logits, logits])

    assert loss.critic_loss(twice(REAL), twice(FAKE)).item() == pytest.approx(loss.critic_loss(REAL, FAKE).item())
    once = generator_loss(loss, FAKE, REAL).item()
    assert generator_loss(loss, twice(FAKE), twice(REAL)).item() == pytest.approx(once)


@EVERY
def test_generator_gains_when_its_images_pass_for_real(name: str) -> None:
    loss = LOSSES[name](name=name)
    logits = (-2.0, -1.0, 0.0, 0.9)
    values = [generator_loss(loss, torch.full((4,), logit), torch.zeros(4)).item() for logit in logits]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[-1] > 0.1


@EVERY
def test_critic_gains_when_it_tells_real_from_fake(name: str) -> None:
    loss = LOSSES[name](name=name)
    high, low = torch.full((4,), 0.9), torch.full((4,), 0.1)
    assert loss.critic_loss(high, low).item() < loss.critic_loss(low, low).item()
    assert loss.critic_loss(high, low).item() < loss.critic_loss(high, high).item()
    assert loss.critic_loss(high, low).item() < loss.critic_loss(low, high).item()


@EVERY
def test_gradients_reach_every_logit(name: str) -> None:
    loss = LOSSES[name](name=name)
    # A quarter of them lies inside hinge's margin; beyond it the loss is flat on purpose.
    real, fake = (REAL / 4).requires_grad_(True), (FAKE / 4).requires_grad_(True)
    gradients = torch.autograd.grad(loss.critic_loss(real, fake), (real, fake))
    gradients += torch.autograd.grad(generator_loss(loss, fake, real.detach()), (fake,))
    assert all(bool((gradient != 0).all()) for gradient in gradients)


@EVERY
def test_table_entry_knows_its_name_and_source(name: str) -> None:
    kind = LOSSES[name]
    assert kind(name=name).name == name
    assert kind(name=name).label == name
    assert "arXiv" in kind.reference
