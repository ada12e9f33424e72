"""The data sets: the table against medmnist's own, official files, and every way in which a file can be wrong."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import medmnist
import numpy as np
import pytest
import torch
from PIL import Image

from gansvc.catalog import arrays
from gansvc.catalog.datasets import DATASETS, SPLITS, Dataset
from gansvc.errors import ClusterError, SpecError
from gansvc.gan import data

Array = np.ndarray[Any, Any]

OFFICIAL = Path(__file__).parents[3] / "shared" / "data" / "medmnist"
OURS = [name for name, entry in DATASETS.items() if entry.md5]
THEIRS = [name for name in medmnist.INFO if not name.endswith("3d")]
LUMA = (0.299, 0.587, 0.114)


@pytest.fixture
def no_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send every request to a closed port of this machine, which refuses at once."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")


def official(name: str) -> Path:
    path = OFFICIAL / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"the official {name}.npz is not at {path}")
    return path


def pixels(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def grey(**changes: Any) -> dict[str, Any]:
    """Return the arrays of a small file in MedMNIST's form, one of them changed or, if None, left out."""
    good = {f"{split}_images": pixels(size, 28, 28, seed=size) for split, size in zip(SPLITS, (5, 3, 2), strict=True)}
    return {key: array for key, array in (good | changes).items() if array is not None}


def npz(folder: Path, contents: dict[str, Any]) -> Path:
    path = folder / "mine.npz"
    np.savez(path, **contents)
    return path


def own(path: Path, channels: Any = None, size: Any = 28) -> Dataset:
    return Dataset(name="npz", path=str(path), channels=channels, size=size)


# --- MedMNIST: the table --------------------------------------------------------------------------------------------


def test_every_2d_set_of_medmnist_is_here() -> None:
    assert sorted(OURS) == sorted(THEIRS)
    assert len(OURS) == 12


@pytest.mark.parametrize("name", THEIRS)
def test_table_says_what_medmnist_says(name: str) -> None:
    info, entry = medmnist.INFO[name], DATASETS[name]
    assert entry.channels == info["n_channels"]
    assert entry.images == info["n_samples"]
    assert entry.md5 == info["MD5"]
    assert entry.licence == info["license"]
    assert entry.classes == ("multi-label" not in info["task"])
    for variant in ("", "_64"):
        assert info[f"url{variant}"].startswith(f"{entry.source.split(', ')[1]}/files/{name}{variant}.npz")


# --- MedMNIST: official files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["retinamnist", "breastmnist"])
def test_official_file_is_loaded_as_it_is(name: str) -> None:
    path = official(name)
    dataset = Dataset(name=name, root=str(OFFICIAL))
    loaded = data.load(dataset)
    assert dataset.missing() is None
    with np.load(path) as archive:
        for split in SPLITS:
            stored, images = archive[f"{split}_images"], loaded.split(split)
            assert images.dtype == torch.uint8
            assert tuple(images.shape) == (dataset.entry.images[split], dataset.out_channels(), 28, 28)
            assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), stored.reshape(*stored.shape[:3], -1))
    assert loaded.channels == DATASETS[name].channels


