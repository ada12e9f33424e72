"""Read a job's evaluation folder: its scores, whether they are still valid, and what failed beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gansvc.catalog.labels import REAL
from gansvc.spec.identity import differences
from gansvc.store import layout
from gansvc.store.audits import Audit, Usefulness
from gansvc.store.folder import Folder
from gansvc.store.scores import Score


def read_scores(target: Folder) -> list[Score]:
    """Return all scores of an evaluation folder, the noise floor left out."""
    names = [name for name in target.names() if layout.is_score(name) and name != layout.score(REAL)]
    found = (target.read_record(name, Score) for name in names)
    return [score for score in found if score is not None]


def outdated_fields(score: Score, weights: str, identity: Mapping[str, Any], data: Mapping[str, str]) -> list[str]:
    """Return in what a score differs from what it would be made of now; nothing where it holds.

    Args:
        score: the score.
        weights: digest of the run's best weights; empty for real images.
        identity: the run's identity; empty for real images.
        data: hashes of the data set.
    """
    return [
        *differences({"weights": score.weights}, {"weights": weights}),
        *(f"run.{line}" for line in differences(score.identity, identity)),
        *differences({"data": score.contract.data}, {"data": dict(data)}),
    ]


def failures(target: Folder, name: str) -> Iterator[tuple[str, str]]:
    """Yield what couldn't be made beside a score, and why."""
    audit = target.read_record(layout.audit(name), Audit)
    if audit is not None and audit.failed:
        yield f"the audit of {name}", audit.failed
    useful = target.read_record(layout.usefulness(name), Usefulness)
    if useful is not None and useful.failed:
        yield f"the usefulness of {name}", useful.failed
