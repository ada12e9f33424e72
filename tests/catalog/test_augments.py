"""Differentiable augmentation: each entry against its definition, per image and by the given draws alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gansvc.catalog.augments import AUGMENTS, augment, colour, cutout, draws_of, flip, translation

EVERY = pytest.mark.parametrize("name", list(AUGMENTS))
SIZES = pytest.mark.parametrize("size", [28, 32, 64])
LAST = 1 - 2**-24
"""The largest draw below 1 that float32 knows."""


def images(size: int = 28, n: int = 4, channels: int = 3) -> Tensor:
    """Return images without a zero, so that a zero in a result came in."""
    drawn = torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(size))
    return (drawn + 0.01) * torch.tensor([1.0, -1.0]).repeat(size // 2)


def draws(columns: int, n: int = 4, seed: int = 0) -> Tensor:
    return torch.rand(n, columns, generator=torch.Generator().manual_seed(seed))


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """Return an image (C, H, W) moved by whole pixels, zeros coming in."""
    moved, side = torch.zeros_like(image), image.shape[1]
    for row in range(max(0, down), min(side, side + down)):
        for column in range(max(0, right), min(side, side + right)):
            moved[:, row, column] = image[:, row - down, column - right]
    return moved


# --- the whole table ------------------------------------------------------------------------------------------------


@EVERY
@SIZES
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_dtype_and_draws_decide_the_result(name: str, size: int, channels: int) -> None:
    entry, given = AUGMENTS[name], images(size, channels=channels)
    before, turns = given.clone(), draws(AUGMENTS[name].draws)
    result = entry.apply(given, turns)
    assert result.shape == given.shape
    assert result.dtype == torch.float32
    assert bool(torch.isfinite(result).all())
    assert torch.equal(result, entry.apply(given, turns))
    assert torch.equal(given, before)
    assert not torch.equal(result, entry.apply(given, draws(entry.draws, seed=1)))


@EVERY
def test_each_image_has_its_own_draws(name: str) -> None:
    entry = AUGMENTS[name]
    turns = torch.tensor([0.1, 0.9]).view(2, 1).expand(2, entry.draws)
    first, second = entry.apply(images(n=1).expand(2, -1, -1, -1), turns)
    assert not torch.equal(first, second)


@EVERY
@SIZES
def test_a_workers_slice_gives_the_slice_of_the_result(name: str, size: int) -> None:
    entry, given, turns = AUGMENTS[name], images(size, n=7), draws(AUGMENTS[name].draws, n=7)
    whole = entry.apply(given, turns)
    for part in (slice(0, 2), slice(2, 4), slice(4, 7)):
        torch.testing.assert_close(entry.apply(given[part], turns[part]), whole[part])


@EVERY
def test_gradient_reaches_the_image(name: str) -> None:
    entry = AUGMENTS[name]
    given = images(8, n=3).double().requires_grad_(True)
    # Both sides of flip's choice, and nothing near a jump of the whole-pixel moves.
    turns = draws(entry.draws, n=3).double()
    assert torch.autograd.gradcheck(lambda x: entry.apply(x, turns), (given,))
    (gradient,) = torch.autograd.grad(entry.apply(given, turns).square().sum(), given)
    assert bool((gradient.flatten(1).abs().sum(dim=1) > 0).all())


# --- each entry -----------------------------------------------------------------------------------------------------


@SIZES
def test_flip_mirrors_left_to_right(size: int) -> None:
    given = images(size)
    result = flip(given, torch.tensor([[0.0], [0.49], [0.5], [LAST]]))
    for column in range(size):
        assert torch.equal(result[:2, :, :, column], given[:2, :, :, size - 1 - column])
    assert torch.equal(result[2:], given[2:])


def test_brightness_adds_one_value_to_an_image() -> None:
    added = AUGMENTS["brightness"].apply(images(), torch.tensor([[0.0], [0.25], [0.5], [0.75]])) - images()
    expected = torch.tensor([-0.5, -0.25, 0.0, 0.25]).view(4, 1, 1, 1).expand_as(added)
    torch.testing.assert_close(added, expected)


def test_neutral_colour_changes_nothing() -> None:
    torch.testing.assert_close(colour(images(), torch.full((4, 3), 0.5)), images())


def test_colour_changes_brightness_saturation_and_contrast() -> None:
    given = images()
    torch.testing.assert_close(colour(given, torch.tensor([[0.75, 0.5, 0.5]]).expand(4, 3)), given + 0.25)

    # Saturation 0 leaves every pixel's mean over channels; 2 doubles the way from it.
    grey = given.mean(dim=1, keepdim=True).expand_as(given)
    torch.testing.assert_close(colour(given, torch.tensor([[0.5, 0.0, 0.5]]).expand(4, 3)), grey)
    torch.testing.assert_close(colour(given, torch.tensor([[0.5, LAST, 0.5]]).expand(4, 3)), 2 * given - grey)

    # Contrast 0.5 halves the way from the image's own mean; 1.5 adds half of it.
    mean = torch.stack([image.mean().expand_as(image) for image in given])
    torch.testing.assert_close(colour(given, torch.tensor([[0.5, 0.5, 0.0]]).expand(4, 3)), (given + mean) / 2)
    lively = colour(given, torch.tensor([[0.5, 0.5, LAST]]).expand(4, 3))
    torch.testing.assert_close(lively, mean + 1.5 * (given - mean))


def test_grey_images_have_no_saturation() -> None:
    given = images(channels=1)
    turns = torch.tensor([[0.5, 0.9, 0.5]]).expand(4, 3)
    torch.testing.assert_close(colour(given, turns), given)


@SIZES
def test_translation_shifts_by_an_eighth_at_most_and_fills_with_zeros(size: int) -> None:
    most = {28: 4, 32: 4, 64: 8}[size]
    given = images(size)
    turns = torch.tensor([[0.0, 0.0], [LAST, LAST], [0.5, 0.5], [0.0, LAST]])
    result = translation(given, turns)
    for image, moved, (down, right) in zip(given, result, [(1, 1), (-1, -1), (0, 0), (1, -1)], strict=True):
        assert torch.equal(moved, shifted(image, down * most, right * most))


def test_translation_reaches_every_shift_equally_often() -> None:
    # 90 draws in even steps: each of the 9 shifts of a row ten times.
    given = images(n=1).expand(90, -1, -1, -1)
    turns = torch.stack([(torch.arange(90) + 0.5) / 90, torch.full((90,), 0.5)], dim=1)
    result = translation(given, turns)
    expected = torch.stack([shifted(given[0], 4 - index // 10, 0) for index in range(90)])
    assert torch.equal(result, expected)


@SIZES
def test_cutout_takes_a_square_of_half_the_side(size: int) -> None:
    given = images(size)
    middle, low, high = 0.5, 0.0, LAST
    result = cutout(given, torch.tensor([[middle, middle], [low, low], [high, high], [middle, low]]))
    half, quarter = size // 2, size // 4
    # Its middle lies in the image, so at an edge part of it falls outside.
    inside, first, last = slice(quarter, quarter + half), slice(0, quarter), slice(size - 1 - quarter, size)
    squares = [(inside, inside), (first, first), (last, last), (inside, first)]
    for image, cut, (rows, columns) in zip(given, result, squares, strict=True):
        expected = image.clone()
        expected[:, rows, columns] = 0
        assert torch.equal(cut, expected)
    assert int((result[0, 0] == 0).sum()) == half * half == {28: 14, 32: 16, 64: 32}[size] ** 2


# --- several --------------------------------------------------------------------------------------------------------


def test_no_augmentation_returns_the_images() -> None:
    given = images()
    assert torch.equal(augment(given, torch.empty(4, 0), ()), given)


def test_augmentations_follow_one_another_each_with_its_own_draws() -> None:
    given, names = images(), ("colour", "flip", "translation")
    assert draws_of(names) == 3 + 1 + 2
    assert draws_of(()) == 0
    turns = draws(6)
    expected = translation(flip(colour(given, turns[:, :3]), turns[:, 3:4]), turns[:, 4:])
    assert torch.equal(augment(given, turns, names), expected)
    assert not torch.equal(augment(given, turns, names[::-1]), expected)
