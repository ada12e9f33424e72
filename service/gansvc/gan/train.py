"""The training loop: one run of one loss with one seed, from its first or its last saved step to its end."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch

from gansvc.errors import RunError, SpecError
from gansvc.gan import checkpoint, data
from gansvc.gan.batches import Batches
from gansvc.gan.data import to_uint8
from gansvc.gan.journal import COLUMNS, Journal, finite_or_none
from gansvc.gan.players import Players
from gansvc.gan.regularization import TERM
from gansvc.gan.run import Platform, RunPlan, Validator
from gansvc.gan.streams import Stream, latents
from gansvc.gan.workers import Means
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import History, RunRecord, ValidationScore

MAX_HISTORY_LINES = 400
"""Lines of history that a run has at most."""


_COLUMNS = {
    "critic_loss": "critic loss",
    "wasserstein": "Wasserstein estimate",
    "penalty": "penalty",
    "generator_loss": "generator loss",
}
"""What every loss logs: its column of history, and its name in a sentence."""


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
        platform: rank, world size, device and the platform's two functions.
        labels: the images' classes, int64 (N,) from 0, for conditional networks; others leave them alone.

    Raises:
        SpecError: the networks are conditional, and there are no labels.
        RunError: the folder holds checkpoints of another run, or forged ones.
    """
    run = _Run(plan, images, _required_labels(labels, plan), validate, folder, platform)
    if run.is_new and not plan.is_trial:
        run.score(0)
    if run.first < run.steps and (reason := run.early_stop_reason()):
        return run.end("stopped early", reason)
    for step in range(run.first, run.steps):
        run.step(step)
        done = step + 1
        if run.has_line_after(done) and (reason := run.add_line(done)):
            return run.end("diverged", reason)
        if done in run.score_at:
            scored = run.score(done)
            if not math.isfinite(scored.objective):
                return run.end("diverged", f"its score is not finite at step {done}")
            platform.report(scored)
            if done < run.steps and (reason := run.early_stop_reason()):
                return run.end("stopped early", reason)
    return run.end("finished")


