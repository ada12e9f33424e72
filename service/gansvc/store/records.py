"""Records of a job folder: plain models, no torch, no Ray."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from gansvc.schema.bounded import BySeed, Count, Few, Many, Plain, Some, Table, Text, Texts

Phase = Literal[
    "PENDING", "SEARCHING", "TRAINING", "EVALUATING", "REPORTING", "SUCCEEDED", "FAILED", "STOPPED"
]  # in the order in which a job passes them
FINAL_PHASES: tuple[Phase, ...] = ("SUCCEEDED", "FAILED", "STOPPED")
STATUS_LINE = "gansvc-status: "
"""Begins a line of a driver's log that holds the job's status, for clients that can't read the job folder."""


Counts = tuple[Annotated[int, Field(ge=0, le=10**9)], Annotated[int, Field(ge=0, le=10**9)]]
"""Done, planned."""


class Record(BaseModel):
    """A record on disk: frozen; a field that a newer version wrote is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")


class Progress(Record):
    """Where one trial or run stands; written by its first worker every few seconds (progress.json)."""

    label: Text
    """Label of the loss."""
    seed: Count
    step: Count
    """Generator steps done."""
    steps: Count
    """Generator steps in all."""
    critic_images: Count
    """Real images that the critic has seen."""
    images_per_second: float
    """Critic images per second, lately."""
    objective: float | None = None
    """Best validation score so far; lower is better."""
    diversity: float | None = None
    """Of the samples last scored: see ValidationScore."""
    collapsed: bool = False
    """Whether those samples are nearly all alike."""
    updated: float
    """Unix time."""


class History(Record):
    """One line of history.jsonl: means over the generator steps since the line before."""

    step: Count
    critic_images: Count
    critic_loss: float | None
    """None where it isn't finite."""
    generator_loss: float | None
    wasserstein: float | None
    """mean D(real) - mean D(fake): an estimate of the distance for the Wasserstein losses, a gap for the others."""
    penalty: float | None
    """All regularizers' terms together; None where the loss has none."""
    terms: Table[float | None] = {}
    """What the regularizers list by name: their weighted terms, and the numbers that they remember."""
    generator_lr: float
    critic_lr: float
    images_per_second: float
    seconds: float
    """Training time so far, over all starts."""


class ValidationScore(Record):
    """One validation score on the way (evaluations.jsonl)."""

    step: Count
    critic_images: Count
    objective: float
    diversity: float | None = None
    """Spread of the samples' features as a share of the real images'; near 0 the generator makes one image only."""
    seconds: float


class Start(Record):
    """One start of a run (starts.jsonl); every one after the first is a restart."""

    time: float
    """Unix time."""
    step: Count
    """Generator step it went on from."""
    world_size: Count
    warnings: Texts = ()
    """Damaged checkpoints that it passed over."""


class DataRecord(Record):
    """What a job trains on and is judged by, as its driver read it (data.json)."""

    images: Table[Count]
    """Images per split."""
    channels: Count
    classes: Few[Text] = ()
    """What the classes are called, by number; empty where the data set has none."""
    no_classes: Text = ""
    """Why it has none, as the end of a sentence."""
    duplicates: Table[Table[Count]] = {}
    """Split to another split to how many of the first one's images also stand in the second, pixel by pixel."""
    largest: Count = 255
    """Largest pixel value of the training images, 0 to 255."""


class JobStart(Record):
    """One start of a job (starts.jsonl); every one after the first resumed it."""

    time: float
    """Unix time."""


class RunRecord(Record):
    """The end of one run or trial (run.json)."""

    label: Text
    seed: Count
    values: Plain
    """Each field of the loss by its path, as ``Loss.values`` gives them."""
    state: Literal["finished", "diverged", "failed", "stopped early"]
    reason: Text = ""
    """Why it diverged, failed or stopped early, in words."""
    step: Count = 0
    critic_images: Count = 0
    initial_objective: float | None = None
    """Validation score of the generator at step 0."""
    best_step: Count | None = None
    best_objective: float | None = None
    seconds: float = 0.0
    world_size: Count = 1
    starts: Count = 1
    """How often it was started; above 1 it was restarted from a checkpoint."""
    warnings: Texts = ()
    """What the report should say of its starts and its samples."""
    identity: Plain = {}
    """What decided its result, see RunPlan.identity; empty in records of earlier versions."""


class TrialRecord(Record):
    """One trial of a search (trials.json holds all, best first)."""

    trial: Text
    """Folder name under search/<label>/."""
    label: Text
    values: Plain
    """The searched fields and their values."""
    defaults: bool
    """True for the trial with the spec's own values: the paper's, unless the spec sets others."""
    state: Literal["finished", "diverged", "failed", "stopped early"]
    reason: Text = ""
    objective: float | None
    """Best validation score, the mean over the seeds that have one; None where there is none."""
    objectives: BySeed[float] = {}
    """Seed to its best validation score; empty in records of older versions."""
    critic_images: Count
    """Of all seeds together."""
    seconds: float
    """Of all seeds together."""


class TrialRecords(RootModel[Many[TrialRecord]]):
    """All trials of a loss's search (trials.json), best first."""


class TrialValues(RootModel[Plain]):
    """The values of the searched fields that a trial was begun with (values.json)."""


class Status(Record):
    """Where a job stands (status.json), replaced atomically."""

    job: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """The job's id, which names files and folders."""
    name: Text
    phase: Phase
    error: Text = ""
    started: float
    """Unix time."""
    updated: float
    """Unix time of the driver's last sign of life."""
    finished: float | None = None
    trials: Counts = (0, 0)
    runs: Counts = (0, 0)
    scores: Counts = (0, 0)
    current: Some[Progress] = ()
    """The trials or runs at work now."""
    best_label: Text = ""
    best_objective: float | None = None
    """Best validation score so far."""
    objective: Text = ""
    """Metric of the validation scores, kid or fid; empty in earlier versions' files."""
    images_per_second: float = 0.0
    seconds_left: float | None = None
    """Estimate; None while there is nothing to judge by."""
    at_least: bool = False
    """Whether more is to come that the estimate can't count yet: scores before the first is made, model and report."""
    scoring: Texts = ()
    """Names of the runs that are scored now, and of the noise floor."""
    warnings: Texts = ()
    missing: Texts = ()
    """What a job that succeeded couldn't make beside its scores and its report, and a resume tries again."""

    @property
    def complete(self) -> bool:
        """Whether it is done and nothing is left for a resume to try."""
        return self.phase == "SUCCEEDED" and not self.partial and not self.missing

    @property
    def partial(self) -> bool:
        """Whether it is done and a planned run has no score: it diverged or failed."""
        return self.phase == "SUCCEEDED" and self.scores[0] < self.scores[1]
