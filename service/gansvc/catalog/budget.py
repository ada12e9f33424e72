"""A budget in critic images as steps: the same for the plan of a job, for a search's trial and for a run."""

from __future__ import annotations

from gansvc.catalog.loss import Loss


def generator_steps(loss: Loss, budget: int, batch_size: int) -> int:
    """Return the generator steps of a budget in critic images, at least 1.

    Each takes n_critic whole batches. What doesn't fill a last one is left out, and a budget of less than one is
    exceeded, so losses of another n_critic see equally many images only where it divides the budget's batches.
    """
    return max(1, -(-budget // batch_size) // loss.n_critic)


def critic_images(loss: Loss, budget: int, batch_size: int) -> int:
    """Return the images that the critic sees of a budget."""
    return generator_steps(loss, budget, batch_size) * loss.n_critic * batch_size
