"""The report: direction and order of the ranking, what it warns of, what it refuses, what it writes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from skimage.color import rgb2lab

from gansvc.errors import ClusterError, RunError
from gansvc.report import drawing, figures, histories, html, model, pictures, searching
from gansvc.report.build import build, write
from gansvc.report.markdown import render
from gansvc.spec import jobfile
from gansvc.store.folder import Folder
from gansvc.store.records import JobStart, TrialRecord

from ..builders.jobs import (
    CONTRACT,
    LABELS,
    SEEDS,
    grid,
    make_job,
    make_line,
    make_run,
    make_score,
    make_spec,
)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A job of three losses and two seeds, whole and without a fault."""
    return make_job(tmp_path)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, model.Report]:
    """Such a job with its report, drawn once for the tests that only look at it."""
    folder = make_job(tmp_path_factory.mktemp("written"))
    report = build(folder, make_spec())
    write(folder, report)
    return folder, report


def test_lower_kid_ranks_first_and_means_run_over_seeds(folder: Folder) -> None:
    report = build(folder, make_spec())
    assert [(row.rank, row.label) for row in report.leaderboard] == [(1, "wgan-gp"), (2, "wgan"), (3, "lsgan")]
    kid = report.leaderboard[2].metrics["kid"]
    assert kid.mean == pytest.approx(0.055)
    assert kid.std == pytest.approx(0.01 / 2**0.5)
    assert kid.values == {0: 0.060, 1: 0.050}
    assert report.leaderboard[0].seeds == (0, 1)
    assert report.job == "compare-1a2b"
    assert report.noise_floor_images == 1080


def test_higher_inception_score_ranks_first_where_kid_was_not_asked_for(folder: Folder) -> None:
    report = build(
        folder, make_spec(search=None, evaluation={"extractor": "efficientnet-lite0", "metrics": ["is", "fid"]})
    )
    assert [row.label for row in report.leaderboard] == ["lsgan", "wgan-gp", "wgan"]
    assert report.objective == "is"
    assert [column.key for column in report.columns] == ["is", "fid"]
    assert "the noise floor is 3.40" in report.headline
    assert "times" not in report.headline.split(";")[0]


def test_headline_names_the_lowest_its_split_its_seeds_the_floor_and_why_there_is_no_winner(folder: Folder) -> None:
    report = build(folder, make_spec())
    assert report.winner is None
    assert report.headline == (
        "lowest KID: wgan-gp, 0.0310 ± 0.0014 on the test split of histology over 2 seeds, 6.2 times the noise floor "
        "(0.0050); no winner, because a ranking over 2 seeds is not supported."
    )
    one_seed = build(folder, make_spec(training={"seeds": [0]}))
    assert "wgan-gp, 0.0300 on the test split of histology over 1 seed" in one_seed.headline
    assert one_seed.headline.endswith("a ranking over 1 seed is not supported.")
    assert any("one seed only" in warning for warning in one_seed.warnings)


def test_a_winner_is_named_where_its_runs_beat_their_untrained_generators_alone(folder: Folder) -> None:
    spec = make_spec(training={"seeds": [0, 1, 2]})
    score_all(folder, range(3), lsgan=0.05, wgan=0.04, wgan_gp=0.03)
    for label in LABELS:
        make_run(folder, label, 2)
    report = build(folder, spec)
    assert report.winner == "wgan-gp" and [row.learned for row in report.leaderboard] == [True] * 3
    assert report.headline.startswith(
        "wgan-gp is best on histology: KID 0.0310 ± 0.0010 on the test split over 3 seeds"
    )
    for seed in range(3):
        make_run(folder, "wgan-gp", seed, initial_objective=0.4, best_objective=0.42)
    idle = build(folder, spec)
    assert idle.winner is None and idle.leaderboard[0].learned is False
    assert "no winner, because wgan-gp learned nothing" in idle.headline


