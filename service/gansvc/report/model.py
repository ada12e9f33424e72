"""The report as data: what report.json holds, and how a client reads it back; no torch, no drawing, no templates."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from gansvc.catalog.datasets import floor_split
from gansvc.errors import SpecError
from gansvc.report.dataset import DatasetFacts
from gansvc.schema.bounded import BySeed, Count, Few, Many, Plain, Some, Table, Text, Texts
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.audits import Audit, Usefulness
from gansvc.store.folder import Folder
from gansvc.store.records import JobStart, Record, RunRecord, TrialRecord
from gansvc.store.scores import Contract

MIN_SEEDS = 3
"""Seeds that two losses have in common at least, where anything is said of which one is better."""
SIGNIFICANT_SEEDS = 6
"""Seeds from which on 2^(1-k), the chance that all pairs of two equal losses fall to one side, is under 5 %."""


class Versions(Record):
    """Versions that wrote the report; None where a package isn't installed."""

    python: Text
    gansvc: Text | None = None
    commit: Text | None = None
    """Git commit of gansvc where it runs from a checkout; ends in ``-dirty`` where that was changed."""
    torch: Text | None = None
    ray: Text | None = None


class Column(Record):
    """One column of the leaderboard."""

    key: Text
    """Name in ``Score.metrics``."""
    title: Text
    better: Literal["lower", "higher"]
    decimals: Annotated[int, Field(ge=0, le=12)]


class Cell(Record):
    """One metric of one loss over its scored seeds."""

    mean: float
    std: float | None
    """Sample standard deviation over seeds; None with one seed."""
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval of the mean over seeds; None with one seed."""
    within: float | None
    """The metric's own deviation inside one score (splits of IS, subsets of KID), mean over seeds."""
    values: BySeed[float]
    """Seed to value."""


class Difference(Record):
    """A loss's paired difference to the first one: its value minus that one's, seed by seed."""

    mean: float
    interval: tuple[float, float]
    """95 % bootstrap interval of the mean."""
    ahead: float | None
    """Share of the resamplings, 0 to 1, in which the first is better, a tie half; None below ``MIN_SEEDS`` seeds."""
    seeds: Some[Count]
    """Seeds that both were scored on: at least two."""

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out nought, over ``MIN_SEEDS`` seeds or more."""
        return len(self.seeds) >= MIN_SEEDS and not self.interval[0] <= 0 <= self.interval[1]


class Row(Record):
    """One loss on the leaderboard."""

    rank: Count | None
    """1 has the best mean; None where the ranking metric is missing."""
    label: Text
    seeds: Some[Count]
    """Seeds that were scored."""
    metrics: Table[Cell]
    """Column to its cell; a column without a finite value is absent."""
    difference: Difference | None = None
    """To the first row, in the ranking column; None for that row itself and below two seeds in common."""
    best_share: float | None = None
    """Share of the resamplings in which it is best by the ranking column; None below ``MIN_SEEDS`` seeds in common."""
    learned: bool | None = None
    """Whether its mean best validation score is below that of its untrained generators; None where it isn't known."""


class PublishedRow(Record):
    """Numbers of a source beside ours; their contracts differ."""

    label: Text
    published: Table[float]
    """Column, or ``is_std``, to the published value."""
    ours: Table[float]
    """Column to our mean over seeds, for the columns that the source publishes."""
    source: Text


class CurvePoint(Record):
    """One validation score; the first point, step 0, is the untrained generator."""

    step: Count
    critic_images: Count
    objective: float | None
    """None where it isn't finite."""
    seconds: float | None = None
    """Training time of the run so far, over all its starts; None in old reports."""

    @field_validator("objective", mode="before")
    @classmethod
    def _finite(cls, value: Any) -> Any:
        return finite(value)


class Curve(Record):
    """The validation scores of one run, in the order of steps."""

    label: Text
    seed: Count
    points: Many[CurvePoint]


class Budget(Record):
    """What one loss was given."""

    label: Text
    trials: Count
    search_critic_images: Count
    search_process_seconds: float
    """Seconds of training, its scores on the validation split included, times worker processes."""
    runs: Count
    training_critic_images: Count
    training_process_seconds: float


