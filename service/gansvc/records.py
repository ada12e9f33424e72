"""What the phases write into the job folder and the report reads: plain models, no torch, no Ray."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gansvc.measured import Measured

Phase = Literal[
    "PENDING", "SEARCHING", "TRAINING", "EVALUATING", "REPORTING", "SUCCEEDED", "FAILED", "STOPPED"
]  # in the order in which a job passes them
FINAL_PHASES: tuple[Phase, ...] = ("SUCCEEDED", "FAILED", "STOPPED")
STARTS = "starts.jsonl"
"""File of a job's starts, or of a run's, in its folder."""
STATUS_LINE = "gansvc-status: "
"""Begins a line of a driver's log that holds the job's status, for clients that can't read the job folder."""
TRIAL_ENDED = "ended"
"""File in the folder of a trial that is over, however it ended; it holds the reason of a failure."""


Counts = tuple[Annotated[int, Field(ge=0, le=10**9)], Annotated[int, Field(ge=0, le=10**9)]]
"""Done, planned."""


class Record(BaseModel):
    """A record on disk: frozen; a field that a newer version wrote is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")


class Progress(Record):
    """Where one trial or run stands; written by its first worker every few seconds (progress.json)."""

    label: str
    """Label of the loss."""
    seed: int
    step: int
    """Generator steps done."""
    steps: int
    """Generator steps in all."""
    critic_images: int
    """Real images that the critic has seen."""
    images_per_second: float
    """Critic images per second, lately."""
    objective: float | None = None
    """Best validation score so far; lower is better."""
    diversity: float | None = None
    """Of the samples last scored: see Evaluated."""
    collapsed: bool = False
    """Whether those samples are nearly all alike."""
    updated: float
    """Unix time."""


class History(Record):
    """One line of history.jsonl: means over the generator steps since the line before."""

    step: int
    critic_images: int
    critic_loss: float | None
    """None where it isn't finite."""
    generator_loss: float | None
    wasserstein: float | None
    """mean D(real) - mean D(fake): an estimate of the distance for the Wasserstein losses, a gap for the others."""
    penalty: float | None
    generator_lr: float
    critic_lr: float
    images_per_second: float
    seconds: float
    """Training time so far, over all starts."""


class Evaluated(Record):
    """One validation score on the way (evaluations.jsonl)."""

    step: int
    critic_images: int
    objective: float
    diversity: float | None = None
    """Spread of the samples' features as a share of the real images'; near 0 the generator makes one image only."""
    seconds: float


class Start(Record):
    """One start of a run (starts.jsonl); every one after the first is a restart."""

    time: float
    """Unix time."""
    step: int
    """Generator step it went on from."""
    world_size: int
    warnings: tuple[str, ...] = ()
    """Damaged checkpoints that it passed over."""


class JobStart(Record):
    """One start of a job (starts.jsonl); every one after the first resumed it."""

    time: float
    """Unix time."""


class RunRecord(Record):
    """The end of one run or trial (run.json)."""

    label: str
    seed: int
    values: dict[str, Any]
    """The loss's resolved fields."""
    state: Literal["finished", "diverged", "failed", "stopped early"]
    reason: str = ""
    """Why it diverged, failed or stopped early, in words."""
    step: int = 0
    critic_images: int = 0
    initial_objective: float | None = None
    """Validation score of the generator at step 0."""
    best_step: int | None = None
    best_objective: float | None = None
    seconds: float = 0.0
    world_size: int = 1
    starts: int = 1
    """How often it was started; above 1 it was restarted from a checkpoint."""
    warnings: tuple[str, ...] = ()
    """What the report should say of its starts and its samples."""


class TrialRecord(Record):
    """One trial of a search (trials.json holds all, best first)."""

    trial: str
    """Folder name under search/<label>/."""
    label: str
    values: dict[str, Any]
    """The searched fields and their values."""
    defaults: bool
    """True for the trial with the spec's own values: the paper's, unless the spec sets others."""
    state: Literal["finished", "diverged", "failed", "stopped early"]
    reason: str = ""
    objective: float | None
    """Best validation score, the mean over the seeds that have one; None where there is none."""
    objectives: dict[int, float] = {}
    """Seed to its best validation score; empty in records of older versions."""
    critic_images: int
    """Of all seeds together."""
    seconds: float
    """Of all seeds together."""


class Contract(Record):
    """What makes a score comparable: two scores with unlike contracts must not be compared."""

    extractor: str
    weights_sha256: str
    resize: int
    """Side of the resized image, pixels."""
    samples: int
    """Images scored."""
    reference_split: str
    reference_images: int
    reference_sha256: str
    """Hash of the reference images' content."""
    kid_subset_size: int
    kid_subsets: int
    dtype: str
    seed: int
    torch_fidelity: str

    def differences(self, other: Contract) -> list[str]:
        """Return the names of the fields in which two contracts differ."""
        return [name for name in type(self).model_fields if getattr(self, name) != getattr(other, name)]


class Score(Record, Measured):
    """The metrics of one set of images under one contract (evaluation/<label>-seed<k>.json)."""

    label: str
    """Label of the loss, or ``real`` for the noise floor."""
    seed: int
    step: int
    """Generator step of the scored checkpoint."""
    contract: Contract
    seconds: float
    """Process-seconds of generating, extracting, measuring and auditing."""


class NodeState(Record):
    """What the doctor found on one node; what is empty is well."""

    node: str = ""
    problem: str = ""
    """Why the node couldn't be looked at."""
    cpus: float = 0
    gpus: float | None = None
    """None where only Ray could tell, and none runs."""
    gansvc: str = ""
    ray: str = ""
    torch: str = ""
    """Version; empty where it isn't installed."""
    storage: str = ""
    """Why the storage can't be used from there."""
    dataset: str = ""
    """Where the data set was looked for, and how to get it."""
    weights: str = ""
    """Where the extractor's weights were looked for, and how to get them."""


class NodeFiles(Record):
    """What prefetch did on one node."""

    node: str
    files: dict[str, str] = {}
    """File's name to what became of it."""
    problem: str = ""


class Status(Record):
    """Where a job stands (status.json), replaced atomically."""

    job: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """The job's id, which names files and folders."""
    name: str
    phase: Phase
    error: str = ""
    started: float
    """Unix time."""
    updated: float
    """Unix time of the driver's last sign of life."""
    finished: float | None = None
    trials: Counts = (0, 0)
    runs: Counts = (0, 0)
    scores: Counts = (0, 0)
    current: tuple[Progress, ...] = ()
    """The trials or runs at work now."""
    best_label: str = ""
    best_objective: float | None = None
    """Best validation score so far."""
    images_per_second: float = 0.0
    seconds_left: float | None = None
    """Estimate; None while there is nothing to judge by."""
    warnings: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether it is done and a planned run has no score: it diverged or failed."""
        return self.phase == "SUCCEEDED" and self.scores[0] < self.scores[1]