@pytest.mark.parametrize("floor", [-0.0003, 0.0, 0.00001])
def test_a_noise_floor_of_about_zero_gives_no_ratio(folder: Folder, floor: float) -> None:
    real = CONTRACT.model_copy(update={"samples": 1080})
    folder.write_record("evaluation/real.json", make_score("real", 0, real, kid=floor))
    headline = build(folder, make_spec()).headline
    assert f"the noise floor is {floor:.4f}" in headline
    assert "times" not in headline


def score_all(folder: Folder, seeds: range, **kid: float) -> None:
    """Score losses on more seeds: on seed s, each one's KID is the given one plus s / 1000."""
    for label, value in kid.items():
        name = label.replace("_", "-")
        for seed in seeds:
            score = make_score(name, seed, kid=value + seed / 1000)
            folder.write_record(f"evaluation/{name}-seed{seed}.json", score)


def test_enough_seeds_that_agree_need_no_reservation(folder: Folder) -> None:
    score_all(folder, range(6), lsgan=0.05, wgan=0.04, wgan_gp=0.03)
    for label in LABELS:
        for seed in range(2, 6):
            make_run(folder, label, seed)
    report = build(folder, make_spec(training={"seeds": list(range(6))}))
    assert report.headline.endswith("; ahead of every other loss in 100 % of resamplings.")
    gap = report.leaderboard[2].difference
    assert gap is not None and gap.mean == pytest.approx(0.02) and gap.seeds == tuple(range(6))
    assert [row.best_share for row in report.leaderboard] == [1, 0, 0]
    assert "too narrow" not in render(report)


def test_one_seed_gives_no_interval_and_says_so_in_the_table(folder: Folder) -> None:
    report = build(folder, make_spec(training={"seeds": [0]}))
    assert [(row.metrics["kid"].interval, row.difference, row.best_share) for row in report.leaderboard] == [
        (None, None, None)
    ] * 3
    text = render(report)
    assert "How sure the order is" not in text and "95 % interval" not in text and "not supported |" not in text
    assert text.count("One seed gives no interval, no difference and no order of the losses") == 1
    assert "| 1 | wgan-gp | 1 | **0.0300 ± 0.0010** |" in text, "KID's deviation over its subsets"


def test_a_loss_with_few_seeds_takes_no_share_from_the_others(folder: Folder) -> None:
    spec = make_spec(training={"seeds": [0, 1, 2]})
    score_all(folder, range(3), wgan=0.04, wgan_gp=0.03)
    rows = {row.label: row for row in build(folder, spec).leaderboard}
    assert (rows["wgan-gp"].best_share, rows["wgan"].best_share, rows["lsgan"].best_share) == (1, 0, None)
    folder.delete("evaluation/lsgan-seed0.json")
    assert {row.label: row for row in build(folder, spec).leaderboard}["lsgan"].difference is None
    folder.delete("evaluation/wgan-gp-seed0.json")
    report = build(folder, spec)
    assert report.leaderboard[0].label == "wgan-gp"
    assert [row.best_share for row in report.leaderboard] == [None] * 3, "the first has two seeds, so nothing is sure"


def test_small_sets_show_kid_first_and_mark_a_rank_deficient_fid(folder: Folder) -> None:
    report = build(folder, make_spec())
    assert [column.key for column in report.columns][:3] == ["kid", "is", "fid"]
    assert report.fid_rank_deficient and report.noise_floor_rank_deficient
    assert render(report).count("90.00 ± 0.00 †") == 3 and "| 90.00 † |" in render(report)
    large = build(folder, make_spec(dataset="bloodmnist"))
    assert [column.key for column in large.columns][:3] == ["is", "fid", "kid"]


def test_fid_at_infinity_has_a_column_where_it_was_measured(folder: Folder) -> None:
    assert "fid_inf" not in [column.key for column in build(folder, make_spec()).columns]
    many = CONTRACT.model_copy(update={"reference_images": 1281})
    for label in LABELS:
        for seed in SEEDS:
            score = make_score(label, seed, many)
            score = score.model_copy(update={"metrics": score.metrics | {"fid_inf": 71.5}})
            folder.write_record(f"evaluation/{label}-seed{seed}.json", score)
    real = many.model_copy(update={"samples": 1080})
    floor = make_score("real", 0, real).model_copy(update={"skipped": {"fid_inf": "1080 are too few"}})
    folder.write_record("evaluation/real.json", floor)
    report = build(folder, make_spec())
    assert "| FID ↓ | FID∞ ↓ |" in render(report) and "| 90.00 ± 0.00 | 71.50 ± 0.00 |" in render(report)
    assert not report.fid_rank_deficient and report.noise_floor_rank_deficient
    assert "the noise floor has no FID∞: 1080 are too few" in report.warnings


