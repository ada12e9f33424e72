"""Checkpoints, models and data sets drawn at random: each is read or refused, and nothing in it is executed."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from gansvc.catalog import arrays, torchfiles
from gansvc.client import local
from gansvc.errors import ClusterError, RunError, SpecError
from gansvc.gan import checkpoint, modelfolder
from gansvc.store import layout
from gansvc.store.folder import Folder

from .artifacts import CARD, IDENTITY, WEIGHTS, began_anew
from .fuzzing import Yard, cases, changed, damaged, junk

STATE = {"critic": {"w": torch.arange(6.0).reshape(2, 3)}, "step": 3}


class Evil:
    """What makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


# Checkpoints


def whole() -> bytes:
    content = {"format": 1, "step": 3, "identity": json.dumps(IDENTITY), "state": STATE, "rng": torch.get_rng_state()}
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def stored(yard: Yard, data: bytes, rightly_named: bool) -> Folder:
    yard.clear()
    digest = hashlib.sha256(data if rightly_named else whole()).hexdigest()[:16]
    folder = Folder(yard.work)
    folder.write(f"step-00000003.{digest}.pt", data)
    return folder


@cases(40)
@given(st.data(), st.booleans())
def test_a_damaged_checkpoint_is_passed_over_whatever_its_name_says(
    yard: Yard, data: st.DataObject, rightly_named: bool
) -> None:
    content = whole()
    changed_content = data.draw(damaged(content))
    folder = stored(yard, changed_content, rightly_named)
    with yard.watched():
        try:
            found = checkpoint.newest(folder, IDENTITY)
        except RunError as error:
            assert "another run" in str(error) and rightly_named
            return
    if not rightly_named and changed_content != content:
        assert began_anew(found)


@cases(40)
@given(st.sampled_from(("format", "step", "identity", "state", "rng", "")), junk)
@example("identity", "[]")
@example("identity", "[" * 100_000)
@example("step", float("inf"))
@example("rng", None)
@example("rng", torch.get_rng_state() * 0 + 255)
@example("step", 4)
@example("", None)
def test_a_made_up_checkpoint_is_passed_over_or_of_another_run(yard: Yard, field: str, value: Any) -> None:
    content: Any = {"format": 1, "step": 3, "identity": json.dumps(IDENTITY), "state": {}, "rng": torch.get_rng_state()}
    content = {**content, field: value} if field else value
    file = io.BytesIO()
    torch.save(content, file)
    folder = stored(yard, file.getvalue(), rightly_named=True)
    with yard.watched():
        try:
            checkpoint.newest(folder, IDENTITY)
        except RunError as error:
            assert "another run" in str(error)


@pytest.mark.parametrize("form", ["zip", "old", "pickle"])
def test_a_checkpoint_that_would_run_code_runs_none(yard: Yard, form: str) -> None:
    target, file = yard.root / "made", io.BytesIO()
    content = {"format": 1, "step": 3, "identity": json.dumps(IDENTITY), "state": Evil(target), "rng": None}
    if form == "pickle":
        pickle.dump(content, file)
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    folder = stored(yard, file.getvalue(), rightly_named=True)
    with yard.watched():
        assert began_anew(checkpoint.newest(folder, IDENTITY))
    (yard.work / "weights.pth").write_bytes(file.getvalue())
    with yard.watched(), pytest.raises(SpecError, match="doesn't fit this extractor"):
        torchfiles.read_weights(yard.work / "weights.pth")
    assert not target.exists()
    # The control: the file does run code where it is unpickled without limits.
    file.seek(0)
    torch.load(file, weights_only=False) if form != "pickle" else pickle.load(file)
    assert target.exists()
    target.unlink()


def test_a_whole_checkpoint_is_read(yard: Yard) -> None:
    found = checkpoint.newest(stored(yard, whole(), rightly_named=True), IDENTITY)
    assert found is not None and found[0] == 3 and torch.equal(found[1]["critic"]["w"], STATE["critic"]["w"])  # type: ignore[index]


# Models


@cases(40)
@given(damaged(WEIGHTS))
def test_damaged_weights_are_refused(yard: Yard, data: bytes) -> None:
    yard.clear()
    folder = Folder(yard.work)
    folder.write(layout.BEST, data)
    with yard.watched():
        try:
            checkpoint.load_best(folder)
        except ClusterError as error:
            assert "damaged" in str(error)


