"""What a job will do and ask for, computed from its spec alone: no cluster, no torch."""

from __future__ import annotations

import os

from gansvc.catalog import duplicates
from gansvc.catalog.arrays import Arrays
from gansvc.catalog.budget import critic_images, generator_steps
from gansvc.catalog.datasets import Dataset
from gansvc.catalog.duplicates import Counts
from gansvc.spec import splits
from gansvc.spec.capacity import WorkerResources, misfit
from gansvc.spec.job import JobSpec
from gansvc.store.records import Record


class LossPlan(Record):
    """What one loss is given."""

    label: str
    trials: int
    runs: int
    critic_steps: int | None
    """Critic steps of one run; None while the data set's size isn't known."""
    generator_steps: int | None
    """Generator steps of one run."""
    critic_images: int | None = None
    """Images that the critic sees in one run."""


class Plan(Record):
    """What a job will do, and what stands in its way."""

    name: str
    losses: tuple[LossPlan, ...]
    trials: int
    seeds_per_trial: int = 1
    """Trainings of one trial."""
    runs: int
    search_images: int | None
    """Images that the critics see in the search, at most: a scheduler stops trials early."""
    training_images: int | None
    """Images that the critics see in the runs."""
    checkpoints: int
    """Checkpoints of the runs, each with a validation score."""
    workers: int
    """Processes of one run."""
    cpus: float
    """CPUs that one run asks for."""
    gpus: float | None
    """GPUs that one run asks for; None for one a worker where the cluster has GPUs."""
    dataset: str
    """``at hand``, or where the data set's files were looked for and how to get them."""
    images: dict[str, int]
    """Images per split; empty while they aren't known."""
    duplicates: Counts | None
    """Images that stand in two splits, by pairs of splits; None while nobody has looked."""
    classes: str
    """How many and which, or why there are none."""
    weights: str
    """``at hand``, or how the extractor's weights come here."""
    obstacles: tuple[str, ...]
    """Why the job can't run on this machine; each names the field and the fix."""

    def rows(self) -> list[tuple[str, str]]:
        """Return the plan as titles and values, for people."""
        per_loss = self.losses[0].trials
        steps = ", ".join(f"{loss.label} {_count(loss.generator_steps)}" for loss in self.losses)
        trainings = f", {self.seeds_per_trial} seeds each" if self.seeds_per_trial > 1 else ""
        gpus = "as the cluster has" if self.gpus is None else f"{self.gpus:g}"
        return [
            ("trials", f"{self.trials} ({per_loss} a loss){trainings}" if self.trials else "none: no search"),
            (
                "runs",
                f"{self.runs} ({self.losses[0].runs} a loss), {self.workers} worker{'s' * (self.workers > 1)} each",
            ),
            ("generator steps", f"{steps} a run"),
            ("critic images", f"search at most {_count(self.search_images)}, training {_count(self.training_images)}"),
            *self._unequal(),
            ("checkpoints", str(self.checkpoints)),
            ("resources", f"{self.cpus:g} CPUs a run, GPUs: {gpus}"),
            ("data set", self.dataset),
            ("classes", self.classes),
            *(("duplicate images", text) for text in self._duplicates()),
            ("extractor's weights", self.weights),
            *(("not on this machine", text) for text in self.obstacles if text not in (self.dataset, self.weights)),
        ]

    def _unequal(self) -> list[tuple[str, str]]:
        """Return the critic images of each loss's run where they differ: n_critic doesn't divide the budget."""
        images = {loss.label: loss.critic_images for loss in self.losses}
        if len(set(images.values())) == 1:
            return []
        listed = ", ".join(f"{label} {_count(count)}" for label, count in images.items())
        return [("critic images a run", f"{listed}: unequal, as n_critic doesn't divide the budget's batches")]

    def _duplicates(self) -> list[str]:
        if self.duplicates is None:
            return ["unknown until the job reads the data set"]
        return duplicates.sentences(self.duplicates, self.images) or ["none between train, val and test"]