def test_official_colour_turns_grey() -> None:
    path = official("retinamnist")
    loaded = data.load(Dataset(name="retinamnist", root=str(OFFICIAL), channels=1))
    with np.load(path) as archive:
        expected = (archive["val_images"].astype(np.float64) @ np.array(LUMA)).round()
    assert loaded.val.shape == (120, 1, 28, 28)
    # Where float32 and float64 round a half differently they differ by one.
    difference = np.abs(loaded.val[:, 0].numpy() - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


def test_official_grey_turns_to_three_equal_channels() -> None:
    path = official("breastmnist")
    loaded = data.load(Dataset(name="breastmnist", root=str(OFFICIAL), channels=3))
    with np.load(path) as archive:
        stored = archive["test_images"]
    assert loaded.test.shape == (156, 3, 28, 28)
    assert all(np.array_equal(loaded.test[:, channel].numpy(), stored) for channel in range(3))


def test_changed_file_is_refused_with_both_digests(tmp_path: Path) -> None:
    path = tmp_path / "breastmnist.npz"
    shutil.copyfile(official("breastmnist"), path)
    raw = bytearray(path.read_bytes())
    raw[-1000] ^= 1
    path.write_bytes(raw)
    digest = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    with pytest.raises(SpecError) as caught:
        data.load(Dataset(name="breastmnist", root=str(tmp_path)))
    expected = ["dataset.root", str(path), digest, DATASETS["breastmnist"].md5, "fetch it again"]
    assert [part for part in expected if part not in str(caught.value)] == []


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the test's folder on this machine and return its address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_64_pixels_are_fetched_as_medmnists_64_pixel_file(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {f"{split}_images": pixels(2, 64, 64, seed=seed) for seed, split in enumerate(SPLITS)}
    served = npz(tmp_path, images).rename(tmp_path / "breastmnist_64.npz")
    digest = hashlib.md5(served.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setenv("GANSVC_MIRROR", url)
    monkeypatch.setitem(medmnist.INFO["breastmnist"], "MD5_64", digest)
    dataset = Dataset(name="breastmnist", root=str(tmp_path / "root"), size=64)
    loaded = data.load(dataset)
    assert dataset.missing() is None and (tmp_path / "root" / "breastmnist_64.npz").is_file()
    assert all(np.array_equal(loaded.split(split)[:, 0].numpy(), images[f"{split}_images"]) for split in SPLITS)
    np.savez(tmp_path / "root" / "breastmnist_64.npz", **grey())
    with pytest.raises(SpecError, match=f"breastmnist_64.npz has MD5 .*, MedMNIST's has {digest}"):
        data.load(dataset)


def test_32_pixels_come_from_the_official_28_pixel_file() -> None:
    official("breastmnist")
    small, large = (data.load(Dataset(name="breastmnist", root=str(OFFICIAL), size=size)) for size in (28, 32))
    assert torch.equal(large.val, data.resize(small.val, 32)) and large.val.shape == (78, 1, 32, 32)


# --- sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [28, 32, 64])
@pytest.mark.parametrize("stored", [28, 40, 64, 100])
def test_resized_images_are_pils_antialiased_bicubic(stored: int, size: int) -> None:
    # Half of the pixels are black or white, where the cubic overshoots.
    drawn = pixels(3, stored, stored).astype(np.int16) * 2 - 128
    image = torch.from_numpy(drawn.clip(0, 255).astype(np.uint8)).unsqueeze(1)
    turned = data.resize(image, size)
    assert turned.dtype == torch.uint8 and turned.shape == (3, 1, size, size)
    for ours, array in zip(turned[:, 0].numpy(), image[:, 0].numpy(), strict=True):
        # As floats: with bytes PIL also rounds and clamps between its two passes.
        whole = Image.fromarray(array.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
        difference = np.abs(np.asarray(whole).clip(0, 255) - ours)
        assert difference.max() < 0.501


def test_image_is_resized_alike_in_any_company() -> None:
    images = torch.from_numpy(pixels(600, 28, 28, 3)).permute(0, 3, 1, 2)
    turned = data.resize(images, 32)
    assert all(torch.equal(turned[i : i + 1], data.resize(images[i : i + 1], 32)) for i in (0, 255, 256, 599))


@pytest.mark.parametrize(("stored", "size"), [(28, 28), (64, 64), (64, 28), (28, 64), (5, 32), (224, 64)])
def test_own_file_of_any_side_gets_the_size_asked_for(tmp_path: Path, stored: int, size: int) -> None:
    contents = {f"{split}_images": pixels(2, stored, stored, 3) for split in SPLITS}
    loaded = data.load(own(npz(tmp_path, contents), size=size))
    assert loaded.test.shape == (2, 3, size, size)
    same = torch.from_numpy(contents["test_images"]).permute(0, 3, 1, 2)
    assert torch.equal(loaded.test, same) == (stored == size)


# --- conversion of channels -----------------------------------------------------------------------------------------


def test_luma_by_hand() -> None:
    image = torch.zeros(1, 3, 28, 28, dtype=torch.uint8)
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (10, 20, 30), (200, 100, 50), (1, 2, 3)]
    for column, colour in enumerate(colours):
        image[0, :, 0, column] = torch.tensor(colour, dtype=torch.uint8)
    # 76.245, 149.685, 29.07, 255, 2.99 + 11.74 + 3.42 = 18.15, 59.8 + 58.7 + 5.7 = 124.2, 1.815
    expected = [76, 150, 29, 255, 18, 124, 2]
    turned = data.with_channels(image, 1)
    assert turned.dtype == torch.uint8
    assert turned.shape == (1, 1, 28, 28)
    assert turned[0, 0, 0, : len(colours)].tolist() == expected


def test_grey_is_repeated() -> None:
    image = torch.from_numpy(pixels(2, 1, 28, 28))
    turned = data.with_channels(image, 3)
    assert turned.shape == (2, 3, 28, 28)
    assert all(torch.equal(turned[:, channel], image[:, 0]) for channel in range(3))
    assert torch.equal(data.with_channels(turned, 1), image)


@pytest.mark.parametrize(("stored", "channels"), [(1, None), (3, None), (1, 1), (3, 3)])
def test_channels_that_fit_are_left_alone(stored: int, channels: int | None) -> None:
    image = torch.from_numpy(pixels(2, stored, 28, 28))
    assert torch.equal(data.with_channels(image, channels), image)


def test_bytes_and_floats_go_both_ways() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    floats = data.to_float(every)
    assert (floats[0].item(), floats[255].item(), floats[51].item()) == pytest.approx((-1.0, 1.0, -0.6))
    assert torch.equal(data.to_uint8(floats), every)
    assert data.to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_content_hash_sees_pixels_and_shape() -> None:
    image = torch.from_numpy(pixels(4, 1, 28, 28))
    other = image.clone()
    other[3, 0, 27, 27] ^= 1
    same = image.to(memory_format=torch.channels_last).clone()
    hashes = [data.content_hash(x) for x in (image, same, other, image.reshape(2, 2, 28, 28), image.flip(0))]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


# --- missing files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "variant"), [(28, ""), (32, ""), (64, "_64")])
@pytest.mark.parametrize("name", OURS)
def test_missing_medmnist_file_says_where_from_and_where_to(name: str, size: Any, variant: str, tmp_path: Path) -> None:
    dataset = Dataset(name=name, root=str(tmp_path), size=size)
    path = tmp_path / f"{name}{variant}.npz"
    message = dataset.missing()
    assert message is not None
    url = medmnist.INFO[name][f"url{variant}"].removesuffix("?download=1")
    expected = [name, str(path), url, "put the file there", "dataset.root"]
    assert [part for part in expected if part not in message] == []
    path.write_bytes(b"")
    assert dataset.missing() is None


def test_missing_mnist_says_where_from_and_where_to(tmp_path: Path) -> None:
    dataset = Dataset(name="mnist", root=str(tmp_path))
    message = dataset.missing() or ""
    expected = [str(tmp_path / "MNIST" / "raw"), "https://", "put the four files there", "dataset.root"]
    assert [part for part in expected if part not in message] == []


def test_missing_own_file_is_named(tmp_path: Path) -> None:
    message = own(tmp_path / "none.npz").missing() or ""
    assert "dataset.path" in message
    assert str(tmp_path / "none.npz") in message
    with pytest.raises(SpecError, match=r"none\.npz"):
        data.load(own(tmp_path / "none.npz"))


def test_default_folders_are_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Dataset(name="breastmnist").folder() == tmp_path / ".medmnist"
    assert Dataset(name="mnist").folder() == tmp_path / ".cache" / "gansvc" / "mnist"
    assert Dataset(name="mnist", root="~/data").folder() == tmp_path / "data"


@pytest.mark.usefixtures("no_internet")
@pytest.mark.parametrize(
    ("name", "size", "file", "source"),
    [
        ("breastmnist", 28, "breastmnist.npz", "https://zenodo.org/records/10519652/files/breastmnist.npz"),
        ("breastmnist", 64, "breastmnist_64.npz", "https://zenodo.org/records/10519652/files/breastmnist_64.npz"),
        ("mnist", 28, "MNIST/raw", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
    ],
)
def test_missing_file_without_internet(name: str, size: Any, file: str, source: str, tmp_path: Path) -> None:
    with pytest.raises(ClusterError) as caught:
        data.load(Dataset(name=name, root=str(tmp_path / "new"), size=size))
    expected = [str(tmp_path / "new" / file), source, "dataset.root", "download failed"]
    assert [part for part in expected if part not in str(caught.value)] == []
    assert list((tmp_path / "new").glob("*.npz")) == []


@pytest.mark.parametrize("name", ["breastmnist", "mnist"])
def test_root_that_is_a_file_is_refused(name: str, tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("x")
    with pytest.raises(SpecError, match=r"dataset\.root: .*give a folder") as caught:
        data.load(Dataset(name=name, root=str(root)))
    assert str(root) in str(caught.value)


def test_mnist_validates_on_the_last_10000_training_images(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        with (raw / f"{part}-images-idx3-ubyte").open("wb") as file:
            file.write(b"".join(number.to_bytes(4, "big") for number in (0x803, count, 28, 28)))
            # Zeros but for the first pixel of four images, so that the file stays sparse.
            for index in (0, 49_999, 50_000, 59_999) if part == "train" else (0,):
                file.seek(16 + index * 784)
                file.write(bytes([1 + index % 7 if part == "train" else 99]))
            file.truncate(16 + count * 784)
        with (raw / f"{part}-labels-idx1-ubyte").open("wb") as file:
            file.write(b"".join(number.to_bytes(4, "big") for number in (0x801, count)))
            file.truncate(8 + count)
    dataset = Dataset(name="mnist", root=str(tmp_path))
    assert dataset.missing() is None
    loaded = data.load(dataset)
    assert {split: len(loaded.split(split)) for split in SPLITS} == dataset.entry.images
    corners = [loaded.train[0], loaded.train[-1], loaded.val[0], loaded.val[-1], loaded.test[0]]
    expected = [1 + index % 7 for index in (0, 49_999, 50_000, 59_999)] + [99]
    assert [int(image[0, 0, 0]) for image in corners] == expected


# --- the user's own file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "channels", "out"),
    [((28, 28), None, 1), ((28, 28, 1), None, 1), ((28, 28, 3), None, 3), ((28, 28), 3, 3), ((28, 28, 3), 1, 1)],
)
def test_own_file_is_read(tmp_path: Path, shape: tuple[int, ...], channels: int | None, out: int) -> None:
    contents = {f"{split}_images": pixels(n, *shape, seed=n) for split, n in zip(SPLITS, (6, 4, 2), strict=True)}
    dataset = own(npz(tmp_path, contents), channels)
    loaded = data.load(dataset)
    assert [tuple(loaded.split(split).shape) for split in SPLITS] == [(n, out, 28, 28) for n in (6, 4, 2)]
    if channels is None:
        stored = contents["val_images"].reshape(4, 28, 28, -1)
        assert np.array_equal(loaded.val.permute(0, 2, 3, 1).numpy(), stored)


@pytest.mark.parametrize("split", SPLITS)
def test_own_file_without_a_split(tmp_path: Path, split: str) -> None:
    path = npz(tmp_path, grey(**{f"{split}_images": None}))
    with pytest.raises(SpecError) as caught:
        data.load(own(path))
    assert str(path) in str(caught.value)
    assert f"it has no {split}_images" in str(caught.value)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 28, 28), np.float32), "train_images is float32 (4, 28, 28)"),
        (np.zeros((4, 28, 28), np.int8), "train_images is int8"),
        (np.zeros((4, 28, 28), ">u2"), "train_images is >u2"),
        (np.zeros((4, 28, 28), bool), "train_images is bool"),
        (np.zeros((4, 28, 32), np.uint8), "train_images is uint8 (4, 28, 32)"),
        (np.zeros((4, 0, 0), np.uint8), "train_images is uint8 (4, 0, 0)"),
        (np.zeros((4, 32, 32), np.uint8), "unlike: train 32x32x1, val 28x28x1, test 28x28x1"),
        (np.zeros((4, 28, 28, 4), np.uint8), "(4, 28, 28, 4)"),
        (np.zeros((4, 3, 28, 28), np.uint8), "(4, 3, 28, 28)"),
        (np.zeros((28, 28), np.uint8), "(28, 28)"),
        (np.uint8(3), "train_images is uint8 ()"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_own_file_of_another_form(tmp_path: Path, array: Array, reason: str) -> None:
    path = npz(tmp_path, grey(train_images=array))
    with pytest.raises(SpecError) as caught:
        data.load(own(path))
    message = str(caught.value)
    assert [
        part for part in (str(path), reason, "uint8 squares, (N, 28, 28) or (N, 28, 28, 3)") if part not in message
    ] == []


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (Path(self.target),))


def trap(target: Path) -> Array:
    array: Array = np.empty(2, dtype=object)
    array[:] = [Trap(target), Trap(target)]
    return array


def test_the_trap_works(tmp_path: Path) -> None:
    np.load(npz(tmp_path, grey(train_images=trap(tmp_path / "made"))), allow_pickle=True)["train_images"]
    assert (tmp_path / "made").exists()


def test_pickled_images_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    path = npz(tmp_path, grey(train_images=trap(tmp_path / "made")))
    with pytest.raises(SpecError) as caught:
        data.load(own(path))
    assert str(path) in str(caught.value)
    assert not (tmp_path / "made").exists()


def test_pickled_labels_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    path = npz(tmp_path, grey(val_labels=trap(tmp_path / "made")))
    with pytest.raises(SpecError) as caught:
        data.load(own(path))
    assert str(path) in str(caught.value)
    assert not (tmp_path / "made").exists()


def test_bare_pickle_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(pickle.dumps(Trap(tmp_path / "made")))
    with pytest.raises(SpecError) as caught:
        data.load(own(path))
    assert str(path) in str(caught.value)
    assert not (tmp_path / "made").exists()


def _text(path: Path) -> None:
    path.write_text("these are no images")


def _nothing(path: Path) -> None:
    path.write_bytes(b"")


def _cut_short(path: Path) -> None:
    np.savez(path, **grey())
    path.write_bytes(path.read_bytes()[:-200])


def _bare_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, pixels(4, 28, 28))


