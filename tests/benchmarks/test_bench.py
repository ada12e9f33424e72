"""The benchmarks' parts: what they write and print, the loop they compare with, the times they take from records."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from gansvc.catalog.losses import LOSSES
from gansvc.errors import RunError
from gansvc.gan.data import Images
from gansvc.gan.players import Players
from gansvc.gan.run import RunPlan
from gansvc.gan.scoring.validation import Validator
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord, Start, ValidationScore
from gansvc.store.scores import Score

from ..benchmarks import bench, training
from ..builders.jobs import CONTRACT
from .measured import Aim, Measured, from_pairs, from_values, read, table, write
from .overhead import covered, spans
from .plain import PlainLoop

Make = Callable[..., JobSpec]


def test_ratio_is_of_medians_and_spread_is_of_rounds() -> None:
    found = from_pairs("x", "it", [(4.0, 1.0), (6.0, 2.0), (9.0, 10.0)], aim=Aim("at least", 2, "x"))
    assert (found.ratio, found.low, found.high) == (3.0, 0.9, 4.0)
    assert "it" in found.what and "aim: at least 2x" in found.what
    # Two kinds of work: 4 + 6 seconds against 1 + 4.
    grouped = from_pairs("x", "it", [(4.0, 1.0)], [(6.0, 4.0)])
    assert (grouped.ratio, grouped.low, grouped.high) == (2.0, 1.5, 4.0)
    value = from_values("x", "it", [0.3, 0.1, 0.2])
    assert (value.ratio, value.low, value.high) == (0.2, 0.1, 0.3)


def test_file_and_table_have_the_shape_that_was_promised(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    assert read(path) == {}
    slow = Measured("search", 1.5, 1.25, 1.75, "a search; aim: at least 2x", Aim("at least", 2, "x"))
    quick = Measured("trial_start_s", 0.25, 0.125, 0.5, "seconds", Aim("under", 0.5, " s"))
    write(path, {}, [slow])
    write(path, read(path), [quick])
    assert json.loads(path.read_text()) == {
        "search": {"ratio": 1.5, "low": 1.25, "high": 1.75, "what": "a search; aim: at least 2x"},
        "trial_start_s": {"ratio": 0.25, "low": 0.125, "high": 0.5, "what": "seconds"},
    }
    printed = StringIO()
    Console(file=printed, width=160).print(table([slow, quick]))
    rows = {line.split("│")[1].strip(): line for line in printed.getvalue().splitlines() if line.count("│") > 4}
    assert "1.50" in rows["search"] and "1.25 to 1.75" in rows["search"] and "2x: not met" in rows["search"]
    assert "0.12 to 0.50" in rows["trial_start_s"] and "0.5 s: met" in rows["trial_start_s"]


def test_benchmarks_have_the_names_that_were_promised() -> None:
    trainings = {f"train.{loss}.{precision}" for loss in LOSSES for precision in ("fp32", "bf16")}
    growing = {f"growth.{what}.{trials}" for what in ("requests", "look_s") for trials in (10, 100, 1000)}
    growing |= {f"growth.search_s.{trials}" for trials in (10, 40, 160)}
    growing |= {f"growth.report_{what}.{runs}" for what in ("s", "mb") for runs in (20, 200)}
    assert set(bench.BENCHMARKS) == trainings | growing | {
        "search",
        "trial_start_s",
        "ddp2",
        "evaluate",
        "overhead_share",
    }


def test_names_pick_and_each_result_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bench.json"
    write(path, {}, [Measured("ddp2", 1.0, 1.0, 1.0, "before"), Measured("train.wgan.fp32", 1.0, 1.0, 1.0, "before")])

    def interrupted(rounds: int | None) -> Measured:
        raise KeyboardInterrupt

    def measured(rounds: int | None) -> Measured:
        return Measured("train.wgan.fp32", 2.0, 2.0, 2.0, f"{rounds} rounds")

    monkeypatch.setattr(bench, "BENCHMARKS", {"train.wgan.fp32": measured, "train.wgan.bf16": interrupted, "ddp2": 1})
    assert bench.main(["train.wgan", "--rounds", "5", "--out", str(path)]) == 130
    assert {name: entry["what"] for name, entry in read(path).items()} == {
        "ddp2": "before",
        "train.wgan.fp32": "5 rounds",
    }
    with pytest.raises(SystemExit, match="2"):
        bench.main(["train.wga", "--out", str(path)])


@pytest.mark.parametrize("name", list(LOSSES))
def test_plain_loop_trains_every_loss(name: str, tiny: Make, histology: Images) -> None:
    spec = tiny(losses=[name])
    loop = PlainLoop(spec, spec.losses[0], histology.train)
    players = (loop.generator, loop.critic)
    before = [[p.detach().clone() for p in player.parameters()] for player in players]
    numbers: list[int] = []
    loop.steps(3, numbers.append)
    assert numbers == [1, 2, 3] and loop.seconds > 0
    assert all(math.isfinite(value) for value in loop.last_losses)
    for player, old in zip(players, before, strict=True):
        moved = [not torch.equal(p, q) for p, q in zip(player.parameters(), old, strict=True)]
        assert any(moved)
        assert all(bool(torch.isfinite(p).all()) for p in player.parameters())


def test_plain_loop_runs_under_autocast(tiny: Make, histology: Images) -> None:
    kinds: list[torch.dtype] = []
    spec = tiny(losses=["wgan-gp"], training__precision="bf16", losses__0__n_critic=1)
    loop = PlainLoop(spec, spec.losses[0], histology.train)
    loop.critic.register_forward_hook(lambda module, given, out: kinds.append(out.dtype))
    loop.steps(1)
    # Both halves and the generator's step; the penalty stays in float32.
    assert kinds == [torch.bfloat16, torch.bfloat16, torch.float32, torch.bfloat16]
    assert all(p.dtype == torch.float32 for p in loop.critic.parameters())


def test_both_loops_start_from_like_networks(tiny: Make, histology: Images) -> None:
    spec = tiny(network__width=32)
    plain = PlainLoop(spec, spec.losses[0], histology.train)
    ours = Players(RunPlan(spec, "lsgan", 0, 1, 1), 3, torch.device("cpu"), lambda module: module)
    for theirs, mine in ((plain.generator, ours.generator), (plain.critic, ours.critic)):
        pairs = list(zip(theirs.state_dict().items(), mine.state_dict().items(), strict=True))
        assert all((name, value.shape) == (other, own.shape) for (name, value), (other, own) in pairs)
        weights = [(value, own) for (_, value), (_, own) in pairs if value.dim() > 1]
        assert len(weights) >= 4
        # Other draws of the same distributions: the spreads differ by chance alone.
        assert all(value.std().item() == pytest.approx(own.std().item(), rel=0.2) for value, own in weights)


def test_training_is_compared_by_its_own_records(tiny: Make, histology: Images, validator: Validator) -> None:
    spec = tiny(losses=["wgan"], losses__wgan__n_critic=2)
    found = training.compare("train.wgan.fp32", "tiny", spec, histology.train, validator, critic_steps=4, rounds=2)
    assert 0 < found.low <= found.ratio <= found.high < 100
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("parts", "seconds"),
    [
        ([], 0.0),
        ([(1.0, 2.0), (4.0, 6.0)], 3.0),
        ([(1.0, 5.0), (2.0, 3.0), (4.0, 6.0)], 5.0),
        ([(4.0, 6.0), (-3.0, 1.0), (9.0, 99.0)], 4.0),
    ],
)
def test_covered_seconds_count_once(parts: list[tuple[float, float]], seconds: float) -> None:
    assert covered(parts, (0.0, 10.0)) == pytest.approx(seconds)


def test_spans_are_those_of_the_job_folders_records(tmp_path: Path) -> None:
    job = Folder(tmp_path)
    run, stopped = job / "train" / "lsgan-seed0", job / "search" / "lsgan" / "trial-00001"
    run.write_lines("starts.jsonl", [Start(time=100.0, step=0, world_size=1)])
    run.write_record("run.json", RunRecord(label="lsgan", seed=0, values={}, state="finished", seconds=7.0))
    stopped.write_lines("starts.jsonl", [Start(time=50.0, step=0, world_size=1)])
    (job / "search" / "lsgan").write("trials.json", "[]")
    scored = [ValidationScore(step=k, critic_images=k, objective=1.0, seconds=2.0 * k) for k in (1, 2)]
    stopped.write_lines("evaluations.jsonl", scored)
    score = Score(label="lsgan", seed=0, step=1, metrics={}, contract=CONTRACT, seconds=3.0)
    (job / "evaluation").write_record("lsgan-seed0.json", score)
    os.utime(tmp_path / "evaluation" / "lsgan-seed0.json", (200.0, 200.0))
    assert sorted(spans(job)) == [(50.0, 54.0), (100.0, 107.0), (197.0, 200.0)]
    run.write_lines("starts.jsonl", [Start(time=t, step=0, world_size=1) for t in (100.0, 110.0)])
    with pytest.raises(RunError, match="started 2 times"):
        list(spans(job))
