"""The spec and its file: defaults of the papers, one way in, and a sentence for everything that is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from gansvc.catalog.augments import AUGMENTS
from gansvc.catalog.datasets import DATASETS
from gansvc.catalog.extractors import EXTRACTORS
from gansvc.catalog.losses import LOSSES
from gansvc.catalog.metrics import METRICS
from gansvc.catalog.networks import NETWORKS
from gansvc.catalog.regularizers import REGULARIZERS
from gansvc.errors import SpecError
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec, Training

JOBS = sorted((Path(__file__).parents[2] / "jobs").glob("*.yaml"))
LABELS = ["lsgan", "wgan", "wgan-gp"]
MINIMAL = {"name": "job", "dataset": "histology", "losses": LABELS}
TEXT = "name: job\ndataset: histology\nlosses: [lsgan]\n"
FULL: dict[str, Any] = {
    "name": "everything",
    "dataset": {"name": "retinamnist", "channels": 1, "root": "/data/medmnist"},
    "network": {"name": "dcgan", "width": 8, "latent_dim": 7},
    "losses": ["lsgan", {"name": "wgan", "label": "wgan-tight", "clip": 0.005}, {"name": "wgan", "betas": [0.1, 0.2]}],
    "training": {"epochs": 3, "batch_size": 16, "workers": 2, "seeds": [3, 1], "precision": "bf16", "ema": 0.0},
    "search": {
        "trials": 4,
        "algorithm": "tpe",
        "scheduler": "none",
        "space": {
            "critic_lr": {"log_uniform": [1e-5, 1e-3]},
            "wgan-tight.clip": {"uniform": [0.001, 0.01]},
            "wgan.n_critic": {"int_uniform": [1, 5]},
            "optimizer": {"choice": ["adam", "rmsprop"]},
        },
    },
    "evaluation": {"extractor": {"name": "efficientnet-lite0", "size": 64}, "metrics": ["kid", "is"], "samples": 60},
    "resources": {"cpus_per_worker": 0.5, "gpus_per_trial": 0.25},
    "published": [{"loss": "wgan", "is": 1.5, "is_std": 0.1, "fid": 20.5, "source": "a table, \u00a7 3"}],
}
KNOWN_LOSSES = f"known: {', '.join(sorted(LOSSES))}"
RAW_WORDING = ("pydantic", "validation error", "type=", "http", "Input should", "String should", "Tuple should", "__")


def make(**changes: Any) -> JobSpec:
    return jobfile.validate(MINIMAL | changes)


def refusal(data: dict[str, Any]) -> str:
    """Validate data that must be refused, and return the message after checking that it is ours."""
    with pytest.raises(SpecError) as caught:
        jobfile.validate(data)
    return plain(str(caught.value))


def plain(message: str) -> str:
    assert [words for words in RAW_WORDING if words in message] == []
    return message


# --- the resolved spec ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [MINIMAL, MINIMAL | {"search": {}}, FULL], ids=["minimal", "search", "full"])
def test_resolved_spec_reads_back_the_same(data: dict[str, Any]) -> None:
    spec = jobfile.validate(data)
    again = jobfile.parse(jobfile.dump(spec))
    assert again == spec
    assert jobfile.dump(again) == jobfile.dump(spec)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_shipped_job_reads_back_the_same(path: Path) -> None:
    spec = jobfile.load(path)
    assert jobfile.parse(jobfile.dump(spec)) == spec
    assert spec.name == path.stem


def test_every_given_value_arrives() -> None:
    spec = jobfile.validate(FULL)
    assert (spec.dataset.name, spec.dataset.channels, spec.dataset.root) == ("retinamnist", 1, "/data/medmnist")
    assert (spec.network.width, spec.network.latent_dim) == (8, 7)
    assert [loss.label for loss in spec.losses] == ["lsgan", "wgan-tight", "wgan"]
    assert spec.loss("wgan-tight").model_dump()["clip"] == 0.005
    assert spec.loss("wgan").betas == (0.1, 0.2)
    assert (spec.training.seeds, spec.training.precision, spec.training.ema) == ((3, 1), "bf16", 0.0)
    assert (spec.evaluation.extractor.size, spec.evaluation.metrics) == (64, ("kid", "is"))
    assert (spec.resources.cpus_per_worker, spec.resources.gpus_per_worker) == (0.5, None)
    assert (spec.published[0].inception_score, spec.published[0].inception_score_std) == (1.5, 0.1)


def test_resolved_text_writes_the_defaults_out() -> None:
    data = yaml.safe_load(jobfile.dump(make(search={})))
    assert data["training"]["batch_size"] == 64
    assert data["network"] == NETWORKS["dcgan"](name="dcgan").model_dump(mode="json")
    assert (data["network"]["width"], data["network"]["latent_dim"]) == (64, 100)
    assert data["losses"][2]["penalty_weight"] == 10
    assert data["search"]["space"]["n_critic"] == {"choice": [1, 2, 5]}
    assert data["evaluation"]["extractor"] == {"name": "inception-v3", "size": 299}


def test_no_search_section_means_no_search() -> None:
    assert make().search is None
    assert make().space_of("lsgan") == {}
    assert make().trial_training() == make().training


def test_images_take_the_place_of_epochs() -> None:
    assert Training(epochs=3).budget(1000) == 3000
    assert Training(epochs=3, images=500).budget(1000) == 500


@pytest.mark.parametrize(
    ("training", "search", "budget"),
    [
        ({"epochs": 3}, {}, 3000),
        ({"epochs": 3}, {"epochs": 2}, 2000),
        ({"epochs": 3}, {"epochs": 2, "images": 50}, 50),
        ({"epochs": 3}, {"images": 50}, 50),
        ({"images": 700}, {}, 700),
        ({"images": 700}, {"epochs": 2}, 2000),
        ({"images": 700}, {"images": 50}, 50),
    ],
    ids=str,
)
def test_trial_has_the_searchs_budget_or_else_the_trainings(
    training: dict[str, int], search: dict[str, int], budget: int
) -> None:
    spec = make(training=training, search=search)
    assert spec.trial_training().budget(1000) == budget
    own = {"epochs", "images"}
    assert spec.trial_training().model_dump(exclude=own) == spec.training.model_dump(exclude=own)


@pytest.mark.parametrize("size", sorted({8, 47, *(size for network in NETWORKS.values() for size in network.sizes)}))
@pytest.mark.parametrize("network", NETWORKS)
def test_network_takes_the_sizes_that_it_is_made_for_and_no_other(network: str, size: int) -> None:
    data = MINIMAL | {"network": network, "dataset": {"name": "histology", "size": size}}
    if size in NETWORKS[network].sizes:
        assert jobfile.validate(data).dataset.size == size
    else:
        assert f"network: {network} can't make images of dataset.size {size}" in refusal(data)


@pytest.mark.parametrize(
    ("section", "field"),
    [((), "name"), (("training",), "epochs"), (("network",), "width"), (("losses", 0), "critic_lr")],
)
def test_spec_is_frozen(section: tuple[str | int, ...], field: str) -> None:
    node: Any = make()
    for part in section:
        node = node[part] if isinstance(part, int) else getattr(node, part)
    before = getattr(node, field)
    with pytest.raises(ValidationError):
        setattr(node, field, before)
    assert getattr(node, field) == before


def test_lists_become_tuples() -> None:
    spec = jobfile.validate(FULL)
    lists = (spec.losses, spec.training.seeds, spec.evaluation.metrics, spec.published, spec.losses[0].betas)
    assert {type(value) for value in lists} == {tuple}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("lsgan", ("adam", (0.5, 0.999), 2e-4, 2e-4, 1)),
        ("wgan", ("rmsprop", (0.0, 0.99), 5e-5, 5e-5, 5)),
        ("wgan-gp", ("adam", (0.0, 0.9), 1e-4, 1e-4, 5)),
    ],
)
def test_defaults_are_the_papers(name: str, values: tuple[object, ...]) -> None:
    loss = make().loss(name)
    assert (loss.optimizer, loss.betas, loss.generator_lr, loss.critic_lr, loss.n_critic) == values
    assert loss.label == name


def test_constants_of_the_wasserstein_losses_are_the_papers() -> None:
    assert make().loss("wgan").model_dump()["clip"] == 0.01
    assert make().loss("wgan-gp").model_dump()["penalty_weight"] == 10.0


def test_unknown_label_lists_the_labels() -> None:
    with pytest.raises(SpecError, match=r"'hinge'.*lsgan, wgan, wgan-gp"):
        make().loss("hinge")


# --- with_values ---------------------------------------------------------------------------------------------------


def test_with_values_sets_dotted_paths_and_leaves_the_original() -> None:
    spec = make()
    changed = spec.with_values({"training.epochs": 7, "losses.wgan-gp.critic_lr": 0.25, "losses.0.n_critic": 3})
    assert changed.training.epochs == 7
    assert changed.loss("wgan-gp").critic_lr == 0.25
    assert changed.loss("lsgan").n_critic == 3
    assert (changed.loss("wgan"), changed.loss("wgan-gp").generator_lr) == (spec.loss("wgan"), 1e-4)
    assert (spec.training.epochs, spec.loss("wgan-gp").critic_lr, spec.loss("lsgan").n_critic) == (50, 1e-4, 1)


@pytest.mark.parametrize(
    ("path", "value", "read"),
    [
        ("training.seeds", [4, 5], lambda spec: spec.training.seeds == (4, 5)),
        ("training.seeds.1", 9, lambda spec: spec.training.seeds == (0, 9)),
        ("losses.wgan.betas.1", 0.5, lambda spec: spec.loss("wgan").betas == (0.0, 0.5)),
        ("losses.2", "lsgan", lambda spec: [x.label for x in spec.losses] == ["wgan", "wgan-gp", "lsgan"]),
        ("dataset", "mnist", lambda spec: spec.dataset.name == "mnist"),
        ("dataset.channels", 1, lambda spec: spec.dataset.channels == 1),
        ("search.trials", 3, lambda spec: spec.search.trials == 3),
        ("search", None, lambda spec: spec.search is None),
        ("published.0.fid", 1.5, lambda spec: spec.published[0].fid == 1.5),
    ],
)
def test_with_values_reaches_every_kind_of_place(path: str, value: object, read: Any) -> None:
    spec = make(
        losses=["wgan", "wgan-gp", {"name": "lsgan", "label": "ls"}],
        training={"seeds": [0, 1]},
        published=[{"loss": "wgan", "fid": 3.0, "source": "a table"}],
    )
    assert not read(spec.with_values({"search": {"trials": 1}}))
    assert read(spec.with_values({path: value}))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("training.epochs", 0, ["training.epochs", "0", "greater than or equal to 1"]),
        ("training.epochs", "3", ["training.epochs", "'3'", "integer"]),
        ("training.workers", 65, ["batch_size 64", "workers 65"]),
        ("losses.wgan-gp.critic_lr", 2.0, ["losses[2].critic_lr", "2.0", "less than or equal to 1"]),
        ("losses.lsgan.clip", 0.1, ["losses[0]", "'clip'", "known: betas"]),
        ("losses.hinge.critic_lr", 0.1, ["losses.hinge.critic_lr", "'hinge'"]),
        ("losses.9.critic_lr", 0.1, ["losses.9.critic_lr", "'9'"]),
        ("losses.-1.critic_lr", 0.1, ["losses.-1.critic_lr", "'-1'"]),
        ("losses.9", "wgan", ["losses.9", "'9'"]),
        ("losses.1", "lsgan", ["two losses", "'lsgan'"]),
        ("training.epoch", 3, ["training", "'epoch'", "'epochs'"]),
        ("trainning.epochs", 3, ["'trainning'", "'training'"]),
        ("training.epochs.x", 3, ["training.epochs.x", "dotted path"]),
        ("training.epochs.x.y", 3, ["training.epochs.x.y", "dotted path"]),
        ("", 3, ["unknown field ''"]),
        ("dataset.name", "npz", ["dataset", "npz needs a path"]),
    ],
)
def test_with_values_never_skips_validation(path: str, value: object, expected: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        make().with_values({path: value})
    assert [part for part in expected if part not in plain(str(caught.value))] == []


def test_with_values_finds_a_loss_by_its_label_before_its_name() -> None:
    spec = make(losses=[{"name": "wgan", "label": "tight", "clip": 0.001}, "wgan"])
    changed = spec.with_values({"losses.wgan.clip": 0.5})
    assert [loss.model_dump()["clip"] for loss in changed.losses] == [0.001, 0.5]


def test_with_values_sets_the_item_at_the_index_even_where_values_repeat() -> None:
    spec = make(losses=[{"name": "lsgan", "betas": [0.9, 0.9]}])
    assert spec.with_values({"losses.lsgan.betas.1": 0.99}).loss("lsgan").betas == (0.9, 0.99)


def test_with_values_finds_a_loss_by_its_label_before_its_index() -> None:
    spec = make(losses=["wgan", {"name": "wgan", "label": "0"}])
    changed = spec.with_values({"losses.0.clip": 0.5, "losses.wgan.clip": 0.25})
    assert [loss.model_dump()["clip"] for loss in changed.losses] == [0.25, 0.5]


def test_with_values_reaches_into_shorthands_that_it_set() -> None:
    changed = make().with_values(
        {"losses": ["wgan"], "losses.wgan.clip": 0.5, "dataset": "mnist", "dataset.root": "/data"}
    )
    assert changed.losses[0].model_dump()["clip"] == 0.5
    assert (changed.dataset.name, changed.dataset.root) == ("mnist", "/data")


def test_a_new_name_drops_what_the_old_one_brought() -> None:
    written = jobfile.parse(jobfile.dump(make(dataset={"name": "retinamnist", "channels": 1, "root": "/data"})))
    assert written.evaluation.extractor.size == 299
    changed = written.with_values(
        {
            "evaluation.extractor.name": "efficientnet-lite0",
            "dataset.name": "bloodmnist",
            "losses.0.critic_lr": 0.5,
            "losses.1.name": "wgan",
            "losses.0.name": "wgan-gp",
            "losses.2": "lsgan",
        }
    )
    assert changed.evaluation.extractor.size == 96
    assert (changed.dataset.name, changed.dataset.channels, changed.dataset.root) == ("bloodmnist", 1, "/data")
    first = changed.losses[0]
    assert (first.label, first.critic_lr, first.generator_lr, first.n_critic) == ("wgan-gp", 0.5, 1e-4, 5)
    assert changed.losses[1] == written.losses[1]


def test_a_new_name_keeps_what_was_set_by_hand() -> None:
    written = make(evaluation={"extractor": {"name": "efficientnet-lite0", "size": 64}})
    with pytest.raises(SpecError, match=r"evaluation\.extractor: inception-v3 resizes to 299"):
        written.with_values({"evaluation.extractor.name": "inception-v3"})


# --- what is refused, and in which words ----------------------------------------------------------------------------

BAD: list[tuple[dict[str, Any], list[str]]] = [
    # Unknown fields and names: the nearest one and the list.
    (
        {"trainning": {}},
        ["unknown field 'trainning'", "did you mean 'training'?", "known: cluster, dataset, evaluation"],
    ),
    ({"zzz": 1}, ["unknown field 'zzz'; known: cluster, dataset"]),
    ({"training": {"epoch": 1}}, ["training: ", "'epoch'", "did you mean 'epochs'?", "batch_size"]),
    ({"losses": [{"name": "lsgan", "clip": 0.1}]}, ["losses[0]: ", "'clip'", "known: betas, critic_lr"]),
    ({"losses": ["wgan", "wgan-pg"]}, ["losses[1]: ", "'wgan-pg'", "did you mean 'wgan-gp'?", KNOWN_LOSSES]),
    ({"losses": [{"name": "zzz"}]}, [f"losses[0]: unknown loss 'zzz'; {KNOWN_LOSSES}"]),
    ({"dataset": "retinamnst"}, ["dataset: ", "'retinamnst'", "did you mean 'retinamnist'?", "histology"]),
    ({"network": "dcgann"}, ["network: ", "'dcgann'", "did you mean 'dcgan'?"]),
    ({"evaluation": {"extractor": "inception"}}, ["evaluation.extractor: ", "did you mean 'inception-v3'?"]),
    ({"evaluation": {"metrics": ["fid", "kdi"]}}, ["evaluation.metrics[1]: ", "'kdi'", "did you mean 'kid'?"]),
    ({"search": {"space": "defalt"}}, ["search.space: ", "'defalt'", "did you mean 'default'?", "learning-rates"]),
    ({"dataset": {"name": "mnist", "chanels": 1}}, ["dataset: ", "'chanels'", "did you mean 'channels'?"]),
    # Wrong types: nothing is converted in silence.
    ({"name": 3}, ["name: 3 ", "string"]),
    ({"training": {"epochs": "ten"}}, ["training.epochs: 'ten' ", "integer"]),
    ({"training": {"epochs": "10"}}, ["training.epochs: '10' ", "integer"]),
    ({"training": {"epochs": 1.5}}, ["training.epochs: 1.5 ", "integer"]),
    ({"training": {"epochs": True}}, ["training.epochs: True ", "integer"]),
    ({"training": {"epochs": None}}, ["training.epochs: None ", "integer"]),
    ({"training": "fast"}, ["training: 'fast' ", "mapping"]),
    ({"training": {"seeds": 3}}, ["training.seeds: 3 ", "list"]),
    ({"training": {"seeds": [0, "a"]}}, ["training.seeds[1]: 'a' ", "integer"]),
    ({"losses": "lsgan"}, ["losses: 'lsgan' ", "list"]),
    ({"losses": ["wgan", 3]}, ["losses[1]: 3 ", "mapping"]),
    ({"losses": [{"name": "wgan", "critic_lr": "fast"}]}, ["losses[0].critic_lr: 'fast' ", "number"]),
    ({"losses": [{"name": "wgan", "optimizer": "sgd"}]}, ["losses[0].optimizer: 'sgd' ", "'adam' or 'rmsprop'"]),
    ({"losses": [{"name": "wgan", "betas": [0.5]}]}, ["losses[0].betas"]),
    ({"losses": [{"name": ["wgan"]}]}, ["losses[0]: unknown loss"]),
    (
        {
            "losses": ["lsgan", {"name": "wgan", "label": "clipped"}],
            "network": {"name": "dcgan", "critic_norm": "spectral"},
        },
        ["losses[1]: clipped bounds the critic's weights", "network.critic_norm: spectral", "set critic_norm: none"],
    ),
    (
        {"losses": [{"name": "lsgan", "regularizers": ["r1r2"]}]},
        ["losses[0].regularizers[0]: ", "did you mean 'r1-r2'?"],
    ),
    ({"losses": [{"name": "lsgan", "regularizers": "r1-r2"}]}, ["losses[0].regularizers: 'r1-r2' ", "list"]),
    (
        {"losses": [{"name": "lsgan", "regularizers": ["r1-r2", {"name": "gradient-penalty", "weight": -1}]}]},
        ["losses[0].regularizers[1].weight: -1 ", "equal to 0"],
    ),
    (
        {"losses": [{"name": "wgan-gp", "regularizers": ["gradient-penalty"]}]},
        ["losses[0].regularizers[0]: wgan-gp brings gradient-penalty itself"],
    ),
    ({"dataset": 5}, ["dataset: 5 ", "mapping"]),
    ({"dataset": {"name": "mnist", "channels": "1"}}, ["dataset.channels: '1' ", "1 or 3"]),
    ({"dataset": {"name": "mnist", "root": 5}}, ["dataset.root: 5 ", "string"]),
    ({"evaluation": {"metrics": "kid"}}, ["evaluation.metrics: 'kid' ", "list"]),
    ({"search": True}, ["search: True ", "mapping"]),
    ({"search": {"space": ["critic_lr"]}}, ["search.space: ['critic_lr'] "]),
    ({"search": {"seeds": 0}}, ["search.seeds: 0 ", "greater than or equal to 1"]),
    ({"search": {"seeds": [0, 1]}}, ["search.seeds: [0, 1] ", "integer"]),
    # Values out of range.
    ({"name": "Bad Name"}, ["name: 'Bad Name' ", "must match the pattern"]),
    ({"name": "../up"}, ["name: '../up' ", "must match the pattern"]),
    ({"name": "a" * 41}, ["name: ", "must match the pattern"]),
    ({"training": {"epochs": 0}}, ["training.epochs: 0 ", "greater than or equal to 1"]),
    ({"training": {"images": 0}}, ["training.images: 0 ", "greater than or equal to 1"]),
    ({"training": {"batch_size": 1}}, ["training.batch_size: 1 ", "greater than or equal to 2"]),
    ({"training": {"ema": 1.0}}, ["training.ema: 1.0 ", "less than 1"]),
    ({"training": {"ema": float("nan")}}, ["training.ema: nan ", "finite"]),
    ({"training": {"ema": float("inf")}}, ["training.ema: inf ", "finite"]),
    ({"training": {"seeds": []}}, ["training.seeds: [] ", "at least 1 item"]),
    ({"training": {"seeds": [0, -1]}}, ["training.seeds[1]: -1 ", "greater than or equal to 0"]),
    ({"training": {"seeds": [2, 2]}}, ["training", "seeds must differ"]),
    ({"training": {"precision": "fp16"}}, ["training.precision: 'fp16' ", "'fp32' or 'bf16'"]),
    ({"training": {"batch_size": 2, "workers": 4}}, ["training: ", "batch_size 2", "workers 4", "needs an image"]),
    ({"losses": [{"name": "lsgan", "n_critic": 0}]}, ["losses[0].n_critic: 0 ", "greater than or equal to 1"]),
    ({"losses": [{"name": "wgan", "clip": 0}]}, ["losses[0].clip: 0 ", "greater than 0"]),
    ({"losses": [{"name": "wgan", "critic_lr": -1e-4}]}, ["losses[0].critic_lr: -0.0001 ", "greater than 0"]),
    ({"losses": [{"name": "wgan", "betas": [0.5, 1.0]}]}, ["losses[0].betas[1]: 1.0 ", "less than 1"]),
    ({"losses": [{"name": "wgan-gp", "penalty_weight": -1}]}, ["losses[0].penalty_weight: -1 ", "equal to 0"]),
    ({"losses": [{"name": "wgan", "label": "A/B"}]}, ["losses[0].label: 'A/B' ", "must match the pattern"]),
    (
        {"losses": [{"name": "wgan", "label": "real"}]},
        ["losses[0].label: 'real' ", "the noise floor", "choose another"],
    ),
    (
        {"losses": ["lsgan", {"name": "wgan", "label": "lsgan-seed0"}]},
        ["losses[1].label: 'lsgan-seed0' ", "the name of a run", "leave out '-seed0'"],
    ),
    ({"network": {"name": "dcgan", "width": 2}}, ["network.width: 2 ", "greater than or equal to 4"]),
    ({"network": {"name": "dcgan", "latent_dim": 0}}, ["network.latent_dim: 0 ", "greater than or equal to 1"]),
    ({"dataset": {"name": "mnist", "channels": 2}}, ["dataset.channels: 2 ", "1 or 3"]),
    (
        {"dataset": {"name": "mnist", "size": 30}},
        ["network: dcgan can't make images of dataset.size 30; set it to 28"],
    ),
    ({"evaluation": {"samples": 10}}, ["evaluation.samples: 10 ", "greater than or equal to 50"]),
    ({"evaluation": {"metrics": []}}, ["evaluation.metrics: [] ", "at least 1 item"]),
    ({"evaluation": {"reference": "tset"}}, ["evaluation.reference: 'tset' ", "'train'", "'test'"]),
    ({"evaluation": {"extractor": {"name": "inception-v3", "size": 96}}}, ["evaluation.extractor", "299", "size 96"]),
    ({"resources": {"cpus_per_worker": 0}}, ["resources.cpus_per_worker: 0 ", "greater than 0"]),
    ({"search": {"trials": 0}}, ["search.trials: 0 ", "greater than or equal to 1"]),
    ({"search": {"images": 0}}, ["search.images: 0 ", "greater than or equal to 1"]),
    ({"search": {"objective": "is"}}, ["search.objective: unknown objective 'is'", "known: "]),
    # What doesn't go together.
    ({"losses": []}, ["losses: [] ", "at least 1 item"]),
    ({"losses": ["wgan", {"name": "wgan", "clip": 0.1}]}, ["losses: ", "two losses", "'wgan'", "label: NAME"]),
    (
        {"losses": [{"name": "wgan", "label": "a"}, {"name": "lsgan", "label": "a"}]},
        ["losses: ", "two losses", "'a'", "label: NAME"],
    ),
    ({"dataset": "npz"}, ["dataset: ", "npz needs a path"]),
    ({"dataset": {"name": "mnist", "path": "x.npz"}}, ["dataset: ", "path goes with", "use root"]),
    ({"evaluation": {"reference": "val"}}, ["evaluation: ", "reference val", "use test or train"]),
    ({"published": [{"loss": "lsgan", "fid": 1.0}]}, ["published[0].source is missing", "add it"]),
    ({"published": [{"loss": "wgn", "source": "a"}]}, ["published[0].loss: ", "'wgn'", "known: lsgan, wgan, wgan-gp"]),
    ({"evaluation": {"metrics": ["kid", "kid"]}}, ["evaluation.metrics: ", "kid", "twice"]),
    (
        {"training": {"augment": ["flip", "cutout", "flip"]}},
        ["training.augment: flip, cutout, flip ", "name each once"],
    ),
    (
        {"dataset": {"name": "mnist", "size": 64}},
        ["network: dcgan can't make images of dataset.size 64; use network: resnet"],
    ),
    # A name that is missing, or stands where none can.
    ({"losses": ["lsgan", {"clip": 0.1}]}, [f"losses[1]: name is missing; {KNOWN_LOSSES}"]),
    ({"dataset": {"channels": 1}}, ["dataset: name is missing; known: bloodmnist"]),
    ({"dataset": {"name": "mnist", "root": "a\0b"}}, ["dataset.root: 'a\\x00b' ", "zero byte"]),
    ({"dataset": {"name": "npz", "path": ""}}, ["dataset.path: '' ", "empty"]),
    # A finding for every fault at once.
    (
        {"training": {"epochs": 0, "workers": 0}, "name": "A"},
        ["name: 'A'", "training.epochs: 0", "training.workers: 0"],
    ),
]

BAD_SPACES: list[tuple[dict[Any, Any], list[str]]] = [
    ({"critic_lr": {"log_uniform": [0.5, 2.0]}}, ["search.space.critic_lr", "2.0", "lsgan", "less than or equal to 1"]),
    ({"n_critic": {"choice": [1, 0]}}, ["search.space.n_critic", "0 is outside", "greater than or equal to 1"]),
    ({"n_critic": {"uniform": [1.0, 5.0]}}, ["search.space.n_critic", "1.0", "integer"]),
    ({"critic_lr": {"choice": ["fast"]}}, ["search.space.critic_lr", "'fast'", "number"]),
    ({"optimizer": {"choice": ["adam", "sgd"]}}, ["search.space.optimizer", "'sgd'", "'adam' or 'rmsprop'"]),
    ({"wgan.clip": {"uniform": [0.01, 11.0]}}, ["search.space.wgan.clip", "11.0", "wgan's clip"]),
    ({"clip": {"uniform": [0.01, 0.1]}}, ["search.space.clip", "lsgan has no field 'clip'", "wgan.clip"]),
    ({"lsgan.clip": {"uniform": [0.01, 0.1]}}, ["search.space.lsgan.clip", "lsgan has no field 'clip'"]),
    ({"speed": {"choice": [1]}}, ["search.space.speed", "'speed'", "critic_lr", "n_critic"]),
    ({"wgn.clip": {"uniform": [0.01, 0.1]}}, ["search.space.wgn.clip", "'wgn'", "known: lsgan, wgan, wgan-gp"]),
    ({"critic_lr": {"uniform": [1e-3, 1e-5]}}, ["search.space.critic_lr", "rise from low to high"]),
    ({"critic_lr": {"uniform": [1e-3, 1e-3]}}, ["search.space.critic_lr", "rise from low to high"]),
    ({"critic_lr": {"log_uniform": [0, 1e-3]}}, ["search.space.critic_lr", "above 0"]),
    ({"critic_lr": {}}, ["search.space.critic_lr", "exactly one of choice, uniform"]),
    (
        {"critic_lr": {"choice": [1e-4], "uniform": [1e-5, 1e-4]}},
        ["search.space.critic_lr", "exactly one of choice, uniform"],
    ),
    ({"critic_lr": {"normal": [0, 1]}}, ["search.space.critic_lr", "'normal'", "log_uniform"]),
    ({"critic_lr": {"choice": []}}, ["search.space.critic_lr.choice", "[]", "at least 1 item"]),
    ({"critic_lr": [1e-4]}, ["search.space.critic_lr", "[0.0001]", "mapping"]),
    ({"name": {"choice": ["lsgan"]}}, ["search.space.name", "lsgan has no field 'name'"]),
    ({5: {"choice": [1]}}, ["search.space: 5 ", "write the field's name"]),
    ({"critic_lr": {"choice": [float("nan")]}}, ["search.space.critic_lr.choice[0]: nan ", "finite"]),
]


@pytest.mark.parametrize(("changes", "expected"), BAD, ids=[str(changes)[:70] for changes, _ in BAD])
def test_bad_value_gets_its_path_the_value_and_the_fix(changes: dict[str, Any], expected: list[str]) -> None:
    message = refusal(MINIMAL | changes)
    assert [part for part in expected if part not in message] == [], message


@pytest.mark.parametrize(("space", "expected"), BAD_SPACES, ids=[str(space) for space, _ in BAD_SPACES])
def test_bad_search_space_is_refused(space: dict[str, Any], expected: list[str]) -> None:
    message = refusal(MINIMAL | {"search": {"space": space}})
    assert [part for part in expected if part not in message] == [], message


@pytest.mark.parametrize("field", ["name", "dataset", "losses"])
def test_missing_field_is_named(field: str) -> None:
    data = {key: value for key, value in MINIMAL.items() if key != field}
    assert refusal(data) == f"{field} is missing; add it"


def test_one_bad_value_is_one_line() -> None:
    assert [len(refusal(MINIMAL | changes).splitlines()) for changes, _ in BAD[:-1]] == [1] * len(BAD[:-1])


def test_long_value_is_cut() -> None:
    assert len(refusal(MINIMAL | {"training": {"precision": "x" * 5000}})) < 200


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"search": {"space": {}}}, "search.space: {}"),
        ({"published": [{"loss": "wgan", "source": ""}]}, "published[0].source: ''"),
    ],
)
def test_length_rules_are_put_in_plain_words_too(changes: dict[str, Any], expected: str) -> None:
    message = refusal(MINIMAL | changes)
    assert expected in message
    assert "it String" not in message
    assert "it Value" not in message


def test_value_of_no_allowed_kind_is_one_finding() -> None:
    message = refusal(MINIMAL | {"search": {"space": {"critic_lr": {"choice": [True]}}}})
    assert message == "search.space.critic_lr.choice[0]: True doesn't fit; it must be a number or a string"


def test_only_a_section_of_a_table_takes_a_name() -> None:
    assert refusal(MINIMAL | {"training": "fast"}) == "training: 'fast' doesn't fit; it must be a mapping"
    assert "must be a name or a mapping; known: dcgan" in refusal(MINIMAL | {"network": 3})


def test_field_that_is_never_searched_is_not_advised() -> None:
    assert "write lsgan.label" not in refusal(MINIMAL | {"search": {"space": {"label": {"choice": ["a"]}}}})


# --- search spaces that fit -----------------------------------------------------------------------------------------


def test_named_space_is_written_out() -> None:
    default, rates = make(search={}), make(search={"space": "learning-rates"})
    assert set(default.space_of("wgan")) == {"generator_lr", "critic_lr", "n_critic"}
    assert set(rates.space_of("wgan")) == {"generator_lr", "critic_lr"}
    assert default.space_of("wgan")["n_critic"].choice == (1, 2, 5)
    assert default.space_of("wgan")["critic_lr"].log_uniform == (1e-5, 1e-3)


def test_labelled_field_is_searched_for_that_loss_alone() -> None:
    space = {"critic_lr": {"uniform": [0.1, 0.2]}, "wgan.clip": {"choice": [0.1]}, "wgan-gp.n_critic": {"choice": [2]}}
    spec = make(search={"space": space})
    assert {label: set(spec.space_of(label)) for label in LABELS} == {
        "lsgan": {"critic_lr"},
        "wgan": {"critic_lr", "clip"},
        "wgan-gp": {"critic_lr", "n_critic"},
    }


# --- regularizers by path -------------------------------------------------------------------------------------------

PENALISED = ["lsgan", {"name": "hinge", "regularizers": ["gradient-penalty", {"name": "r1-r2", "every": 4}]}]


def test_a_field_of_a_regularizer_is_set_by_its_path() -> None:
    spec = make(losses=PENALISED)
    path = "losses.hinge.regularizers"
    changed = spec.with_values({f"{path}.gradient-penalty.weight": 5, f"{path}.1.weight": 0.5})
    assert [one.weight for one in changed.loss("hinge").regularizers] == [5, 0.5]
    assert [one.weight for one in spec.loss("hinge").regularizers] == [10, 0.05]
    added = spec.with_values({"losses.lsgan.regularizers": ["r1-r2"], "losses.lsgan.regularizers.r1-r2.every": 8})
    assert added.loss("lsgan").regularizers[0].every == 8
    other = spec.with_values({f"{path}.1.name": "r1-r2", f"{path}.0.name": "r1-r2", f"{path}.1": "gradient-penalty"})
    assert [(one.name, one.weight) for one in other.loss("hinge").regularizers] == [
        ("r1-r2", 0.05),
        ("gradient-penalty", 10),
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("hinge.regularizers.gradient-penlty.weight", ["gradient-penlty.weight: ", "did you mean 'gradient-penalty'?"]),
        ("hinge.regularizers.r1-r2.wieght", ["losses[1].regularizers[1]: ", "did you mean 'weight'?"]),
        ("lsgan.regularizers.r1-r2.weight", ["losses.lsgan.regularizers.r1-r2.weight: ", "nothing, it is empty"]),
        ("hinge.regularizer.r1-r2.weight", ["losses[1]: ", "did you mean 'regularizers'?"]),
        ("hnge.regularizers.r1-r2.weight", ["losses.hnge.regularizers", "did you mean 'hinge'?"]),
    ],
)
def test_a_wrong_path_to_a_regularizer_gets_the_nearest_name(path: str, expected: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        make(losses=PENALISED).with_values({f"losses.{path}": 5})
    assert [part for part in expected if part not in plain(str(caught.value))] == [], caught.value


@pytest.mark.parametrize("key", ["hinge.regularizers.r1-r2.weight", "losses.hinge.regularizers.r1-r2.weight"])
def test_a_field_of_a_regularizer_is_searched_by_its_path(key: str) -> None:
    space = {key: {"log_uniform": [0.01, 1.0]}, "critic_lr": {"choice": [0.1]}}
    spec = make(losses=PENALISED, search={"space": space})
    assert set(spec.space_of("hinge")) == {"regularizers.r1-r2.weight", "critic_lr"}
    assert set(spec.space_of("lsgan")) == {"critic_lr"}
    assert jobfile.parse(jobfile.dump(spec)) == spec


def test_a_regularizers_path_without_a_label_is_searched_for_every_loss() -> None:
    losses = [{"name": name, "regularizers": ["r1-r2"]} for name in ("lsgan", "hinge")]
    spec = make(losses=losses, search={"space": {"regularizers.r1-r2.every": {"choice": [1, 4]}}})
    assert list(spec.space_of("lsgan")) == list(spec.space_of("hinge")) == ["regularizers.r1-r2.every"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("regularizers.r1-r2.weight", ["lsgan has no field", "write hinge.regularizers.r1-r2.weight"]),
        ("hinge.regularizers.r1r2.weight", ["hinge has no field", "did you mean 'regularizers.r1-r2.weight'?"]),
        ("hnge.regularizers.r1-r2.weight", ["unknown label 'hnge'", "did you mean 'hinge'?"]),
        ("hinge.regularizers", ["hinge has no field 'regularizers'"]),
        ("hinge.regularizers.r1-r2.name", ["hinge has no field 'regularizers.r1-r2.name'"]),
    ],
)
def test_a_space_that_names_no_field_of_a_regularizer_is_refused(key: str, expected: list[str]) -> None:
    message = refusal(MINIMAL | {"losses": PENALISED, "search": {"space": {key: {"choice": [0.5]}}}})
    assert [part for part in [f"search.space.{key}: ", *expected] if part not in message] == [], message


def test_a_space_draws_no_value_that_a_regularizer_refuses_and_none_for_what_is_off() -> None:
    key = "hinge.regularizers.r1-r2.weight"
    search = {"space": {key: {"uniform": [0.5, 2000.0]}}}
    message = refusal(MINIMAL | {"losses": PENALISED, "search": search})
    assert "2000.0 is outside the range of hinge's regularizers.r1-r2.weight" in message
    off = {"losses": [{"name": "wgan", "clip": None}], "search": {"space": {"clip": {"choice": [0.1]}}}}
    assert "clip of wgan is off (null)" in refusal(MINIMAL | off)


# --- reading the file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "1E-4", "0.0001", ".1e-3", "1e-04"])
def test_scientific_notation_is_a_number(text: str) -> None:
    spec = jobfile.parse(f"name: job\ndataset: histology\nlosses: [{{name: lsgan, critic_lr: {text}}}]")
    assert spec.loss("lsgan").critic_lr == pytest.approx(1e-4)


@pytest.mark.parametrize("text", ["1e", "e5", "1e4x", "lr1e-4", "2e-4-run"])
def test_only_numbers_become_numbers(text: str) -> None:
    assert jobfile.parse_value(text) == text


@pytest.mark.parametrize("text", ["1:30", "1:30.5", "010", "0x10", "0b11", "1:30:15"])
def test_no_other_base_becomes_a_number(text: str) -> None:
    assert jobfile.parse_value(text) == text


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("-12", -12), ("10_000", 10_000), ("1.5", 1.5), ("-.5", -0.5), ("3.", 3.0), ("1e3", 1000.0)],
)
def test_plain_numbers_stay_numbers(text: str, number: float) -> None:
    read = jobfile.parse_value(text)
    assert (type(read), read) == (type(number), number)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["mapping", "gansvc init"]),
        ("- a\n- b", ["mapping", "gansvc init"]),
        ("just words", ["mapping", "gansvc init"]),
        ("name: [", ["line 1", "not valid YAML"]),
        ("name: job\nlosses:\n\t- wgan", ["line 3", "not valid YAML"]),
        (TEXT + "name: other\n", ["line 4", "'name' is given twice"]),
        (TEXT + "training: {epochs: 1, epochs: 2}\n", ["line 4", "'epochs' is given twice"]),
        ("name: &n job\ndataset: *n\n", ["line 2", "no aliases", "*n", "write it out"]),
        ("base: &b {epochs: 1}\ntraining: {<<: *b}\n", ["line 2", "no aliases", "*b"]),
        ("name: a\n---\nname: b\n", ["line 2", "not valid YAML"]),
        ("name: \x07", ["not valid YAML", "plain text"]),
        ("name: 2024-13-45", ["not valid YAML"]),
        ("? [a, b]\n: 1\n", ["line 1", "not valid YAML"]),
        ("name: !!python/name:os.system ''", ["line 1", "not valid YAML"]),
        ("name: !secret job", ["line 1", "not valid YAML"]),
        ("name: !!int x", ["not valid YAML"]),
        (TEXT + "training: {epochs: " + "9" * 5000 + "}", ["not valid YAML"]),
        ("name:\n  " + "- " * 3000, ["nested", "gansvc init"]),
        ("name: " + "[" * 1000, ["nested", "gansvc init"]),
        ("name: " + "[" * 700 + "]" * 700, ["nested", "gansvc init"]),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, str) else "",
)
def test_bad_text_is_refused(text: str, expected: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        jobfile.parse(text)
    message = plain(str(caught.value))
    assert [part for part in expected if part not in message] == [], message
    assert len(message) < 500


def test_a_spec_runs_no_code(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with pytest.raises(SpecError):
        jobfile.parse(
            f"name: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{target}']]"
        )
    assert not target.exists()


def test_alias_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 60)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(rows))
    # In a process of its own: were the bomb to go off, the guard would end it and not the tests.
    code = f"from gansvc.spec import jobfile; jobfile.load({str(path)!r})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "SpecError" in out.stderr
    assert "no aliases (*a0)" in out.stderr


def test_deep_nesting_is_refused_before_the_scanner_crawls(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text("[" * 60_000)
    code = f"from gansvc.spec import jobfile; jobfile.load({str(path)!r})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "SpecError" in out.stderr
    assert "nested" in out.stderr


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not UTF-8 text (byte 0)"),
        ("name: caf\u00e9".encode("latin-1"), "not UTF-8 text (byte 9)"),
        ("name: job".encode("utf-16"), "not UTF-8 text (byte 0)"),
        (b"\x00" * 100, "not valid YAML"),
        (b"# " + b"x" * jobfile.LIMIT, "larger than 64 KiB"),
        (b"", "a job file is a mapping"),
    ],
    ids=["png", "latin-1", "utf-16", "zeros", "huge", "empty"],
)
def test_file_that_is_no_job_file_is_refused_by_its_path(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        jobfile.load(path)
    assert str(path) in plain(str(caught.value))
    assert expected in str(caught.value)


def test_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(TEXT + "#" * (jobfile.LIMIT - len(TEXT)))
    assert jobfile.load(path) == jobfile.parse(TEXT)


@pytest.mark.parametrize(
    ("name", "reason"), [("none.yaml", "No such file"), ("", "is a folder"), ("file/below.yaml", "can't be read")]
)
def test_path_that_is_no_file_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SpecError) as caught:
        jobfile.load(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert reason in str(caught.value)
    assert "give the path of a job file" in str(caught.value)


def test_path_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(SpecError, match="give the path of a job file"):
        jobfile.load("job\0.yaml")


def test_every_finding_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(TEXT + "training: {epochs: 0, workers: 0}\n")
    with pytest.raises(SpecError) as caught:
        jobfile.load(path)
    lines = str(caught.value).splitlines()
    assert [line.split(" doesn't")[0] for line in lines] == [
        f"{path}: training.epochs: 0",
        f"{path}: training.workers: 0",
    ]


# --- the JSON schema ------------------------------------------------------------------------------------------------


def test_json_schema_lists_every_loss() -> None:
    schema = JobSpec.model_json_schema()
    assert set(schema["properties"]["losses"]["items"]["discriminator"]["mapping"]) == set(LOSSES)
    assert schema["required"] == ["name", "dataset", "losses"]
    assert schema["additionalProperties"] is False


def test_json_schema_explains_every_field_of_a_loss() -> None:
    schema = JobSpec.model_json_schema()
    for kind in LOSSES.values():
        fields = schema["$defs"][kind.__name__]["properties"]
        assert set(fields) == set(kind.model_fields)
        assert [name for name, field in fields.items() if name != "name" and not field.get("description")] == []


def test_json_schema_lists_the_names_of_every_table() -> None:
    text = str(JobSpec.model_json_schema())
    names = [*DATASETS, *EXTRACTORS, *METRICS, *NETWORKS, *LOSSES, *REGULARIZERS, *AUGMENTS]
    assert [name for name in names if f"'{name}'" not in text] == []


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_json_schema_accepts_the_shipped_jobs(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    data = jobfile.parse_value(path.read_text())
    errors = jsonschema.Draft202012Validator(JobSpec.model_json_schema()).iter_errors(data)
    assert [f"{error.json_path}: {error.message[:80]}" for error in errors] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "retinamnst"},
        {"dataset": {"name": "retinamnst"}},
        {"losses": ["wgna"]},
        {"losses": [{"clip": 0.1}]},
        {"losses": [{"name": "lsgan", "clip": 0.1}]},
        {"losses": [{"name": "lsgan", "regularizers": ["r1r2"]}]},
        {"losses": [{"name": "lsgan", "regularizers": [{"name": "r1-r2", "wieght": 1}]}]},
        {"network": "dcgann"},
        {"evaluation": {"extractor": "inception"}},
        {"evaluation": {"extractor": {"name": "inception"}}},
        {"evaluation": {"metrics": ["kdi"]}},
        {"search": {"space": "defalt"}},
    ],
    ids=str,
)
def test_json_schema_refuses_what_the_spec_refuses(changes: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    refusal(MINIMAL | changes)
    check = jsonschema.Draft202012Validator(JobSpec.model_json_schema())
    assert check.is_valid(MINIMAL | {"search": {"space": "default"}, "evaluation": {"extractor": "inception-v3"}})
    assert check.is_valid(FULL)
    assert not check.is_valid(MINIMAL | changes)