def test_what_was_left_out_is_said_once(folder: Folder) -> None:
    for label in LABELS:
        score = make_score(label, 0).model_copy(update={"skipped": {"fid_inf": "2 are too few"}})
        folder.write_record(f"evaluation/{label}-seed0.json", score)
    assert build(folder, make_spec()).warnings.count("FID∞ was left out: 2 are too few") == 1


def test_one_loss_alone_is_not_called_best(folder: Folder) -> None:
    assert build(folder, make_spec(losses=["lsgan"], published=None)).headline.startswith(
        "lsgan on histology: KID 0.0550"
    )


def test_a_whole_job_warns_of_nothing_but_its_failed_trials_and_its_fid(folder: Folder) -> None:
    warnings = build(folder, make_spec()).warnings
    assert [w for w in warnings if not w.startswith("trial ")] == [
        "FID is rank-deficient: 2000 samples and 400 reference images for 1280 feature dimensions; read KID instead"
    ]
    assert "trial lsgan-d of lsgan diverged: NaN | at 40" in warnings
    assert not any("lsgan-c" in warning for warning in warnings), "a trial that ASHA stopped is no fault"


def test_unequal_budgets_are_warned_of_with_the_fix(folder: Folder) -> None:
    def said() -> list[str]:
        found = build(folder, make_spec()).warnings
        return [warning for warning in found if warning.startswith(("run budgets", "trial budgets"))]

    # A trial that was stopped or diverged was given more than it took.
    cause = "as n_critic doesn't divide the budget's batches; set"
    trials = "trial budgets are unequal in critic images (lsgan-b of lsgan 1,000, wgan-gp-a of wgan-gp 2,000), "
    assert said() == [f"{trials}{cause} search.images to a multiple of 128"]
    for label in LABELS:
        folder.delete(f"search/{label}/trials.json")
    values = {"name": "lsgan", "label": "lsgan", "n_critic": 3}
    for images in (25_600 // 100 * 99 + 4, 25_600 // 100 * 101):
        make_run(folder, "lsgan", 0, critic_images=images)
        make_run(folder, "lsgan", 1, critic_images=images)
        assert said() == [], "one percent is what whole batches may come to"
    for seed in SEEDS:
        make_run(folder, "lsgan", seed, critic_images=19_200, values=values)
        make_run(folder, "wgan", seed, critic_images=64, state="diverged")
    runs = "run budgets are unequal in critic images (lsgan 19,200, wgan-gp 25,600), "
    assert said() == [f"{runs}{cause} training.images to a multiple of 960"]


def test_enough_images_for_fid_are_not_warned_of(folder: Folder) -> None:
    many = CONTRACT.model_copy(update={"reference_images": 1281})
    for label in LABELS:
        for seed in SEEDS:
            folder.write_record(f"evaluation/{label}-seed{seed}.json", make_score(label, seed, many))
    folder.write_record("evaluation/real.json", make_score("real", 0, many))
    assert not any("rank-deficient" in warning for warning in build(folder, make_spec()).warnings)


def test_restarts_divergence_and_missing_seeds_are_warned_of(folder: Folder) -> None:
    make_run(folder, "wgan", 0, starts=2)
    make_run(folder, "wgan-gp", 0, starts=3)
    make_run(folder, "wgan", 1, state="diverged", reason="the critic's loss is NaN", step=120)
    folder.delete("evaluation/wgan-seed1.json")
    folder.delete("train/lsgan-seed0")
    make_run(folder, "lsgan", 1, best_objective=0.41)
    report = build(folder, make_spec())
    for sentence in (
        "wgan-seed0 was restarted 1 time",
        "wgan-gp-seed0 was restarted 2 times",
        "wgan-seed1 diverged at step 120: the critic's loss is NaN",
        "wgan is averaged over 1 of 2 seeds; the seeds left out may be its worst",
        "lsgan-seed0 was not trained",
        "lsgan-seed1 never beat its untrained generator on the validation split",
    ):
        assert sentence in report.warnings
    assert "wgan-gp has fewer than 3 scored seeds in common with wgan and lsgan" in report.headline
    assert report.leaderboard[1].metrics["kid"].std is None


def test_a_job_that_was_resumed_says_how_often_and_an_old_one_without_starts_says_nothing(folder: Folder) -> None:
    assert build(folder, make_spec()).starts == ()
    starts = [JobStart(time=1.7e9), JobStart(time=1.7e9 + 60), JobStart(time=1.7e9 + 3600)]
    for count, said in ((1, ()), (2, ("the job was resumed 1 time, at last on 2023-11-14 at 22:14 UTC",))):
        folder.write_lines("starts.jsonl", starts[:count])
        made = build(folder, make_spec())
        assert made.starts == tuple(starts[:count])
        assert tuple(w for w in made.warnings if "resumed" in w) == said
    folder.write_lines("starts.jsonl", starts)
    assert "resumed 2 times, at last on 2023-11-14 at 23:13 UTC" in " ".join(build(folder, make_spec()).warnings)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("wgan-seed1", "reference_sha256", "cd34"),
        ("lsgan-seed1", "samples", 500),
        ("real", "extractor", "inception-v3"),
    ],
)
def test_unlike_contracts_are_refused_with_the_field(folder: Folder, name: str, field: str, value: Any) -> None:
    label, _, seed = name.partition("-seed")
    other = CONTRACT.model_copy(update={field: value})
    folder.write_record(f"evaluation/{name}.json", make_score(label, int(seed or 0), other))
    with pytest.raises(RunError, match=rf"{label}.* differ in {field} \({getattr(CONTRACT, field)} and {value}\)"):
        build(folder, make_spec())


