"""What the driver says of a job while it runs."""

from __future__ import annotations

import time

import pytest

from gansvc.monitor import Pace
from gansvc.records import Progress


def at(label: str, images: int) -> Progress:
    return Progress(
        label=label, seed=0, step=1, steps=9, critic_images=images, images_per_second=1.0, updated=time.time()
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("gansvc.monitor.time.monotonic", lambda: now[0])
    return now


def test_the_pace_leaves_out_the_start_of_the_processes(clock: list[float]) -> None:
    pace = Pace()
    assert pace.images_per_second(0, []) == 0
    clock[0] += 60
    assert pace.images_per_second(100, [at("lsgan", 100)]) == 0
    clock[0] += 5
    assert pace.images_per_second(600, [at("lsgan", 600)]) == 0, "too little to go by"
    clock[0] += 15
    assert pace.images_per_second(2100, [at("lsgan", 2100)]) == 100


def test_the_pace_leaves_out_what_an_earlier_start_did(clock: list[float]) -> None:
    pace = Pace()
    pace.images_per_second(5000 + 3000, [at("lsgan", 3000)])
    clock[0] += 10
    assert pace.images_per_second(5000 + 4000, [at("lsgan", 4000)]) == 100
    clock[0] += 10
    assert pace.images_per_second(5000 + 5000 + 2000, [at("lsgan", 5000), at("wgan", 2000)]) == 100
