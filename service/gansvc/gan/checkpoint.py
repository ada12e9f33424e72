"""Checkpoints: one file each, named by step and content, refused unless whole and of the same run."""

from __future__ import annotations

import hashlib
import io
import json
import re
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from gansvc.errors import ClusterError, RunError
from gansvc.store import Folder

KEEP = 2
"""Checkpoints kept beside the best generator: the newest, and the one before in case the newest is damaged."""
BEST = "best.safetensors"
_AGAIN = "resume the job to train that run again"
_NAME = re.compile(r"^step-(\d{8})\.([0-9a-f]{16})\.pt$")


def save(folder: Folder, step: int, state: dict[str, Any], identity: dict[str, object]) -> None:
    """Write a checkpoint whole and drop the older ones.

    Args:
        folder: the run's checkpoints folder.
        step: generator steps done.
        state: tensors and plain values only.
        identity: what a run must agree with to resume from it.
    """
    buffer = io.BytesIO()
    content = {"format": 1, "step": step, "identity": json.dumps(identity, sort_keys=True), "state": state}
    torch.save(content | {"rng": torch.get_rng_state()}, buffer)
    data = buffer.getvalue()
    written = f"step-{step:08d}.{_digest(data)}.pt"
    folder.write(written, data)
    # Those of this step and later ones are what an earlier start left and this one passed over.
    before = [name for name in _names(folder) if name[:13] < written[:13]]
    for old in set(_names(folder)) - {written, *before[-(KEEP - 1) :]}:
        folder.delete(old)


def newest(folder: Folder, identity: dict[str, object]) -> tuple[int, dict[str, Any], list[str]] | None:
    """Return (step, state, warnings) of the newest whole checkpoint, or None if there is none.

    A damaged checkpoint is passed over for the one before it, with a warning; where all are damaged, step 0 without a
    state.

    Raises:
        RunError: the checkpoint is of another run; the message lists the differences.
    """
    names = _names(folder)
    damaged: list[str] = []
    for name in reversed(names):
        content = _load(folder.read(name) or b"", name)
        if content is None:
            damaged.append(folder.path(name))
            continue
        _refuse_another_run(folder.path(name), json.loads(content["identity"]), identity)
        torch.set_rng_state(content["rng"])
        warnings = [f"{path} is damaged; went on from the checkpoint before it" for path in damaged]
        return content["step"], content["state"], warnings
    if not names:
        return None
    return 0, {}, [f"{path} is damaged, and none before it is whole; began anew" for path in damaged]


def save_best(folder: Folder, generator: dict[str, torch.Tensor], step: int, objective: float) -> None:
    """Write the averaged generator's weights that scored best so far, with their step and score in the header."""
    weights = {name: tensor.contiguous().cpu() for name, tensor in generator.items()}
    header = {"step": str(step), "objective": repr(objective), "digest": _weights_digest(weights)}
    folder.write(BEST, safetensors.torch.save(weights, header))


def load_best(folder: Folder) -> dict[str, torch.Tensor]:
    """Return the best generator's weights.

    Raises:
        ClusterError: there are none, or the file is damaged.
    """
    data = folder.read(BEST)
    if data is None:
        raise ClusterError(f"{folder.path(BEST)} is missing; {_AGAIN}")
    try:
        return _weights(data)
    except (SafetensorError, ValueError) as error:
        raise ClusterError(f"{folder.path(BEST)} is damaged ({error}); {_AGAIN}") from None


def has_best(folder: Folder) -> bool:
    """Return whether the best generator's weights are there and whole."""
    data = folder.read(BEST)
    try:
        return data is not None and bool(_weights(data))
    except (SafetensorError, ValueError):
        return False


def _weights(data: bytes) -> dict[str, torch.Tensor]:
    """Return the weights of a safetensors file; one of an earlier version carries no digest of them.

    Raises:
        SafetensorError: it isn't one.
        ValueError: its weights are not those that were written.
    """
    weights: dict[str, torch.Tensor] = safetensors.torch.load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    if header.get("__metadata__", {}).get("digest", digest := _weights_digest(weights)) != digest:
        raise ValueError("its weights are not those that were written")
    return weights


def _names(folder: Folder) -> list[str]:
    return [name for name in folder.names() if _NAME.match(name)]


def _load(data: bytes, name: str) -> dict[str, Any] | None:
    match = _NAME.match(name)
    if match is None or _digest(data) != match.group(2):
        return None
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:
        # A foreign file under a right name can make torch raise whatever it likes, but run nothing.
        return None
    whole = (
        isinstance(content, dict)
        and content.get("format") == 1
        and content.get("step") == int(match.group(1))
        and isinstance(content.get("state"), dict)
        and isinstance(rng := content.get("rng"), torch.Tensor)
        and (rng.dtype, rng.shape) == (torch.uint8, torch.get_rng_state().shape)
        and _is_identity(content.get("identity"))
    )
    return content if whole else None


def _is_identity(text: object) -> bool:
    try:
        return isinstance(text, str) and isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _weights_digest(weights: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256 of named tensors: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _refuse_another_run(path: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    ours = json.loads(json.dumps(ours))
    differences = [
        f"{section}: {theirs.get(section)!r} there, {ours[section]!r} here"
        for section in ours
        if theirs.get(section) != ours[section]
    ]
    if differences:
        raise RunError(f"{path} is of another run ({'; '.join(differences)}); resume with the spec it was made with")
