"""The classes in a report: which orders are compared, what their agreement is called, and what the tables hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gansvc.report import classes, model
from gansvc.report.build import build
from gansvc.report.markdown import render
from gansvc.store import layout
from gansvc.store.audits import Audit, Classes
from gansvc.store.folder import Folder
from gansvc.store.records import DataRecord
from gansvc.store.scores import Score

from ..builders.classes import DOMAIN_KID, KID, make_classes, make_job, make_spec


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return make_job(tmp_path)


def test_rankings_are_of_the_means_over_seeds(folder: Folder) -> None:
    kid, inception_score = classes.rankings(build(folder, make_spec()))
    assert kid.metric == "KID" and kid.by_extractor == ("wgan", "wgan-gp", "lsgan", "hinge")
    assert kid.by_classifier == ("wgan-gp", "wgan", "lsgan", "hinge")
    # One of six pairs is the other way round: (5 - 1) / 6.
    assert kid.tau == pytest.approx(4 / 6)
    # Higher is better, and the domain's IS rises where the extractor's falls.
    assert inception_score.by_extractor == ("wgan", "wgan-gp", "lsgan", "hinge")
    assert inception_score.by_classifier == inception_score.by_extractor[::-1] and inception_score.tau == pytest.approx(
        -1
    )


def test_sentences_say_what_the_classifier_is_worth_and_where_the_rankings_part(folder: Folder) -> None:
    worth, kid, inception_score = classes.sentences(build(folder, make_spec()))
    assert worth == (
        "The classifier gets 83.0 % of the held-out (test) images right; always guessing the largest class, 73.0 %"
    )
    assert kid == (
        "The two rankings by KID disagree: wgan, wgan-gp, lsgan, hinge by the extractor's features, "
        "wgan-gp, wgan, lsgan, hinge by the classifier's; Kendall's tau is 0.67 over 4 losses"
    )
    assert "IS disagree" in inception_score and "-1.00" in inception_score
    for label in KID:
        score = folder.read_record(f"evaluation/{label}-seed0.json", Score)
        assert score is not None
        kid_of = {"kid": DOMAIN_KID[label][0], "is": 1.0}
        folder.write_record(f"evaluation/{label}-seed0.json", score.model_copy(update={"metrics": kid_of}))
        folder.delete(f"evaluation/{label}-seed1.json")
        folder.delete(f"evaluation/{label}-seed1.audit.json")
    _, kid, inception_score = classes.sentences(build(folder, make_spec()))
    assert kid.startswith("The two rankings by KID agree (wgan-gp, wgan, lsgan, hinge); Kendall's tau is 1.00 over 4")
    assert inception_score.endswith("Kendall's tau is n/a over 4 losses"), "all the same IS"


def test_a_classifier_that_learned_nothing_is_not_trusted(folder: Folder) -> None:
    found = Audit(label="wgan", seed=0, step=5, extractor="x", classes=make_classes(1, 1, 0.2, accuracy=0.74))
    folder.write_record("evaluation/wgan-seed0.audit.json", found)
    assert classes.sentences(build(folder, make_spec()))[0].endswith("73.0 %: too little to trust what it sees")


def test_markdown_has_both_tables(folder: Folder) -> None:
    text = render(build(folder, make_spec()))
    section = text[text.index("## Classes") :]
    section = section[: section.index("\n## ", 1)]
    assert (
        "| loss | KID on test | domain KID on test | IS on test | domain IS on test | distance of class histograms |"
        in section
    )
    assert "| wgan | 0.0300 ± 0.0141 | 0.5500 | 1.97 ± 0.01 | 1.03 | 0.100 |" in section
    assert "| fresh real images (val) | n/a | 0.0123 | n/a | 1.50 | 0.050 |" in section
    assert "| 0 | 27.0 % | 20.0 % | 20.0 % |" in section and "| 1 | 73.0 % | 80.0 % | 80.0 % |" in section


def test_a_domain_score_that_few_images_do_not_give_is_told_once_with_the_reason(folder: Folder) -> None:
    why = "5 images are too few for a mean over 10 splits, which takes 10"
    metrics = {"kid": 0.0123, "kid_std": 0.1, "is": float("nan"), "is_std": float("nan")}
    few = make_classes(0, 0, 0.25).model_dump() | {"images": 5, "metrics": metrics}
    real = Audit(label="real", seed=0, step=5, extractor="x", classes=Classes(**few | {"skipped": {"is": why}}))
    folder.write_record("evaluation/real.audit.json", real)
    for seed in (0, 1):
        lost = Classes(**few)
        folder.write_record(
            f"evaluation/hinge-seed{seed}.audit.json",
            Audit(label="hinge", seed=seed, step=5, extractor="x", classes=lost),
        )
    report = build(folder, make_spec())
    assert "null" not in lost.model_dump_json() and lost.skipped == {"is": "it came out as no finite number"}
    assert classes.sentences(report)[-2:] == [
        "The domain IS of hinge is n/a: it came out as no finite number",
        f"The domain IS of fresh real images (val) is n/a: {why}",
    ]
    assert classes.rankings(report)[1].by_extractor == ("wgan", "wgan-gp", "lsgan"), "hinge has no domain IS to rank by"
    text = render(report)
    assert "| fresh real images (val) | n/a | 0.0123 | n/a | n/a | 0.050 |" in text and text.count(why) == 1


def test_an_audit_of_an_earlier_version_whose_score_is_null_is_read(folder: Folder) -> None:
    data = json.loads(folder.read("evaluation/real.audit.json") or b"")
    data["classes"]["metrics"] |= {"is": None, "is_std": None}
    del data["classes"]["skipped"]
    folder.write("evaluation/real.audit.json", json.dumps(data))
    report = build(folder, make_spec())
    assert report.audits[-1].classes is not None and "is" not in report.audits[-1].classes.metrics
    assert "| fresh real images (val) | n/a | 0.0123 | n/a | n/a | 0.050 |" in render(report)


def test_a_set_without_classes_has_no_such_section(folder: Folder) -> None:
    report = build(folder, make_spec())
    bare = report.model_copy(update={"audits": tuple(a.model_copy(update={"classes": None}) for a in report.audits)})
    for without in (bare, report.model_copy(update={"audits": ()})):
        assert classes.sentences(without) == [] and classes.rankings(without) == ()
        assert "## Classes" not in render(without)
    assert model.Report.model_validate_json(report.model_dump_json()) == report


def test_the_histogram_calls_classes_by_their_names_where_they_are_known(folder: Folder) -> None:
    assert [row.cells[0].text for row in classes.histogram_table(build(folder, make_spec())).rows] == ["0", "1"]
    images = {"train": 546, "val": 78, "test": 156}
    folder.write_record(layout.DATA, DataRecord(images=images, channels=1, classes=("malignant", "benign|no")))
    report = build(folder, make_spec())
    assert [row.cells[0].text for row in classes.histogram_table(report).rows] == ["0 malignant", "1 benign|no"]
    assert r"| 1 benign\|no |" in render(report)
