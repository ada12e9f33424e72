"""How many workers a group is asked for when places are missing; tests/test_node_loss.py kills a real node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray.train
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from gansvc.cluster import distributed, resources
from gansvc.errors import RunError
from gansvc.gan.run import RunPlan
from gansvc.spec.capacity import WorkerResources
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder

NO_ROOM = ControllerError(WorkerGroupStartupTimeoutError(3))
NO_START = ControllerError(WorkerGroupStartupFailedError("a worker ended"))


@pytest.fixture
def asked(
    tiny: Callable[..., JobSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[tuple[int, Exception | None]]], list[int]]:
    """Run one training of three workers on a cluster whose room and faults are given; return the sizes asked for."""
    assert issubclass(ControllerError, ray.train.TrainingFailedError), "Ray Train's second version is what is used"

    def run(turns: list[tuple[int, Exception | None]]) -> list[int]:
        sizes: list[int] = []

        def group(todo: Any, assets: Any, share: WorkerResources, workers: int, callbacks: Any) -> None:
            sizes.append(workers)
            if (error := turns[len(sizes) - 1][1]) is not None:
                raise error

        monkeypatch.setattr(distributed, "_run_group", group)
        monkeypatch.setattr(resources, "worker_capacity", lambda share: turns[len(sizes)][0])
        plan = RunPlan(tiny(training__max_restarts=1), "lsgan", 0, 1, 1)
        distributed.train_distributed([(plan, Folder(tmp_path))], None, WorkerResources(1, 0), 3)  # type: ignore[arg-type]
        return sizes

    return run


def test_all_workers_are_asked_for_where_there_is_room(asked: Any) -> None:
    assert asked([(3, None)]) == [3] and asked([(64, None)]) == [3]


def test_a_busy_cluster_is_waited_for_and_a_smaller_one_gets_fewer(asked: Any) -> None:
    assert asked([(3, NO_ROOM)] * 5 + [(3, None)]) == [3] * 6
    assert asked([(3, NO_ROOM), (2, NO_ROOM), (1, None)]) == [3, 2, 1]
    assert asked([(3, NO_ROOM), (2, NO_ROOM), (8, None)]) == [3, 2, 3], "a node that came back counts"


def test_workers_that_keep_failing_end_the_run(asked: Any) -> None:
    assert asked([(3, NO_START), (3, None)]) == [3, 3]
    with pytest.raises(RunError, match="a worker ended"):
        asked([(3, NO_START)] * 2)
    with pytest.raises(RunError, match="out of memory"):
        asked([(3, WorkerGroupError("out of memory", {})), (3, None)])