class Report(Record):
    """The answer of one job."""

    version: Literal[1] = 1
    """Version of this form; a reader refuses another."""
    job: Text
    """The job's id, which is its folder's name."""
    name: Text
    created: datetime
    """When the report was made, UTC."""
    versions: Versions
    headline: Text
    """The answer in one sentence."""
    winner: Text | None = None
    """Label of the loss that learned and is better than every other one beyond chance; None where there is none."""
    objective: Text
    """Column that ranks the leaderboard."""
    columns: Few[Column]
    leaderboard: Few[Row]
    """Best first; losses without a score stand last."""
    noise_floor: Table[float] | None
    """The metrics of real images against the reference split; None where they were not scored."""
    noise_floor_images: Count | None
    """Real images that the noise floor scored."""
    floor_doubts: Table[Text] = Field(default_factory=dict)
    """Column in which some loss's mean is better than the noise floor to why that can't be trusted there."""
    validation_floor: float | None = None
    """Validation score of real training images, the floor of curves and trials; None in earlier reports."""
    fid_rank_deficient: bool = False
    """Whether FID had no more samples, or no more reference images, than the features have dimensions."""
    noise_floor_rank_deficient: bool = False
    """The same of the noise floor's FID."""
    contract: Contract | None
    """What all scores share; None without a score."""
    published: Many[PublishedRow]
    dataset: DatasetFacts
    runs: Many[RunRecord]
    curves: Many[Curve]
    validation_metric: Text
    """Metric of the curves and of the trials; lower is better."""
    trials: Table[Many[TrialRecord]]
    """Label to all trials of its search, best first."""
    budgets: Few[Budget]
    audits: Many[Audit] = ()
    """What the scored runs were looked at for beyond their scores; none in reports of earlier versions."""
    usefulness: Many[Usefulness] = ()
    """What classifiers learn from generated images, of each loss's best run; none in unconditional jobs."""
    starts: Many[JobStart] = ()
    """When the job was started, and resumed; none in reports of earlier versions."""
    warnings: Texts
    spec: Plain
    """The resolved spec."""

    @property
    def floor_split(self) -> str:
        """The split whose real images make the noise floor; train where no score says what the reference was."""
        return "train" if self.contract is None else floor_split(self.contract.reference_split)

    @property
    def labels(self) -> tuple[str, ...]:
        """The losses in the job's order."""
        return tuple(budget.label for budget in self.budgets)

    def parsed_spec(self) -> JobSpec | None:
        """Return the spec, or None where another version of gansvc wrote one that this one can't read."""
        try:
            return jobfile.validate(self.spec)
        except SpecError:
            return None

    def column(self, key: str) -> Column | None:
        """Return the leaderboard's column of that key, or None if it wasn't asked for."""
        return next((column for column in self.columns if column.key == key), None)


def read(folder: Folder) -> Report | None:
    """Return a job folder's report, or None while there is none.

    Raises:
        ClusterError: report.json is there and isn't a report of this version.
    """
    return folder.read_record(layout.REPORT_JSON, Report)


def read_markdown(folder: Folder) -> str | None:
    """Return a job folder's report.md, or None while there is none; raises as ``read_html``."""
    return _read_text(folder, layout.REPORT_MARKDOWN)


def read_html(folder: Folder) -> str | None:
    """Return a job folder's report.html, or None while there is none.

    Raises:
        ClusterError: the storage fails.
    """
    return _read_text(folder, layout.REPORT_HTML)


def _read_text(folder: Folder, name: str) -> str | None:
    data = folder.read(name)
    return None if data is None else data.decode("utf-8", "replace")


def schema() -> dict[str, Any]:
    """Return the JSON Schema of report.json; fields that came after the first release aren't required."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Report.model_json_schema()}


def finite(value: Any) -> Any:
    """Return a value as it is, or None for NaN and the infinities."""
    is_number = isinstance(value, float)
    return None if is_number and (value != value or abs(value) == float("inf")) else value
