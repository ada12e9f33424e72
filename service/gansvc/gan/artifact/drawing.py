"""Draw images from a model folder alone: a grid in one file, or a folder of single images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image

from gansvc.errors import SpecError
from gansvc.files.plainfiles import write_file
from gansvc.gan.images import FORMATS, encode, grid
from gansvc.gan.modelfolder import load_model
from gansvc.gan.sampling import class_number, generate, generate_of


def sample(model: Path, count: int, out: Path | str, seed: int, of: str | None = None) -> Path:
    """Draw images from a model folder and return the path of the grid, or of the folder that holds them.

    Args:
        model: the model folder.
        count: number of images.
        out: the grid's file, whose ending says its format; or a folder, one that is there or a name that ends in a
            slash, for single images of the model's own size.
        seed: seed of the latents and, where no class is asked for, of a conditional model's classes.
        of: name or number of the one class to draw.

    Raises:
        SpecError: the folder holds no such model, count is out of range, there is no such class, or ``out`` can't be
            written or has an ending that isn't known.
    """
    if not 1 <= count <= 10_000:
        raise SpecError(f"-n: {count} images don't fit a grid; give 1 to 10000")
    path, is_folder = Path(out), str(out).endswith("/") or Path(out).is_dir()
    if not is_folder and path.suffix.lower() not in FORMATS:
        raise SpecError(f"-o: {path} has no ending of {', '.join(FORMATS)}; give one, or a folder for single images")
    if is_folder and any(path.glob("img-*.png")):
        raise SpecError(f"-o: {path} holds images that were drawn before; give another folder, or delete them")
    images = _draw_images(model, count, seed, of)
    try:
        for file, picture in _single_pictures(path, images) if is_folder else [(path, grid(images))]:
            write_file(file.absolute(), encode(picture, file.suffix.lower()))
    except OSError as error:
        raise SpecError(f"-o: {path} can't be written ({error.strerror}); give another path") from None
    return path


def _draw_images(model: Path, count: int, seed: int, of: str | None) -> torch.Tensor:
    card, network = load_model(model)
    if of is None:
        return torch.cat(list(generate(network, card.network.latent_dim, seed, count)))
    if not card.classes:
        raise SpecError(f"--class: {model} draws no classes; leave it out, or train with network.conditional: true")
    labels = torch.full((count,), class_number(of, card.classes))
    return generate_of(network, card.network.latent_dim, seed, labels)


def _single_pictures(folder: Path, images: torch.Tensor) -> Iterator[tuple[Path, Image.Image]]:
    for number, image in enumerate(images):
        pixels = image.permute(1, 2, 0).numpy()
        yield folder / f"img-{number:05d}.png", Image.fromarray(pixels[..., 0] if len(image) == 1 else pixels)
