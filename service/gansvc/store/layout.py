"""The layout of a job's folder: the name of every file and folder in it.

::

    job.yaml                     the spec, with every default written out
    submission.json              where the job was sent, each time that it was
    starts.jsonl                 when it was started
    identity.json                what a start must agree with to go on from what is here
    status.json                  where it stands
    data.json                    what it trains on
    DRIVER.log                   the log of a driver on Kubernetes, where it failed
    search/LABEL/                the search of one loss
        trials.json              all trials, once the search is over
        trial-00000/             one trial
            values.json          the searched fields' values
            ended                that it is over, with the reason of a failure
            seed0/               one run
    train/LABEL-seed0/           one run: the final training of a loss with a seed
        starts.jsonl             when it was started, and from which step
        progress.json            where it stands
        history.jsonl            its losses
        evaluations.jsonl        its validation scores
        run.json                 how it ended
        checkpoints/             step-00000369.DIGEST.pt, best.safetensors
        samples/                 step-00000369.png
        tensorboard/             event files
    evaluation/                  NAME is that of a run, or real for the noise floor
        NAME.json                the score
        NAME.png                 images
        NAME.audit.json          memorisation and classes
        NAME.pairs.png           the pairs of images that are nearest to each other
        NAME.usefulness.json     what classifiers learn from the images
    report/                      report.json, report.md, report.html
        figures/                 NAME.png
    model/                       the generator of the best run
        model.json, README.md    its card for programs and for people
        samples.png              its images
        generator.safetensors, generator.torchscript.pt, generator.onnx

The names are relative to the folder that they stand in, but for those of the report.
"""

from __future__ import annotations

import re

JOB = "job.yaml"
SUBMISSION = "submission.json"
IDENTITY = "identity.json"
STATUS = "status.json"
DATA = "data.json"
STARTS = "starts.jsonl"
"""Of a job or of a run."""

SEARCH = "search"
TRIALS = "trials.json"
VALUES = "values.json"
TRIAL_ENDED = "ended"

TRAIN = "train"
PROGRESS = "progress.json"
HISTORY = "history.jsonl"
EVALUATIONS = "evaluations.jsonl"
RUN = "run.json"
CHECKPOINTS = "checkpoints"
BEST = "best.safetensors"
SAMPLES = "samples"
TENSORBOARD = "tensorboard"
RAY_SCRATCH = ".ray"
"""What Ray Train writes beside runs while they train."""

EVALUATION = "evaluation"

REPORT = "report"
REPORT_JSON = "report/report.json"
REPORT_MARKDOWN = "report/report.md"
REPORT_HTML = "report/report.html"

MODEL = "model"
MODEL_CARD = "model.json"
MODEL_README = "README.md"
MODEL_SAMPLES = "samples.png"
GENERATOR = "generator.safetensors"
TORCHSCRIPT = "generator.torchscript.pt"
ONNX = "generator.onnx"

RESULTS = {"page": REPORT_HTML, "report": REPORT_MARKDOWN, "pictures": "report/figures/samples.png", "model": MODEL}
"""What a job leaves for people, by what they call it."""

_TRIAL = re.compile(r"trial-\d{5,}")
_CHECKPOINT = re.compile(r"step-(\d{8})\.([0-9a-f]{16})\.pt")
_AUDIT, _USEFULNESS = ".audit.json", ".usefulness.json"


def run_name(label: str, seed: int) -> str:
    """Return the name of a run's folder under train/, and of its score under evaluation/."""
    return f"{label}-seed{seed}"


def trial_name(number: int) -> str:
    """Return the name of a trial's folder under search/LABEL/, by its number from 0."""
    return f"trial-{number:05d}"


def is_trial(name: str) -> bool:
    """Return whether that is the name of a trial's folder; a search holds other files too."""
    return _TRIAL.fullmatch(name) is not None


def seed_name(seed: int) -> str:
    """Return the name of a seed's folder in a trial's."""
    return f"seed{seed}"


def checkpoint_name(step: int, digest: str) -> str:
    """Return the name of a checkpoint, by its generator step and the digest of its content."""
    return f"step-{step:08d}.{digest}.pt"


def parse_checkpoint(name: str) -> tuple[int, str] | None:
    """Return the step and the digest that a checkpoint's name tells, or None for another file."""
    found = _CHECKPOINT.fullmatch(name)
    return (int(found[1]), found[2]) if found else None


def sample_grid(step: int) -> str:
    """Return the name of the grid of a run's samples at a generator step."""
    return f"step-{step:08d}.png"


def score(name: str) -> str:
    """Return the name of a score's file, by the name of its run."""
    return f"{name}.json"


def is_score(name: str) -> bool:
    """Return whether that is the name of a score's file, the noise floor's among them."""
    return name.endswith(".json") and not name.endswith((_AUDIT, _USEFULNESS))


def audit(name: str) -> str:
    """Return the name of an audit's file, by the name of its run."""
    return f"{name}{_AUDIT}"


def usefulness(name: str) -> str:
    """Return the name of the file of a run's usefulness."""
    return f"{name}{_USEFULNESS}"


def scored_grid(name: str) -> str:
    """Return the name of the picture of a scored run's images."""
    return f"{name}.png"


def pairs(name: str) -> str:
    """Return the name of the picture of a run's nearest pairs."""
    return f"{name}.pairs.png"


def figure(name: str) -> str:
    """Return the name of a figure in the report's folder."""
    return f"figures/{name}"


def driver_log(driver: str) -> str:
    """Return the name of the kept log of a driver."""
    return f"{driver}.log"
