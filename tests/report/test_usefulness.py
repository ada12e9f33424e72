"""Usefulness in a report: the sentence says what the numbers do, with their seeds, and the tables hold them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from matplotlib.image import imread

from gansvc.report import drawing, figures, model, usefulness
from gansvc.report.build import build, write
from gansvc.report.markdown import render
from gansvc.store.audits import ClassifierProtocol, MixtureResult, Usefulness
from gansvc.store.folder import Folder

from ..builders.classes import make_job, make_spec

EXAM = ClassifierProtocol(
    **{"classes": 2, "majority": 0.73, "train_images": 546, "of": 546, "val_images": 78, "test_images": 156},
    **{"steps": 312, "batch_size": 64},
)


def learned(what: str, share: float, real: int, generated: int, values: Sequence[float]) -> MixtureResult:
    mean = sum(values) / len(values)
    return MixtureResult.model_validate(
        {"what": what, "share": share, "real_images": real, "generated_images": generated, "accuracy": mean}
        | {"accuracies": dict(enumerate(values)), "balanced_accuracy": mean - 0.1}
        | {"balanced_accuracies": {seed: value - 0.1 for seed, value in enumerate(values)}}
    )


ROWS = (
    learned("real", 0.1, 55, 0, (0.75, 0.79, 0.77)),
    learned("real", 1.0, 546, 0, (0.83, 0.85, 0.84)),
    learned("both", 0.1, 55, 546, (0.78, 0.80, 0.81)),
    learned("both", 1.0, 546, 546, (0.84, 0.83, 0.84)),
    learned("generated", 0, 0, 546, (0.74, 0.70, 0.75)),
)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return make_job(tmp_path)


@pytest.fixture
def measured(folder: Folder) -> Folder:
    """The job of four losses of the tests of the classes; wgan leads, lsgan is third, and hinge's measure failed."""
    for one in (
        Usefulness(label="lsgan", seed=1, step=5, exam=EXAM, rows=ROWS),
        Usefulness(label="wgan", seed=0, step=5, exam=EXAM, rows=ROWS),
        Usefulness(label="hinge", seed=0, step=5, failed="RuntimeError: out of | memory"),
    ):
        folder.write_record(f"evaluation/{one.label}-seed{one.seed}.usefulness.json", one)
    return folder


def test_the_sentence_gives_each_number_its_seeds(measured: Folder) -> None:
    report = build(measured, make_spec())
    first, second = usefulness.sentences(report, make_spec())
    assert first == (
        "Classifiers trained on the images of wgan, seed 0, alone get 73.0 % (70.0 to 75.0) of the real test images "
        "right, on the real ones 84.0 % (83.0 to 85.0); always guessing the largest class gets 73.0 %, surpassed in 2 "
        "of 3 seeds; added to 10 % of the real ones they change accuracy by +2.7 points (seeds: +3.0, +1.0, +4.0); "
        "added to 100 % of the real ones they change accuracy by -0.3 points (seeds: +1.0, -2.0, +0.0): the seeds "
        "don't agree on a direction"
    )
    assert second.startswith("Classifiers trained on the images of lsgan, seed 1,"), "in the leaderboard's order"
    # sqrt(0.84 * 0.16 / 156)
    assert usefulness.sampling_error(report) == pytest.approx(2.935, abs=0.001)


def test_a_failed_measure_is_a_warning(measured: Folder) -> None:
    report = build(measured, make_spec())
    told = "hinge-seed0 was scored, but the usefulness of its images wasn't measured: RuntimeError: out of | memory"
    assert told in report.warnings
    assert "hinge" not in "".join(usefulness.sentences(report, make_spec()))


def test_markdown_page_and_figure_show_it(measured: Folder) -> None:
    report = build(measured, make_spec())
    write(measured, report)
    text = model.read_markdown(measured) or ""
    section = text[text.index("## Usefulness") :]
    section = section[: section.index("\n## ", 1)]
    assert "| - | nothing: always the largest class |  |  | 73.0 % | 50.0 % |  |" in section
    assert section.count("| real |") == 2, "real images alone stand once, not once a loss"
    assert "| - | real | 55 (10 %) | 0 | 77.0 % (75.0 to 79.0) | 67.0 % (65.0 to 69.0) |  |" in section
    both = "55 (10 %) | 546 | 79.7 % (78.0 to 81.0) | 69.7 % (68.0 to 71.0) | +2.7 (+1.0 to +4.0) |"
    assert f"| wgan, seed 0 | both | {both}" in section and f"| lsgan, seed 1 | both | {both}" in section
    assert "| wgan, seed 0 | generated | 0 | 546 | 73.0 % (70.0 to 75.0) | 63.0 % (60.0 to 65.0) |  |" in section
    assert "the standard error of an accuracy is about 2.9 points" in section and "1 time in 4" in section
    assert "The GAN itself saw 100 % of the training images" in section
    assert text.count("usefulness.png") == 1 and "(figures/usefulness.png " in section

    page = model.read_html(measured) or ""
    assert '<section id="usefulness"' in page
    colour = drawing.loss_styles(["lsgan", "wgan", "wgan-gp", "hinge"])["wgan"].colour
    assert f'style="--loss: {colour}" class="key loss">wgan, seed 0</td>' in page
    pixels = imread(io.BytesIO(measured.read("report/figures/usefulness.png") or b""), format="png")
    drawn = (abs(pixels[..., :3] - [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]) < 0.02).all(axis=-1)
    assert drawn.sum() > 30, "wgan's dots in wgan's colour"
    assert model.read(measured) == report


def test_a_part_of_a_large_set_is_named_as_such(measured: Folder) -> None:
    part = EXAM.model_copy(update={"train_images": 5000, "of": 89_996})
    one = Usefulness(label="wgan", seed=0, step=5, exam=part, rows=ROWS)
    measured.write_record("evaluation/wgan-seed0.usefulness.json", one)
    text = render(build(measured, make_spec()))
    assert "as all the real training images used, a stratified 5,000 of 89,996, of the same classes" in text


def test_an_unconditional_job_says_how_to_get_it_where_there_are_classes(folder: Folder, tmp_path: Path) -> None:
    report = build(folder, make_spec())
    (line,) = usefulness.sentences(report, make_spec())
    assert line.endswith("set network: {conditional: true}")
    text = render(report)
    assert "## Usefulness" in text and "Train on synthetic" not in text
    assert figures.usefulness(report, {}) is None
    assert "## Usefulness" not in render(report.model_copy(update={"audits": ()})), "the set may have no classes"
    conditional = make_spec().with_values({"network.conditional": True})
    assert usefulness.sentences(report, conditional) == [], "scored by an older version"
    assert usefulness.sentences(report, None) == [], "its spec can't be read"


def test_a_report_of_an_earlier_version_still_reads(folder: Folder) -> None:
    report = build(folder, make_spec())
    assert model.Report.model_validate_json(report.model_dump_json(exclude={"usefulness"})) == report
