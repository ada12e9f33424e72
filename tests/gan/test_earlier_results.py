"""Every loss trains as it did in version 0.1, bit for bit, and what was stored then is still the same run.

earlier_results.json was made at commit fa729c0 by this file with the module names of that version:

    python tests/gan/test_earlier_results.py > tests/gan/earlier_results.json
"""

from __future__ import annotations

import hashlib
import json
import platform as machine
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gansvc.gan import checkpoint
from gansvc.gan.run import RunPlan, Validation, single_process
from gansvc.gan.train import train
from gansvc.spec import jobfile
from gansvc.spec.identity import differences, of_job
from gansvc.store.folder import Folder
from gansvc.store.records import History, ValidationScore

STEPS, BATCH, IMAGES = 6, 16, 40
SPEC = """
name: earlier
dataset: histology
network: {name: dcgan, width: 4, latent_dim: 8}
losses: [lsgan]
training: {batch_size: 16, evaluations: 2}
"""
CONDITIONAL = {"dataset": "retinamnist", "network.conditional": True}
SPECTRAL = {"network.critic_norm": "spectral"}
RESUMED = " resumed"
# What a case sets beside its loss, which its name begins with.
CASES: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("lsgan", "wgan", "wgan-gp", "ns", "hinge", "rpgan")},
    "wgan-gp light": {"losses.0.penalty_weight": 0.5},
    "wgan tight": {"losses.0.clip": 0.003},
    "rpgan lazy": {"losses.0.penalty_every": 3, "losses.0.penalty_weight": 0.3},
    **{f"{name} conditional": CONDITIONAL for name in ("lsgan", "wgan-gp", "rpgan")},
    **{f"{name} spectral": SPECTRAL for name in ("hinge", "wgan-gp")},
    "rpgan lazy spectral": SPECTRAL | {"losses.0.penalty_every": 2},
    "rpgan conditional spectral": CONDITIONAL | SPECTRAL,
    "rpgan augmented": {"training.augment": ["flip", "translation", "cutout"], "training.decay": "linear"},
    "wgan-gp resnet": {"network": {"name": "resnet", "width": 4, "latent_dim": 8}},
    "rpgan bf16": {"training.precision": "bf16"},
    "wgan-gp resumed": {},
    "rpgan lazy resumed": {"losses.0.penalty_every": 3},
}
STORED = [case for case in CASES if " " not in case]
COLUMNS = ("critic_loss", "generator_loss", "wasserstein", "penalty")


def plan(case: str) -> RunPlan:
    label = case.split()[0]
    loss = {"name": label, "n_critic": 2, "generator_lr": 1e-3, "critic_lr": 1e-3}
    spec = jobfile.parse(SPEC).with_values({"losses": [loss], **CASES[case]})
    return RunPlan(spec, label, 0, 1, 2, images=STEPS * 2 * BATCH)


def contrast(network: nn.Module, rank: int = 0, world_size: int = 1) -> Validation:
    """Score a generator by a parameter of it: a process that loads no extractor starts in half the time."""
    return Validation(float(next(network.parameters()).detach().std()), 1.0)


def measured(case: str) -> dict[str, Any]:
    """Train, in two starts where the case says so, and return the run's numbers."""
    this = plan(case)
    images = torch.randint(0, 256, (IMAGES, 3, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels = torch.arange(IMAGES) % 3

    def interrupt(scored: ValidationScore) -> None:
        if scored.step < STEPS:
            raise InterruptedError

    with tempfile.TemporaryDirectory() as path:
        folder = Folder(Path(path))
        if case.endswith(RESUMED):
            with suppress(InterruptedError):
                train(this, images, contrast, folder, replace(single_process(), report=interrupt), labels)
        train(this, images, contrast, folder, single_process(), labels)
        lines = folder.read_lines("history.jsonl", History)
        found = checkpoint.newest(folder / "checkpoints", this.identity())
        assert found is not None and found[0] == STEPS
        players = found[1]["players"]
    states = {player: players[player] for player in ("generator", "critic", "average")}
    return {
        "history": [[getattr(line, column) for column in COLUMNS] for line in lines],
        "norms": {player: norm(state) for player, state in states.items()},
        "digest": hashlib.sha256(repr([exactly(state) for state in states.values()]).encode()).hexdigest(),
    }


def norm(state: dict[str, torch.Tensor]) -> float:
    return float(torch.cat([value.double().flatten() for value in state.values()]).norm())


def exactly(state: dict[str, torch.Tensor]) -> dict[str, list[float]]:
    return {name: value.double().flatten().tolist() for name, value in state.items()}


def this_machine() -> list[str]:
    """Return what decides the last bits of a convolution."""
    rows = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    about = {row.partition("\t")[0].strip(): row.partition(":")[2].strip() for row in rows}
    flags = hashlib.sha256(about.get("flags", machine.processor()).encode()).hexdigest()
    return [torch.__version__, about.get("model name", ""), flags]


def stored(case: str) -> dict[str, Any]:
    """Return what a job of this case writes into its folder to be compared on a resume."""
    this = plan(case)
    return {
        "spec": jobfile.dump(this.spec),
        "run": json.loads(json.dumps(this.identity())),
        "job": of_job(this.spec).model_dump(mode="json"),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    values = {case: measured(case) | (stored(case) if case in STORED else {}) for case in CASES}
    rows = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in {"machine": this_machine(), **values}.items()]
    sys.stdout.write("{\n" + ",\n".join(rows) + "\n}\n")
    sys.exit()


EARLIER = json.loads(Path(__file__).with_name("earlier_results.json").read_bytes())


@pytest.mark.parametrize("case", list(CASES))
def test_a_loss_trains_as_it_did(case: str) -> None:
    ours, theirs = measured(case), EARLIER[case]
    if EARLIER["machine"] == this_machine():
        assert ours == {name: theirs[name] for name in ours}
        return
    # Another processor rounds otherwise.
    for mine, before in zip(ours["history"], theirs["history"], strict=True):
        assert mine == [value if value is None else pytest.approx(value, rel=2e-2, abs=2e-3) for value in before]
    assert ours["norms"] == pytest.approx(theirs["norms"], rel=1e-3)


@pytest.mark.parametrize("case", STORED)
def test_what_was_stored_is_still_the_same_job(case: str) -> None:
    theirs, this = EARLIER[case], plan(case)
    assert jobfile.parse(theirs["spec"]) == this.spec
    assert differences(theirs["run"], this.identity()) == []
    assert differences(theirs["job"], of_job(this.spec).model_dump()) == []
