"""The cache saves time and never changes a number, whatever lies in its files; none of its faults ends a job."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from gansvc.catalog.extractors import EXTRACTORS, Extractor
from gansvc.catalog.metrics import METRICS, Features
from gansvc.files import cachefolder
from gansvc.gan import tensorfile
from gansvc.gan.data import Images
from gansvc.gan.scoring import cache, classifier, usefulness
from gansvc.gan.scoring.features import reference_features

LITE = Extractor(name="efficientnet-lite0", size=32)
KEY = ["a", "b c"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "kind"


def made(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"x": torch.full((3,), value)}


def look(key: list[str] | None = None) -> float:
    """Return what the cache gives: 1 where it had something, 2 where that was made anew."""
    return float(cache.get_or_make("kind", key or KEY, lambda: made(2.0), lambda found: list(found) == ["x"])["x"][0])


def keep() -> Path:
    """Put ones into the cache and return their file."""
    cache.get_or_make("kind", KEY, made)
    (path,) = (cachefolder.root() / "kind").iterdir()
    return path


def test_what_was_kept_comes_back_for_its_own_key_alone(folder: Path) -> None:
    path = keep()
    assert path.parent == folder and look() == 1
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert look(["a", "b", "c"]) == 2 and look(["a", "b d"]) == 2


def test_a_file_with_foreign_content_is_made_anew(folder: Path) -> None:
    path = keep()
    foreign = {
        "another key": tensorfile.pack(made(5.0), key='["a"]'),
        "no key": tensorfile.pack(made(5.0)),
        "no digest": tensorfile.pack(made(5.0), key='["a", "b c"]').replace(b'"digest"', b'"dogest"'),
        "another digest": path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]),
        "other tensors": tensorfile.pack({"y": torch.ones(3)}, key='["a", "b c"]'),
        "cut": path.read_bytes()[:-5],
        "empty": b"",
        "rubbish": b"rubbish" * 50,
        "header alone": path.read_bytes()[:8],
    }
    for kind, content in foreign.items():
        path.write_bytes(content)
        assert look() == 2, kind
        assert look() == 2 and torch.equal(tensorfile.unpack(path.read_bytes())[0]["x"], made(2.0)["x"]), kind


@pytest.mark.parametrize("others_may", [0o020, 0o002])
def test_a_file_that_others_may_have_written_is_not_read(others_may: int, folder: Path) -> None:
    path = keep()
    path.chmod(0o600 | others_may)
    assert look() == 2
    assert cachefolder.read(f"kind/{path.name}") is not None, "it is written over, for this user alone"


def test_a_file_of_another_user_is_not_read(folder: Path) -> None:
    path = keep()
    mine = path.stat()
    assert cachefolder.is_ours(mine)
    fields = list(mine)
    fields[4] = mine.st_uid + 1
    assert not cachefolder.is_ours(os.stat_result(fields))
    if os.geteuid() == 0:
        os.chown(path, 1234, 1234)
        assert cachefolder.read(f"kind/{path.name}") is None and look() == 2


def test_a_link_or_a_pipe_in_a_files_place_is_not_read(folder: Path, tmp_path: Path) -> None:
    path = keep()
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert cachefolder.read(f"kind/{path.name}") is None and look() == 2
    path.unlink()
    os.mkfifo(path)
    assert cachefolder.read(f"kind/{path.name}") is None and look() == 2


@pytest.mark.parametrize("harm", ["a file in the folder's place", "a folder in the file's place"])
def test_a_cache_that_cannot_be_written_is_gone_without_and_said_once(
    harm: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache._warned.clear()
    if harm == "a file in the folder's place":
        folder.parent.write_text("")
        assert "can't be written" in cachefolder.problem() and "set GANSVC_CACHE" in cachefolder.problem()
    else:
        path = keep()
        path.unlink()
        (path / "inside").mkdir(parents=True)
        assert cachefolder.problem() == ""
    assert look() == look() == 2
    said = capsys.readouterr().err
    assert said.count("the cache isn't used") == 1 and "can't be written" in said


def test_an_empty_setting_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANSVC_CACHE", "")
    assert cachefolder.root() == tmp_path / "home" / ".cache" / "gansvc"
    assert keep().is_relative_to(tmp_path / "home") and [path.name for path in tmp_path.iterdir()] == ["home"]
    monkeypatch.setenv("GANSVC_CACHE", "mine")
    assert cachefolder.root() == tmp_path / "mine", "it stays where it is, whatever folder a process goes to"


@pytest.mark.parametrize("harm", ["no home", "a relative folder in one that is gone"])
def test_a_cache_that_has_no_place_is_gone_without(harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if harm == "no home":
        monkeypatch.delenv("GANSVC_CACHE")
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)  # no user's number
    else:
        monkeypatch.setenv("GANSVC_CACHE", "mine")
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
    assert look() == 2
    assert "can't be written" in cachefolder.problem() and "set GANSVC_CACHE" in cachefolder.problem()


@pytest.mark.parametrize("room", [0, 4096], ids=["none", "for the probe alone"])
def test_a_full_disk_is_said_once_for_all_files_with_its_reason(
    room: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache._warned.clear()
    # The kernel's own limit on a file's length stands for the disk's: both end a write with an OSError.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        kept = [cache.get_or_make("kind", [str(key)], lambda: {"x": torch.ones(3000)})["x"].sum() for key in range(3)]
        problem = cachefolder.problem()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert kept == [3000] * 3 and bool(problem) == (room == 0)
    said = capsys.readouterr().err
    assert said.count("the cache isn't used") == 1 and "(File too large)" in said and "delete" not in said
    assert not list((cachefolder.root() / "kind").iterdir()), "no part of a file is left"


# --- what uses it -----------------------------------------------------------------------------------------------------


def test_a_foreign_features_file_changes_no_score(histology: Images, tmp_path: Path) -> None:
    real, fake = (reference_features(x, LITE) for x in (histology.test, histology.train[:60]))
    kid = METRICS["kid"]
    expected = kid.compute(fake, real)["kid"]
    one, other = sorted((tmp_path / "cache" / "features").iterdir())
    shutil.copy(one, other)
    again: list[Features] = [reference_features(x, LITE) for x in (histology.test, histology.train[:60])]
    assert kid.compute(again[1], again[0])["kid"] == expected


@pytest.mark.parametrize("package", ["torch", "timm"])
def test_features_of_another_version_are_extracted_anew(
    package: str, histology: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference_features(histology.test[:10], LITE)
    monkeypatch.setattr("gansvc.catalog.extractors.version", lambda name: "0.0" if name == package else version(name))
    monkeypatch.setattr("gansvc.gan.scoring.features.extract", None)
    with pytest.raises(TypeError):
        reference_features(histology.test[:10], LITE)
    assert package in EXTRACTORS[LITE.name].packages and "timm" not in EXTRACTORS["inception-v3"].packages


def test_what_another_device_made_is_not_taken(histology: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {name: torch.arange(len(histology.split(name))) % 2 for name in ("train", "val", "test")}
    images = Images(histology.train, histology.val, histology.test, labels)
    keys: list[list[str]] = []

    def kept(kind: str, key: list[str], *_: object) -> dict[str, torch.Tensor]:
        keys.append([kind, *key])
        raise LookupError

    monkeypatch.setattr(cache, "get_or_make", kept)
    for device in ("cpu", "cuda:0", "cuda"):
        with pytest.raises(LookupError):
            reference_features(images.test, LITE, device)
        with pytest.raises(LookupError):
            classifier.train_or_load(images, device)
        with pytest.raises(LookupError):
            usefulness.real_only_baselines(usefulness.select_data(images), device)
    assert [key[0] for key in keys[:3]] == ["features", "classifiers", "usefulness"]
    assert all(one != other for one, other in zip(keys[:3], keys[3:6], strict=True)) and keys[3:6] == keys[6:]


def test_a_cache_that_cannot_be_written_ends_neither_features_classifier_nor_usefulness(
    histology: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "BUDGET", 64 * 10)
    monkeypatch.setattr(usefulness, "SEEDS", (0,))
    (tmp_path / "cache").write_text("no folder")
    labels = {name: torch.arange(len(histology.split(name))) % 2 for name in ("train", "val", "test")}
    images = Images(histology.train, histology.val, histology.test, labels)
    assert len(reference_features(histology.test[:10], LITE)) == 10
    assert classifier.outputs(classifier.train_or_load(images), images.test[:3]).logits.shape == (3, 2)
    assert [row.what for row in usefulness.real_only_baselines(usefulness.select_data(images))] == ["real", "real"]
