"""The training loop: one run of one loss with one seed, from its first or its last saved step to its end."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
import torch.distributed as dist

from gansvc.catalog.augments import draws_of
from gansvc.errors import RunError, SpecError
from gansvc.gan import checkpoint, data
from gansvc.gan.data import to_float, to_uint8
from gansvc.gan.journal import COLUMNS, Journal, finite
from gansvc.gan.players import Batch, Players
from gansvc.gan.run import Platform, RunPlan, Validator
from gansvc.gan.streams import Order, Stream, latents, share, uniforms
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import Evaluated, History, RunRecord

LINES = 400
"""Lines of history that a run has at most."""


def train(
    plan: RunPlan,
    images: torch.Tensor,
    validate: Validator,
    folder: Folder,
    platform: Platform,
    labels: torch.Tensor | None = None,
) -> RunRecord:
    """Train to the end of the plan's budget, saving and scoring on the way, and return how it ended.

    Called by every worker with the same arguments but for the platform. Data order, latents and interpolations are
    functions of (seed, step, index in the global batch); each worker takes its slice.

    Args:
        plan: what to train.
        images: the train split, uint8 (N, C, H, W).
        validate: scores a generator on the validation split.
        folder: the run's folder: history.jsonl, evaluations.jsonl, checkpoints/, samples/, run.json.
        platform: rank, world size, device and the platform's three functions.
        labels: the images' classes, int64 (N,) from 0, for conditional networks; others leave them alone.

    Raises:
        SpecError: the networks are conditional, and there are no labels.
        RunError: the folder holds checkpoints of another run, or forged ones.
    """
    # Prepare: the images on the device, both players, and what an earlier start left.
    started = time.monotonic()
    batch, loss, dim = plan.spec.training.batch_size, plan.loss, plan.spec.network.latent_dim
    labels = _labels(plan, labels)
    images, shares = images.to(platform.device), None if labels is None else data.shares(labels)
    players = Players(plan, images.shape[1], platform.device, platform.wrap, shares)
    steps, order = plan.steps(len(images)), Order(plan.seed, len(images), batch)
    score_at, log_every = set(plan.evaluation_steps(steps)), max(1, steps // LINES)
    found = checkpoint.newest(folder / layout.CHECKPOINTS, plan.identity())
    first, seconds_before, objectives, warnings = _restored(players, found)
    journal = Journal(folder, plan, steps, first, platform.world_size, warnings) if platform.rank == 0 else None
    grid = tuple(part.to(platform.device) for part in _grid(plan, shares))
    mine = share(batch, platform.rank, platform.world_size)
    weight = (mine.stop - mine.start) * platform.world_size / batch

    turns = draws_of(plan.spec.training.augment)

    def draw(number: int) -> Batch:
        z, mix, turn = (
            drawn[mine].to(platform.device, non_blocking=True)
            for drawn in (
                latents(plan.seed, Stream.LATENTS, number, batch, dim),
                uniforms(plan.seed, Stream.MIX, number, batch),
                uniforms(plan.seed, Stream.AUGMENT, number, batch, 3, turns),
            )
        )
        index = order.batch(number)[mine]
        of = None if labels is None else labels[index].to(platform.device)
        return Batch(to_float(images[index.to(platform.device)]), z, mix, turn, weight, of)

    def elapsed() -> float:
        return seconds_before + time.monotonic() - started

    def evaluate(step: int) -> Evaluated:
        players.synchronise()
        found = validate(players.average, platform.rank, platform.world_size)
        scored = Evaluated(step=step, critic_images=step * loss.n_critic * batch, seconds=elapsed(), **found._asdict())
        if step > 0:
            objectives.append(found.objective)
        if journal and math.isfinite(found.objective):
            _save(journal, players, grid, scored, plan, objectives)
        return scored

    if not (found and found[1]) and not plan.is_trial:
        evaluate(0)
    if first < steps and (reason := _out_of_patience(plan, objectives)):
        return _end(journal, plan, platform, "stopped early", reason, elapsed())

    # Train: n_critic critic steps, one generator step, the average; sums stay on the device until a line is due.
    sums, counted, line_started = torch.zeros(4, device=platform.device), 0, time.monotonic()
    for step in range(first, steps):
        players.decay(step / steps)
        for inner in range(loss.n_critic):
            number = step * loss.n_critic + inner
            drawn = draw(number)
            sums[:3] += players.critic_step(drawn, number, last=inner == loss.n_critic - 1) / loss.n_critic
        sums[3] += players.generator_step(drawn)
        players.update_average(step + 1)
        counted += 1

        # Report: a line of history, and the end of a run whose numbers are no numbers any more.
        done = step + 1
        if done % log_every == 0 or done in score_at:
            means = (_mean_over_workers(sums) / counted).tolist()
            rate = counted * loss.n_critic * batch / max(time.monotonic() - line_started, 1e-9)
            if journal:
                journal.add(_line(plan, players, done, means, rate, elapsed()))
            if not all(map(math.isfinite, means)):
                reason = _divergence(means, done)
                return _end(journal, plan, platform, "diverged", reason, elapsed())
            sums, counted = torch.zeros_like(sums), 0

        # Score and save; the platform may end the run here, and only here.
        if done in score_at:
            scored = evaluate(done)
            if not math.isfinite(scored.objective):
                return _end(journal, plan, platform, "diverged", f"its score is not finite at step {done}", elapsed())
            platform.report(scored)
            if done < steps and platform.should_stop():
                return _end(journal, plan, platform, "stopped early", "", elapsed())
            if done < steps and (reason := _out_of_patience(plan, objectives)):
                return _end(journal, plan, platform, "stopped early", reason, elapsed())
        if counted == 0:
            line_started = time.monotonic()
    return _end(journal, plan, platform, "finished", "", elapsed())


def _labels(plan: RunPlan, labels: torch.Tensor | None) -> torch.Tensor | None:
    """Return the labels, or None where the networks don't ask for them."""
    if not plan.spec.network.conditional:
        return None
    if labels is None:
        raise SpecError("network.conditional: true needs classes, and the data set has none; set it to false")
    return labels


