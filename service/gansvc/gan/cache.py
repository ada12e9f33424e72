"""Tensors that are kept on this machine, because making them takes long, under all that decides them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import torch

from gansvc import cachefolder
from gansvc.gan import tensorfile

Tensors = Mapping[str, torch.Tensor]


def kept(
    kind: str, key: Sequence[str], make: Callable[[], Tensors], fits: Callable[[Tensors], bool] = lambda found: True
) -> Tensors:
    """Return tensors from the cache, or make them and keep them where that can be done.

    Args:
        kind: what they are, as ``features``: a folder of the cache.
        key: all that decides them. The file holds it too: one with another key, or whose tensors aren't those that were
            written, counts as missing.
        make: makes them anew.
        fits: tells whether tensors of that key have the right names and shapes.
    """
    path = _path(kind, key)
    found = _read(path, key)
    if found is not None and fits(found):
        return found
    made = make()
    try:
        cachefolder.write(path, tensorfile.pack(made, key=json.dumps(list(key))))
    except OSError:
        _warn(cachefolder.problem() or f"{path} can't be written; delete what is in its place")
    return made


def _path(kind: str, key: Sequence[str]) -> Path:
    return cachefolder.root() / kind / f"{hashlib.sha256(' '.join(key).encode()).hexdigest()[:32]}.safetensors"


def _read(path: Path, key: Sequence[str]) -> Tensors | None:
    data = cachefolder.read(path)
    if data is None:
        return None
    try:
        tensors, header = tensorfile.unpack(data)
        return tensors if tensorfile.DIGEST in header and json.loads(header.get("key", "")) == list(key) else None
    except tensorfile.UNREADABLE:
        return None


@cache
def _warn(text: str) -> None:
    """Say a warning once a process."""
    print(f"the cache isn't used: {text}", file=sys.stderr, flush=True)  # noqa: T201
