"""Delete scores, audits and reports of weights or data that a job no longer has, so that they are made again."""

from __future__ import annotations

from collections.abc import Mapping

from gansvc.gan import checkpoint
from gansvc.gan.scoring import scorefiles
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord
from gansvc.store.scores import Score


def delete_outdated(
    folder: Folder, spec: JobSpec, name: str, run: RunRecord | None, content: Mapping[str, str]
) -> None:
    """Delete a score, the noise floor's for None, that is of other weights, or beside which something failed."""
    target = folder / layout.EVALUATION
    score = target.read_record(layout.score(name), Score)
    if score is None:
        return
    weights = checkpoint.best_digest(folder / layout.TRAIN / name / layout.CHECKPOINTS) if run else ""
    if found := scorefiles.outdated_fields(score, weights or "", run.identity if run else {}, content):
        print(f"the score of {name} doesn't hold any more ({'; '.join(found)}); it is made again", flush=True)  # noqa: T201
        delete_results(folder, name)
        return
    # Of images that are no numbers there is no audit, and no metric.
    unaudited = spec.evaluation.audit and score.metrics and not target.exists(layout.audit(name))
    if unaudited or any(scorefiles.failures(target, name)):
        target.delete(layout.score(name))


def delete_results(folder: Folder, name: str) -> None:
    """Delete what was made of a run's weights: its score, audits and pictures, the report and the model."""
    target = folder / layout.EVALUATION
    for file in target.names():
        if file.startswith(f"{name}."):
            target.delete(file)
    for made in (layout.REPORT, layout.MODEL):
        folder.delete(made)
