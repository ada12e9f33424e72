"""The tables of scores that a terminal shows."""

from __future__ import annotations

import io

from rich.console import Console

from gansvc.cli import scoretables
from gansvc.gan.scoring.rescoring import Rescored
from gansvc.report.compare import Comparison, merge
from gansvc.report.model import Report

from ..builders.jobs import CONTRACT, make_score
from ..builders.reports import make_report

TWO = {"lsgan": {0: 0.05, 1: 0.07}, "wgan": {0: 0.09, 1: 0.08}}


def shown(board: Report | Comparison) -> list[str]:
    """Return the lines of a leaderboard."""
    console = Console(file=io.StringIO(), width=160)
    console.print(scoretables.leaderboard(board))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def line_of(name: str, lines: list[str]) -> str:
    (found,) = [line for line in lines if f"│ {name} " in line]
    return found


def test_the_leaderboard_has_every_column_the_seeds_and_the_noise_floor() -> None:
    lines = shown(make_report("one", TWO, headline="lsgan [won]"))
    assert lines[0].strip() == "lsgan [won]"
    assert "KID ↓" in lines[2] and "first in" not in lines[2]
    assert "0, 1" in line_of("lsgan", lines) and "0.0600 ± 0.0141" in line_of("lsgan", lines)
    assert "0.0100" in line_of("noise floor: real images", lines)
    assert lines[-1].strip() == "all scores against the test split; ↑ higher is better, ↓ lower is better"


def test_over_three_seeds_the_leaderboard_says_how_often_each_is_first() -> None:
    lines = shown(make_report("one", {label: values | {2: 0.06} for label, values in TWO.items()}))
    assert "first in" in lines[2] and " %" in line_of("wgan", lines)


def test_a_loss_without_a_score_stands_last_and_a_job_without_any_has_a_table() -> None:
    line = line_of("wgan", shown(make_report("one", TWO | {"wgan": {}})))
    assert [text.strip() for text in line.split("│")[1:4]] == ["-", "wgan", ""] and "n/a" not in line
    assert shown(make_report("one", {}, noise_floor=None))[-1].strip() == "↑ higher is better, ↓ lower is better"


def test_a_noise_floor_that_a_loss_surpasses_is_marked_in_that_column_alone() -> None:
    lines = shown(make_report("one", TWO, floor_doubts={"kid": "few images"}))
    assert "0.0100 ‡" in line_of("noise floor: real images", lines)
    assert "2.00 ‡" not in line_of("noise floor: real images", lines)
    assert " ".join(" ".join(lines).split()).endswith(
        "‡ not to be trusted: a loss scores better than these real images"
    )


def test_several_jobs_have_one_leaderboard_of_the_same_form() -> None:
    merged = merge([make_report("one", TWO), make_report("two", {"hinge": {0: 0.01, 1: 0.02}})])
    lines = shown(merged)
    assert lines[0].strip().startswith("lowest KID: hinge") and "0.0150 ± 0.0071" in line_of("hinge", lines)


def test_a_rescored_model_stands_beside_its_card() -> None:
    score = make_score("wgan", 0, kid=0.0512345).model_copy(update={"skipped": {"fid_inf": "5 are too few"}})
    card = make_score("wgan", 0, CONTRACT.model_copy(update={"reference_split": "train"}), kid=0.25)
    for old, value in ((card, "0.25"), (None, "-")):
        found = Rescored(model="a/model", dataset="histology", score=score, card=old, differences=())
        console = Console(file=io.StringIO(), width=120)
        console.print(scoretables.rescored(found))
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert "a/model on histology" in lines[0]
        assert any("kid " in text and "0.051235" in text and value in text for text in lines)
        assert any("now, test split" in text and ("on its card, train split" in text) == bool(old) for text in lines)
        assert any("fid_inf" in text and "n/a: 5 are too few" in text for text in lines)