def _other_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for split in SPLITS:
            archive.writestr(f"{split}_images", b"no array")


def _wrong_checksum(path: Path) -> None:
    np.savez(path, **grey())
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 255
    path.write_bytes(raw)


def _broken_compression(path: Path) -> None:
    np.savez_compressed(path, **grey())
    raw = bytearray(path.read_bytes())
    raw[100:140] = bytes(40)
    path.write_bytes(raw)


def _false_header(path: Path) -> None:
    contents = grey()
    with zipfile.ZipFile(path, "w") as archive, archive.open("train_images.npy", "w") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(contents["train_images"].tobytes())


def _no_literal(path: Path) -> None:
    header = b"(" * 5000 + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_images.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


DAMAGES = (
    _text,
    _nothing,
    _cut_short,
    _bare_array,
    _other_members,
    _wrong_checksum,
    _broken_compression,
    _false_header,
    _no_literal,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_file_that_is_no_archive_of_arrays_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "mine.npz"
    damage(path)
    with pytest.raises(SpecError) as caught:
        data.load(own(path))
    assert str(path) in str(caught.value)
    assert "not in MedMNIST's form" in str(caught.value)


def test_splits_of_unlike_channels_are_refused(tmp_path: Path) -> None:
    path = npz(tmp_path, grey(train_images=pixels(4, 28, 28, 3)))
    with pytest.raises(SpecError, match=r"mine\.npz.*unlike: train 28x28x3, val 28x28x1, test 28x28x1"):
        data.load(own(path))


def test_two_ways_to_store_grey_are_alike(tmp_path: Path) -> None:
    loaded = data.load(own(npz(tmp_path, grey(train_images=pixels(4, 28, 28, 1)))))
    assert [loaded.split(split).shape[1] for split in SPLITS] == [1, 1, 1]


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"dataset\.path"):
        data.load(own(tmp_path))