def test_the_noise_floor_may_have_its_own_size_and_says_so_where_kid_subsets_follow(folder: Folder) -> None:
    real = CONTRACT.model_copy(update={"samples": 300, "kid_subset_size": 300})
    folder.write_record("evaluation/real.json", make_score("real", 0, real))
    assert any(
        "subsets of 300 images, the losses' over 400" in warning for warning in build(folder, make_spec()).warnings
    )


def test_a_file_that_is_no_list_of_trials_is_named(folder: Folder) -> None:
    folder.write("search/wgan/trials.json", '{"trial": 1}')
    with pytest.raises(ClusterError, match=r"search/wgan/trials\.json"):
        build(folder, make_spec())


def test_what_each_loss_was_given_is_counted_in_processes(folder: Folder) -> None:
    make_run(folder, "wgan", 1, world_size=2)
    report = build(folder, make_spec(search={"trials": 4, "workers": 3}))
    budget = next(budget for budget in report.budgets if budget.label == "wgan")
    assert (budget.trials, budget.search_critic_images, budget.search_process_seconds) == (4, 10_000, 30)
    assert (budget.runs, budget.training_critic_images, budget.training_process_seconds) == (2, 51_200, 240)


def test_a_search_over_seeds_says_how_many_each_trial_had(folder: Folder) -> None:
    row = {"trial": "lsgan-b", "label": "lsgan", "values": {}, "defaults": True, "state": "finished", "seconds": 1}
    trial = TrialRecord.model_validate(row | {"objective": 0.04, "objectives": {0: 0.03, 1: 0.05}, "critic_images": 9})
    folder.write("search/lsgan/trials.json", json.dumps([trial.model_dump(mode="json")]))
    text = render(build(folder, make_spec(search={"trials": 4, "seeds": 3})))
    assert "| **0.0400 (2 seeds)** |" in text and "the mean over 3 seeds" in text
    assert "| **0.0400** |" in text, "records of older versions don't hold the seeds"


