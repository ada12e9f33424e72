"""Several jobs on one leaderboard: what is merged, what is kept apart, what is refused and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gansvc.cli import app
from gansvc.errors import SpecError
from gansvc.report.compare import merge
from gansvc.report.model import Report
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.scores import UNKNOWN

from ..builders.jobs import CONTRACT
from ..builders.reports import make_report as report


def test_losses_of_two_jobs_stand_on_one_leaderboard() -> None:
    one = report("one", {"wgan": {0: 0.05, 1: 0.06}, "lsgan": {0: 0.07, 1: 0.08}})
    merged = merge([one, report("two", {"hinge": {0: 0.02, 1: 0.05}})])
    assert [(row.rank, row.label) for row in merged.leaderboard] == [(1, "hinge"), (2, "wgan"), (3, "lsgan")]
    gap = merged.leaderboard[1].difference
    assert gap is not None and gap.mean == pytest.approx((0.03 + 0.01) / 2) and gap.ahead is None
    assert merged.winner is None and merged.headline == (
        "lowest KID: hinge, 0.0350 ± 0.0212 on the test split of d over 2 seeds, 3.5 times the noise floor (0.0100); "
        "no winner, because a ranking over 2 seeds is not supported."
    )
    assert merged.contract == CONTRACT and merged.jobs == ("one", "two") and merged.differences == ()


def test_a_winner_over_several_jobs_must_have_learned_in_each_of_them() -> None:
    def validated(made: Report, start: float, best: float, metric: str) -> Report:
        found = {"initial_objective": start, "best_objective": best}
        runs = tuple(run.model_copy(update=found) for run in made.runs)
        return made.model_copy(update={"runs": runs, "validation_metric": metric})

    one = report("one", {"wgan": {0: 0.02, 1: 0.03}, "lsgan": {0: 0.07, 1: 0.08, 2: 0.09}})
    two = report("two", {"wgan": {2: 0.03}})
    merged = merge([validated(one, 2.0, 0.5, "kid"), validated(two, 400.0, 90.0, "fid")])
    assert merged.winner == "wgan" and [row.learned for row in merged.leaderboard] == [True, True]
    idle = merge([validated(one, 2.0, 0.5, "kid"), validated(two, 400.0, 401.0, "fid")])
    assert idle.winner is None and "because wgan learned nothing" in idle.headline
    unknown = merge([one, validated(two, 400.0, 90.0, "fid")])
    assert unknown.winner == "wgan" and "whether it learned isn't known" in unknown.headline


def test_more_seeds_of_a_loss_that_was_trained_alike_join_its_row() -> None:
    merged = merge([report("one", {"wgan": {0: 0.04, 1: 0.06}}), report("two", {"wgan": {2: 0.08}})])
    (row,) = merged.leaderboard
    assert (row.label, row.seeds) == ("wgan", (0, 1, 2))
    assert row.metrics["kid"].mean == pytest.approx(0.06) and row.metrics["kid"].std == pytest.approx(0.02)
    assert row.metrics["kid"].interval == pytest.approx((0.04, 0.08))
    assert row.metrics["kid"].within == pytest.approx(0.001)


@pytest.mark.parametrize(
    "other",
    [
        {"kid": {"wgan": {0: 0.03}}},
        {"kid": {"wgan": {1: 0.03}}, "values": {"critic_lr": 2e-4}},
        {"kid": {"wgan": {1: 0.03}}, "training": {"epochs": 7}},
    ],
    ids=["same seed", "other values", "other budget"],
)
def test_a_loss_that_was_trained_otherwise_or_again_keeps_a_row_of_its_own(other: dict[str, Any]) -> None:
    merged = merge([report("one", {"wgan": {0: 0.04}}), report("two", **other)])
    assert [row.label for row in merged.leaderboard] == ["wgan (two)", "wgan (one)"]


def test_what_the_jobs_were_not_given_alike_is_named() -> None:
    merged = merge([report("one", {"wgan": {0: 0.04}}), report("two", {"lsgan": {5: 0.03}}, training={"epochs": 7})])
    assert merged.differences == ("training.epochs: 50, 7",), "seeds, names and losses differ by intent"


def test_where_a_job_ran_makes_no_difference() -> None:
    there = report("two", {"wgan": {1: 0.03}}, cluster={"image": "gansvc:0.1.0", "volume": "jobs"})
    merged = merge([report("one", {"wgan": {0: 0.04}}), there])
    assert merged.differences == () and [row.seeds for row in merged.leaderboard] == [(0, 1)]


def test_a_field_that_an_earlier_version_did_not_know_has_the_value_of_then() -> None:
    values = {"critic_lr": 1e-4, "regularizers": []}
    now, then = report("one", {"wgan": {0: 0.04}}, values), report("two", {"wgan": {1: 0.03}})
    network = {name: value for name, value in then.spec["network"].items() if name != "conditional"}
    merged = merge([now, then.model_copy(update={"spec": then.spec | {"network": network}})])
    assert merged.differences == () and [row.seeds for row in merged.leaderboard] == [(0, 1)]
    network = network | {"conditional": True}
    apart = merge([now, then.model_copy(update={"spec": then.spec | {"network": network}})])
    assert apart.differences == ("network.conditional: false, true",) and len(apart.leaderboard) == 2


def test_columns_that_a_job_lacks_are_left_out() -> None:
    merged = merge([report("one", {"wgan": {0: 0.04}}), report("two", {"lsgan": {0: 0.03}}, metrics=("kid",))])
    assert [column.key for column in merged.columns] == ["kid"]
    with pytest.raises(SpecError, match="share no metric"):
        merge([report("one", {"wgan": {0: 0.04}}), report("two", {"lsgan": {0: 0.03}}, metrics=("is",))])


@pytest.mark.parametrize(("field", "value"), [("samples", 500), ("reference_sha256", "cd34"), ("resize", 224)])
def test_unlike_contracts_are_refused_naming_the_field(field: str, value: Any) -> None:
    other = report("two", {"lsgan": {0: 0.03}}, contract=CONTRACT.model_copy(update={field: value}))
    expected = rf"one and two can't be compared: they differ in {field} \({getattr(CONTRACT, field)} and {value}\);"
    with pytest.raises(SpecError, match=expected):
        merge([report("one", {"wgan": {0: 0.04}}), other])


def test_what_an_older_report_lacks_is_unknown_and_no_difference() -> None:
    newer = CONTRACT.model_copy(update={"torch": "2.9", "timm": "1.0", "fid": "1", "data": {"test_images": "ab"}})
    one, two = (report(name, {"wgan": {seed: 0.04}}, contract=newer) for seed, name in enumerate(("one", "two")))
    assert merge([one, two]).unknown == ()
    older = two.model_copy(update={"contract": newer.model_copy(update={"torch": UNKNOWN, "data": {}})})
    assert (
        merge([one, older]).unknown
        == ("data", "torch")
        == merge([older, older.model_copy(update={"job": "x"})]).unknown
    )


def test_one_job_the_same_job_twice_and_a_job_without_scores_are_refused() -> None:
    one = report("one", {"wgan": {0: 0.04}})
    for jobs in ([], [one], [one, one]):
        with pytest.raises(SpecError, match="name two or more jobs, each once"):
            merge(jobs)
    for jobs in ([one, report("two", {})], [report("two", {}), one]):
        with pytest.raises(SpecError, match="two has no scores"):
            merge(jobs)


def test_the_command_prints_the_leaderboard_of_two_job_folders_or_the_refusal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSVC_STORAGE", str(tmp_path))

    def put(name: str, made: Report) -> None:
        (Folder(tmp_path) / f"{name}-20260101-000000-aaaa").write_record(layout.REPORT_JSON, made)

    def call(*args: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            app.main(["compare", *args])
        return ended.value.code, *capsys.readouterr()

    put("one", report("one", {"wgan": {0: 0.05, 1: 0.06}}))
    put("two", report("two", {"hinge": {0: 0.02, 1: 0.05}}, training={"epochs": 7}))
    put("three", report("three", {"ns": {0: 0.02}}, contract=CONTRACT.model_copy(update={"resize": 224})))
    code, out, err = call("one", "two")
    assert code == 0 and "lowest KID: hinge" in out and "noise floor: real images" in out
    assert "the jobs were not given the same training.epochs: 50, 7" in err
    assert json.loads(call("one", "two", "--json")[1])["leaderboard"][0]["label"] == "hinge"
    code, out, err = call("one", "two", "three")
    assert (code, out) == (2, "") and "one and three can't be compared: they differ in resize (96 and 224)" in err
