"""Which workers fit on which nodes, by the one rule that plan, placement, doctor and driver share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gansvc.client import nodechecks, plan
from gansvc.cluster import driver
from gansvc.errors import ClusterError
from gansvc.spec.capacity import WorkerResources, count_fitting, misfit, worker_resources
from gansvc.spec.job import JobSpec
from gansvc.store.inspection import NodeState

Make = Callable[..., JobSpec]
FOUR_SMALL_NODES = [WorkerResources(2, 0)] * 4


def test_a_worker_has_all_that_it_asks_for_on_one_node() -> None:
    assert count_fitting(WorkerResources(4, 0), FOUR_SMALL_NODES) == 0, "8 CPUs in all, and nowhere 4"
    assert count_fitting(WorkerResources(1.5, 0), FOUR_SMALL_NODES) == 4, "not 5: half a CPU stays free on each"
    assert count_fitting(WorkerResources(0.1, 0), [WorkerResources(0.3, 0)]) == 3
    assert count_fitting(WorkerResources(1, 0.25), [WorkerResources(2, 1), WorkerResources(8, 0)]) == 2


def test_gpus_that_are_not_asked_for_are_given_where_there_are_any(tiny: Make) -> None:
    asked = tiny().resources
    assert [share.gpus for share in worker_resources(asked, has_gpus=True).values()] == [1, 0.25]
    assert [share.gpus for share in worker_resources(asked, has_gpus=False).values()] == [0, 0]


def test_the_field_and_what_there_is_are_named(tiny: Make) -> None:
    spec = tiny(resources={"cpus_per_worker": 4, "gpus_per_worker": 0}, training__workers=2)
    sections = {"training": spec.training, "search": None}
    text = "2 workers of 4 CPUs don't fit 4 nodes of 2 CPUs, 1 nodes of 7 CPUs and 1 GPUs"
    assert misfit(spec.resources, sections, [*FOUR_SMALL_NODES, WorkerResources(7, 1)]) == ("training.workers", text)
    assert misfit(spec.resources, sections, [WorkerResources(8, 0)]) is None


def test_a_driver_refuses_a_cluster_whose_nodes_are_each_too_small(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}] * 4)
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    with pytest.raises(ClusterError, match=r"training\.workers: 1 workers of 4 CPUs don't fit 4 nodes of 2 CPUs"):
        driver.connect(tiny(resources={"cpus_per_worker": 4}))


def test_the_doctor_counts_by_node(tiny: Make) -> None:
    small = [NodeState(node=f"n{number}", cpus=2, gpus=0) for number in range(4)]
    check = nodechecks.check_capacity(small, tiny(resources={"cpus_per_worker": 4}))
    assert check.state == "fault" and "don't fit 4 nodes of 2 CPUs" in check.found
    assert nodechecks.check_capacity(small, tiny(training__workers=8)).state == "ok"


def test_a_plan_for_this_machine_says_what_does_not_fit(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    obstacles = plan.make(tiny(training__workers=3)).obstacles
    assert [text for text in obstacles if "3 workers of 1 CPUs don't fit 1 machine of 2 CPUs" in text]
