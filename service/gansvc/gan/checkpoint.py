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
NO_WEIGHTS = (SafetensorError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)
"""What safetensors raises on a file that is none."""
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
    folder.write(f"step-{step:08d}.{_digest(data)}.pt", data)
    for old in _names(folder)[:-KEEP]:
        folder.delete(old)


def newest(folder: Folder, identity: dict[str, object]) -> tuple[int, dict[str, Any], list[str]] | None:
    """Return (step, state, warnings) of the newest whole checkpoint, or None if there is none.

    A damaged checkpoint is passed over for the one before it, with a warning.

    Raises:
        RunError: the checkpoint is of another run; the message lists the differences.
    """
    warnings: list[str] = []
    for name in reversed(_names(folder)):
        content = _load(folder.read(name) or b"", name)
        if content is None:
            warnings.append(f"{folder.path(name)} is damaged; went on from the checkpoint before it")
            continue
        _refuse_another_run(folder.path(name), content["identity"], identity)
        torch.set_rng_state(content["rng"])
        return content["step"], content["state"], warnings
    return None


def save_best(folder: Folder, generator: dict[str, torch.Tensor], step: int, objective: float) -> None:
    """Write the averaged generator's weights that scored best so far, with their step and score in the header."""
    weights = {name: tensor.contiguous().cpu() for name, tensor in generator.items()}
    folder.write(BEST, safetensors.torch.save(weights, {"step": str(step), "objective": repr(objective)}))


def load_best(folder: Folder) -> dict[str, torch.Tensor]:
    """Return the best generator's weights.

    Raises:
        ClusterError: there are none, or the file is damaged.
    """
    data = folder.read(BEST)
    if data is None:
        raise ClusterError(f"{folder.path(BEST)} is missing; resume the job to train that run again")
    try:
        weights: dict[str, torch.Tensor] = safetensors.torch.load(data)
    except NO_WEIGHTS as error:
        raise ClusterError(
            f"{folder.path(BEST)} is damaged ({error}); resume the job to train that run again"
        ) from None
    return weights


def _names(folder: Folder) -> list[str]:
    return [name for name in folder.names() if _NAME.match(name)]


def _load(data: bytes, name: str) -> dict[str, Any] | None:
    match = _NAME.match(name)
    if match is None or _digest(data) != match.group(2):
        return None
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        content |= {"identity": dict(json.loads(content["identity"])), "step": int(content["step"])}
        whole = content["format"] == 1 and isinstance(content["state"], dict) and _is_rng_state(content["rng"])
    except Exception:  # a made-up file stumbles anywhere in torch's unpickler, which executes none of it
        return None
    return content if whole else None


def _is_rng_state(state: torch.Tensor) -> bool:
    torch.Generator().set_state(state)  # raises on any other
    return True


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
