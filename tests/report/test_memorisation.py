"""The audits in a report: the best seed stands for its loss, and the sentences say what the numbers do."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread, imsave

from gansvc.errors import ClusterError
from gansvc.report import figures, memorisation, model
from gansvc.report.build import build, write
from gansvc.report.markdown import render
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store.audits import Audit, Estimate, Memorisation, Pair
from gansvc.store.folder import Folder
from gansvc.store.scores import Score

from ..builders.jobs import CONTRACT

KID = {"lsgan": (0.06, 0.05, 0.07), "wgan": (0.02, 0.04, 0.03)}

MEMORY = Memorisation(
    **{"images": 2000, "train_images": 1080, "heldout_images": 400, "fresh_images": 120},
    **{"to_train": 14.251, "to_heldout": 15.5, "heldout_to_train": 13.25},
    near=Estimate(value=0.28, low=0.17, high=0.36),
    closer=Estimate(value=0.041, low=0.02, high=0.07),
    tendency=Estimate(value=0.51, low=0.47, high=0.55),
    authenticity=Estimate(value=84.2, low=82, high=86),
    heldout_authenticity=Estimate(value=70, low=65, high=75),
    flagged=False,
    pairs=tuple(Pair(generated=i, train=i, heldout=i, to_train=1 + i, to_heldout=9 + i) for i in range(8)),
)
COPIES = {"flagged": True, "closer": Estimate(value=0.31, low=0.25, high=0.38)}


def make_spec() -> JobSpec:
    data = {"name": "a", "dataset": "retinamnist", "losses": list(KID), "training": {"seeds": [0, 1, 2]}}
    return jobfile.validate(data | {"evaluation": {"extractor": "efficientnet-lite0", "samples": 2000}})


def make_audit(label: str, seed: int, **changes: Any) -> Audit:
    memory = MEMORY.model_copy(update=changes)
    return Audit(label=label, seed=seed, step=5, extractor="efficientnet-lite0", memorisation=memory)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A job in which only the best seed of lsgan, 1, copies; wgan's best is 0."""
    folder, file = Folder(tmp_path / "a-1"), io.BytesIO()
    imsave(file, np.random.default_rng(0).random((176, 466, 3)), format="png")
    for label, values in KID.items():
        for seed, kid in enumerate(values):
            score = Score(label=label, seed=seed, step=5, metrics={"kid": kid}, contract=CONTRACT, seconds=1)
            found = make_audit(label, seed, **(COPIES if (label, seed) == ("lsgan", 1) else {}))
            folder.write_record(f"evaluation/{label}-seed{seed}.json", score)
            folder.write_record(f"evaluation/{label}-seed{seed}.audit.json", found)
            folder.write(f"evaluation/{label}-seed{seed}.pairs.png", file.getvalue())
    return folder


def test_the_best_seed_stands_for_its_loss(folder: Folder) -> None:
    report = build(folder, make_spec())
    assert len(report.audits) == 6
    assert [(found.label, found.seed) for found in memorisation.reported_audits(report)] == [("wgan", 0), ("lsgan", 1)]
    higher = model.Column(key="kid", title="", better="higher", decimals=4)
    assert [found.seed for found in memorisation.audits_of_best_seeds(report.audits, report.leaderboard, higher)] == [
        1,
        2,
    ]


def test_copying_is_a_warning_and_the_first_one(folder: Folder) -> None:
    first, *others = build(folder, make_spec()).warnings
    assert first == (
        "lsgan, seed 1, shows signs of copying its training images: 31.0 % (25.0 to 38.0) of its images are as near "
        "to training images as 5 % of fresh real images are"
    )
    assert not any("copying" in warning for warning in others)


