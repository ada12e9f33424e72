"""The tables: every entry may be named in a spec, and a wrong name gets the whole table."""

from __future__ import annotations

from typing import Any

import pytest

from gansvc.catalog.augments import AUGMENTS
from gansvc.catalog.datasets import DATASETS, SPLITS
from gansvc.catalog.extractors import EXTRACTORS
from gansvc.catalog.losses import LOSSES
from gansvc.catalog.metrics import METRICS
from gansvc.catalog.networks import NETWORKS
from gansvc.catalog.regularizers import REGULARIZERS
from gansvc.catalog.spaces import SPACES
from gansvc.errors import SpecError, unknown_name
from gansvc.schema.section import lookup
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec

TABLES: dict[str, dict[str, Any]] = {
    "data set": DATASETS,
    "network": NETWORKS,
    "loss": LOSSES,
    "regularizer": REGULARIZERS,
    "extractor": EXTRACTORS,
    "metric": METRICS,
    "search space": SPACES,
    "augmentation": AUGMENTS,
}
ENTRIES = [(kind, name) for kind, table in TABLES.items() for name in table]


def placed(kind: str, name: str) -> dict[str, Any]:
    """Return a spec that names an entry of a table in the place where it belongs."""
    data: dict[str, Any] = {"name": "job", "dataset": "histology", "losses": ["lsgan"]}
    places: dict[str, dict[str, Any]] = {
        "data set": {"dataset": {"name": name, "path": "mine.npz"} if name == "npz" else name},
        "network": {"network": name},
        "loss": {"losses": [name]},
        "regularizer": {"losses": [{"name": "lsgan", "regularizers": [name]}]},
        "extractor": {"evaluation": {"extractor": name}},
        "metric": {"evaluation": {"metrics": [name]}},
        "search space": {"search": {"space": name}},
        "augmentation": {"training": {"augment": [name]}},
    }
    return data | places[kind]


def read(kind: str, spec: JobSpec) -> object:
    if kind == "search space":
        assert spec.search is not None
        return dict(spec.search.space)
    evaluation, augment, regularizers = spec.evaluation, spec.training.augment, spec.losses[0].regularizers
    return {
        "data set": spec.dataset.name,
        "network": spec.network.name,
        "loss": spec.losses[0].name,
        "regularizer": regularizers[0].name if regularizers else None,
        "extractor": evaluation.extractor.name,
        "metric": evaluation.metrics[0],
        "augmentation": augment[0] if augment else None,
    }[kind]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_is_valid_in_a_spec(kind: str, name: str) -> None:
    spec = jobfile.validate(placed(kind, name))
    assert read(kind, spec) == (SPACES[name] if kind == "search space" else name)
    assert jobfile.parse(jobfile.dump(spec)) == spec


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_wrong_name_gets_the_nearest_entry_and_the_table(kind: str, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        jobfile.validate(placed(kind, f"{name}q"))
    message = str(caught.value)
    assert f"unknown {kind} '{name}q'" in message
    assert f"did you mean '{name}'?" in message
    assert message.endswith(f"known: {', '.join(sorted(TABLES[kind]))}")


@pytest.mark.parametrize("kind", TABLES)
def test_name_like_no_other_gets_no_guess(kind: str) -> None:
    with pytest.raises(SpecError) as caught:
        jobfile.validate(placed(kind, "####"))
    assert "did you mean" not in str(caught.value)
    assert f"unknown {kind} '####'; known: " in str(caught.value)


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_names_are_lower_case_words(kind: str, name: str) -> None:
    assert name == name.lower().strip()
    assert all(letter.isalnum() or letter == "-" for letter in name)


def test_lookup_and_its_error() -> None:
    assert lookup(METRICS, "metric", "kid") is METRICS["kid"]
    for name in (None, 3, ["kid"]):
        with pytest.raises(SpecError, match=f"known: {', '.join(sorted(METRICS))}$"):
            lookup(METRICS, "metric", name)
    assert unknown_name("loss", "wgn", ["wgan", "lsgan"]) == (
        "unknown loss 'wgn'; did you mean 'wgan'? known: lsgan, wgan"
    )


def test_columns_of_metrics_are_unique() -> None:
    keys = [column.key for metric in METRICS.values() for column in metric.columns]
    assert len(set(keys)) == len(keys) and not [key for key in keys if key.endswith("_std")]
    assert [name for name, metric in METRICS.items() if metric.name != name or metric.columns[0].optional] == []


@pytest.mark.parametrize("name", METRICS)
def test_metrics_that_fall_as_images_get_better_may_rank(name: str) -> None:
    metric, asked = METRICS[name], {"name": "job", "dataset": "histology", "losses": ["lsgan"]}
    if metric.may_rank:
        assert metric.columns[0].better == "lower"
        assert jobfile.validate(asked | {"search": {"objective": name}}).objective == name
    else:
        with pytest.raises(SpecError, match=f"search.objective: unknown objective '{name}'.* known: "):
            jobfile.validate(asked | {"search": {"objective": name}})


@pytest.mark.parametrize("name", DATASETS)
def test_data_set_says_what_it_is(name: str) -> None:
    entry = DATASETS[name]
    assert entry.licence
    assert entry.source
    assert entry.channels in ((None,) if name == "npz" else (1, 3))
    assert tuple(entry.images) == (() if name == "npz" else SPLITS)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_extractor_without_weights_says_how_to_get_them(name: str, tmp_path: Any) -> None:
    spec = jobfile.validate(placed("extractor", name))
    weights = tmp_path / "weights.pth"
    extractor = spec.with_values({"evaluation.extractor.weights": str(weights)}).evaluation.extractor
    message = extractor.missing() or ""
    assert [part for part in ("evaluation.extractor", name, str(weights)) if part not in message] == []
    with pytest.raises(SpecError, match="not at"):
        extractor.build()
    weights.write_bytes(b"")
    assert extractor.missing() is None


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_named_space_fits_every_loss_and_holds_its_defaults(space: str, loss: str) -> None:
    spec = jobfile.validate(placed("loss", loss) | {"search": {"space": space}})
    for field, distribution in spec.space_of(loss).items():
        default, ends = getattr(spec.loss(loss), field), distribution.extremes()
        if distribution.choice:
            assert default in ends
        else:
            assert min(ends) <= default <= max(ends)
