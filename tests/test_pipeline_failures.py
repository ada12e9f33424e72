"""What a job says where nothing can be scored: each run's reason, and a fix that fits it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from gansvc import pipeline
from gansvc.cluster.driver import Cluster
from gansvc.errors import RunError
from gansvc.gan.data import Images
from gansvc.records import RunRecord
from gansvc.spec import JobSpec
from gansvc.store import Folder

Make = Callable[..., JobSpec]


def ended(seed: int, state: Literal["diverged", "failed"], reason: str) -> RunRecord:
    return RunRecord(label="wgan", seed=seed, values={}, state=state, reason=reason)


@pytest.mark.parametrize("rates", [False, True])
def test_lower_learning_rates_are_advised_only_where_a_run_diverged(
    rates: bool, tiny: Make, histology: Images, tmp_path: Path
) -> None:
    runs = [ended(0, "failed", "the disk is full"), ended(1, "diverged" if rates else "failed", "NaN at 4")]
    cluster = Cluster(histology, None, None, None, 1, 0)  # type: ignore[arg-type]
    with pytest.raises(RunError) as caught:
        pipeline.evaluate(Folder(tmp_path), tiny(), cluster, runs)
    message = str(caught.value)
    assert "wgan-seed0 failed: the disk is full; wgan-seed1" in message and "NaN at 4" in message
    assert ("learning rates" in message) is rates and ("gansvc resume" in message) is not rates