def test_the_verdict_names_what_it_rests_on() -> None:
    assert memorisation.verdict(make_audit("wgan", 0)).startswith(
        "wgan, seed 0, shows no sign of copying: 4.1 % (2.0 to 7.0)"
    )
    few = memorisation.verdict(make_audit("wgan", 0, flagged=None, heldout_images=12))
    assert few == "wgan, seed 0, can't be judged: 12 held-out images and 120 fresh ones are too few"
    absent = {"heldout_in_train": 1, "fresh_in_train": 2, "fresh_in_heldout": 3}
    assert memorisation.verdict(make_audit("wgan", 0, flagged=None, **absent)) == (
        "wgan, seed 0, can't be judged: 400 held-out images and 120 fresh ones are too few; 1 test image left out for "
        "standing in train, too; 2 val images left out for standing in train, too; 3 val images left out for standing "
        "in test, too"
    )
    often = memorisation.verdict(
        make_audit("wgan", 0, flagged=True, tendency=Estimate(value=0.7, low=0.623, high=0.78))
    )
    assert often.endswith(
        "in 70.0 % (62.3 to 78.0) of comparisons its image is nearer than a fresh real one, where 50 % is even"
    )


def test_markdown_and_figure_show_the_audits(folder: Folder) -> None:
    report = build(folder, make_spec())
    write(folder, report)
    text = model.read_markdown(folder) or ""
    section = text[text.index("## Memorisation") :]
    section = section[: section.index("\n## ", 1)]
    shares = "31.0 % (25.0 to 38.0) | 51.0 % (47.0 to 55.0) | 28.0 % (17.0 to 36.0)"
    assert f"| lsgan, seed 1 | yes | {shares} | 84.2 (82.0 to 86.0) |" in section
    assert "| wgan, seed 0 | none | 4.1 % (2.0 to 7.0) |" in section and "| 14.25 | 15.50 | 13.25 |" in section
    assert "2,000 generated images were held against 1,080 training images, 400 held-out" in section
    assert "(figures/pairs.png " in section and text.count("pairs.png") == 1
    pixels = imread(io.BytesIO(folder.read("report/figures/pairs.png") or b""), format="png")
    assert pixels.shape[0] > 800 and pixels.std() > 0.1
    assert model.read(folder) == report


def test_a_part_of_the_training_images_is_named_as_such(folder: Folder) -> None:
    for seed in range(3):
        folder.write_record(f"evaluation/wgan-seed{seed}.audit.json", make_audit("wgan", seed, train_images=1000))
    assert "against 1,000 of 1,080 training images" in render(build(folder, make_spec()))


def test_a_job_without_audits_has_no_such_section(folder: Folder) -> None:
    for label in KID:
        for seed in range(3):
            folder.delete(f"evaluation/{label}-seed{seed}.audit.json")
    report = build(folder, make_spec())
    assert report.audits == () and "Memorisation" not in render(report)
    older = report.model_dump_json(exclude={"audits"})
    assert model.Report.model_validate_json(older) == report
    assert figures.pairs([]) is None


def test_a_damaged_audit_is_named(folder: Folder) -> None:
    folder.write("evaluation/wgan-seed0.audit.json", "{}")
    with pytest.raises(ClusterError, match=r"wgan-seed0\.audit\.json is not a Audit"):
        build(folder, make_spec())


def test_what_no_image_is_left_for_is_not_available(folder: Folder) -> None:
    gone = {"flagged": None, "heldout_images": 0, "heldout_in_train": 400, "pairs": ()}
    none = dict.fromkeys(("to_heldout", "heldout_to_train", "near", "closer", "tendency", "heldout_authenticity"))
    for seed in range(3):
        folder.write_record(f"evaluation/wgan-seed{seed}.audit.json", make_audit("wgan", seed, **gone, **none))
    text = render(build(folder, make_spec()))
    row = "| wgan, seed 0 | too few images | n/a | n/a | n/a | 84.2 (82.0 to 86.0) | n/a | 14.25 | n/a | n/a |"
    assert row in text
    assert "95 % bootstrap intervals. 400 test images left out for standing in train, too." in text
