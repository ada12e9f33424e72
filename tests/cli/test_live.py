"""What a person sees of a job: pictures, lines and tables."""

import time
from collections.abc import Iterator
from io import StringIO

import pytest
from rich.console import Console

from gansvc.cli import live
from gansvc.store import statusline
from gansvc.store.records import Phase, Progress, Status


def stages(phases: list[Phase]) -> Iterator[Status]:
    for step, phase in enumerate(phases):
        yield Status(job="small-1", name="small", phase=phase, started=0.0, updated=1.0, trials=(step, 8))


def test_following_writes_a_line_a_change_where_there_is_no_terminal() -> None:
    console = Console(file=StringIO())
    last = live.watch(stages(["PENDING", "SEARCHING", "SEARCHING", "TRAINING", "SUCCEEDED"]), console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert last.phase == "SUCCEEDED"
    assert [text.split()[0] for text in lines] == ["PENDING", "SEARCHING", "TRAINING", "SUCCEEDED"]
    assert "trials 1/8" in lines[1]


def test_following_draws_one_picture_on_a_terminal() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=120)
    live.watch(stages(["PENDING", "SUCCEEDED"]), console)
    assert "SUCCEEDED" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_view_shows_all_there_is() -> None:
    at = Progress(
        label="wgan",
        seed=1,
        step=5,
        steps=10,
        critic_images=1600,
        images_per_second=99.0,
        objective=0.1234,
        updated=0.0,
    )
    status = Status(
        job="small-1", name="small", phase="TRAINING", started=time.time() - 65, updated=time.time(), runs=(1, 4),
        current=(at,), best_label="wgan", best_objective=0.1234, images_per_second=99.0, seconds_left=200.0,
        warnings=("low on [memory]",), objective="kid",
    )  # fmt: skip
    console = Console(file=StringIO(), width=120)
    console.print(live.view(status))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("TRAINING", "1 min 05 s", "1/4", "wgan", "5/10", "1,600", "99 img/s", "3 min 20 s left", "val KID",
                  "best val KID: wgan 0.1234"):  # fmt: skip
        assert words in shown
    assert "low on [memory]" in shown


def test_statuses_of_earlier_versions_say_score_for_the_metric_they_do_not_name() -> None:
    status = Status(
        job="small-1", name="small", phase="TRAINING", started=1.0, updated=2.0, best_label="wgan", best_objective=0.5
    )
    assert "best val score: wgan 0.5" in statusline.line(status)


def test_the_table_of_jobs_shows_phase_progress_best_score_and_age() -> None:
    now = time.time()
    jobs = [
        Status(
            job="small-1", name="small", phase="TRAINING", started=now - 90_000, updated=now, trials=(8, 8),
            runs=(1, 6), scores=(0, 6), best_label="wgan", best_objective=0.1234, objective="fid",
        ),
        Status(job="small-2", name="small", phase="FAILED", started=now - 7500, updated=now, finished=now - 7400,
               error="out of [red]"),
    ]  # fmt: skip
    console = Console(file=StringIO(), width=200)
    console.print(live.job_table(jobs))
    head, first, second = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "best on val" in head
    for words in ("small-1", "TRAINING", "runs 1/6", "wgan FID 0.1234", "1 d 01 h"):
        assert words in first
    for words in ("small-2", "FAILED", "1 min 40 s", "2 h 05 min", "out of [red]"):
        assert words in second


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_each_job_has_one_line_of_the_table_whatever_its_error_says(width: int) -> None:
    now, error = (
        time.time(),
        "storage: s3://bucket/jobs can't be written (EROFS: Read-only file system);\n" + "x " * 999,
    )
    long = "quickstart-20261128-191452-4f33"
    jobs = [
        Status(job=long, name="q", phase="FAILED", started=now - 90, updated=now, finished=now, error=error),
        Status(job=long, name="q", phase="TRAINING", started=now, updated=now, runs=(0, 3), warnings=("no sign",)),
        Status(job=long, name="q", phase="SUCCEEDED", started=now, updated=now, scores=(3, 3), warnings=("read it",)),
    ]
    console = Console(file=StringIO(), width=width)
    console.print(live.job_table(jobs, width))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 4 and max(map(len, lines)) <= width
    assert all(long in line for line in lines[1:]) and "FAILED" in lines[1]
    if width >= 80:
        assert "storage: s3" in lines[1] and "no sign" in lines[2] and "read it" not in lines[3]
