"""Images drawn from a model folder: the file's ending says the format, and a folder takes them one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gansvc.errors import SpecError
from gansvc.gan.artifact import drawing
from gansvc.gan.sampling import generate
from gansvc.spec.job import JobSpec

from ...builders.models import write_model

Make = Callable[..., JobSpec]
Model = tuple[Path, torch.nn.Module]


@pytest.fixture
def model(tiny: Make, tmp_path: Path) -> Model:
    return write_model(tiny, tmp_path)


@pytest.mark.parametrize(
    ("name", "form"), [("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("new/a.webp", "WEBP")]
)
def test_the_ending_says_the_format(model: Model, tmp_path: Path, name: str, form: str) -> None:
    drawn = drawing.sample(model[0], 4, tmp_path / name, 0)
    with Image.open(drawn) as picture:
        assert drawn == tmp_path / name and picture.format == form and picture.size == (118, 118)


@pytest.mark.parametrize("name", ["a.gif", "a.npz", "a", "a.png.exe"])
def test_an_ending_that_is_not_known_is_refused(model: Model, tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError, match=r"-o: .* has no ending of \.png, \.jpg, \.jpeg, \.webp; give one, or a folder"):
        drawing.sample(model[0], 4, tmp_path / name, 0)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_takes_single_images_of_the_models_own_size(
    model: Model,
    tmp_path: Path,
    is_there: bool,
) -> None:
    folder = tmp_path / "drawn"
    if is_there:
        folder.mkdir()
    assert drawing.sample(model[0], 3, str(folder) if is_there else f"{folder}/", 7) == folder
    assert sorted(path.name for path in folder.iterdir()) == [f"img-0000{number}.png" for number in range(3)]
    expected = torch.cat(list(generate(model[1], 8, 7, 3)))
    for path, image in zip(sorted(folder.iterdir()), expected, strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), image.permute(1, 2, 0).numpy())
    with pytest.raises(SpecError, match="holds images that were drawn before; give another folder, or delete them"):
        drawing.sample(model[0], 2, folder, 8)


def test_a_place_that_cannot_be_written_is_the_users_error(model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match=r"-o: .* can't be written \(.*\); give another path"):
        drawing.sample(model[0], 2, tmp_path / "file" / "a.png", 8)