# --- classes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count", "train"), [("retinamnist", 5, 486), ("breastmnist", 2, 147)])
def test_official_labels_are_classes(name: str, count: int, train: int) -> None:
    path = official(name)
    loaded = data.load(Dataset(name=name, root=str(OFFICIAL)))
    assert loaded.classes == count == len(medmnist.INFO[name]["label"])
    names = {"retinamnist": ("0", "1", "2", "3", "4"), "breastmnist": ("malignant", "normal, benign")}
    assert loaded.titles == names[name]
    with np.load(path) as archive:
        assert all(loaded.labels[split].tolist() == archive[f"{split}_labels"][:, 0].tolist() for split in SPLITS)
    assert (loaded.labels["train"] == 0).sum() == train


@pytest.mark.parametrize(("size", "stored"), [(8, 28), (28, 28), (32, 28), (63, 28), (64, 64), (512, 64)])
def test_the_largest_images_up_to_the_size_are_read_or_else_the_smallest(size: int, stored: int) -> None:
    assert DATASETS["breastmnist"].stored_size(size) == stored


def test_a_source_names_the_classes_and_the_files_marks_identify_them(tmp_path: Path) -> None:
    labels = {f"{split}_labels": np.arange(count) % 2 for split, count in zip(SPLITS, (5, 3, 2), strict=True)}
    path = npz(tmp_path, grey(**labels))
    named = arrays.read_npz(path, {"0": "benign", "1": "malignant", "2": "of no image"}).labels
    plain = arrays.read_npz(path).labels
    assert (named.names, named.titles) == (("0", "1"), ("benign", "malignant"))
    assert plain.names == plain.titles == ("0", "1"), "a file alone has no other names"