def make(spec: JobSpec) -> Plan:
    """Return the plan of a job.

    Raises:
        SpecError: the user's own data file is there and has another form, or the job can't be made of what it holds.
    """
    training, search = spec.training, spec.search
    data = spec.dataset.missing()
    read = splits.read(spec)
    images = len(read.images["train"]) if read else spec.dataset.entry.images.get("train")
    trials, seeds = (search.trials, search.seeds) if search else (0, 1)
    losses = tuple(_loss(spec, label, trials, images) for label in (loss.label for loss in spec.losses))
    runs = len(losses) * len(training.seeds)
    if data and spec.dataset.entry.downloads:
        data = f"not at hand: the job will try to download it; {data}"
    weights = spec.evaluation.extractor.missing()
    if weights and spec.evaluation.extractor.downloads:
        weights = f"not at hand: will be downloaded from {spec.evaluation.extractor.entry.url}"
    return Plan(
        name=spec.name,
        losses=losses,
        trials=trials * len(losses),
        seeds_per_trial=seeds,
        runs=runs,
        search_images=None
        if images is None
        else trials * seeds * sum(_trial_images(spec, loss.label, images) for loss in losses),
        training_images=None if images is None else sum(loss.runs * (loss.critic_images or 0) for loss in losses),
        checkpoints=runs * training.evaluations,
        workers=training.workers,
        cpus=training.workers * spec.resources.cpus_per_worker,
        gpus=_gpus(spec),
        dataset=data or "at hand",
        images={split: len(part) for split, part in read.images.items()} if read else spec.dataset.entry.images,
        duplicates=duplicates.count(read.images) if read else None,
        classes=_classes(spec.dataset, read),
        weights=weights or "at hand",
        obstacles=tuple(_obstacles(spec)),
    )


def _classes(dataset: Dataset, read: Arrays | None) -> str:
    if read is not None:
        return read.labels.summary()
    return "none" if dataset.entry.classes is False else "unknown until the job reads the data set"


def _loss(spec: JobSpec, label: str, trials: int, images: int | None) -> LossPlan:
    loss, training, runs = spec.loss(label), spec.training, len(spec.training.seeds)
    if images is None:
        return LossPlan(label=label, trials=trials, runs=runs, critic_steps=None, generator_steps=None)
    budget = training.budget(images), training.batch_size
    steps = generator_steps(loss, *budget)
    return LossPlan(
        label=label,
        trials=trials,
        runs=runs,
        critic_steps=steps * loss.n_critic,
        generator_steps=steps,
        critic_images=critic_images(loss, *budget),
    )


def _trial_images(spec: JobSpec, label: str, images: int) -> int:
    """Return the images that the critic sees in one training of a loss's trial, at most."""
    training, loss = spec.trial_training(), spec.loss(label)
    searched = spec.space_of(label).get("n_critic")
    low, high = (searched.int_uniform if searched else None) or (1, 0)
    values = (loss.n_critic, *((searched.choice if searched else None) or range(low, high + 1)))
    tried = (loss.model_copy(update={"n_critic": value}) for value in values)
    return max(critic_images(one, training.budget(images), training.batch_size) for one in tried)


def _obstacles(spec: JobSpec) -> list[str]:
    found = []
    data, weights = spec.dataset.missing(), spec.evaluation.extractor.missing()
    if data and not spec.dataset.entry.downloads:
        found.append(data)
    if weights and not spec.evaluation.extractor.downloads:
        found.append(weights)
    # How many GPUs there are is known when Ray runs.
    cores, bare = os.cpu_count() or 1, spec.resources.model_copy(update={"gpus_per_worker": 0, "gpus_per_trial": 0})
    sections = {"training": spec.training, "search": spec.search}
    if misfitting := misfit(bare, sections, [WorkerResources(cores, 0)], "machine"):
        field, text = misfitting
        found.append(f"{field}: {text}; lower it, or resources.cpus_per_worker")
    return found


def _gpus(spec: JobSpec) -> float | None:
    share = spec.resources.gpus_per_worker
    return None if share is None else share * spec.training.workers


def _count(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"
