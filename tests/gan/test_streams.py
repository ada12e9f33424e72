"""Every draw is a function of (seed, stream, counter, index) alone."""

import pytest
import torch

from gansvc.gan.streams import Order, Stream, latents, sample_labels, sample_latents, uniforms, worker_slice


def test_draws_repeat_and_differ_by_seed_stream_and_counter() -> None:
    normal, even = latents(1, Stream.LATENTS, 5, 4, 3), uniforms(1, Stream.LATENTS, 5, 4, 3, 2)
    assert normal.shape == (4, 3) and even.shape == (4, 3, 2)
    assert torch.equal(normal, latents(1, Stream.LATENTS, 5, 4, 3))
    assert torch.equal(even, uniforms(1, Stream.LATENTS, 5, 4, 3, 2))
    for seed, stream, counter in [(2, Stream.LATENTS, 5), (1, Stream.AUGMENT, 5), (1, Stream.LATENTS, 6)]:
        assert not torch.equal(normal, latents(seed, stream, counter, 4, 3))
        assert not torch.equal(even, uniforms(seed, stream, counter, 4, 3, 2))


def test_no_augmentation_draws_nothing() -> None:
    assert uniforms(0, Stream.AUGMENT, 0, 16, 3, 0).shape == (16, 3, 0)


def test_no_two_streams_share_a_number() -> None:
    assert [stream.name for stream in Stream] == list(Stream.__members__)


def test_draws_ignore_the_global_generator() -> None:
    torch.manual_seed(1)
    first = uniforms(0, Stream.REGULARIZERS, 3, 10)
    torch.manual_seed(2)
    assert torch.equal(first, uniforms(0, Stream.REGULARIZERS, 3, 10))
    assert float(first.min()) >= 0 and float(first.max()) < 1


def test_scored_sample_depends_on_seed_and_index_alone() -> None:
    assert torch.equal(sample_latents(7, 0, 10, 4)[6:9], sample_latents(7, 6, 9, 4))
    shares = torch.tensor([0.2, 0.5, 0.3])
    assert torch.equal(sample_labels(7, 0, 30, shares)[16:29], sample_labels(7, 16, 29, shares))
    assert not torch.equal(sample_labels(7, 0, 30, shares), sample_labels(8, 0, 30, shares))


def test_classes_are_drawn_as_often_as_their_shares_say() -> None:
    shares = torch.tensor([0.05, 0.0, 0.6, 0.35])
    labels = sample_labels(0, 0, 2000, shares)
    assert labels.dtype == torch.int64 and labels.shape == (2000,)
    counts = torch.bincount(labels, minlength=4)
    assert counts[1] == 0
    # Five standard deviations of a binomial draw; with it a class that is drawn by another's share fails.
    for count, part in zip(counts.tolist(), shares.tolist(), strict=True):
        assert abs(count - 2000 * part) <= 5 * (2000 * part * (1 - part)) ** 0.5
    # Shares that rounding lets sum up to less than 1 leave no draw without a class.
    assert sample_labels(0, 0, 200, torch.tensor([0.3, 0.3])).max() == 1


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (10, 10), (7, 16), (5, 3)])
def test_every_epoch_shows_every_image_once_to_all_workers_together(
    count: int, batch_size: int, world_size: int
) -> None:
    # Each worker has an order of its own, as in a run. After `count` batches whole epochs are over: none is cut short,
    # and no image is dropped or shown twice where a batch runs across an epoch's end.
    orders = [Order(3, count, batch_size) for _ in range(world_size)]
    mine = [worker_slice(batch_size, rank, world_size) for rank in range(world_size)]
    steps = [[orders[rank].batch(number)[mine[rank]] for rank in range(world_size)] for number in range(count)]
    seen = torch.cat([part for parts in steps for part in parts])
    assert len(seen) == count * batch_size
    for epoch in seen.view(batch_size, count):
        assert epoch.sort().values.tolist() == list(range(count))


def test_each_epoch_is_a_permutation_of_its_own() -> None:
    order = Order(0, 50, 50)
    first, second = order.batch(0), order.batch(1)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert not torch.equal(first, second)
    assert torch.equal(Order(0, 50, 50).batch(1), second)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_shares_cover_the_batch_and_differ_by_one_at_most(world_size: int) -> None:
    parts = [list(range(16))[worker_slice(16, rank, world_size)] for rank in range(world_size)]
    assert [item for part in parts for item in part] == list(range(16))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