def test_histology_has_no_classes() -> None:
    assert data.load(Dataset(name="histology")).classes == 0
    assert DATASETS["histology"].classes is False
    assert (DATASETS["npz"].classes, DATASETS["mnist"].classes) == (None, True), "only the user's own file knows"


def test_shares_are_how_often_each_class_occurs() -> None:
    assert data.class_shares(torch.tensor([2, 0, 2, 1, 2, 2, 0, 2])).tolist() == [0.25, 0.125, 0.625]


# --- histology ------------------------------------------------------------------------------------------------------


def picture() -> Array:
    from skimage.data import immunohistochemistry

    loaded: Array = immunohistochemistry()
    return loaded


def test_histology_has_the_sizes_of_the_table() -> None:
    dataset = Dataset(name="histology")
    assert dataset.missing() is None
    loaded = data.load(dataset)
    assert {split: len(loaded.split(split)) for split in SPLITS} == dataset.entry.images
    assert loaded.channels == dataset.out_channels() == 3
    assert min(dataset.entry.images.values()) >= 100


def test_histology_has_the_size_asked_for() -> None:
    small, large = data.load(Dataset(name="histology")), data.load(Dataset(name="histology", size=64))
    assert torch.equal(large.val, data.resize(small.val, 64)) and large.val.shape[2:] == (64, 64)