@cases(40)
@given(st.data())
@example(b"[" * 100_000)
@example(b'{"network": {"name": "dcgan", "width": 512, "latent_dim": 1024}}')
def test_any_model_folder_is_drawn_from_or_refused(yard: Yard, data: st.DataObject | bytes) -> None:
    yard.clear()
    card, weights = data if isinstance(data, bytes) else b"", WEIGHTS
    if not isinstance(data, bytes):
        broken = data.draw(st.booleans())
        card = json.dumps(CARD if broken else data.draw(changed(CARD))).encode()
        weights = data.draw(damaged(WEIGHTS)) if broken else WEIGHTS
    (yard.work / "model.json").write_bytes(card)
    (yard.work / "generator.safetensors").write_bytes(weights)
    ended = yard.run("sample", ".", "-n", "2", "-o", "grid.png")
    assert ended.code in (0, 2)
    assert (yard.work / "grid.png").exists() == (ended.code == 0)


def test_a_good_model_folder_is_drawn_from(yard: Yard) -> None:
    yard.clear()
    (yard.work / "model.json").write_text(json.dumps(CARD))
    (yard.work / "generator.safetensors").write_bytes(WEIGHTS)
    card, _ = modelfolder.load_model(yard.work)
    assert card.channels == 3 and yard.run("sample", ".", "-n", "2").code == 0


# Data sets


def npz(**changes: Any) -> bytes:
    draws = np.random.default_rng(0)
    images = {f"{s}_images": draws.integers(0, 2, (4, 28, 28), np.uint8) for s in ("train", "val", "test")}
    file = io.BytesIO()
    np.savez_compressed(file, **(images | changes))
    return file.getvalue()


shapes = st.lists(st.integers(0, 30), max_size=5).map(tuple).filter(lambda shape: np.prod(shape, dtype=float) < 1e6)
dtypes = st.sampled_from(("uint8", "int8", "float32", "complex64", "U3", "S2", "M8[s]", "bool", "uint64", "V4"))
member = st.one_of(
    st.builds(np.zeros, shapes, dtypes), st.builds(lambda x: np.array([x], object), junk), st.just(np.array(None))
)


def read(yard: Yard, data: bytes) -> int:
    """Have a data file read by the command and by the reader, who must agree, and return the exit code.

    What the reader takes, the command may refuse as too small, or as all alike, for the scores that it asks for.
    """
    yard.clear()
    path = yard.work / "images.npz"
    path.write_bytes(data)
    (yard.work / "job.yaml").write_text("name: a\ndataset: {name: npz, path: images.npz}\nlosses: [lsgan]\n")
    ended = yard.run("submit", "job.yaml", "--dry-run")
    assert ended.code in (0, 2)
    with yard.watched():
        try:
            found = arrays.read_npz(path)
        except SpecError:
            assert ended.code == 2
        else:
            val = found.images["val"]
            scorable = min(map(len, found.images.values())) >= 4 and bool((val != val[:1]).any())
            assert ended.code == 0 if scorable else "split holds" in ended.err or "all alike" in ended.err
    return ended.code


@cases(30)
@given(damaged(npz()))
def test_a_damaged_data_file_is_read_or_refused(yard: Yard, data: bytes) -> None:
    read(yard, data)


@cases(30)
@given(st.dictionaries(st.sampled_from(("train_images", "val_images", "train_labels", "x")), member, min_size=1))
def test_any_arrays_are_read_or_refused_and_none_is_unpickled(yard: Yard, changes: dict[str, Any]) -> None:
    read(yard, npz(**changes))


def test_a_data_file_that_would_run_code_runs_none(yard: Yard) -> None:
    target = yard.root / "made"
    assert read(yard, npz(train_images=np.array([Evil(target)], object))) == 2
    assert not target.exists()


@pytest.mark.parametrize("shape", ["(1000000000000, 28, 28)", "(2, 99999999999, 99999999999)", "(-1, 28, 28)"])
def test_an_array_that_claims_to_be_vast_is_refused(yard: Yard, shape: str) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    head = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header.encode() + b"\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for split in ("train", "val", "test"):
            archive.writestr(f"{split}_images.npy", head + bytes(64))
    assert read(yard, file.getvalue()) == 2


def test_an_archive_larger_than_the_memory_is_refused_unread(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    room = type("Room", (), {"available": 5000})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: room)
    with pytest.raises(SpecError, match="this machine has"):
        (yard.work / "images.npz").write_bytes(npz())
        arrays.read_npz(yard.work / "images.npz")


# The local cluster's record


@cases(20)
@given(st.one_of(st.binary(max_size=60), junk.map(lambda data: json.dumps(data).encode())))
@example(b'{"mark": "m", "pid": 1e30, "dashboard": "x", "temp": "t"}')
@example(b'{"mark": "m", "pid": 99999999999999999999, "dashboard": "x", "temp": "t"}')
def test_any_record_of_a_cluster_is_read_or_taken_for_none(yard: Yard, data: bytes) -> None:
    yard.clear()
    (yard.work / "cluster.json").write_bytes(data)
    (yard.work / "auth_token").write_bytes(data)
    with yard.watched():
        assert local.known_cluster(yard.work) is None
        local.token(yard.work)
