"""Deleting what was made of weights or data that a job no longer has, so that it is made again."""

from __future__ import annotations

from collections.abc import Mapping

from gansvc.gan import checkpoint
from gansvc.gan.scoring import scorefiles
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord
from gansvc.store.scores import Score


def drop(folder: Folder, spec: JobSpec, name: str, run: RunRecord | None, content: Mapping[str, str]) -> None:
    """Delete a score, the noise floor's for None, that is of other weights, or beside which something failed."""
    target = folder / "evaluation"
    score = target.read_record(f"{name}.json", Score)
    if score is None:
        return
    weights = checkpoint.best_digest(folder / "train" / name / "checkpoints") if run else ""
    if found := scorefiles.outdated_fields(score, weights or "", run.identity if run else {}, content):
        print(f"the score of {name} doesn't hold any more ({'; '.join(found)}); it is made again", flush=True)  # noqa: T201
        forget(folder, name)
        return
    # Of images that are no numbers there is no audit, and no metric.
    unaudited = spec.evaluation.audit and score.metrics and not target.exists(f"{name}{scorefiles.AUDIT}")
    if unaudited or any(scorefiles.failures(target, name)):
        target.delete(f"{name}.json")


def forget(folder: Folder, name: str) -> None:
    """Delete what was made of a run's weights: its score, audits and pictures, the report and the model."""
    target = folder / "evaluation"
    for file in target.names():
        if file.startswith(f"{name}."):
            target.delete(file)
    for made in ("report", "model"):
        folder.delete(made)
