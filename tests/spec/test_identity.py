"""What decides a job's results: a start with another spec, or on other data, is refused with the differences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gansvc.errors import ClusterError, SpecError
from gansvc.gan.data import Images
from gansvc.spec.identity import BEFORE_THE_FIELD, JobIdentity, compare_and_keep, differences, of_job, refuse_another
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder

Make = Callable[..., JobSpec]
DATA = {"train_images": "a" * 64, "test_images": "b" * 64}


@pytest.fixture
def begun(tiny: Make, tmp_path: Path) -> Folder:
    """The folder of a job that was begun."""
    folder = Folder(tmp_path)
    compare_and_keep(folder, of_job(tiny(search={"trials": 2}), DATA))
    return folder


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"training__epochs": 3}, "training.epochs: 1 there, 3 here"),
        ({"training__patience": 3}, "training.patience: null there, 3 here"),
        ({"losses__wgan__clip": 0.1}, "losses.wgan.clip: 0.01 there, 0.1 here"),
        ({"network__width": 8}, "network.width: 4 there, 8 here"),
        ({"dataset__size": 32, "network": "resnet"}, "dataset.size: 28 there, 32 here"),
        ({"evaluation__samples": 70}, "evaluation.samples: 60 there, 70 here"),
        ({"evaluation__extractor__size": 64}, "evaluation.extractor.size: 32 there, 64 here"),
        ({"search__trials": 3}, "search.trials: 2 there, 3 here"),
        ({"search__objective": "fid"}, "search.objective: kid there, fid here"),
    ],
    ids=str,
)
def test_another_spec_is_refused_with_the_difference_and_the_way_out(
    values: dict[str, object], says: str, begun: Folder, tiny: Make
) -> None:
    other = of_job(tiny(search={"trials": 2}).with_values({k.replace("__", "."): v for k, v in values.items()}), DATA)
    with pytest.raises(SpecError) as refused:
        compare_and_keep(begun, other)
    assert f"begun with another spec ({says}" in str(refused.value)
    assert "put that back and resume, or start anew" in str(refused.value)
    kept = begun.read_record("identity.json", JobIdentity)
    assert kept == of_job(tiny(search={"trials": 2}), DATA), "what the job is stays as it was"


def test_other_data_is_refused_by_the_splits_that_differ(begun: Folder, tiny: Make) -> None:
    spec = tiny(search={"trials": 2})
    with pytest.raises(SpecError, match=r"data.test_images: bbbbbbbbbbbb there, cccccccccccc here") as refused:
        compare_and_keep(begun, of_job(spec, DATA | {"test_images": "c" * 64}))
    assert "was begun with other data (" in str(refused.value) and "train_images" not in str(refused.value)
    with pytest.raises(SpecError, match=r"begun with other data and another spec \(data.test"):
        compare_and_keep(begun, of_job(tiny(search={"trials": 3}), DATA | {"test_images": "c" * 64}))
    with pytest.raises(SpecError, match=r"data.test_images: bbbbbbbbbbbb there, nothing here"):
        compare_and_keep(begun, of_job(spec, {"train_images": "a" * 64}))
    # The client knows the spec alone.
    assert refuse_another(begun, of_job(spec)) is not None


def test_a_hash_that_an_identity_lacks_is_taken_once_and_told(begun: Folder, tiny: Make) -> None:
    ours = of_job(tiny(search={"trials": 2}), DATA | {"val_labels": "d" * 64})
    (warning,) = compare_and_keep(begun, ours)
    assert warning.startswith("identity.json had no hash of val_labels")
    assert begun.read_record("identity.json", JobIdentity) == ours and compare_and_keep(begun, ours) == ()
    with pytest.raises(SpecError, match=r"data.val_labels: dddddddddddd there, eeeeeeeeeeee here"):
        compare_and_keep(begun, of_job(tiny(search={"trials": 2}), DATA | {"val_labels": "e" * 64}))


def test_a_field_that_an_identity_lacks_means_what_was_done_before_it(begun: Folder, tiny: Make) -> None:
    written = json.loads(begun.read("identity.json") or b"")
    del written["network"]["critic_stem"]
    begun.write("identity.json", json.dumps(written))
    stemmed = tiny(search={"trials": 2}).with_values({"network.critic_stem": 4})
    with pytest.raises(SpecError, match=r"another spec \(network.critic_stem: 0 there, 4 here\)"):
        compare_and_keep(begun, of_job(stemmed, DATA))
    compare_and_keep(begun, of_job(tiny(search={"trials": 2}), DATA))


@pytest.mark.parametrize("path", BEFORE_THE_FIELD)
def test_each_field_of_the_table_counts_where_only_one_side_has_it(path: str) -> None:
    *sections, field = path.replace("*", "lsgan").split(".")

    def nested(values: dict[str, object]) -> dict[str, object]:
        for section in reversed(sections):
            values = {section: values}
        return values

    before, without = BEFORE_THE_FIELD[path], nested({"other": 1})
    same, unlike = nested({"other": 1, field: before}), nested({"other": 1, field: "another"})
    assert differences(without, same) == differences(same, without) == []
    assert len(differences(without, unlike)) == len(differences(unlike, without)) == 1


def test_what_only_says_where_things_are_may_change(begun: Folder, tiny: Make, tmp_path: Path) -> None:
    moved = {
        "dataset__root": str(tmp_path),
        "training__workers": 2,
        "training__seeds": [0, 1],
        "training__max_restarts": 9,
        "search": {"trials": 2, "workers": 2},
        "resources__cpus_per_worker": 0.5,
        "evaluation__audit": False,
        "losses": ["lsgan", "hinge"],
        "name": "other",
    }
    compare_and_keep(begun, of_job(tiny(**moved), DATA))
    # A loss that is left out for one start is still the one that it was.
    with pytest.raises(SpecError, match=r"losses.wgan.clip: 0.01 there, 0.1 here"):
        compare_and_keep(begun, of_job(tiny(search={"trials": 2}, losses=[{"name": "wgan", "clip": 0.1}]), DATA))


def test_a_damaged_identity_is_told(begun: Folder, tiny: Make) -> None:
    begun.write("identity.json", "[]")
    with pytest.raises(ClusterError, match=r"identity.json is not a JobIdentity"):
        compare_and_keep(begun, of_job(tiny(), DATA))


def test_an_identity_without_end_is_compared_nevertheless() -> None:
    nested: dict[str, object] = {}
    for _ in range(900):
        nested = {"a": nested}
    assert [line[:8] for line in differences(nested, {"a": 1})] == ["a.a.a.a:", "a: nothi"]


def test_content_moves_with_each_split_and_each_label(histology: Images) -> None:
    labels = {name: torch.arange(len(histology.split(name))) % 2 for name in ("train", "val", "test")}
    images = Images(histology.train, histology.val, histology.test, labels)
    first = images.content
    assert set(first) == {f"{name}_{what}" for name in ("train", "val", "test") for what in ("images", "labels")}
    again = Images(images.train.clone(), images.val.clone(), images.test.clone(), labels)
    assert first == again.content
    assert histology.content == {name: value for name, value in first.items() if name.endswith("_images")}
    changed = images.val.clone()
    changed[3, 0, 0, 0] ^= 1
    other = Images(images.train, changed, images.test, labels | {"test": 1 - labels["test"]}).content
    assert {name for name in first if first[name] != other[name]} == {"val_images", "test_labels"}
