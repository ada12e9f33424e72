"""What a file is said to be where a data set's or an extractor's was expected."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image

from gansvc.catalog import arrays, extractors, filekinds
from gansvc.errors import SpecError


def picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, form)
    return file.getvalue()


def archived(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "x")
    return file.getvalue()


def taped() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    return file.getvalue()


def saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file) if isinstance(content, dict) else np.save(file, content)
    return file.getvalue()


KINDS = {
    "a PNG picture": picture("PNG"),
    "a JPEG picture": picture("JPEG"),
    "a GIF picture": picture("GIF"),
    "a BMP picture": picture("BMP"),
    "a TIFF picture": picture("TIFF"),
    "a WebP picture": picture("WEBP"),
    "a DICOM file": bytes(128) + b"DICM" + bytes(50),
    "a zip archive of 1 other files, as 'cats/1.png'": archived("cats/1.png"),
    "a tar archive": taped(),
    "a gzip file": gzip.compress(b"x"),
    "a Python pickle": pickle.dumps({"train_images": [1, 2]}),
    "a PyTorch file": saved({"a": torch.zeros(2)}),
    "a single array (.npy)": saved(np.zeros(3)),
    "a safetensors file": safetensors.numpy.save({"a": np.zeros(3)}),
    "a text": "label,größe\n0,1\n".encode() * 300,
    "an empty file": b"",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_named_for_what_it_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(KINDS[kind])
    with pytest.raises(SpecError) as caught:
        arrays.read_npz(path)
    said = f"{path} is not in MedMNIST's form (it is {kind}, not an .npz archive of arrays); it wants"
    assert said in str(caught.value)
    assert "allow_pickle" not in str(caught.value)


@pytest.mark.parametrize("kind", ["a PNG picture", "a safetensors file", "a text", "an empty file"])
def test_weights_of_another_kind_are_named_for_what_they_are(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(KINDS[kind])
    with pytest.raises(SpecError, match=rf"weights: {path} doesn't fit .* \(it is {kind}, not weights that PyTorch"):
        extractors.EXTRACTORS["efficientnet-lite0"].build(path, 32)


def test_what_nothing_is_known_of_is_no_archive_of_arrays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200, 256)) * 20)
    assert filekinds.kind(path) == ""
    with pytest.raises(SpecError, match=r"\(it is no \.npz archive of arrays\)"):
        arrays.read_npz(path)
    np.savez(path, a=np.zeros(3))
    assert filekinds.kind(path.with_name("file.npz")) == "an .npz archive"
