"""Made reports: what the driver writes into report.json, in numbers that tests can foresee."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gansvc.report import numbers, ranking
from gansvc.report.dataset import DatasetFacts
from gansvc.report.model import Report, Versions
from gansvc.spec import jobfile
from gansvc.store.records import RunRecord
from gansvc.store.scores import Contract, Score

from .jobs import CONTRACT


def make_report(
    job: str, kid: dict[str, dict[int, float]], values: dict[str, Any] | None = None, **changes: Any
) -> Report:
    """Return the report of a job whose losses scored so, seed by seed."""
    contract = changes.pop("contract", CONTRACT)
    scores = [_score(label, seed, contract, kid=v) for label, found in kid.items() for seed, v in found.items()]
    columns = numbers.metric_columns(changes.pop("metrics", ("kid", "fid")))
    rows = ranking.leaderboard(list(kid), scores, columns, columns[0])
    runs = [
        RunRecord(label=label, seed=seed, values=values or {"critic_lr": 1e-4}, state="finished")
        for label, found in kid.items()
        for seed in found
    ]
    seeds = sorted({seed for found in kid.values() for seed in found}) or [0]
    given: dict[str, Any] = {"name": job, "dataset": "histology", "losses": list(kid) or ["wgan"]}
    given |= {"training": {"seeds": seeds} | changes.pop("training", {}), "cluster": changes.pop("cluster", None)}
    spec = jobfile.validate(given)
    facts: dict[str, Any] = {"job": job, "name": "n", "created": datetime.now(UTC), "versions": Versions(python="3")}
    facts |= {"headline": "h", "objective": columns[0].key, "columns": columns, "leaderboard": rows}
    facts |= {"noise_floor": {"kid": 0.01, "fid": 2.0}, "noise_floor_images": 9, "contract": contract if kid else None}
    facts |= {"published": (), "curves": (), "validation_metric": "kid", "trials": {}, "budgets": (), "warnings": ()}
    facts |= {"dataset": DatasetFacts(name="d", images={}, channels=3, size=28, licence="l", source="s")}
    return Report.model_validate(facts | {"runs": runs, "spec": spec.model_dump(mode="json"), **changes})


def _score(label: str, seed: int, contract: Contract, kid: float) -> Score:
    metrics = {"kid": kid, "kid_std": 0.001, "fid": 90.0, "is": 2.0}
    return Score(label=label, seed=seed, step=400, metrics=metrics, contract=contract, seconds=3)