def test_curves_take_the_later_line_of_a_step_that_was_trained_twice(folder: Folder) -> None:
    curve = build(folder, make_spec()).curves[0]
    assert [(point.step, point.objective) for point in curve.points] == [(0, 0.4), (100, 0.25), (200, 0.1), (300, 0.05)]


def test_markdown_holds_every_trial_the_numbers_and_the_spec(written: tuple[Folder, model.Report]) -> None:
    text = model.read_markdown(written[0])
    assert text is not None
    for label in LABELS:
        for letter in "abcd":
            assert f"| {label}-{letter}" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    first = next(line for line in lines if line.startswith("| 1 | wgan-gp | 2 |"))
    assert first.startswith("| 1 | wgan-gp | 2 | **0.0310 ± 0.0014** |")
    assert "| wgan-gp | 0, 1 | 0.0310 | 0.0300 to 0.0320 | - | n/a | 0.0010 |" in lines
    assert "| lsgan | 0, 1 | 0.0550 | 0.0500 to 0.0600 | 0.0240 (0.0180 to 0.0300) | n/a | 0.0010 |" in lines
    assert "It takes 3 seeds, and is not supported for wgan-gp, wgan, lsgan." in text
    assert "2 seeds 1 time in 2; under 5 % that falls with 6 seeds" in text
    assert "**2.10" not in first, "lsgan has the best IS"
    assert any("| lsgan |" in line and "**3.00 ± 0.14**" in line for line in lines)
    assert any("noise floor" in line and "0.0050" in line and "3.40 ± 0.10" in line for line in lines)
    assert "| wgan | IS | A \\| B \\<2021\\> | 1.74 ± 0.05 | 1.60 |" in text
    assert "| *noise floor: real images* | IS |  |  | 3.40 |" in text
    assert "NaN \\| at 40" in text
    assert f"```yaml\n{jobfile.dump(make_spec())}```" in text
    assert "critic_lr 1.23e-4" in text
    assert "None" not in text.replace("\nNone.\n", "")
    drawn = ("samples", "losses", "wasserstein", "kid", "search", "best-by-images", "best-by-seconds")
    assert [text.count(f"(figures/{name}.png ") for name in drawn] == [1] * len(drawn)
    assert "All scores of this table are against the test split." in text
    floors = [line for line in lines if "noise floor: real train images against val" in line]
    assert len(floors) == len(LABELS) + 1 and all("| 0.0020 |" in line for line in floors), (
        "in each search, and the runs"
    )


def test_tables_and_curves_of_validation_scores_have_no_floor_where_none_was_measured_on_val(folder: Folder) -> None:
    real = CONTRACT.model_copy(update={"samples": 1080})
    folder.write_record("evaluation/real.json", make_score("real", 0, real, kid=0.005))
    report = build(folder, make_spec())
    assert report.validation_floor is None and "against val" not in render(report)
    assert drawing.draw_noise_floor(Figure().subplots(), report) is None


def test_the_floor_of_curves_is_that_of_the_validation_split_and_its_legend_says_so(folder: Folder) -> None:
    axes = Figure().subplots()
    assert drawing.draw_noise_floor(axes, build(folder, make_spec())) == 0.002
    (line,) = axes.get_lines()
    assert line.get_ydata() == [0.002, 0.002]
    assert line.get_label() == "noise floor, KID on val 0.0020:\nreal train images against val"


@pytest.mark.parametrize("images, said", [({"train": 900, "val": 120}, "120"), ({"val": 1000}, "500"), ({}, "500")])
def test_the_protocol_says_how_many_images_chose(
    images: dict[str, int], said: str, written: tuple[Folder, model.Report]
) -> None:
    facts = written[1].dataset.model_copy(update={"images": images})
    text = render(written[1].model_copy(update={"dataset": facts}), ())
    assert f"chosen by KID of {said} generated images against as many of the val split" in text


