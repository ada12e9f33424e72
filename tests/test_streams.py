"""Every draw is a function of (seed, stream, counter, index) alone."""

import pytest
import torch

from gansvc.gan.streams import Order, Stream, latents, sample_latents, share, uniforms


def test_draws_repeat_and_differ_by_seed_stream_and_counter() -> None:
    first = latents(1, Stream.CRITIC_LATENTS, 5, 4, 3)
    assert torch.equal(first, latents(1, Stream.CRITIC_LATENTS, 5, 4, 3))
    others = [(2, Stream.CRITIC_LATENTS, 5), (1, Stream.GENERATOR_LATENTS, 5), (1, Stream.CRITIC_LATENTS, 6)]
    for seed, stream, counter in others:
        assert not torch.equal(first, latents(seed, stream, counter, 4, 3))


def test_draws_ignore_the_global_generator() -> None:
    torch.manual_seed(1)
    first = uniforms(0, Stream.MIX, 3, 10)
    torch.manual_seed(2)
    assert torch.equal(first, uniforms(0, Stream.MIX, 3, 10))
    assert float(first.min()) >= 0 and float(first.max()) < 1


def test_scored_sample_depends_on_seed_and_index_alone() -> None:
    assert torch.equal(sample_latents(7, 0, 10, 4)[6:9], sample_latents(7, 6, 9, 4))


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (10, 10), (7, 16), (5, 3)])
def test_every_image_is_seen_equally_often(count: int, batch_size: int) -> None:
    order, batches = Order(3, count, batch_size), 4 * count
    seen = torch.cat([order.batch(number) for number in range(batches)])
    assert len(seen) == batches * batch_size
    counts = torch.bincount(seen, minlength=count)
    assert int(counts.min()) == int(counts.max()) == batches * batch_size // count


def test_each_epoch_is_a_permutation_of_its_own() -> None:
    order = Order(0, 50, 50)
    first, second = order.batch(0), order.batch(1)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert not torch.equal(first, second)
    assert torch.equal(Order(0, 50, 50).batch(1), second)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_shares_cover_the_batch_and_differ_by_one_at_most(world_size: int) -> None:
    parts = [list(range(16))[share(16, rank, world_size)] for rank in range(world_size)]
    assert [item for part in parts for item in part] == list(range(16))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
