"""The search's draws and its scheduler; the search itself runs in test_pipeline.py."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gansvc.catalog.spaces import Distribution, Value
from gansvc.cluster import earlier, proposals, resources, schedule, search
from gansvc.cluster.earlier import WORST, PreviousTrial
from gansvc.cluster.proposals import Proposals
from gansvc.cluster.training import trial_report
from gansvc.errors import ClusterError
from gansvc.spec.capacity import WorkerResources
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord, ValidationScore

Make = Callable[..., JobSpec]


def test_first_trial_has_the_papers_values(tiny: Make) -> None:
    spec = tiny(search={"trials": 5})
    assert proposals.draw_values(spec, "wgan")[0] == {"generator_lr": 5e-5, "critic_lr": 5e-5, "n_critic": 5}
    changed = spec.with_values({"losses.wgan.n_critic": 2})
    assert proposals.draw_values(changed, "wgan")[0]["n_critic"] == 2


def test_draws_repeat_stay_in_range_and_differ_by_loss(tiny: Make) -> None:
    spec = tiny(search={"trials": 50})
    drawn = proposals.draw_values(spec, "wgan")
    assert drawn == proposals.draw_values(spec, "wgan") and len(drawn) == 50
    assert drawn[1:] != proposals.draw_values(spec, "lsgan")[1:]
    assert all(1e-5 <= float(values["critic_lr"]) <= 1e-3 for values in drawn)
    assert {values["n_critic"] for values in drawn} == {1, 2, 5}
    # Half of a log-uniform draw lies below the geometric mean of its ends.
    below = sum(float(values["generator_lr"]) < math.sqrt(1e-5 * 1e-3) for values in drawn)
    assert 10 < below < 40
    for values in drawn:
        spec.with_values({f"losses.wgan.{field}": value for field, value in values.items()})


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
def test_a_regularizers_field_is_proposed_by_its_path(tiny: Make, algorithm: str) -> None:
    path = "regularizers.r1-r2.weight"
    losses = [{"name": "lsgan", "regularizers": [{"name": "r1-r2", "weight": 0.25}]}]
    space = {f"lsgan.{path}": {"log_uniform": [0.01, 1.0]}}
    spec = tiny(losses=losses, search={"trials": 4, "space": space, "algorithm": algorithm})
    search = Proposals(spec, ["lsgan"], {})
    drawn: list[float] = []
    for trial in range(4):
        config = search.suggest(str(trial))
        assert isinstance(config, dict)
        drawn.append(config["values"][path])
        search.on_trial_complete(str(trial), {"objective": 1.0})
    assert drawn[0] == 0.25 and len(set(drawn)) == 4 and all(0.01 <= value <= 1 for value in drawn)
    sampled = spec.with_values({f"losses.lsgan.{path}": drawn[1]})
    assert sampled.loss("lsgan").regularizers[0].weight == drawn[1]


@pytest.mark.parametrize(
    ("distribution", "valid"),
    [
        (Distribution(choice=(1, 5)), lambda value: value in (1, 5)),
        (Distribution(uniform=(0.5, 0.75)), lambda value: 0.5 <= value <= 0.75),
        (Distribution(int_uniform=(2, 4)), lambda value: value in (2, 3, 4)),
        (Distribution(log_uniform=(1e-3, 1e-2)), lambda value: 1e-3 <= value <= 1e-2),
    ],
)
def test_each_distribution_draws_what_it_says(distribution: Distribution, valid: Callable[[Any], bool]) -> None:
    import numpy as np

    random = np.random.default_rng(0)
    drawn = {proposals._draw(distribution, random) for _ in range(200)}
    assert all(valid(value) for value in drawn) and len(drawn) > 1
    assert valid(proposals._tune_domain(distribution).sample())


def test_asha_spares_the_papers_values_alone() -> None:
    defaults: dict[str, Value] = {"critic_lr": 1e-4}
    asha = schedule.SparingAsha(
        defaults, time_attr="critic_images", metric="objective", mode="min", grace_period=10, max_t=100,
        reduction_factor=2,
    )  # fmt: skip
    trials = {
        name: SimpleNamespace(trial_id=name, config={"values": values})
        for name, values in {"good": {"critic_lr": 1e-3}, "bad": {"critic_lr": 1.0}, "paper": defaults}.items()
    }
    for trial in trials.values():
        asha.on_trial_add(None, trial)
    decisions = {
        name: asha.on_trial_result(None, trials[name], {"critic_images": 10, "objective": value})
        for name, value in (("good", 0.1), ("bad", 5.0), ("paper", 9.0))
    }
    assert decisions == {"good": "CONTINUE", "bad": "STOP", "paper": "CONTINUE"}


def test_losses_take_turns_each_with_the_papers_values_first(tiny: Make) -> None:
    spec = tiny(search={"trials": 3})
    labels = [loss.label for loss in spec.losses]
    made = Proposals(spec, labels, {})
    turns = [made.suggest(str(number)) for number in range(3 * len(labels))]
    assert [turn["label"] for turn in turns if isinstance(turn, dict)] == labels * 3
    for label in labels:
        mine = [turn for turn in turns if isinstance(turn, dict) and turn["label"] == label]
        assert [turn["values"] for turn in mine] == proposals.draw_values(spec, label)
        assert [turn["trial"] for turn in mine] == ["trial-00000", "trial-00001", "trial-00002"]
    assert made.suggest("one more") == Proposals.FINISHED


def test_tpe_learns_from_the_trials_of_its_own_loss_alone(tiny: Make) -> None:
    spec = tiny(losses=["lsgan", "wgan"], search={"trials": 40, "algorithm": "tpe"})
    made, drawn = Proposals(spec, ["lsgan", "wgan"], {}), {"lsgan": [], "wgan": []}  # type: ignore[var-annotated]
    for number in range(80):
        turn = made.suggest(str(number))
        assert isinstance(turn, dict)
        rate = math.log10(turn["values"]["critic_lr"])
        drawn[turn["label"]].append(rate)
        # One loss wants a high rate of the critic, the other one a low one.
        value = abs(rate + (3 if turn["label"] == "lsgan" else 5))
        made.on_trial_complete(str(number), {"objective": value})
    assert drawn["wgan"][0] == math.log10(5e-5)
    high, low = (sum(rates[-10:]) / 10 for rates in drawn.values())
    assert high > -3.7 and low < -4.3


def test_schedulers_weigh_only_trials_of_one_loss(tiny: Make) -> None:
    spec = tiny(losses=["lsgan", "wgan"], search={"trials": 4, "images": 100, "evaluations": 2})
    made = schedule.scheduler(spec, ["lsgan", "wgan"], {}, 160)
    decisions = {}
    for name, value in (("lsgan-good", 0.1), ("wgan-good", 5.0), ("lsgan-bad", 1.0), ("wgan-bad", 6.0)):
        config = {"label": name.partition("-")[0], "trial": name, "values": {"critic_lr": 1.0}}
        trial = SimpleNamespace(trial_id=name, config=config)
        made.on_trial_add(None, trial)
        decisions[name] = made.on_trial_result(None, trial, {"critic_images": 50, "objective": value})
    # Together, wgan's better trial would be the third of four and stopped.
    assert decisions == {"lsgan-good": "CONTINUE", "wgan-good": "CONTINUE", "lsgan-bad": "STOP", "wgan-bad": "STOP"}


def test_a_trial_of_several_seeds_reports_their_mean_and_the_images_of_all(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    todo: Any = [(None, folder / f"seed{seed}") for seed in range(3)]
    assert trial_report(todo) == {"objective": WORST, "critic_images": 0}
    for seed, objectives in enumerate(([3.0, 1.0, 2.0], [5.0])):
        lines = [
            ValidationScore(step=k, critic_images=10 * k, objective=value, seconds=k)
            for k, value in enumerate(objectives, 1)
        ]
        todo[seed][1].write_lines("evaluations.jsonl", lines)
    assert trial_report(todo) == {"objective": 3.0, "critic_images": 40}


def test_trials_rank_by_the_mean_over_seeds_and_behind_those_that_had_them_all(tiny: Make, tmp_path: Path) -> None:
    spec = tiny(losses=["lsgan"], search={"trials": 4, "seeds": 2, "seed": 3})
    folder = Folder(tmp_path) / "lsgan"
    trials: dict[str, tuple[tuple[float, ...], str]] = {
        "trial-00000": ((2.0, 4.0), "finished"),
        "trial-00001": ((1.0, 2.0), "finished"),
        "trial-00002": ((0.5,), ""),
        "trial-00003": ((0.1, 0.1), "diverged"),
    }
    for name, (scores, state) in trials.items():
        (folder / name).write("values.json", json.dumps(proposals.default_values(spec, "lsgan")))
        for seed, value in enumerate(scores, 3):
            here = folder / name / f"seed{seed}"
            line = ValidationScore(step=1, critic_images=8, objective=value, seconds=2.0)
            here.write_lines("evaluations.jsonl", [line])
            if state:
                record = RunRecord(label="lsgan", seed=seed, values={}, state=state, critic_images=9, seconds=2.5)
                here.write_record("run.json", record)
    found = search._write_trials(spec, "lsgan", folder)
    assert [(t.trial, t.objective, t.state) for t in found] == [
        ("trial-00001", 1.5, "finished"),
        ("trial-00000", 3.0, "finished"),
        ("trial-00002", 0.5, "stopped early"),
        ("trial-00003", 0.1, "diverged"),
    ]
    assert found[0].objectives == {3: 1.0, 4: 2.0}
    assert [(t.critic_images, t.seconds) for t in found] == [(18, 5.0), (18, 5.0), (8, 2.0), (18, 5.0)]


def test_missing_inception_weights_with_no_internet_are_said_before_training(
    tiny: Make, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    spec = tiny(evaluation__extractor="inception-v3")
    with pytest.raises(ClusterError, match=r"inception-v3 are not at .*weights: PATH.*download failed"):
        spec.evaluation.extractor.at_hand()


# --- an earlier start of the search -----------------------------------------------------------------------------------


def begin(
    folder: Folder, name: str, values: dict[str, Value], objectives: tuple[float, ...], ended: str | None = None
) -> None:
    """Write what a trial of lsgan leaves on its way; ``ended`` is the reason in its last file, or None."""
    trial = folder / "lsgan" / name
    trial.write("values.json", json.dumps(values))
    lines = [ValidationScore(step=k, critic_images=50 * k, objective=v, seconds=k) for k, v in enumerate(objectives, 1)]
    (trial / "seed0").write_lines("evaluations.jsonl", lines)
    if ended is not None:
        trial.write("ended", ended)


def test_an_earlier_start_is_read_from_the_trials_folders(tiny: Make, tmp_path: Path) -> None:
    spec, folder = tiny(search={"trials": 6}), Folder(tmp_path)
    defaults = proposals.default_values(spec, "lsgan")
    for name, ended in (("trial-00000", ""), ("trial-00001", None), ("trial-00002", "actor died"), ("trial-00003", "")):
        begin(folder, name, defaults, (3.0, 1.0, 2.0), ended)
    for name, state in (("trial-00003", "diverged"), ("trial-00004", "finished")):
        begin(folder, name, defaults, (4.0,))
        record = RunRecord(label="lsgan", seed=0, values={}, state=state)
        (folder / "lsgan" / name / "seed0").write_record("run.json", record)
    found = {trial.name: trial for trial in earlier.read_trials(spec, ["lsgan", "wgan"], folder)["lsgan"]}
    assert [trial.over for trial in found.values()] == [True, False, False, True, True]
    assert [report["objective"] for report in found["trial-00001"].reports] == [3.0, 1.0, 1.0]
    assert [report["critic_images"] for report in found["trial-00001"].reports] == [50, 100, 150]
    assert found["trial-00003"].objective() == WORST and found["trial-00004"].objective() == 4.0
    assert earlier.read_trials(spec, ["wgan"], folder) == {"wgan": []}


def test_reports_of_several_seeds_are_those_that_the_trial_made(tiny: Make, tmp_path: Path) -> None:
    spec, folder = tiny(search={"trials": 1, "seeds": 2}), Folder(tmp_path)
    begin(folder, "trial-00000", {}, ())
    made, todo = [], [(None, folder / "lsgan" / "trial-00000" / f"seed{seed}") for seed in (0, 1)]
    for seed, objectives in enumerate(([3.0, 1.0, 2.0], [5.0, 4.0])):
        for count in range(1, len(objectives) + 1):
            lines = [
                ValidationScore(step=k, critic_images=50 * k, objective=v, seconds=k)
                for k, v in enumerate(objectives[:count], 1)
            ]
            todo[seed][1].write_lines("evaluations.jsonl", lines)
            made.append(trial_report(todo))  # type: ignore[arg-type]
    (trial,) = earlier.read_trials(spec, ["lsgan"], folder)["lsgan"]
    assert list(trial.reports) == made and made[-1] == {"objective": 2.5, "critic_images": 250}


def a_trial(number: int, values: dict[str, Value], over: bool, *objectives: float) -> PreviousTrial:
    reports = tuple({"objective": value, "critic_images": 50.0 * k} for k, value in enumerate(objectives, 1))
    return PreviousTrial(f"trial-{number:05d}", values, over, reports)


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
def test_a_resumed_search_repeats_nothing_and_ends_with_as_many_trials(tiny: Make, algorithm: str) -> None:
    spec = tiny(losses=["lsgan", "wgan"], search={"trials": 4, "algorithm": algorithm})
    whole = Proposals(spec, ["lsgan", "wgan"], {})
    assert whole.left() == 8
    turns = [whole.suggest(str(number)) for number in range(8)]
    first = [turn["values"] for turn in turns if isinstance(turn, dict) and turn["label"] == "lsgan"]
    begun = {"lsgan": [a_trial(0, first[0], True, 1.0), a_trial(1, first[1], False), a_trial(2, first[2], True, 2.0)]}
    made = Proposals(spec, ["lsgan", "wgan"], begun)
    assert made.left() == 6
    again = [made.suggest(str(number)) for number in range(6)]
    mine = [turn for turn in again if isinstance(turn, dict) and turn["label"] == "lsgan"]
    assert [turn["trial"] for turn in mine] == ["trial-00001", "trial-00003"] and mine[0]["values"] == first[1]
    assert mine[1]["values"] not in first[:3] and (algorithm == "tpe" or mine[1]["values"] == first[3])
    theirs = [turn for turn in again if isinstance(turn, dict) and turn["label"] == "wgan"]
    assert [turn["trial"] for turn in theirs] == [f"trial-0000{number}" for number in range(4)]
    assert theirs[0]["values"] == proposals.default_values(spec, "wgan")
    assert made.suggest("one more") == Proposals.FINISHED and made.left() == 0


def test_tpe_learns_from_the_trials_of_an_earlier_start_and_of_one_that_goes_on(tiny: Make) -> None:
    spec = tiny(losses=["lsgan"], search={"trials": 60, "algorithm": "tpe"})
    drawn = proposals.draw_values(spec, "lsgan")[1:]

    def scored(values: dict[str, Value]) -> float:
        return abs(math.log10(float(values["critic_lr"])) + 3)

    begun = [a_trial(k, values, k < 30, scored(values)) for k, values in enumerate(drawn[:31])]
    made = Proposals(spec, ["lsgan"], {"lsgan": begun})
    assert len(made._studies["lsgan"]._ot_study.trials) == 30
    going_on = made.suggest("going on")
    assert isinstance(going_on, dict) and going_on["values"] == drawn[30]
    made.on_trial_complete("going on", {"objective": scored(drawn[30])})
    assert len(made._studies["lsgan"]._ot_study.trials) == 31
    rates = []
    for number in range(10):
        turn = made.suggest(str(number))
        assert isinstance(turn, dict)
        rates.append(math.log10(turn["values"]["critic_lr"]))
        made.on_trial_complete(str(number), {"objective": scored(turn["values"])})
    assert sum(rates) / 10 > -3.6, "ten draws at random lie around -4"


def test_a_value_outside_of_the_space_is_no_obstacle_to_a_study(tiny: Make) -> None:
    spec = tiny(losses=[{"name": "lsgan", "critic_lr": 0.5}], search={"trials": 3, "algorithm": "tpe"})
    begun = [a_trial(0, proposals.default_values(spec, "lsgan"), True, 1.0)]
    made = Proposals(spec, ["lsgan"], {"lsgan": begun})
    assert made._studies["lsgan"]._ot_study.trials == [] and isinstance(made.suggest("next"), dict)


def test_asha_keeps_its_rungs(tiny: Make) -> None:
    spec = tiny(losses=["lsgan"], search={"trials": 8, "images": 200, "evaluations": 4})
    values: dict[str, Value] = {"critic_lr": 1.0}
    reports = {0: (0.1, 0.1), 1: (0.3, 0.3), 2: (0.9,), 3: (0.2, 0.2)}
    begun = [a_trial(number, values, number != 3, *objectives) for number, objectives in reports.items()]

    def rungs(made: Any) -> list[tuple[float, dict[str, float]]]:
        return [rung for rung in made._of["lsgan"]._brackets[0]._rungs if rung[1]]

    # An unbroken search, whose trials have other ids than those of the resumed one.
    unbroken, resumed = (schedule.scheduler(spec, ["lsgan"], {"lsgan": some}, 160) for some in ([], begun))
    for number, objectives in reports.items():
        config = {"label": "lsgan", "trial": f"trial-{number:05d}", "values": values}
        trial = SimpleNamespace(trial_id=f"tune{number}", config=config)
        unbroken.on_trial_add(None, trial)
        for count, value in enumerate(objectives, 1):
            unbroken.on_trial_result(None, trial, {"critic_images": 50 * count, "objective": value})
    assert rungs(resumed) == rungs(unbroken) and [len(rung[1]) for rung in rungs(resumed)] == [3, 4]

    # The trial that goes on isn't weighed twice at its rungs, and a new one is weighed against all of them.
    again = SimpleNamespace(trial_id="new id", config={"label": "lsgan", "trial": "trial-00003", "values": values})
    resumed.on_trial_add(None, again)
    assert resumed.on_trial_result(None, again, {"critic_images": 100, "objective": 0.2}) == "CONTINUE"
    assert [len(rung[1]) for rung in rungs(resumed)] == [3, 4]
    bad = SimpleNamespace(trial_id="bad", config={"label": "lsgan", "trial": "trial-00004", "values": values})
    empty = schedule.scheduler(spec, ["lsgan"], {}, 160)
    for made, decision in ((resumed, "STOP"), (empty, "CONTINUE")):
        made.on_trial_add(None, bad)
        assert made.on_trial_result(None, bad, {"critic_images": 50, "objective": 0.8}) == decision


def test_workers_fit_on_whole_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 3.0, "GPU": 1.0}},
        {"Alive": True, "Resources": {"CPU": 1.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    assert [resources.worker_capacity(WorkerResources(cpus, 0)) for cpus in (1, 2, 0.1, 8)] == [4, 1, 40, 1]
    assert [resources.worker_capacity(WorkerResources(1, gpus)) for gpus in (1, 0.25)] == [1, 3]


@pytest.mark.parametrize("damaged", [b"", b"{", b"[1]", b"\xff", b'{"a": 1' + b"0" * 5000 + b"}"])
def test_a_trial_with_damaged_values_is_named(tmp_path: Path, damaged: bytes) -> None:
    trial = Folder(tmp_path) / "trial-00000"
    trial.write("values.json", damaged)
    with pytest.raises(ClusterError, match=r"trial-00000/values\.json is not a TrialValues"):
        earlier.read_values(trial)
    trial.write("values.json", b'{"critic_lr": 0.00030000000000000003, "n_critic": 5}')
    assert earlier.read_values(trial) == {"critic_lr": 0.00030000000000000003, "n_critic": 5}