def test_report_json_comes_back_as_it_was(written: tuple[Folder, model.Report], folder: Folder) -> None:
    assert model.read(written[0]) == written[1]
    assert model.read(folder) is None
    data = written[0].read("report/report.json") or b""
    assert json.loads(data)["version"] == 1
    folder.write("report/report.json", data.replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(ClusterError, match="not a Report"):
        model.read(folder)


def test_the_published_schema_takes_every_report_and_refuses_another(
    written: tuple[Folder, model.Report], tmp_path: Path
) -> None:
    schema = model.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    valid = jsonschema.Draft202012Validator(schema)
    empty = Folder(tmp_path / "empty")
    write(empty, build(empty, make_spec(search=None, published=None)))
    for folder in (written[0], empty):
        data = json.loads(folder.read("report/report.json") or b"")
        assert [error.message for error in valid.iter_errors(data)] == []
    for path, value in {("leaderboard", 0, "rank"): "first", ("contract",): 3, ("curves", 0, "points"): None}.items():
        broken = json.loads(written[0].read("report/report.json") or b"")
        inner = broken
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        assert list(valid.iter_errors(broken)), path
    del data["headline"]
    assert "'headline' is a required property" in [error.message for error in valid.iter_errors(data)]


def test_the_commit_is_that_of_the_checkout(folder: Folder) -> None:
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        pytest.skip("this is no checkout")
    told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True)
    commit = build(folder, make_spec()).versions.commit
    assert commit is not None and commit.removesuffix("-dirty") == told.stdout.strip()


def test_a_pictures_title_names_the_metric_the_split_and_the_value(written: tuple[Folder, model.Report]) -> None:
    titles = [title for title, _ in pictures.read_gallery(*written)]
    assert titles[:2] == ["real images: KID on test 0.0050", "wgan-gp, seed 0: KID on test 0.0300"]


def test_a_losss_regularizers_are_named_with_their_fields_among_its_values(folder: Folder) -> None:
    regularizers = [{"name": "gradient-penalty", "weight": 10.0, "every": 1}]
    make_run(folder, "lsgan", 0, values={"name": "lsgan", "n_critic": 1, "regularizers": regularizers})
    make_run(folder, "wgan", 0, values={"name": "wgan", "n_critic": 5, "regularizers": []})
    text = render(build(folder, make_spec()))
    assert "- lsgan: n_critic 1, regularizers \\[gradient-penalty (weight 10, every 1)\\]\n" in text
    assert "- wgan: n_critic 5\n" in text


def test_a_spec_of_another_version_is_shown_as_it_is(written: tuple[Folder, model.Report]) -> None:
    report = written[1]
    other = report.model_copy(update={"spec": report.spec | {"training": {"warmup": 3}, "later": ["<b>"]}})
    text = render(other, ("kid.png",))
    assert other.parsed_spec() is None
    assert "which this one can't read:\n\n```yaml\n" in text and "\n  warmup: 3\n" in text
    assert "## Protocol\n\n- Data: histology" in text and "- Networks:" not in text and "- Judgement:" not in text
    assert text.split("## Protocol")[0] == render(report, ("kid.png",)).split("## Protocol")[0]
    page = html.render(other, {}, [])
    assert "warmup: 3" in page and "&lt;b&gt;" in page and "<b>" not in page


def test_figures_are_pictures(written: tuple[Folder, model.Report]) -> None:
    folder, _ = written
    names = (folder / "report" / "figures").names()
    best = ["best-by-images.png", "best-by-seconds.png"]
    assert names == [*best, "kid.png", "losses.png", "samples.png", "search.png", "wasserstein.png"]
    for name in names:
        pixels = imread(io.BytesIO(folder.read(f"report/figures/{name}") or b""), format="png")
        assert min(pixels.shape[:2]) > 200
        assert pixels[..., :3].std() > 0.01


def test_a_loss_keeps_its_colour_when_another_one_falls_out() -> None:
    colours = drawing.loss_styles(LABELS)
    assert len(set(colours.values())) == len(LABELS)
    assert drawing.loss_styles((*LABELS, "another"))["wgan-gp"] == colours["wgan-gp"]