def test_histology_counts_are_known_without_scikit_image() -> None:
    code = (
        "import sys; sys.modules['skimage'] = None; sys.modules['numpy'] = None\n"
        "from gansvc.catalog.datasets import Dataset; print(Dataset(name='histology').entry.images)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert out.stdout.strip() == str(DATASETS["histology"].images)


def test_histology_tiles_are_crops_of_the_picture() -> None:
    whole, loaded = picture(), data.load(Dataset(name="histology"))
    for split in SPLITS:
        images = loaded.split(split).permute(0, 2, 3, 1).numpy()
        for tile, (y, x) in zip(images, arrays._corners(split), strict=True):
            assert np.array_equal(tile, whole[y : y + 28, x : x + 28])


def test_histology_splits_share_no_pixel() -> None:
    height, width = picture().shape[:2]
    covered = {}
    for split in SPLITS:
        mask = np.zeros((height, width), bool)
        for y, x in arrays._corners(split):
            assert 0 <= y <= height - 28
            assert 0 <= x <= width - 28
            mask[y : y + 28, x : x + 28] = True
        covered[split] = mask
    assert not (covered["train"] & covered["val"]).any()
    assert not (covered["train"] & covered["test"]).any()
    assert not (covered["val"] & covered["test"]).any()


@pytest.mark.parametrize("split", SPLITS)
def test_histology_split_sees_every_part_of_the_picture(split: str) -> None:
    corners = arrays._corners(split)
    assert len(set(corners)) == len(corners)
    quarters = {(y // 256, x // 256) for y, x in corners}
    assert quarters == {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize(
    ("dataset", "title"),
    [
        (Dataset(name="npz", path="/data/ward 7/moles 2024.npz"), "moles 2024"),
        (Dataset(name="npz", path="moles"), "moles"),
        (Dataset(name="retinamnist", root="/data/ward 7"), "retinamnist"),
    ],
    ids=str,
)
def test_a_set_is_called_by_its_file_or_its_name_and_never_by_its_folder(dataset: Dataset, title: str) -> None:
    assert dataset.title == title