class _Run:
    """The state of one training, and the parts of its loop.

    Args:
        plan: what to train.
        images: the train split.
        labels: its classes, or None for unconditional players.
        validate: scores a generator on the validation split.
        folder: the run's folder.
        platform: rank, world size, device and callbacks.
    """

    def __init__(
        self,
        plan: RunPlan,
        images: torch.Tensor,
        labels: torch.Tensor | None,
        validate: Validator,
        folder: Folder,
        platform: Platform,
    ) -> None:
        self._plan, self._validate, self._platform = plan, validate, platform
        self._started = time.monotonic()
        images, shares = images.to(platform.device), None if labels is None else data.class_shares(labels)
        self._players = Players(plan, images.shape[1], platform.device, platform.wrap, shares)
        self._batches = Batches(plan, images, labels, platform)
        self._grid = tuple(part.to(platform.device) for part in _grid_inputs(plan, shares))

        # Go on from what an earlier start saved.
        found = checkpoint.newest(folder / layout.CHECKPOINTS, plan.identity())
        self.is_new = not (found and found[1])
        self.first, self._seconds_before, self._objectives, warnings = _restore(self._players, found)
        self.steps = plan.steps(len(images))
        self.score_at = set(plan.evaluation_steps(self.steps))
        self._line_every = max(1, self.steps // MAX_HISTORY_LINES)
        self._means, self._line_started = Means(), self._started
        self._journal = (
            Journal(folder, plan, self.steps, self.first, platform.world_size, warnings) if platform.rank == 0 else None
        )

    def step(self, step: int) -> None:
        """Take generator step ``step``, from 0: n_critic critic steps, one generator step, the average."""
        players, n_critic = self._players, self._plan.loss.n_critic
        if self._means.steps == 0:
            self._line_started = time.monotonic()
        players.decay(step / self.steps)
        for number in range(step * n_critic, (step + 1) * n_critic):
            batch = self._batches[number]
            self._means.add(players.critic_step(batch, number, last=number == (step + 1) * n_critic - 1), n_critic)
        self._means.add(players.generator_step(batch))
        players.update_average(step + 1)
        self._means.steps += 1

    def has_line_after(self, done: int) -> bool:
        """Return whether history gets a line after so many generator steps."""
        return done % self._line_every == 0 or done in self.score_at

    def add_line(self, done: int) -> str:
        """Add a line to history, and return why the run has diverged, or nothing."""
        images = self._means.steps * self._images_per_step
        means = self._means.take()  # waits for the device
        rate = images / max(time.monotonic() - self._line_started, 1e-9)
        if self._journal:
            self._journal.add(self._line(done, means, rate))
        broken = [title for name, title in _COLUMNS.items() if not math.isfinite(means[name])]
        return f"the {' and the '.join(broken)} became infinite or NaN by generator step {done}" if broken else ""

    def score(self, done: int) -> ValidationScore:
        """Score the averaged generator and, where that is a number, save it."""
        self._players.synchronise()
        found = self._validate(self._players.average, self._platform.rank, self._platform.world_size)
        scored = ValidationScore(
            step=done, critic_images=done * self._images_per_step, seconds=self._seconds(), **found._asdict()
        )
        if done > 0:
            self._objectives.append(found.objective)
        if self._journal and math.isfinite(found.objective):
            self._save(self._journal, scored)
        return scored

    def early_stop_reason(self) -> str:
        """Return why the run should end before its budget does, or nothing; a trial's end is its search's business."""
        patience, objectives = self._plan.spec.training.patience, self._objectives
        if patience is None or self._plan.is_trial or not objectives:
            return ""
        waited = len(objectives) - 1 - objectives.index(min(objectives))
        return f"no better validation score in {waited} evaluations" if waited >= patience else ""

    def end(self, state: str, reason: str = "") -> RunRecord:
        """End the run and return its record, which the first worker writes."""
        if self._journal:
            return self._journal.close(state, reason, self._seconds())
        return RunRecord(label=self._plan.label, seed=self._plan.seed, values={}, state=state, reason=reason)

    def _save(self, journal: Journal, scored: ValidationScore) -> None:
        """Write the score, then the best generator, then the checkpoint that says all of it is there."""
        checkpoints, best, average = journal.folder / layout.CHECKPOINTS, journal.best(), self._players.average
        journal.score(scored)
        if scored.step > 0 and (best is None or scored.objective < best.objective):
            checkpoint.save_best(checkpoints, average.state_dict(), scored.step, scored.objective)
        if not self._plan.is_trial:
            with torch.no_grad():
                journal.samples(to_uint8(average(*self._grid)).cpu(), scored.step)
        journal.flush()
        state = {"players": self._players.state(), "seconds": scored.seconds, "objectives": self._objectives}
        checkpoint.save(checkpoints, scored.step, state, self._plan.identity())

    def _line(self, done: int, means: Mapping[str, float], rate: float) -> History:
        generator_lr, critic_lr = self._players.rates()
        columns = {name: finite_or_none(means[name]) for name in _COLUMNS}
        if not self._plan.loss.all_regularizers():
            columns["penalty"] = None
        terms = {name[len(TERM) :]: finite_or_none(mean) for name, mean in means.items() if name.startswith(TERM)}
        return History(
            step=done,
            critic_images=done * self._images_per_step,
            **columns,
            terms=terms,
            generator_lr=generator_lr,
            critic_lr=critic_lr,
            images_per_second=rate,
            seconds=self._seconds(),
        )

    @property
    def _images_per_step(self) -> int:
        """Images that the critic sees in one generator step."""
        return self._plan.loss.n_critic * self._plan.spec.training.batch_size

    def _seconds(self) -> float:
        """Return the training time so far, over all starts."""
        return self._seconds_before + time.monotonic() - self._started


def _required_labels(labels: torch.Tensor | None, plan: RunPlan) -> torch.Tensor | None:
    """Return the labels, or None where the networks don't ask for them."""
    if not plan.spec.network.conditional:
        return None
    if labels is None:
        raise SpecError("network.conditional: true needs classes, and the data set has none; set it to false")
    return labels


def _grid_inputs(plan: RunPlan, shares: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    """Return what the sample grid is made from: latents and, for conditional networks, labels.

    Then whole rows are of one class, in the order of the classes, and each class is shown for the same latents.
    """
    dim = plan.spec.network.latent_dim
    if shares is None:
        return (latents(plan.seed, Stream.SAMPLE_GRID, 0, COLUMNS**2, dim),)
    each = COLUMNS * max(1, COLUMNS // len(shares))
    z = latents(plan.seed, Stream.SAMPLE_GRID, 0, each, dim)
    return z.repeat(len(shares), 1), torch.arange(len(shares)).repeat_interleave(each)


def _restore(
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
