"""What a person sees of a job: pictures, lines and tables."""

import time
from collections.abc import Iterator
from io import StringIO

import pytest
from rich.console import Console

from gansvc.cli import live, scoretables
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


def test_the_leaderboard_takes_the_reports_columns_and_does_without_them() -> None:
    row = {"rank": 1, "label": "lsgan", "seeds": [0, 1], "metrics": {"kid": {"mean": 0.05, "std": 0.01}}}
    columns = [{"key": "kid", "title": "KID", "better": "lower", "decimals": 3}]
    for report in ({"leaderboard": [row], "columns": columns, "headline": "lsgan [won]"}, {"leaderboard": [row]}, {}):
        console = Console(file=StringIO(), width=120)
        console.print(scoretables.leaderboard(report))
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        assert not report or ("0.05" in shown and "± 0.01" in shown and "0, 1" in shown)
        assert "columns" not in report or ("KID ↓" in shown and "lsgan [won]" in shown)
        assert "first in" not in shown and "noise floor" not in shown


def test_the_leaderboard_ends_with_the_noise_floor_and_says_how_often_each_is_best() -> None:
    rows = [
        {"rank": 1, "label": "lsgan", "metrics": {"kid": {"mean": 0.05}}, "best_share": 0.874},
        {"rank": None, "label": "wgan", "metrics": {}},
    ]
    columns = [{"key": "kid", "title": "KID", "better": "lower", "decimals": 3}]
    console = Console(file=StringIO(), width=120)
    report = {"leaderboard": rows, "columns": columns, "noise_floor": {"kid": 0.004}}
    console.print(scoretables.leaderboard(report | {"contract": {"reference_split": "test"}}))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert any("all scores against the test split; ↑ higher" in text for text in lines)
    assert not any("‡" in text for text in lines)
    assert any("first in" in text for text in lines)
    assert any("lsgan" in text and "0.050" in text and "87%" in text for text in lines)
    assert any("noise floor: real images" in text and "0.004" in text for text in lines)


def test_a_noise_floor_that_a_loss_surpasses_is_marked_in_that_column_alone() -> None:
    columns = [{"key": key, "title": key, "better": "lower", "decimals": 3} for key in ("kid", "fid")]
    row = {"rank": 1, "label": "lsgan", "metrics": {"kid": {"mean": 0.001}, "fid": {"mean": 9.0}}}
    report = {"leaderboard": [row], "columns": columns, "noise_floor": {"kid": 0.004, "fid": 2.0}}
    console = Console(file=StringIO(), width=120)
    console.print(scoretables.leaderboard(report | {"floor_doubts": {"kid": "few images"}}))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert any("0.004 ‡" in text and "2.000 ‡" not in text for text in lines)
    assert "‡ not to be trusted: a loss scores better than these real images" in " ".join(" ".join(lines).split())


def test_statuses_of_earlier_versions_say_score_for_the_metric_they_do_not_name() -> None:
    status = Status(
        job="small-1", name="small", phase="TRAINING", started=1.0, updated=2.0, best_label="wgan", best_objective=0.5
    )
    assert "best val score: wgan 0.5" in statusline.line(status)


def test_a_rescored_model_stands_beside_its_card() -> None:
    contract = {"reference_split": "train"}
    score = {"metrics": {"kid": 0.0512345, "fid": 9.0}, "contract": {"reference_split": "test"}}
    found = {"model": "a/model", "dataset": "histology", "score": score}
    for card, shown in (({"metrics": {"kid": 0.25}, "contract": contract}, "0.25"), (None, "-")):
        console = Console(file=StringIO(), width=120)
        console.print(scoretables.rescored(found | {"card": card}))
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert any("kid" in text and "0.051235" in text and shown in text for text in lines)
        assert any("now, test split" in text and ("on its card, train split" in text) == bool(card) for text in lines)


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
