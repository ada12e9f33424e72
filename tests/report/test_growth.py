"""What a report of many runs and trials costs: the histories' memory, and what the figures are made of."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from gansvc.errors import ClusterError
from gansvc.report import drawing, figures, histories, searching
from gansvc.store.folder import Folder
from gansvc.store.records import TrialRecord

from ..benchmarks import made_jobs

RUN = made_jobs.record(made_jobs.LABEL, 0)
NAME = f"train/{made_jobs.LABEL}-seed0/history.jsonl"


def test_a_history_keeps_its_numbers_and_nothing_else_in_memory(tmp_path: Path) -> None:
    folder, lines = Folder(tmp_path), 2000
    made_jobs.trained(folder, 5, lines)
    runs = [made_jobs.record(label, seed) for label in made_jobs.LABELS for seed in range(5)]
    histories.read_history(folder, runs[0])
    tracemalloc.start()
    read = [histories.read_history(folder, run) for run in runs]
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(len(course.critic_loss) == lines for course in read)
    assert kept < 64 * lines * len(runs), "four columns of eight bytes, and little beside them"


def test_a_history_takes_the_later_line_of_a_step_and_names_a_damaged_one(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    lines = [made_jobs.line(step) for step in (10, 20, 30)]
    again = made_jobs.line(20).model_copy(update={"critic_loss": 7.0, "wasserstein": None})
    folder.write_lines(NAME, [*lines, again])
    course = histories.read_history(folder, RUN)
    assert course.critic_images.tolist() == [640, 1280, 1920]
    assert course.critic_loss[1] == 7.0 and np.isnan(course.wasserstein[1]) and course.generator_loss[2] > 0.9
    folder.write(NAME, "\n" + lines[0].model_dump_json() + '\n{"step": 3\n')
    with pytest.raises(ClusterError, match=r"history.jsonl: line 3 is not a History"):
        histories.read_history(folder, RUN)


def test_a_long_history_is_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    folder.write_lines(NAME, [made_jobs.line(step) for step in range(1, 26)])
    whole = histories.read_history(folder, RUN)
    monkeypatch.setattr(histories, "_AT_ONCE", 10)
    assert all(map(np.array_equal, histories.read_history(folder, RUN)[:4], whole[:4])) and len(whole.critic_loss) == 25


def test_terms_of_any_name_are_read_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of earlier versions hold none, a regularizer may begin late, and a restarted run writes lines twice."""
    monkeypatch.setattr(histories, "_AT_ONCE", 2)
    folder = Folder(tmp_path)
    held: list[dict[str, float | None] | None] = [None, {}, {"r1": 1.0}, {"r1": None, "new": 4.0}, {"new": 5.0}]
    lines = [json.loads(made_jobs.line(step).model_dump_json()) for step in (10, 20, 30, 40, 40)]
    for line, terms in zip(lines, held, strict=True):
        line.pop("terms", None)
        line.update({} if terms is None else {"terms": terms})
    folder.write(NAME, "".join(f"{json.dumps(line)}\n" for line in lines))
    history = histories.read_history(folder, RUN)
    assert history.critic_images.tolist() == [640, 1280, 1920, 2560]
    np.testing.assert_equal(history.terms, {"r1": [np.nan, np.nan, 1.0, np.nan], "new": [np.nan, np.nan, np.nan, 5.0]})
    styles = drawing.loss_styles([made_jobs.LABEL, "other"])
    png = figures.terms({made_jobs.LABEL: [history], "other": []}, styles)
    assert png is not None and [name for name, _ in drawing.split_panels(png)] == ["r1", "new", "legend"]
    assert figures.terms({"other": []}, styles) is None


def test_a_thinned_curve_keeps_its_ends_and_its_peaks() -> None:
    ys = np.sin(np.linspace(0, 9, 100_003))
    ys[[31_415, 92_653]] = [50.0, -50.0]
    ys[5000:9000] = np.nan
    shown = drawing.decimate(ys)
    assert len(shown) < 1100 and {0, 31_415, 92_653, len(ys) - 1} <= set(shown.tolist())
    assert np.isnan(ys[shown]).any(), "a gap stays one"
    assert drawing.decimate(ys[:700]).tolist() == list(range(700))


def test_the_search_figure_has_no_more_parts_for_more_trials() -> None:
    def parts(count: int) -> int:
        about = {"label": "lsgan", "values": {"critic_lr": 1e-4}, "critic_images": 1, "seconds": 1}
        trials = [
            TrialRecord(
                trial=f"trial-{number:05d}",
                defaults=number == 0,
                state="finished" if number % 3 else "diverged",
                objective=0.1 + number if number % 3 or not number else None,
                **about,
            )
            for number in range(count)
        ]
        axes = Figure().subplots()
        searching._trials(
            axes, [(trial.values["critic_lr"], trial) for trial in trials], drawing.loss_styles(["lsgan"])["lsgan"], 0
        )
        marks = [len(line.get_xdata()) for line in axes.lines if line.get_marker() != "None"]  # type: ignore[arg-type]
        assert sum(marks) == count
        return len(axes.lines)

    assert parts(12) == parts(1200)
