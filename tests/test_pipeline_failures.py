"""What a job says where nothing can be scored: each run's reason, and a fix that fits it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from ray.exceptions import RayTaskError

from gansvc import pipeline
from gansvc.cluster.driver import Cluster
from gansvc.cluster.monitor import Monitor
from gansvc.errors import RunError
from gansvc.gan.data import Images
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord, Status

Make = Callable[..., JobSpec]


def ended(seed: int, state: Literal["diverged", "failed"], reason: str) -> RunRecord:
    return RunRecord(label="wgan", seed=seed, values={}, state=state, reason=reason)


@pytest.mark.parametrize("rates", [False, True])
def test_lower_learning_rates_are_advised_only_where_a_run_diverged(
    rates: bool, tiny: Make, histology: Images, tmp_path: Path
) -> None:
    runs = [ended(0, "failed", "the disk is full"), ended(1, "diverged" if rates else "failed", "NaN at 4")]
    folder = Folder(tmp_path)
    cluster = Cluster(histology, None, None, None, [])  # type: ignore[arg-type]
    with pytest.raises(RunError) as caught:
        pipeline.evaluate(folder, tiny(), cluster, runs, Monitor(folder, "tiny-20260101-000000-aaaa", tiny()))
    message = str(caught.value)
    assert "wgan-seed0 failed: the disk is full; wgan-seed1" in message and "NaN at 4" in message
    assert ("learning rates" in message) is rates and ("gansvc resume" in message) is not rates


@pytest.mark.parametrize("lost", [1, 2])
def test_a_run_that_cannot_be_scored_is_told_and_costs_the_others_nothing(
    lost: int, tiny: Make, histology: Images, tmp_path: Path
) -> None:
    class Scorer:
        """Takes the place of the cluster: scores no more than the runs that are left."""

        images = histology

        def evaluate(self, spec: JobSpec, runs: list[RunRecord], folder: Folder, tell: object) -> dict[str, str]:
            return {f"{run.label}-seed{run.seed}": "out of memory" for run in runs[:lost]} | {"real": "no weights"}

    runs = [RunRecord(label="wgan", seed=seed, values={}, state="finished", best_step=7) for seed in (0, 1)]
    folder, stand_in = Folder(tmp_path), Scorer()
    monitor, cluster = Monitor(folder, "tiny-20260101-000000-aaaa", tiny()), stand_in
    given: Any = cluster
    if lost == 2:
        with pytest.raises(RunError, match=r"no run could be scored.*wgan-seed1: out of memory"):
            pipeline.evaluate(folder, tiny(), given, runs, monitor)
        return
    pipeline.evaluate(folder, tiny(), given, runs, monitor)
    assert monitor._status.missing == ("the score of wgan-seed0", "the noise floor")


def test_a_workers_error_is_one_sentence_in_the_status_and_a_traceback_in_the_log(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, spec = Folder(tmp_path), tiny()
    trace = "\x1b[36mray::work()\x1b[39m (pid=1)\n  File x, line 1\ngansvc.errors.RunError: the images are all alike"

    def fail(error: Exception) -> str:
        def work(*_: object) -> None:
            raise RayTaskError("work", trace, error).as_instanceof_cause()

        monkeypatch.setattr(pipeline, "run", work)
        with suppress(ValueError):
            assert pipeline._run_under_monitor(folder, "tiny-20260101-000000-aaaa", spec, ()) == 1
        status = folder.read_record("status.json", Status)
        assert status is not None and status.phase == "FAILED"
        return status.error

    assert fail(RunError("the images are all alike")) == "the images are all alike"
    assert "ray::work" in capsys.readouterr().err
    assert fail(ValueError("bad\nshape")) == "gansvc failed by a fault of its own (ValueError: shape); see the log"
