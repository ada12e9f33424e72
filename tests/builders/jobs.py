"""Made job folders: scores, runs and trials as a job leaves them, in numbers that tests can foresee."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave

from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import History, RunRecord, TrialRecord, ValidationScore
from gansvc.store.scores import Contract, Score

from ..benchmarks import made_jobs

LABELS = ("lsgan", "wgan", "wgan-gp")
SEEDS = (0, 1)
KID = {"lsgan": (0.060, 0.050), "wgan": (0.045, 0.055), "wgan-gp": (0.030, 0.032)}
IS = {"lsgan": (2.9, 3.1), "wgan": (1.5, 1.7), "wgan-gp": (2.0, 2.2)}
CONTRACT = made_jobs.CONTRACT.model_copy(update={"samples": 2000, "reference_images": 400, "kid_subset_size": 400})


def make_spec(**changes: Any) -> JobSpec:
    data = {
        "name": "compare",
        "dataset": "histology",
        "losses": list(LABELS),
        "training": {"seeds": list(SEEDS)},
        "search": {"trials": 4},
        "evaluation": {"extractor": "efficientnet-lite0", "samples": 2000},
        "published": [{"loss": "wgan", "is": 1.74, "is_std": 0.05, "fid": 248.95, "source": "A | B <2021>"}],
    }
    return jobfile.validate({key: value for key, value in (data | changes).items() if value is not None})


def make_score(
    label: str, seed: int, contract: Contract = CONTRACT, kid: float = 0.05, inception_score: float = 2.0
) -> Score:
    values = {"fid": 90.0, "kid": kid, "kid_std": 0.001, "is": inception_score, "is_std": 0.1}
    values |= {"precision": 0.61, "recall": 0.27, "f_score": 0.37}
    return Score(label=label, seed=seed, step=400, metrics=values, contract=contract, seconds=3)


def grid(seed: int, channels: int = 3) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).random((64, 64, channels)).squeeze()
    imsave(file, pixels, format="png", cmap="gray")
    return file.getvalue()


def make_line(step: int, **changes: float | None) -> History:
    line = {"step": step, "critic_images": step * 64, "generator_lr": 1e-4, "critic_lr": 1e-4, "penalty": None}
    line |= {"critic_loss": None if step == 200 else 1 / step, "generator_loss": 1 - 1 / step}
    line |= {"wasserstein": float("nan") if step == 300 else 2 / step, "images_per_second": 900, "seconds": step / 5}
    return History.model_validate(line | changes)


def make_run(folder: Folder, label: str, seed: int, **changes: Any) -> None:
    values = {"name": label, "label": label, "n_critic": 5, "critic_lr": 1.234567e-4, "betas": [0.0, 0.9]}
    run = RunRecord(label=label, seed=seed, values=values, state="finished", step=400, critic_images=25_600, seconds=80)
    best = {"initial_objective": 0.4, "best_step": 300, "best_objective": 0.05}
    folder.write_record(f"train/{label}-seed{seed}/run.json", run.model_copy(update={**best, **changes}))
    history = [make_line(step) for step in range(10, 401, 10)]
    folder.write_lines(f"train/{label}-seed{seed}/history.jsonl", history)
    points = [(0, 0.4), (100, 0.2), (200, 0.1), (100, 0.25), (300, 0.05)]
    lines = [ValidationScore(step=step, critic_images=step * 64, objective=y, seconds=step) for step, y in points]
    folder.write_lines(f"train/{label}-seed{seed}/evaluations.jsonl", lines)


def make_trials(folder: Folder, label: str) -> None:
    rows: list[dict[str, Any]] = [
        {"trial": f"{label}-b", "defaults": False, "state": "finished", "objective": 0.04},
        {"trial": f"{label}-a", "defaults": True, "state": "finished", "objective": 0.09},
        {"trial": f"{label}-c", "defaults": False, "state": "stopped early", "objective": 0.2},
        {"trial": f"{label}-d", "defaults": False, "state": "diverged", "objective": None, "reason": "NaN | at 40"},
    ]
    trials = [
        TrialRecord(
            label=label, values={"n_critic": n, "critic_lr": 10.0 ** -(3 + n)}, critic_images=1000 * n, seconds=n, **row
        )
        for n, row in enumerate(rows, 1)
    ]
    folder.write(f"search/{label}/trials.json", json.dumps([trial.model_dump(mode="json") for trial in trials]))


def make_job(path: Path) -> Folder:
    folder = Folder(path / "compare-1a2b")
    for label in LABELS:
        make_trials(folder, label)
        for seed in SEEDS:
            make_run(folder, label, seed)
            score = make_score(label, seed, kid=KID[label][seed], inception_score=IS[label][seed])
            folder.write_record(f"evaluation/{label}-seed{seed}.json", score)
            folder.write(f"evaluation/{label}-seed{seed}.png", grid(seed))
    real = CONTRACT.model_copy(update={"samples": 1080})
    floor = make_score("real", 0, real, kid=0.005, inception_score=3.4).model_copy(update={"validation": 0.002})
    folder.write_record("evaluation/real.json", floor)
    folder.write("evaluation/real.png", grid(9))
    return folder
