"""Cache of tensors on this machine, by all that decides them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from threading import Event

import torch

from gansvc.escapes import printable
from gansvc.files import cachefolder
from gansvc.gan import tensorfile

Tensors = Mapping[str, torch.Tensor]
_warned = Event()


def get_or_make(
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
    name = f"{kind}/{hashlib.sha256(' '.join(key).encode()).hexdigest()[:32]}.safetensors"
    found = _read(name, key)
    if found is not None and fits(found):
        return found
    made = make()
    try:
        cachefolder.write(name, tensorfile.pack(made, key=json.dumps(list(key))))
    except OSError as error:
        _warn(error, name)
    return made


def _read(name: str, key: Sequence[str]) -> Tensors | None:
    data = cachefolder.read(name)
    if data is None:
        return None
    try:
        tensors, header = tensorfile.unpack(data)
        return tensors if tensorfile.DIGEST in header and json.loads(header.get("key", "")) == list(key) else None
    except tensorfile.UNREADABLE:
        return None


def _warn(error: OSError, name: str) -> None:
    """Say once a process that the cache, or else one file of it, can't be written."""
    if not _warned.is_set():
        _warned.set()
        why = cachefolder.problem() or cachefolder.explain_write_error(error, name)
        print(printable(f"the cache isn't used: {why}"), file=sys.stderr, flush=True)  # noqa: T201