def _grid(plan: RunPlan, shares: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    """Return what the sample grid is made from: latents and, for conditional networks, labels.

    Then whole rows are of one class, in the order of the classes, and each class is shown for the same latents.
    """
    dim = plan.spec.network.latent_dim
    if shares is None:
        return (latents(plan.seed, Stream.SAMPLE_GRID, 0, COLUMNS**2, dim),)
    each = COLUMNS * max(1, COLUMNS // len(shares))
    z = latents(plan.seed, Stream.SAMPLE_GRID, 0, each, dim)
    return z.repeat(len(shares), 1), torch.arange(len(shares)).repeat_interleave(each)


def _restored(
    players: Players, found: tuple[int, dict[str, Any], list[str]] | None
) -> tuple[int, float, list[float], list[str]]:
    if found is None:
        return 0, 0.0, [], []
    step, state, warnings = found
    if not state:
        return 0, 0.0, [], warnings
    try:
        players.restore(state["players"])
        return step, float(state["seconds"]), list(state["objectives"]), warnings
    except Exception as error:
        # Its identity is this run's and its content isn't: nobody but a forger writes that.
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RunError(f"the checkpoint of step {step} doesn't fit this run ({reason}); delete it") from error


def _save(
    journal: Journal,
    players: Players,
    grid: tuple[torch.Tensor, ...],
    scored: Evaluated,
    plan: RunPlan,
    objectives: list[float],
) -> None:
    """Write the score, then the best generator, then the checkpoint that says all of it is there."""
    checkpoints, best = journal.folder / layout.CHECKPOINTS, journal.best()
    journal.score(scored)
    if scored.step > 0 and (best is None or scored.objective < best.objective):
        checkpoint.save_best(checkpoints, players.average.state_dict(), scored.step, scored.objective)
    if not plan.is_trial:
        with torch.no_grad():
            journal.samples(to_uint8(players.average(*grid)).cpu(), scored.step)
    journal.flush()
    state = {"players": players.state(), "seconds": scored.seconds, "objectives": objectives}
    checkpoint.save(checkpoints, scored.step, state, plan.identity())


def _out_of_patience(plan: RunPlan, objectives: list[float]) -> str:
    """Return why a run should end, or nothing; a trial's end is the search's own business."""
    patience = plan.spec.training.patience
    if patience is None or plan.is_trial or not objectives:
        return ""
    waited = len(objectives) - 1 - objectives.index(min(objectives))
    return f"no better validation score in {waited} evaluations" if waited >= patience else ""


def _mean_over_workers(sums: torch.Tensor) -> torch.Tensor:
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(sums)
        sums /= dist.get_world_size()
    return sums


def _line(plan: RunPlan, players: Players, step: int, means: list[float], rate: float, seconds: float) -> History:
    critic_loss, wasserstein, penalty, generator_loss = map(finite, means)
    generator_lr, critic_lr = players.rates()
    return History(
        step=step,
        critic_images=step * plan.loss.n_critic * plan.spec.training.batch_size,
        critic_loss=critic_loss,
        generator_loss=generator_loss,
        wasserstein=wasserstein,
        penalty=penalty if plan.loss.has_penalty else None,
        generator_lr=generator_lr,
        critic_lr=critic_lr,
        images_per_second=rate,
        seconds=seconds,
    )


def _divergence(means: list[float], step: int) -> str:
    names = ("critic loss", "Wasserstein estimate", "penalty", "generator loss")
    broken = [name for name, value in zip(names, means, strict=True) if not math.isfinite(value)]
    return f"the {' and the '.join(broken)} became infinite or NaN by generator step {step}"


def _end(
    journal: Journal | None, plan: RunPlan, platform: Platform, state: str, reason: str, seconds: float
) -> RunRecord:
    if journal:
        return journal.close(state, reason, seconds)
    return RunRecord(label=plan.label, seed=plan.seed, values={}, state=state, reason=reason)
