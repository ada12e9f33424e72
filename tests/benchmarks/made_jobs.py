"""Job folders of any size, made in place of trained: what a search and its runs leave, in numbers that mean nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import DataRecord, History, Progress, RunRecord, TrialRecord, ValidationScore
from gansvc.store.scores import Contract, Score

LABELS = ("lsgan", "wgan", "ns", "hinge")
LABEL = LABELS[0]
VALUES = {"generator_lr": 2e-4, "critic_lr": 2e-4, "n_critic": 1}
STEPS = 400
CONTRACT = Contract(
    extractor="efficientnet-lite0",
    weights_sha256="57934424",
    resize=96,
    samples=500,
    reference_split="test",
    reference_images=351,
    reference_sha256="ab12",
    kid_subset_size=351,
    kid_subsets=100,
    dtype="float32",
    seed=0,
    torch_fidelity="0.4.0",
)


def spec(trials: int = 0, seeds: int = 1, losses: Sequence[str] = (LABEL,), **changes: object) -> JobSpec:
    """Return the spec of a job with so many trials and seeds of each loss."""
    data: dict[str, object] = {
        "name": "made",
        "dataset": "histology",
        "losses": list(losses),
        "training": {"seeds": list(range(seeds)), "epochs": 1},
        "evaluation": {"extractor": "efficientnet-lite0", "samples": 500},
    }
    return jobfile.validate(data | ({"search": {"trials": trials}} if trials else {}) | changes)


def searching(folder: Folder, ended: int, at_work: int) -> None:
    """Make a job that searches: so many trials have ended, so many are at work."""
    folder.write_record(layout.DATA, DataRecord(images={"train": 1080, "val": 351, "test": 351}, channels=3))
    written: list[tuple[str, str]] = []
    for number in range(ended + at_work):
        trial = f"search/{LABEL}/{layout.trial_name(number)}"
        written += [(f"{trial}/{name}", text) for name, text in _trial(number, number < ended)]
    _every(written, lambda file: folder.write(*file))


def trained(folder: Folder, seeds: int, lines: int) -> None:
    """Make a job of all LABELS whose runs have ended and are scored; each has a history of so many lines."""
    folder.write_record(layout.DATA, DataRecord(images={"train": 1080, "val": 351, "test": 351}, channels=3))
    history = "".join(line(step).model_dump_json() + "\n" for step in range(1, lines + 1))
    for place, label in enumerate(LABELS):
        for seed in range(seeds):
            name = layout.run_name(label, seed)
            folder.write(f"train/{name}/history.jsonl", history)
            points = [scored(step) for step in range(0, lines + 1, max(1, lines // 20))]
            folder.write_lines(f"train/{name}/evaluations.jsonl", points)
            folder.write_record(f"train/{name}/run.json", record(label, seed))
            values = {"fid": 90.0, "kid": 0.05 + place / 100 + seed * 1e-5, "kid_std": 0.001, "is": 2.0, "is_std": 0.1}
            values |= {"precision": 0.6, "recall": 0.3}
            score = Score(label=label, seed=seed, step=STEPS, metrics=values, contract=CONTRACT, seconds=3)
            folder.write_record(f"evaluation/{name}.json", score)


def searched(folder: Folder, trials: int) -> None:
    """Write trials.json of a search that is over, of so many trials for each of LABELS."""
    for label in LABELS:
        about = {"label": label, "critic_images": 4000, "seconds": 3.0, "state": "finished"}
        kept = [
            TrialRecord(
                trial=layout.trial_name(number),
                values=VALUES | {"critic_lr": 1e-4 * (1 + number % 97)},
                defaults=number == 0,
                objective=0.1 + number * 1e-4,
                **about,
            ).model_dump(mode="json")
            for number in range(trials)
        ]
        folder.write(f"search/{label}/trials.json", json.dumps(kept))


def line(step: int) -> History:
    """Return one line of a history, with as many digits as a real one."""
    value = 1.0 / (step + 0.37)
    about = {"step": step, "critic_images": 64 * step, "generator_lr": 2e-4, "critic_lr": 2e-4, "seconds": step / 7}
    return History(
        **about,
        critic_loss=value,
        generator_loss=1 - value,
        wasserstein=value / 3,
        penalty=None,
        images_per_second=901.7,
    )


def scored(step: int) -> ValidationScore:
    """Return one validation score."""
    return ValidationScore(
        step=step, critic_images=64 * step, objective=1 / (step + 3), diversity=0.7, seconds=step / 7
    )


def record(label: str, seed: int) -> RunRecord:
    """Return the record of a run that ended well."""
    best = {"initial_objective": 0.4, "best_step": STEPS, "best_objective": 0.05, "seconds": 80.0}
    at = {"step": STEPS, "critic_images": 64 * STEPS}
    return RunRecord(label=label, seed=seed, values={"name": label, "label": label}, state="finished", **best, **at)


def progress(number: int, ended: bool) -> Progress:
    """Return the progress of the trial of that number; it stays at work however long the machine takes to look."""
    step = STEPS if ended else STEPS // 2
    about = {"label": LABEL, "seed": 0, "steps": STEPS, "images_per_second": 900.0, "updated": time.time() + 3600}
    return Progress(step=step, critic_images=64 * step, objective=0.1 + number * 1e-4, **about)


def _trial(number: int, ended: bool) -> Iterable[tuple[str, str]]:
    seed, now = layout.seed_name(0), progress(number, ended)
    yield "values.json", json.dumps(VALUES)
    yield f"{seed}/starts.jsonl", '{"time":1.0,"step":0,"world_size":1,"warnings":[]}\n'
    yield f"{seed}/history.jsonl", "".join(line(step).model_dump_json() + "\n" for step in range(10, now.step, 100))
    yield (
        f"{seed}/evaluations.jsonl",
        "".join(scored(step).model_dump_json() + "\n" for step in range(100, now.step, 100)),
    )
    yield f"{seed}/progress.json", now.model_dump_json(indent=2) + "\n"
    if ended:
        yield f"{seed}/run.json", record(LABEL, 0).model_dump_json(indent=2) + "\n"
        yield layout.TRIAL_ENDED, ""


def _every(items: list[tuple[str, str]], do: Callable[[tuple[str, str]], None]) -> None:
    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(do, items))
