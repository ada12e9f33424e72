"""Conditional players: their formulas, their training under every loss, and what they learn of two classes."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import softplus
from torch.nn.utils import parametrize

from gansvc.catalog.losses import LOSSES
from gansvc.catalog.metrics import Features
from gansvc.catalog.networks import NETWORKS, Network
from gansvc.cluster import driver
from gansvc.errors import SpecError
from gansvc.gan import data
from gansvc.gan.batches import Batch
from gansvc.gan.conditional import Critic, Generator
from gansvc.gan.networks import build_critic, build_generator
from gansvc.gan.players import Players
from gansvc.gan.run import RunPlan, Validation, single_process
from gansvc.gan.sampling import class_number, generate, generate_of
from gansvc.gan.scoring.validation import Validator
from gansvc.gan.streams import sample_labels, sample_latents
from gansvc.gan.train import train
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder

EVERY = pytest.mark.parametrize("name", list(NETWORKS))
EVERY_SIZE = pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name, network in NETWORKS.items() for size in network.sizes]
)
SHARES = torch.tensor([0.5, 0.3, 0.2])
LABELS = torch.tensor([2, 0, 1, 1, 2])


def pair(name: str, conditional: bool = True, critic_norm: Literal["none", "spectral"] = "none") -> Network:
    return NETWORKS[name](name=name, width=4, latent_dim=8, conditional=conditional, critic_norm=critic_norm)


def seeded_critic(name: str, size: int = 28, **fields: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_critic(pair(name, **fields), 3, size, 3)


# --- the networks ---------------------------------------------------------------------------------------------------


@EVERY_SIZE
@pytest.mark.parametrize("channels", [1, 3])
def test_generator_maps_latents_and_classes_to_images(name: str, size: int, channels: int) -> None:
    torch.manual_seed(0)
    generator = build_generator(pair(name), channels, size, SHARES).eval()
    z = torch.randn(1, 8).expand(3, -1)
    images = generator(z, torch.arange(3)).detach()
    assert images.shape == (3, channels, size, size)
    assert -1 <= images.min().item() < images.max().item() <= 1
    for one, other in ((0, 1), (1, 2), (0, 2)):
        difference = (images[one] - images[other]).abs().max()
        assert difference > 0.1 * images.abs().max(), "the class makes a difference"
    assert torch.equal(generator.get_buffer("shares"), SHARES) and "shares" in generator.state_dict()


@EVERY_SIZE
def test_critic_is_the_plain_one_whose_last_weights_are_each_classes_own(name: str, size: int) -> None:
    critic, plain = seeded_critic(name, size), seeded_critic(name, size, conditional=False)
    assert isinstance(critic, Critic) and isinstance(plain, nn.Sequential)
    images, last = torch.randn(5, 3, size, size), plain[-2]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    nn.init.constant_(last.bias, 0.3)
    nn.init.constant_(next(p for key, p in critic.head.named_parameters() if key.endswith("bias")), 0.3)
    logits, psi = critic(images, LABELS).detach(), last.weight.detach().clone()
    for label in range(3):
        with torch.no_grad():
            last.weight.copy_(psi + critic.embedding.weight[label].view_as(psi))
            expected, mine = plain(images), label == LABELS
        torch.testing.assert_close(logits[mine], expected[mine], rtol=1e-4, atol=1e-5)
        assert float((logits[~mine] - expected[~mine]).abs().min()) > 1e-4


@EVERY
def test_spectral_norm_covers_the_classes_vectors(name: str) -> None:
    critic = seeded_critic(name, critic_norm="spectral")
    assert isinstance(critic, Critic) and parametrize.is_parametrized(critic.embedding, "weight")
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.mul_(3)
        for _ in range(100):
            critic(torch.randn(2, 3, 28, 28), torch.tensor([0, 1]))
        critic.eval()
        assert float(torch.linalg.matrix_norm(critic.embedding.weight, 2)) == pytest.approx(1, rel=1e-2)


@EVERY
def test_critic_keeps_no_batch_statistics(name: str) -> None:
    critic, images = seeded_critic(name), torch.randn(5, 3, 28, 28)
    assert list(critic.buffers()) == []
    alone = torch.cat([critic(images[i : i + 1], LABELS[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(critic(images, LABELS), alone)


def test_generator_without_shares_is_refused() -> None:
    with pytest.raises(TypeError, match="shares"):
        build_generator(pair("dcgan"), 3)


# --- the steps ------------------------------------------------------------------------------------------------------


def job(network: str, loss: str, **values: Any) -> JobSpec:
    """Return a spec with equal, fast optimisers for all losses."""
    fields = {"name": loss, "n_critic": 1, "generator_lr": 1e-3, "critic_lr": 1e-3, "betas": (0.5, 0.99)}
    section = {"name": network, "width": 8, "latent_dim": 8, "conditional": True}
    given = {"name": "tiny", "dataset": "retinamnist", "network": section, "losses": [fields]}
    return jobfile.validate(given | {"training": {"batch_size": 16, "ema": 0.9}}).with_values(values)


def made_players(spec: JobSpec) -> Players:
    plan = RunPlan(spec, spec.losses[0].label, 0, 1, 1)
    return Players(plan, 1, torch.device("cpu"), lambda module: module, SHARES)


def batch(seed: int, loss: str = "lsgan") -> Batch:
    draws = torch.Generator().manual_seed(seed)
    return Batch(
        real=torch.rand(6, 1, 28, 28, generator=draws) * 2 - 1,
        latents=torch.randn(6, 8, generator=draws),
        noise=torch.empty(6, 3, 0),
        weight=1.0,
        draws=tuple(torch.rand(6, r.draws(1, 28), generator=draws) for r in LOSSES[loss](name=loss).all_regularizers()),
        labels=torch.tensor([2, 0, 2, 0, 0, 0]),
    )


@EVERY
@pytest.mark.parametrize("loss", list(LOSSES))
def test_gradients_reach_the_vectors_of_the_classes_in_the_batch_and_no_other(name: str, loss: str) -> None:
    players = made_players(job(name, loss))
    assert isinstance(players.generator, Generator) and isinstance(players.critic, Critic)
    embeddings = (players.generator.embedding.weight, players.critic.embedding.weight)
    before = [weight.detach().clone() for weight in embeddings]
    for step in range(2):
        given = batch(step, loss)
        logged = players.critic_step(given, step, last=True) | players.generator_step(given)
        assert all(torch.isfinite(value) for value in logged.values())
        for weight in embeddings:
            assert weight.grad is not None
            assert (weight.grad.abs().sum(dim=1) > 0).tolist() == [True, False, True]
    for old, weight in zip(before, embeddings, strict=True):
        assert bool((weight[[0, 2]] != old[[0, 2]]).any(dim=1).all())
    for player in (players.generator, players.critic):
        assert [key for key, value in player.named_parameters() if value.grad is None] == []
    assert torch.equal(players.average.get_buffer("shares"), SHARES)


@pytest.mark.parametrize("loss", ["lsgan", "wgan-gp", "rpgan"])
def test_steps_equal_plain_torch_with_each_images_own_label(loss: str) -> None:
    players, given = made_players(job("resnet", loss)), batch(0, loss)
    G, D, y = copy.deepcopy(players.generator), copy.deepcopy(players.critic), given.labels
    real, fake = given.real, G(given.latents, y).detach()

    def slopes(images: torch.Tensor) -> torch.Tensor:
        """Return the squared norms of the critic's gradients by its images."""
        images = images.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(D(images, y).sum(), images, create_graph=True)
        return gradient.square().sum(dim=(1, 2, 3))

    if loss == "lsgan":
        expected = 0.5 * (D(real, y) - 1).square().mean() + 0.5 * D(fake, y).square().mean()
    elif loss == "wgan-gp":
        mix = given.draws[0].view(-1, 1, 1, 1)
        penalty = (slopes(mix * real + (1 - mix) * fake).sqrt() - 1).square().mean()
        expected = D(fake, y).mean() - D(real, y).mean() + 10 * penalty
    else:
        expected = softplus(D(fake, y) - D(real, y)).mean() + 0.025 * (slopes(real).mean() + slopes(fake).mean())
    expected.backward()
    logged = {name: value.item() for name, value in players.critic_step(given, 0, last=True).items()}
    assert logged["critic_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert logged["wasserstein"] == pytest.approx((D(real, y).mean() - D(fake, y).mean()).item(), rel=1e-4, abs=1e-6)
    for (key, ours), theirs in zip(players.critic.named_parameters(), D.parameters(), strict=True):
        if not (loss == "rpgan" and key.startswith("head") and key.endswith("bias")):  # it cancels in the pairs
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6)

    # The generator is judged by the critic as it is after its step.
    logits = players.critic(G(given.latents, y), y)
    if loss == "lsgan":
        expected = 0.5 * (logits - 1).square().mean()
    elif loss == "wgan-gp":
        expected = -logits.mean()
    else:
        expected = softplus(players.critic(real, y).detach() - logits).mean()
    expected.backward()
    assert players.generator_step(given)["generator_loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    for ours, theirs in zip(players.generator.parameters(), G.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6)


def test_wgan_clips_the_classes_vectors_too() -> None:
    players = made_players(job("dcgan", "wgan"))
    players.critic_step(batch(0, "wgan"), 0, last=True)
    assert isinstance(players.critic, Critic)
    assert float(players.critic.embedding.weight.detach().abs().max()) == pytest.approx(0.01)


def test_unconditional_players_are_identified_as_before_the_field_was_there() -> None:
    conditional, plain = (
        RunPlan(job("dcgan", "lsgan", **{"network.conditional": on}), "lsgan", 0, 1, 1).identity()["network"]
        for on in (True, False)
    )
    assert isinstance(conditional, dict) and isinstance(plain, dict)
    assert conditional["conditional"] is True and "conditional" not in plain
    assert {key: value for key, value in conditional.items() if key != "conditional"} == plain


# --- the training ---------------------------------------------------------------------------------------------------


class Kept(Validator):
    """Keeps the generator that it is given, in place of scoring it."""

    def __call__(self, network: nn.Module, rank: int = 0, world_size: int = 1) -> Validation:
        self.seen.append(network)  # type: ignore[attr-defined]
        return Validation(1.0, 1.0)


def learned(spec: JobSpec, steps: int, folder: Path, labels: torch.Tensor | None) -> nn.Module:
    """Train on black images of class 0 and white ones of class 1; return the averaged generator."""
    draws, of = torch.Generator().manual_seed(0), torch.arange(64) % 2
    noise = torch.randint(0, 30, (64, 1, 28, 28), generator=draws)
    images = (noise + 220 * of.view(-1, 1, 1, 1)).to(torch.uint8)
    validator = Kept(spec.evaluation, "kid", Features(torch.empty(0, 1), torch.empty(0, 1)), 8)
    object.__setattr__(validator, "seen", [])
    plan = RunPlan(spec, spec.losses[0].label, 0, 1, 1, images=16 * steps)
    train(plan, images, validator, Folder(folder), single_process(), labels)
    network: nn.Module = validator.seen[-1]  # type: ignore[attr-defined]
    return network


def brightness(network: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean pixels of 20 images of each of two classes."""
    means = generate_of(network, 8, 1, torch.arange(40) % 2).float().mean(dim=(1, 2, 3))
    return means[::2], means[1::2]


@pytest.mark.parametrize(
    ("network", "loss", "steps"),
    [("dcgan", "lsgan", 100), ("dcgan", "wgan-gp", 100), ("dcgan", "rpgan", 100), ("resnet", "hinge", 45)],
)
def test_two_classes_are_learned(network: str, loss: str, steps: int, tmp_path: Path) -> None:
    generator = learned(job(network, loss), steps, tmp_path, torch.arange(64) % 2)
    dark, bright = brightness(generator)
    assert dark.max() + 50 < bright.min()

    # What is kept knows the shares; the grid's upper half is of class 0, its lower of class 1.
    assert load_file(tmp_path / "checkpoints" / "best.safetensors")["shares"].tolist() == [0.5, 0.5]
    grid = Image.open(io.BytesIO((tmp_path / "samples" / f"step-{steps:08d}.png").read_bytes())).convert("L")
    upper, lower = (grid.crop((0, y, grid.width, y + grid.height // 2)) for y in (0, grid.height // 2))
    assert grid.size == (2 * (8 * 29 + 1), 2 * (8 * 29 + 1))
    assert _mean(upper) + 40 < _mean(lower)


def _mean(picture: Image.Image) -> float:
    return float(torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).float().mean())


def test_swapped_labels_are_learned_swapped(tmp_path: Path) -> None:
    dark, bright = brightness(learned(job("dcgan", "wgan"), 60, tmp_path, (torch.arange(64) + 1) % 2))
    assert dark.min() > bright.max() + 50


def test_grid_has_whole_rows_of_every_class(tmp_path: Path) -> None:
    learned(job("dcgan", "lsgan"), 1, tmp_path, torch.arange(64) % 3)
    with Image.open(tmp_path / "samples" / "step-00000001.png") as grid:
        assert grid.size == (2 * (8 * 29 + 1), 2 * (6 * 29 + 1)), "two rows of eight for each of three classes"


def test_without_labels_conditional_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"network\.conditional: true needs classes"):
        learned(job("dcgan", "lsgan"), 1, tmp_path, None)


def test_unconditional_networks_leave_labels_alone(tmp_path: Path) -> None:
    spec = job("dcgan", "lsgan", **{"network.conditional": False})
    one, other = (learned(spec, 3, tmp_path / str(n), y) for n, y in enumerate((None, torch.arange(64) % 2)))
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# --- drawing --------------------------------------------------------------------------------------------------------


class Flat(nn.Module):
    """Makes images of one value: ten times the class, and the sign of the latent's first number."""

    def __init__(self, shares: torch.Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("shares", shares)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        value = (10 * labels + (z[:, 0] > 0)) / 127.5 - 1
        return (self.scale * value).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_samples_of_no_asked_class_are_drawn_by_the_shares() -> None:
    network = Flat(SHARES)
    whole = torch.cat(list(generate(network, 8, 3, 130)))[:, 0, 0, 0]
    labels, signs = sample_labels(3, 0, 130, SHARES), sample_latents(3, 0, 130, 8)[:, 0] > 0
    assert whole.tolist() == (10 * labels + signs).tolist()
    shared = [list(generate(network, 8, 3, 130, rank, 2)) for rank in range(2)]
    assert torch.equal(torch.cat([shared[0][0], shared[1][0], shared[0][1]])[:, 0, 0, 0], whole)


def test_asked_classes_are_drawn_from_the_latents_of_their_places() -> None:
    labels = torch.arange(120) % 3
    images = generate_of(Flat(SHARES), 8, 3, labels)
    assert images.shape == (120, 1, 2, 2) and images.dtype == torch.uint8
    signs = sample_latents(3, 0, 120, 8)[:, 0] > 0
    assert images[:, 0, 0, 0].tolist() == (10 * labels + signs).tolist()


def test_a_class_is_found_by_its_name_first_and_then_by_its_number() -> None:
    assert [class_number(asked, ("normal", "pneumonia")) for asked in ("pneumonia", "0", "1")] == [1, 0, 1]
    assert class_number("1", ("1", "0")) == 0
    for asked in ("pnuemonia", "2", "-1", ""):
        with pytest.raises(SpecError, match=r"^--class: unknown class .*known: normal, pneumonia; or .*0 to 1$"):
            class_number(asked, ("normal", "pneumonia"))
    with pytest.raises(SpecError, match="did you mean 'pneumonia'"):
        class_number("pnuemonia", ("normal", "pneumonia"))


# --- data sets without classes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["histology", "chestmnist"])
def test_a_data_set_known_to_have_no_classes_is_refused_early(dataset: str) -> None:
    with pytest.raises(SpecError) as caught:
        job("dcgan", "lsgan", dataset=dataset)
    assert str(caught.value) == (
        f"network.conditional: true needs classes, and {dataset} has none; use a data set with classes, "
        "or conditional: false"
    )


def test_a_file_without_labels_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    import numpy as np

    noise = np.zeros((4, 28, 28), np.uint8)
    np.savez(tmp_path / "mine.npz", train_images=noise, val_images=noise, test_images=noise)
    spec = job("dcgan", "lsgan", dataset={"name": "npz", "path": str(tmp_path / "mine.npz")})
    with pytest.raises(SpecError, match=r"network\.conditional: true needs classes, and .*mine\.npz has none"):
        driver.connect(spec)


def test_classes_are_called_by_the_numbers_in_the_file(tmp_path: Path) -> None:
    import numpy as np

    noise, labels = np.zeros((4, 28, 28), np.uint8), np.array([7, 3, 7, 3])
    arrays = {f"{split}_{kind}": a for split in ("train", "val", "test") for kind, a in _kinds(noise, labels)}
    np.savez(tmp_path / "mine.npz", **arrays)
    spec = job("dcgan", "lsgan", dataset={"name": "npz", "path": str(tmp_path / "mine.npz")})
    images = data.load(spec.dataset)
    assert images.labels["train"].tolist() == [1, 0, 1, 0]
    assert images.titles == ("3", "7")


def _kinds(images: Any, labels: Any) -> tuple[tuple[str, Any], ...]:
    return (("images", images), ("labels", labels))
