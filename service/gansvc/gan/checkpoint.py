"""Checkpoints: one file each, named by step and content, refused unless whole and of the same run."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import torch

from gansvc.catalog import torchfiles
from gansvc.errors import ClusterError, RunError
from gansvc.gan import tensorfile
from gansvc.spec.identity import differences, missing_hashes, missing_hashes_warning
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord

KEEP = 2
"""Checkpoints kept beside the best generator: the newest, and the one before in case the newest is damaged."""
_AGAIN = "resume the job to train that run again"


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
    written = layout.checkpoint_name(step, _digest(data))
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
        taken = _refuse_another_run(folder.path(name), content["identity"], identity)
        torch.set_rng_state(content["rng"])
        warnings = [*(f"{path} is damaged; went on from the checkpoint before it" for path in damaged), *taken]
        return content["step"], content["state"], warnings
    if not names:
        return None
    return 0, {}, [f"{path} is damaged, and none before it is whole; began anew" for path in damaged]


def run_record(folder: Folder, identity: dict[str, Any]) -> RunRecord | None:
    """Return how the run in a folder ended, or None where it hasn't.

    Raises:
        RunError: it was another run; the message lists the differences.
    """
    record = folder.read_record(layout.RUN, RunRecord)
    if record is not None:
        _refuse_another_run(folder.path(layout.RUN), record.identity, identity)
    return record


def save_best(folder: Folder, generator: dict[str, torch.Tensor], step: int, objective: float) -> None:
    """Write the averaged generator's weights that scored best so far, with their step and score in the header."""
    folder.write(layout.BEST, tensorfile.pack(generator, step=str(step), objective=repr(objective)))


def load_best(folder: Folder) -> dict[str, torch.Tensor]:
    """Return the best generator's weights.

    Raises:
        ClusterError: there are none, or the file is damaged.
    """
    data = folder.read(layout.BEST)
    if data is None:
        raise ClusterError(f"{folder.path(layout.BEST)} is missing; {_AGAIN}")
    try:
        return tensorfile.unpack(data)[0]
    except tensorfile.UNREADABLE as error:
        raise ClusterError(f"{folder.path(layout.BEST)} is damaged ({error}); {_AGAIN}") from None


def best_digest(folder: Folder) -> str | None:
    """Return the digest of the best generator's weights, or None where they are missing or damaged."""
    data = folder.read(layout.BEST)
    try:
        return None if data is None else tensorfile.digest(tensorfile.unpack(data)[0])
    except tensorfile.UNREADABLE:
        return None


def _names(folder: Folder) -> list[str]:
    return [name for name in folder.names() if layout.parse_checkpoint(name)]


def _load(data: bytes, name: str) -> dict[str, Any] | None:
    named = layout.parse_checkpoint(name)
    if named is None or _digest(data) != named[1]:
        return None
    try:
        content = torchfiles.load(data)
        content |= {"identity": json.loads(content["identity"])}
        whole = (content["format"], content["step"]) == (1, named[0])
        whole = whole and isinstance(content["state"], dict) and isinstance(content["identity"], dict)
        torch.Generator().set_state(content["rng"])
    except Exception:
        # A foreign file under a right name can make torch raise whatever it likes, but run nothing.
        return None
    return content if whole else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _refuse_another_run(path: str, theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """Refuse a stored identity that isn't ours; return a warning where it lacks hashes of content."""
    if not theirs:
        raise RunError(f"{path} doesn't say what it was made of: an earlier gansvc wrote it; submit the job anew")
    known = theirs.get("data", {})
    taken = missing_hashes(known, ours.get("data", {})) if isinstance(known, dict) else {}
    if found := differences(theirs | ({"data": known | taken} if taken else {}), ours):
        raise RunError(f"{path} is of another run ({'; '.join(found)}); resume with what it was made with")
    return [missing_hashes_warning(path, taken)] if taken else []
