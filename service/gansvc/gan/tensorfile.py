"""Named tensors as one safetensors file whose header says of what they are, with a digest that finds any damage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import safetensors.torch
import torch
from safetensors import SafetensorError

DIGEST = "digest"
UNREADABLE = (SafetensorError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)
"""What is raised by a file that is none, or whose tensors aren't those that were written."""


def pack(tensors: Mapping[str, torch.Tensor], **header: str) -> bytes:
    """Return tensors as a safetensors file; the header holds what is given and the tensors' digest."""
    content = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    return bytes(safetensors.torch.save(content, {**header, DIGEST: digest(content)}))


def unpack(data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors and the header of a safetensors file; one without a digest is taken as it is.

    Raises:
        UNREADABLE: it isn't one, or its tensors are not those that were written.
    """
    tensors: dict[str, torch.Tensor] = safetensors.torch.load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
    if header.get(DIGEST, found := digest(tensors)) != found:
        raise ValueError("its tensors are not those that were written")
    return tensors, header


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of named tensors: names, types, shapes and bytes, as 64 hex digits."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
