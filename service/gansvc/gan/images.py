"""A generator's output as pixels, and grids of images as picture files."""

from __future__ import annotations

import io
import math
from typing import Any

import torch
from PIL import Image

from gansvc.errors import RunError
from gansvc.gan.data import to_uint8, with_channels

_SCALE = 2
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True}),
}
"""Endings of picture files, with Pillow's name of the format and how it is written."""


class NotFiniteError(RunError):
    """A generator's images hold values that aren't finite."""


def to_pictures(made: torch.Tensor) -> torch.Tensor:
    """Return a generator's output as uint8 images on the CPU.

    Raises:
        NotFiniteError: it isn't finite; as uint8 it would look like images.
    """
    if not torch.isfinite(made).all():
        raise NotFiniteError("the generator makes images that aren't numbers (NaN or infinite); train it anew")
    return to_uint8(made).cpu()


def png(images: torch.Tensor, scale: int = _SCALE, columns: int | None = None) -> bytes:
    """Return a grid of images as PNG bytes; see ``grid``."""
    return encode(grid(images, scale, columns), ".png")


def encode(picture: Image.Image, suffix: str) -> bytes:
    """Return a picture as the bytes of a file whose name has that ending, one of FORMATS."""
    buffer = io.BytesIO()
    form, options = FORMATS[suffix]
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def grid(images: torch.Tensor, scale: int = _SCALE, columns: int | None = None) -> Image.Image:
    """Return a grid of uint8 images (N, C, H, W), near-square if no number of columns is given.

    Each pixel is drawn scale x scale.
    """
    # Late, because torchvision takes longer to import than all else here, and a trial draws no pictures.
    from torchvision.utils import make_grid

    across = columns or math.ceil(math.sqrt(len(images)))
    made = make_grid(with_channels(images, 3), nrow=across, padding=1, pad_value=255)
    picture = Image.fromarray(made.permute(1, 2, 0).numpy())
    size = (picture.width * scale, picture.height * scale)
    return picture.resize(size, Image.Resampling.NEAREST)
