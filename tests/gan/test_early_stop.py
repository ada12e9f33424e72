"""A run that ends early because its score no longer improves, and one whose samples have become one image."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from gansvc.cli.live import view
from gansvc.gan.data import Images
from gansvc.gan.networks import build_generator
from gansvc.gan.run import RunPlan, Validation, single_process
from gansvc.gan.sampling import chunks
from gansvc.gan.scoring.features import extract
from gansvc.gan.scoring.validation import Validator, spread
from gansvc.gan.train import train
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import Progress, RunRecord, Status, ValidationScore

Make = Callable[..., JobSpec]
STEPS = 10


class Scripted(Validator):
    """A validator that says what it was told to, so that a test decides when a run improves."""

    def __init__(self, objectives: Sequence[float], diversities: Sequence[float]) -> None:
        object.__setattr__(self, "left", list(zip(objectives, diversities, strict=True)))

    def __call__(self, network: torch.nn.Module, rank: int = 0, world_size: int = 1) -> Validation:
        left: list[tuple[float, float]] = self.__dict__["left"]
        return Validation(*left.pop(0))


def _train(
    spec: JobSpec, images: Images, folder: Path, objectives: Sequence[float], diversities: Sequence[float] = ()
) -> RunRecord:
    script = Scripted(objectives, diversities or [0.9] * len(objectives))
    plan = RunPlan(spec, "lsgan", 0, 1, STEPS)
    return train(plan, images.train, script, Folder(folder), single_process())


@pytest.mark.parametrize(
    ("patience", "objectives", "step"),
    [
        # The first score is that of step 0, which no later one has to beat.
        (2, [0.1, 5, 4, 3, 3.5, 3.2, 1, 1, 1, 1, 1], 5),
        (1, [9, 5, 6, 4, 3, 2, 1, 1, 1, 1, 1], 2),
        # An equal score is no better one.
        (3, [9, 5, 5, 5, 5, 2, 1, 1, 1, 1, 1], 4),
        (3, [9, 5, 6, 6, 4, 5, 5, 3, 4, 4, 2], STEPS),
        (None, [9, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2], STEPS),
    ],
)
def test_run_ends_when_patience_does(
    patience: int | None, objectives: list[float], step: int, tiny: Make, histology: Images, tmp_path: Path
) -> None:
    record = _train(tiny(training__patience=patience), histology, tmp_path, objectives)
    assert record.step == step
    assert record.state == ("finished" if step == STEPS else "stopped early")
    assert record.reason == ("" if step == STEPS else f"no better validation score in {patience} evaluations")
    assert record.best_objective == min(objectives[1 : step + 1])
    assert Folder(tmp_path).exists("checkpoints/best.safetensors")


def test_patience_remembers_what_an_earlier_start_saw(tiny: Make, histology: Images, tmp_path: Path) -> None:
    spec = tiny(training__patience=3)
    with pytest.raises(IndexError):
        # The first start dies at its fourth score, when two evaluations in a row brought nothing better.
        _train(spec, histology, tmp_path, [9, 1, 2, 2])
    record = _train(spec, histology, tmp_path, [2, 0.5, 0.4])
    assert (record.step, record.state, record.starts) == (4, "stopped early", 2)


def test_search_alone_ends_a_trial(tiny: Make, histology: Images, tmp_path: Path) -> None:
    plan = RunPlan(tiny(training__patience=1), "lsgan", 0, 1, STEPS, is_trial=True)
    script = Scripted([1.0] * STEPS, [0.9] * STEPS)
    assert train(plan, histology.train, script, Folder(tmp_path), single_process()).step == STEPS


def test_spread_of_one_image_is_nothing_and_of_the_set_itself_everything(tiny: Make, histology: Images) -> None:
    extractor = tiny().evaluation.extractor
    real = extract(chunks(histology.val), extractor).pool
    alike = extract(chunks(histology.val[:1].expand(60, -1, -1, -1)), extractor).pool
    nearly = histology.val[:1].float() + torch.randn(60, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    shifted = extract(chunks(nearly.clamp(0, 255).to(torch.uint8)), extractor).pool
    assert spread(alike) == pytest.approx(0, abs=1e-3)
    assert 0 < spread(shifted) / spread(real) < 0.1
    assert spread(torch.tensor([[0.0, 0.0], [2.0, 4.0]])) == pytest.approx((2 + 8) ** 0.5)


def test_validator_tells_the_diversity_of_a_generator(tiny: Make, validator: Validator) -> None:
    network = build_generator(tiny().network, 3)
    with torch.no_grad():
        next(network.parameters()).zero_()
    assert validator(network).diversity == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("diversities", "since"),
    [
        ([0.02, 0.3, 0.5, 0.5, 0.05, 0.5, 0.5, 0.09, 0.03, 0.01, 0.004], 7),
        ([0.02] * 11, 1),
        ([0.0] * 11, 1),
        ([0.01, 0.02, 0.05, 0.2, 0.5, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9], None),
        ([0.9] * 10 + [0.0], 10),
    ],
)
def test_collapse_is_named_in_record_and_progress(
    diversities: list[float], since: int | None, tiny: Make, histology: Images, tmp_path: Path
) -> None:
    record = _train(tiny(), histology, tmp_path, [1.0] * 11, diversities)
    expected = f"mode collapse: from step {since} on its samples are nearly all alike "
    expected += f"(at the end they spread {diversities[-1]:.1%} as widely as real images do)"
    assert record.warnings == (() if since is None else (expected,))
    progress = Folder(tmp_path).read_record("progress.json", Progress)
    assert progress and progress.collapsed == (since is not None) and progress.diversity == diversities[-1]
    scores = Folder(tmp_path).read_lines("evaluations.jsonl", ValidationScore)
    assert [score.diversity for score in scores] == diversities


def test_live_view_names_the_collapse() -> None:
    from rich.console import Console

    where = {"label": "wgan", "seed": 0, "step": 1, "steps": 9, "critic_images": 16}
    at = where | {"images_per_second": 1.0, "updated": 0.0}
    shown = []
    for diversity, collapsed in ((0.87, False), (0.01, True), (None, False)):
        progress = Progress(**at, diversity=diversity, collapsed=collapsed)
        status = Status(job="j", name="j", phase="TRAINING", started=1.0, updated=2.0, current=(progress,))
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(view(status))
        shown.append(console.export_text())
    assert "0.87" in shown[0] and "collapse" not in shown[0]
    assert "0.01" in shown[1] and "collapse" in shown[1]
    assert "collapse" not in shown[2]