# Machado et al. 2009, "A physiologically-based model for simulation of color vision deficiency"; severity 1, linear.
EYES = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def nearest(colours: Sequence[str], eye: str) -> float:
    """Return the smallest distance in CIELAB between two colours, as that eye sees them; 2.3 can just be noticed."""
    rgb = np.array([[int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)] for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(EYES[eye]).T, 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
    return min(float(np.linalg.norm(one - other)) for one, other in combinations(lab, 2))


@pytest.mark.parametrize("eye", EYES)
def test_six_losses_are_told_apart_with_any_colour_vision(eye: str) -> None:
    assert nearest([look.colour for look in drawing.loss_styles("abcdef").values()], eye) > 15
    assert nearest(["#c83200", "#7d6400"], "deuteranopia") < 15, "a red and an olive that deuteranopia makes alike"


def turned_dark(colour: str) -> str:
    """Return what the page's dark style makes of a colour: CSS's invert(1) hue-rotate(180deg)."""
    matrix = [[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]]
    rgb = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return "#" + "".join(f"{round(255 * value):02x}" for value in np.clip(np.array(matrix) @ (1 - rgb), 0, 1))


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        rgb = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("eye", EYES)
def test_losses_are_told_apart_in_the_dark_too_and_from_both_papers(eye: str) -> None:
    colours = [look.colour for look in drawing.loss_styles("abcdef").values()]
    assert nearest([turned_dark(colour) for colour in colours], eye) > 12
    assert min(contrast(colour, "#ffffff") for colour in colours) > 2
    assert min(contrast(turned_dark(colour), "#14171b") for colour in colours) > 3
    # What has no paper of its own is read on both; drawn text is black, so it turns white.
    assert min(contrast(drawing.MID_GREY, paper) for paper in ("#ffffff", "#14171b")) > 4
    assert contrast(turned_dark("#000000"), "#14171b") > 15


def test_more_losses_than_colours_have_lines_and_marks_that_tell_them_apart() -> None:
    looks = list(drawing.loss_styles([f"loss-{number}" for number in range(20)]).values())
    assert len(set(looks)) == 20 and len({look.colour for look in looks}) == 6
    for one, other in combinations(looks, 2):
        assert one.colour != other.colour or (one.line != other.line and one.marker != other.marker)


def test_stars_of_losses_that_share_a_value_stand_beside_each_other(folder: Folder) -> None:
    """The spec's own values are often the same for several losses, and so are their scores."""
    trials = {
        label: (
            TrialRecord(
                trial="trial-00000",
                label=label,
                values={"critic_lr": 1e-4, "n_critic": 1},
                defaults=True,
                state="finished",
                objective=0.1,
                critic_images=1,
                seconds=1,
            ),
        )
        for label in LABELS
    }
    looks = drawing.loss_styles(LABELS)
    png = searching.draw(build(folder, make_spec()).model_copy(update={"trials": trials}), looks)
    assert png is not None
    panels = dict(drawing.split_panels(png))
    for field in ("critic_lr", "n_critic"):
        pixels = imread(io.BytesIO(panels[field]), format="png")[..., :3]
        found = []
        for look in looks.values():
            colour = [int(look.colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
            found.append((abs(pixels - colour).max(axis=-1) < 0.1).sum())
        assert min(found) > 0.7 * max(found) > 30, f"each star of {field} is whole"


def test_a_job_without_search_scores_or_curves_is_still_reported(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "empty")
    make_run(folder, "lsgan", 0, state="failed", reason="out of memory", best_step=None, best_objective=None)
    nothing = make_line(1, critic_loss=None, generator_loss=None, wasserstein=None)
    folder.write_lines("train/lsgan-seed0/history.jsonl", [nothing])
    folder.write("train/lsgan-seed0/evaluations.jsonl", '{"step": 0, "critic_images": 0, "objective": null}\n')
    folder.write("train/lsgan-seed1/evaluations.jsonl", '{"step": 0, "critic_images": 0, "objective": NaN}\n')
    make_run(folder, "wgan", 0)
    folder.write_lines("train/wgan-seed0/history.jsonl", [])
    folder.write("train/wgan-seed0/evaluations.jsonl", '{"step": 0, "critic_images": 0, "objective": -0.1}\n')
    report = build(folder, make_spec(search=None))
    write(folder, report)
    assert report.headline == "No loss was scored on histology; the warnings say why."
    assert report.contract is None
    assert [row.rank for row in report.leaderboard] == [None, None, None]
    assert "lsgan-seed0 failed at step 400: out of memory" in report.warnings
    names = (folder / "report" / "figures").names()
    # The one curve is of a file without times.
    assert names == ["best-by-images.png", "kid.png", "losses.png", "wasserstein.png"]
    assert "## Search" not in (model.read_markdown(folder) or "")
    assert model.read(folder) == report


def test_a_metric_that_is_not_finite_is_left_out_and_said(folder: Folder) -> None:
    written = make_score("wgan-gp", 0, kid=float("nan"))
    assert "kid" not in written.metrics and list(written.skipped) == ["kid"]
    # What earlier versions wrote.
    data = make_score("wgan-gp", 0).model_dump(mode="json")
    nulls = data | {"metrics": data["metrics"] | {"kid": None, "kid_std": None}}
    for content in (written.model_dump_json(), json.dumps(nulls)):
        folder.write("evaluation/wgan-gp-seed0.json", content)
        report = build(folder, make_spec())
        assert report.leaderboard[0].metrics["kid"].values == {1: 0.032}
        assert "KID of wgan-gp-seed0 was left out: it came out as no finite number" in report.warnings


def test_one_history_line_and_settings_that_are_words_can_be_drawn(folder: Folder) -> None:
    folder.write_lines("train/lsgan-seed0/history.jsonl", [make_line(1, generator_loss=None)])
    run = build(folder, make_spec()).runs[0]
    colours, line = drawing.loss_styles(("lsgan", "wgan")), histories.read_history(folder, run)
    nothing = histories.read_history(folder, run.model_copy(update={"seed": 9}))
    assert figures.losses({"lsgan": [line], "wgan": [nothing]}, colours)
    assert figures.wasserstein({"lsgan": [line]}, colours)
    assert figures.wasserstein({"lsgan": [nothing], "wgan": []}, colours) is None
    assert figures.samples(("real", None), []) is None
    assert figures.samples(("real", grid(1, channels=1)), [])
    trials = tuple(
        TrialRecord(
            trial=word,
            label="lsgan",
            values={"optimizer": word},
            defaults=False,
            state="finished",
            objective=value,
            critic_images=1,
            seconds=1,
        )
        for word, value in (("adam", 0.1), ("rmsprop", -0.1))
    )
    report = build(folder, make_spec()).model_copy(update={"trials": {"lsgan": trials}})
    assert searching.draw(report, colours)


def test_reading_a_report_needs_neither_torch_nor_ray_nor_matplotlib() -> None:
    code = (
        "import sys, gansvc.report.model\n"
        "print([name for name in ('torch', 'ray', 'matplotlib', 'jinja2', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_writing_a_report_needs_neither_torch_nor_ray() -> None:
    code = "import sys, gansvc.report.build\nprint([name for name in ('torch', 'ray') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_floor_names_the_split_that_it_was_made_of(folder: Folder) -> None:
    report = build(folder, make_spec())
    assert report.floor_split == "train" and "real train images in place" in render(report)
    contract = report.contract
    assert contract is not None
    other = report.model_copy(update={"contract": contract.model_copy(update={"reference_split": "train"})})
    assert other.floor_split == "test" and "real test images in place" in render(other)


def test_a_floor_of_as_many_test_images_as_train_has_is_no_set_against_itself(folder: Folder) -> None:
    equal = CONTRACT.model_copy(update={"reference_split": "train", "reference_images": 1080})
    for label in LABELS:
        for seed in SEEDS:
            folder.write_record(f"evaluation/{label}-seed{seed}.json", make_score(label, seed, equal))
    floor = equal.model_copy(update={"samples": 1080})
    folder.write_record("evaluation/real.json", make_score("real", 0, floor, kid=0.005))
    report = build(folder, make_spec(evaluation={"extractor": "efficientnet-lite0", "reference": "train"}))
    assert report.floor_split == "test"
    assert not any("noise floor" in warning for warning in report.warnings)
